//! What the source says now of the intervals that the table holds.

use tidegate_config::{Recount, SourceAnswer, SourceSays};
use tidegate_types::DataInterval;

use super::report::{VerifyReport, VerifyState};

/// Findings that are told in full; further ones are counted.
const TOLD: usize = 20;

/// Compares the answers with what is `there`: rows and dead letters of an interval. Of an `immutable` source
/// the table must not have less than it.
pub(super) fn check_source(
    recount: &Recount,
    there: impl Fn(Option<DataInterval>) -> u64,
    immutable: bool,
    report: &mut VerifyReport,
) {
    let judged = recount.answers.iter().filter_map(|answer| {
        let (state, detail) = judge(answer, there(answer.interval), immutable)?;
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
    if recount.left_out > 0 {
        let detail = format!("{} older intervals were not asked about", recount.left_out);
        report.not_provable("source", detail);
    }
    report.source_messages = Some(recount.answers.iter().map(rows).sum());
    report.checked(format!("{} intervals against the source as it is now", recount.answers.len()));
}

fn rows(answer: &SourceAnswer) -> u64 {
    match answer.says {
        SourceSays::Rows(rows) => rows,
        SourceSays::SameFiles | SourceSays::OtherFiles | SourceSays::Nothing(_) => 0,
    }
}

fn judge(answer: &SourceAnswer, there: u64, immutable: bool) -> Option<(VerifyState, String)> {
    const AGAIN: &str = "run it again with `tidegate backfill --reprocess All`";
    match &answer.says {
        SourceSays::SameFiles => None,
        SourceSays::OtherFiles => Some((
            VerifyState::NotProvable,
            format!("files came, changed or went after they were loaded; {AGAIN}"),
        )),
        SourceSays::Nothing(why) => Some((VerifyState::NotProvable, why.clone())),
        SourceSays::Rows(rows) if *rows == there => None,
        SourceSays::Rows(rows) if *rows > there && immutable => Some((
            VerifyState::Damaged,
            format!("the source has {rows} rows, the table {there} with its dead letters; {AGAIN}"),
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

    fn check(says: SourceSays, there: u64, immutable: bool) -> VerifyReport {
        let answers = vec![SourceAnswer { interval: Some(hour()), says }];
        let mut report = VerifyReport::new(1);
        check_source(&Recount { answers, left_out: 0 }, |_| there, immutable, &mut report);
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
    fn many_findings_are_counted_and_what_was_not_asked_is_said() {
        let answer = SourceAnswer { interval: Some(hour()), says: SourceSays::OtherFiles };
        let recount = Recount { answers: vec![answer; 50], left_out: 7 };
        let mut report = VerifyReport::new(1);
        check_source(&recount, |_| 0, false, &mut report);
        assert_eq!(report.findings.len(), TOLD + 2);
        let text = report.to_string();
        assert!(text.contains("the same of 30 more intervals"), "{text}");
        assert!(text.contains("7 older intervals were not asked about"), "{text}");
    }

    #[test]
    fn a_table_that_cannot_be_compared_is_not_called_the_same() {
        let mut report = VerifyReport::new(1);
        check_source(&Recount::default(), |_| 0, true, &mut report);
        assert_eq!(report.state, VerifyState::NotProvable);
    }
}
