//! What a run did, in words.

use std::time::Duration;

use tidegate_config::RunReport;
use tidegate_runtime::{RunError, in_words};
use tidegate_types::{DataInterval, Reason};

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

/// A run whose last attempt found the commit of an earlier one, of which nobody knew.
pub(crate) fn found(title: &str, table: &str) -> String {
    format!("{title}: committed by an earlier attempt, as the log of the table {table} shows.")
}

/// A run that was told to stop.
pub(crate) fn interrupted(title: &str, error: &RunError) -> String {
    format!("{title}: interrupted: {}.", in_words(error))
}

/// Whether the log held it, whatever its files are by now.
pub(super) fn was_done_before(report: &RunReport) -> bool {
    [Reason::AlreadyComplete, Reason::IntervalStale].iter().any(|r| r.as_str() == report.reason)
}

fn note(report: &RunReport) -> String {
    match report.message.as_str() {
        "" => String::new(),
        message => format!(" Note: {message}."),
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
}
