//! The runs of a pipeline in numbers, for metrics. Pure.

use jiff::Timestamp;
use tidegate_api::RunPhase;

use super::facts::Run;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunTally {
    /// Runs that wait.
    pub(crate) pending: u64,
    /// Runs with an attempt under way, or waiting for the next one.
    pub(crate) active: u64,
    /// Objects of succeeded runs.
    pub(crate) succeeded: u64,
    /// Objects of failed runs.
    pub(crate) failed: u64,
    /// When the last one succeeded, as far as objects tell.
    pub(crate) last_success: Option<Timestamp>,
}

impl RunTally {
    pub(crate) fn of(runs: &[Run]) -> Self {
        let mut tally = Self::default();
        for run in runs {
            let count = match run.status.phase {
                Some(RunPhase::Succeeded) => &mut tally.succeeded,
                Some(RunPhase::Failed) => &mut tally.failed,
                _ if run.is_active() => &mut tally.active,
                _ => &mut tally.pending,
            };
            *count += 1;
            if run.succeeded() == Some(true) {
                let ended = run.status.completion_time.as_ref().map(|time| time.0);
                tally.last_success = tally.last_success.max(ended);
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::read::{read, tests::object};
    use super::*;

    #[test]
    fn runs_are_counted_by_what_they_do() {
        let run = |status| read(&object("r", &json!({"trigger": "Manual"}), &status)).unwrap();
        let runs = [
            run(json!({})),
            run(json!({"phase": "Running", "attempt": 1})),
            run(json!({"phase": "Pending", "attempt": 2})),
            run(json!({"phase": "Succeeded", "completionTime": "2026-06-01T00:00:00Z"})),
            run(json!({"phase": "Succeeded", "completionTime": "2026-06-02T00:00:00Z"})),
            run(json!({"phase": "Failed", "completionTime": "2026-06-03T00:00:00Z"})),
        ];
        let tally = RunTally::of(&runs);
        assert_eq!((tally.pending, tally.active, tally.succeeded, tally.failed), (1, 2, 2, 1));
        let last = tally.last_success.map(|at| at.to_string());
        assert_eq!(last.as_deref(), Some("2026-06-02T00:00:00Z"));
    }
}
