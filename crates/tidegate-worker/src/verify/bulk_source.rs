//! What the source says now of the intervals that the table holds.

use tidegate_config::{
    Recount, SourceAnswer, SourceSays, WriteMode, late_files_in_words, loaded_again_in_words,
};
use tidegate_types::DataInterval;

use super::report::{VerifyReport, VerifyState};

/// Findings that are told in full; further ones are counted.
const TOLD: usize = 20;

/// How a table relates to its source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The source's rows never change, so that the table must not have fewer.
    pub(super) immutable: bool,
    /// Whether intervals can be loaded once more.
    pub(super) write_mode: WriteMode,
}

/// Compares the answers with what is `there`: rows and dead letters of an interval.
pub(super) fn check_source(
    recount: &Recount,
    there: impl Fn(Option<DataInterval>) -> u64,
    terms: Terms,
    report: &mut VerifyReport,
) {
    let judged = recount.answers.iter().filter_map(|answer| {
        let (state, detail) = judge(answer, there(answer.interval), terms)?;
        Some((state, format!("{}: {detail}", named(answer.interval))))
    });
    let findings: Vec<_> = judged.collect();
    for (state, detail) in findings.iter().take(TOLD) {
        report.found(*state, "source", detail.clone());
    }
    if let Some(worst) = findings.iter().skip(TOLD).map(|(state, _)| *state).max() {
        let detail = format!("the same of {} more intervals", findings.len() - TOLD);
        report.found(worst, "source", detail);
    }
    if recount.answers.is_empty() {
        report.not_provable(
            "source",
            "nothing in the table can be compared with the source as it is now",
        );
    }
    // How many are asked about is a bound that everybody knows: older ones are no doubt about these.
    let asked = recount.answers.len();
    let asked = match recount.left_out {
        0 => asked.to_string(),
        left_out => format!("the newest {asked} of {}", asked + left_out),
    };
    report.checked(format!("{asked} intervals against the source as it is now"));
    let told: Vec<_> = recount.answers.iter().filter_map(rows).collect();
    report.source_rows = (!told.is_empty()).then(|| told.iter().sum());
}

fn rows(answer: &SourceAnswer) -> Option<u64> {
    match answer.says {
        SourceSays::Rows(rows) => Some(rows),
        SourceSays::SameFiles | SourceSays::OtherFiles | SourceSays::Nothing(_) => None,
    }
}

fn judge(answer: &SourceAnswer, there: u64, terms: Terms) -> Option<(VerifyState, String)> {
    match &answer.says {
        SourceSays::SameFiles => None,
        SourceSays::OtherFiles => Some((
            VerifyState::NotProvable,
            late_files_in_words(answer.interval.as_slice(), terms.write_mode),
        )),
        SourceSays::Nothing(why) => Some((VerifyState::NotProvable, why.clone())),
        SourceSays::Rows(rows) if *rows == there => None,
        SourceSays::Rows(rows) if *rows > there && terms.immutable => Some((
            VerifyState::Damaged,
            format!(
                "the source has {rows} rows, the table {there} with its dead letters; {}",
                loaded_again_in_words(answer.interval.as_slice(), terms.write_mode)
            ),
        )),
        // What is gone from the source was there when it was read, as the run's count says.
        SourceSays::Rows(rows) => Some((
            VerifyState::NotProvable,
            format!("the source has {rows} rows by now, the table {there} with its dead letters"),
        )),
    }
}

fn named(interval: Option<DataInterval>) -> String {
    interval.map_or_else(|| "everything".to_owned(), |interval| format!("interval {interval}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour() -> DataInterval {
        "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().expect("an interval")
    }

    fn terms(immutable: bool) -> Terms {
        Terms { immutable, write_mode: WriteMode::ReplaceInterval }
    }

    fn check(says: SourceSays, there: u64, immutable: bool) -> VerifyReport {
        let answers = vec![SourceAnswer { interval: Some(hour()), says }];
        let mut report = VerifyReport::new(1);
        let recount = Recount { answers, left_out: 0 };
        check_source(&recount, |_| there, terms(immutable), &mut report);
        report
    }

    #[test]
    fn only_rows_that_a_source_of_immutable_rows_has_and_the_table_lacks_are_damage() {
        use VerifyState::{Damaged, NotProvable, Ok};
        for (says, there, immutable, state) in [
            (SourceSays::Rows(5), 5, true, Ok),
            (SourceSays::Rows(6), 5, true, Damaged),
            (SourceSays::Rows(4), 5, true, NotProvable),
            (SourceSays::Rows(6), 5, false, NotProvable),
            (SourceSays::SameFiles, 5, false, Ok),
            (SourceSays::OtherFiles, 5, false, NotProvable),
            (SourceSays::Nothing("no answer".into()), 5, true, NotProvable),
        ] {
            let report = check(says.clone(), there, immutable);
            assert_eq!(report.state, state, "{says:?}\n{report}");
            assert!(report.to_string().contains("1 intervals against the source"), "{report}");
        }
    }

    #[test]
    fn what_loads_missing_rows_again_can_be_called_as_it_stands() {
        let text = check(SourceSays::Rows(6), 5, true).to_string();
        let range = "--from 2026-06-01T00:00:00Z --to 2026-06-01T01:00:00Z";
        assert!(text.contains("--reprocess All") && text.contains(range), "{text}");
    }

    #[test]
    fn many_findings_are_counted_and_what_was_not_asked_is_said() {
        let answer = SourceAnswer { interval: Some(hour()), says: SourceSays::OtherFiles };
        let recount = Recount { answers: vec![answer; 50], left_out: 7 };
        let mut report = VerifyReport::new(1);
        check_source(&recount, |_| 0, terms(false), &mut report);
        assert_eq!(report.findings.len(), TOLD + 1);
        let text = report.to_string();
        assert!(text.contains("the same of 30 more intervals"), "{text}");
        assert!(text.contains("the newest 50 of 57 intervals"), "{text}");
    }

    #[test]
    fn older_intervals_that_are_not_asked_about_are_no_doubt_about_the_others() {
        let answer = SourceAnswer { interval: Some(hour()), says: SourceSays::Rows(5) };
        let recount = Recount { answers: vec![answer; 3], left_out: 7 };
        let mut report = VerifyReport::new(1);
        check_source(&recount, |_| 5, terms(true), &mut report);
        assert_eq!((report.state, report.source_rows), (VerifyState::Ok, Some(15)), "{report}");
    }

    #[test]
    fn what_cannot_be_loaded_once_more_is_not_told_to_be() {
        let answer = SourceAnswer { interval: Some(hour()), says: SourceSays::OtherFiles };
        let recount = Recount { answers: vec![answer], left_out: 0 };
        let mut report = VerifyReport::new(1);
        let terms = Terms { immutable: false, write_mode: WriteMode::Append };
        check_source(&recount, |_| 5, terms, &mut report);
        let text = report.to_string();
        assert!(text.contains("Append only adds") && !text.contains("--reprocess"), "{text}");
        assert_eq!(report.source_rows, None, "files are not rows");
    }

    #[test]
    fn a_table_that_cannot_be_compared_is_not_called_the_same() {
        let mut report = VerifyReport::new(1);
        check_source(&Recount::default(), |_| 0, terms(true), &mut report);
        assert_eq!(report.state, VerifyState::NotProvable);
    }
}
