//! The conditions of a run: one pure function from what is to be done about it.
//!
//! | type | True | False |
//! |---|---|---|
//! | `Ready` | it is done | it is not, and why |
//! | `Reconciling` | it waits or works | (absent) |
//! | `Stalled` | it was given up | (absent) |
//! | `Complete` | it is done; what `kubectl wait --for=condition=Complete` waits for | not yet, or never |
//! | `Verified` | the source's count was that of rows and dead letters | it was not. Unknown before the end, and where nothing was read |
//! | `IntervalsCurrent` | the files of the newest intervals were those that were loaded, when the run was done | some were not. Only where it looked |
//!
//! For kstatus that makes `InProgress`, then `Current` or `Failed`.

use tidegate_config::FilesReport;
use tidegate_types::Reason;

use super::facts::{Outcome, Step};
use crate::status::{Answer, INTERVALS_CURRENT, READY, RECONCILING, STALLED, Verdict, answer};
use crate::text::count;

pub(crate) const COMPLETE: &str = "Complete";
pub(crate) const VERIFIED: &str = "Verified";

/// What is happening, in a word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What all conditions of a run say. `present` is what an attempt under way does.
pub(crate) fn answers(step: &Step, present: &Present) -> Vec<(&'static str, Answer)> {
    match step {
        Step::Finish(outcome) => finished(outcome),
        Step::Wait(waiting) => open(waiting.reason, &waiting.message),
        Step::Start(_) | Step::Follow => open(present.reason, &present.message),
    }
}

fn open(reason: Reason, message: &str) -> Vec<(&'static str, Answer)> {
    let so = |verdict| answer(verdict, reason, message);
    let counted = answer(Verdict::Unknown, Reason::Progressing, "the run is not over");
    vec![
        (READY, so(Verdict::False)),
        (RECONCILING, so(Verdict::True)),
        (COMPLETE, so(Verdict::False)),
        (VERIFIED, counted),
    ]
}

fn finished(outcome: &Outcome) -> Vec<(&'static str, Answer)> {
    let so = |verdict| answer(verdict, outcome.reason, &*outcome.message);
    if !outcome.succeeded {
        return vec![
            (READY, so(Verdict::False)),
            (STALLED, so(Verdict::True)),
            (COMPLETE, so(Verdict::False)),
            (VERIFIED, unverified(outcome)),
        ];
    }
    let files = outcome.report.as_ref().and_then(|report| report.files.as_ref());
    let looked = files.map(|files| (INTERVALS_CURRENT, current(files)));
    [(READY, so(Verdict::True)), (COMPLETE, so(Verdict::True)), (VERIFIED, verified(outcome))]
        .into_iter()
        .chain(looked)
        .collect()
}

/// What the run saw when it looked back, once it was done.
fn current(files: &FilesReport) -> Answer {
    let (verdict, reason) = match files.stale {
        0 => (Verdict::True, Reason::Ok),
        _ => (Verdict::False, Reason::IntervalStale),
    };
    answer(verdict, reason, &*files.message)
}

fn unverified(outcome: &Outcome) -> Answer {
    match outcome.reason {
        Reason::CountMismatch => answer(Verdict::False, outcome.reason, &*outcome.message),
        reason => answer(Verdict::Unknown, reason, "the run did not come so far"),
    }
}

fn verified(outcome: &Outcome) -> Answer {
    match &outcome.report {
        Some(report) if outcome.reason == Reason::Ok => {
            let message = format!(
                "{} of the source, {} in the table and {}",
                count(report.rows_read, "row"),
                report.rows_committed,
                count(report.dead_letters, "dead letter")
            );
            answer(Verdict::True, Reason::Ok, message)
        }
        _ => answer(Verdict::Unknown, outcome.reason, "nothing was read"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use tidegate_config::RunReport;

    use super::*;
    use crate::runs::facts::Waiting;
    use crate::status::{conditions_of, find};

    fn kinds(step: &Step) -> Vec<(String, String, String)> {
        let present = Present { reason: Reason::Progressing, message: "chunks are read".into() };
        let found = conditions_of(answers(step, &present), 1, &[], Timestamp::UNIX_EPOCH);
        found.into_iter().map(|found| (found.type_, found.status, found.reason)).collect()
    }

    fn told(wanted: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
        let owned = |(a, b, c): &(&str, &str, &str)| ((*a).into(), (*b).into(), (*c).into());
        wanted.iter().map(owned).collect()
    }

    fn outcome(succeeded: bool, reason: Reason, report: Option<RunReport>) -> Step {
        let at = Timestamp::UNIX_EPOCH;
        Step::Finish(Outcome { succeeded, reason, message: "words".into(), report, at })
    }

    #[test]
    fn kstatus_and_those_who_wait_see_what_they_look_for() {
        let wait = Step::Wait(Waiting::new(Reason::RunLimitReached, "another run is active"));
        assert_eq!(
            kinds(&wait),
            told(&[
                ("Ready", "False", "RunLimitReached"),
                ("Reconciling", "True", "RunLimitReached"),
                ("Complete", "False", "RunLimitReached"),
                ("Verified", "Unknown", "Progressing"),
            ])
        );
        assert_eq!(kinds(&Step::Follow)[1], told(&[("Reconciling", "True", "Progressing")])[0]);
        let report = Some(RunReport { reason: "Ok".into(), ..RunReport::default() });
        assert_eq!(
            kinds(&outcome(true, Reason::Ok, report)),
            told(&[
                ("Ready", "True", "Ok"),
                ("Complete", "True", "Ok"),
                ("Verified", "True", "Ok")
            ])
        );
        assert_eq!(
            kinds(&outcome(false, Reason::SourceRefused, None)),
            told(&[
                ("Ready", "False", "SourceRefused"),
                ("Stalled", "True", "SourceRefused"),
                ("Complete", "False", "SourceRefused"),
                ("Verified", "Unknown", "SourceRefused"),
            ])
        );
    }

    #[test]
    fn what_was_not_counted_is_not_said_to_be_verified() {
        let verified = |step: &Step| kinds(step).pop().unwrap().1;
        assert_eq!(verified(&outcome(true, Reason::AlreadyComplete, None)), "Unknown");
        assert_eq!(verified(&outcome(true, Reason::Ok, None)), "Unknown", "nobody heard");
        assert_eq!(verified(&outcome(false, Reason::CountMismatch, None)), "False");
    }

    #[test]
    fn what_a_run_saw_when_it_looked_back_is_a_condition_of_its_own() {
        let of = |files: Option<FilesReport>| {
            let report = Some(RunReport { files, ..RunReport::default() });
            kinds(&outcome(true, Reason::AlreadyComplete, report)).split_off(3)
        };
        let stale = |stale| Some(FilesReport { stale, message: "words".into() });
        assert_eq!(of(None), [], "it did not look");
        assert_eq!(of(stale(0)), told(&[("IntervalsCurrent", "True", "Ok")]));
        assert_eq!(of(stale(2)), told(&[("IntervalsCurrent", "False", "IntervalStale")]));
    }

    #[test]
    fn a_condition_that_stays_keeps_its_time() {
        let present = Present { reason: Reason::Progressing, message: String::new() };
        let of = |step, before: &[Condition], now| {
            conditions_of(answers(step, &present), 1, before, now)
        };
        let first = of(&Step::Follow, &[], Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(60).unwrap();
        let second = of(&Step::Follow, &first, later);
        assert_eq!(second, first);
        let over = outcome(false, Reason::SourceRefused, None);
        let third = of(&over, &first, later);
        let since = |kind: &str| find(&third, kind).unwrap().last_transition_time.0;
        assert_eq!((since(READY), since(STALLED)), (Timestamp::UNIX_EPOCH, later));
    }
}
