//! What a run did, in words.

use std::time::Duration;

use tidegate_config::RunReport;
use tidegate_types::{DataInterval, Reason};

use crate::failure::worse;
use crate::output::{count, grouped};

/// What people call a run: the pipeline, and the stretch of time when there is one.
pub(crate) fn title(pipeline: &str, interval: Option<DataInterval>) -> String {
    match interval {
        Some(interval) => format!("{pipeline} {interval}"),
        None => pipeline.to_owned(),
    }
}

/// A run that ended well, in one sentence.
pub(crate) fn ended(title: &str, report: &RunReport, table: &str, took: Duration) -> String {
    if was_done_before(report) {
        let note = note(report);
        return format!("{title}: done before, the table {table} was left as it is.{note}");
    }
    let mut text = format!("{title}: {}", count(report.rows_committed, "row", "rows"));
    if report.rows_replaced > 0 {
        text.push_str(&format!(" in place of {}", grouped(report.rows_replaced)));
    }
    if report.dead_letters > 0 {
        text.push_str(&format!(", {}", count(report.dead_letters, "dead letter", "dead letters")));
    }
    text.push_str(&format!(
        ", from {} in {}",
        count(report.chunks.into(), "chunk", "chunks"),
        seconds(took)
    ));
    match report.version {
        Some(version) => text.push_str(&format!(". The table {table} is at version {version}.")),
        None => text.push('.'),
    }
    text.push_str(&note(report));
    text
}

/// Whether the log held it, whatever its files are by now.
fn was_done_before(report: &RunReport) -> bool {
    [Reason::AlreadyComplete, Reason::IntervalStale].iter().any(|r| r.as_str() == report.reason)
}

fn note(report: &RunReport) -> String {
    match report.message.as_str() {
        "" => String::new(),
        message => format!(" Note: {message}."),
    }
}

/// How the runs of a pipeline ended together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    done: u64,
    done_before: u64,
    failed: u64,
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

    /// A run failed with this exit code.
    pub(crate) fn failed(&mut self, code: u8) {
        self.failed += 1;
        self.exit = worse(self.exit, code);
    }

    /// Runs that ended, one way or the other.
    pub(crate) fn ended(&self) -> u64 {
        self.done + self.done_before + self.failed
    }

    /// The exit code of the worst.
    pub(crate) fn exit(&self) -> u8 {
        self.exit
    }

    /// What all runs did; none where the single lines say all.
    pub(crate) fn in_words(&self, pipeline: &str) -> Option<String> {
        if self.ended() < 2 {
            return None;
        }
        let mut parts = vec![format!("{} done", count(self.done, "run", "runs"))];
        for (number, what) in [(self.done_before, "done before"), (self.failed, "failed")] {
            if number > 0 {
                parts.push(format!("{} {what}", grouped(number)));
            }
        }
        parts.push(count(self.rows, "row", "rows"));
        Some(format!("{pipeline}: {}.", parts.join(", ")))
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour() -> DataInterval {
        "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_run_is_told_with_what_it_took_the_place_of() {
        let report = RunReport {
            reason: "Ok".into(),
            chunks: 1,
            rows_committed: 1_500,
            rows_replaced: 1_400,
            dead_letters: 2,
            version: Some(7),
            ..Default::default()
        };
        assert_eq!(
            ended(
                &title("shop/orders", Some(hour())),
                &report,
                "file:///t",
                Duration::from_millis(1_260)
            ),
            "shop/orders 2026-06-01T00:00:00Z/2026-06-01T01:00:00Z: 1,500 rows in place of 1,400, \
             2 dead letters, from 1 chunk in 1.3 s. The table file:///t is at version 7."
        );
    }

    #[test]
    fn a_run_that_was_done_before_changes_nothing_and_says_so() {
        let report = RunReport { reason: "AlreadyComplete".into(), ..Default::default() };
        let text = ended(&title("p", None), &report, "file:///t", Duration::ZERO);
        assert_eq!(text, "p: done before, the table file:///t was left as it is.");
    }

    #[test]
    fn several_runs_are_told_together_and_a_single_one_is_not_told_twice() {
        let report = |reason: &str, rows| RunReport {
            reason: reason.into(),
            rows_committed: rows,
            ..Default::default()
        };
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
}
