//! The runs of a pipeline in numbers, for metrics. Pure.

use tidegate_api::RunPhase;

use super::facts::Run;
use crate::metrics::RunTally;

/// Counts runs by what they do.
pub(crate) fn tally(runs: &[Run]) -> RunTally {
    let mut tally = RunTally::default();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::runs::read::read;
    use crate::runs::read::tests::object;

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
        let tally = tally(&runs);
        assert_eq!((tally.pending, tally.active, tally.succeeded, tally.failed), (1, 2, 2, 1));
        let last = tally.last_success.map(|at| at.to_string());
        assert_eq!(last.as_deref(), Some("2026-06-02T00:00:00Z"));
    }
}
