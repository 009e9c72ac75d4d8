//! How the runs of a pipeline ended together.

use tidegate_config::RunReport;

use crate::bulk::words::was_done_before;
use crate::failure::worse;
use crate::output::{count, grouped};

/// How the runs of a pipeline ended together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    done: u64,
    done_before: u64,
    failed: u64,
    interrupted: u64,
    rows: u64,
    /// The exit code of the worst.
    exit: u8,
}

impl Tally {
    /// A run ended well.
    pub(crate) fn succeeded(&mut self, report: &RunReport) {
        *(if was_done_before(report) { &mut self.done_before } else { &mut self.done }) += 1;
        self.rows += report.rows_committed;
    }

    /// A run ended well, and how many rows it had is known to the log only.
    pub(crate) fn found(&mut self) {
        self.done += 1;
    }

    /// A run failed with this exit code.
    pub(crate) fn failed(&mut self, code: u8) {
        self.failed += 1;
        self.exit = worse(self.exit, code);
    }

    /// A run was told to stop before its end.
    pub(crate) fn interrupted(&mut self) {
        self.interrupted += 1;
    }

    /// Runs that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failed
    }

    /// Runs that came to an end of their own, one way or the other.
    pub(crate) fn ended(&self) -> u64 {
        self.done + self.done_before + self.failed
    }

    /// Runs that were begun.
    pub(crate) fn begun(&self) -> u64 {
        self.ended() + self.interrupted
    }

    /// The exit code of the worst.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }

    /// What all runs did; none where the single lines say all.
    pub(crate) fn in_words(&self, pipeline: &str) -> Option<String> {
        if self.begun() < 2 {
            return None;
        }
        let mut parts = vec![format!("{} done", count(self.done, "run", "runs"))];
        for (number, what) in [
            (self.done_before, "done before"),
            (self.failed, "failed"),
            (self.interrupted, "interrupted"),
        ] {
            if number > 0 {
                parts.push(format!("{} {what}", grouped(number)));
            }
        }
        parts.push(count(self.rows, "row", "rows"));
        Some(format!("{pipeline}: {}.", parts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(reason: &str, rows: u64) -> RunReport {
        RunReport { reason: reason.into(), rows_committed: rows, ..Default::default() }
    }

    #[test]
    fn several_runs_are_told_together_and_a_single_one_is_not_told_twice() {
        let mut tally = Tally::default();
        tally.succeeded(&report("Ok", 3));
        assert_eq!(tally.in_words("p"), None);
        tally.succeeded(&report("Ok", 4));
        tally.succeeded(&report("AlreadyComplete", 0));
        tally.failed(75);
        let text = tally.in_words("p");
        assert_eq!(text.as_deref(), Some("p: 2 runs done, 1 done before, 1 failed, 7 rows."));
        assert_eq!((tally.ended(), tally.exit()), (4, 75));
    }

    #[test]
    fn a_run_that_was_told_to_stop_did_not_fail() {
        let mut tally = Tally::default();
        tally.succeeded(&report("Ok", 3));
        tally.interrupted();
        assert_eq!(tally.in_words("p").as_deref(), Some("p: 1 run done, 1 interrupted, 3 rows."));
        assert_eq!((tally.begun(), tally.ended(), tally.failures(), tally.exit()), (2, 1, 0, 0));
    }
}
