//! What a run under way looks like: a bar on a terminal, now and then a log line elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tidegate_config::{RunPhase, RunReport};
use tokio::sync::watch;

use crate::output::{count, grouped};
use crate::progress::{LOG_EVERY, Progress, REDRAW_EVERY};

const TEMPLATE: &str = "{spinner} {prefix}: [{bar:24}] {msg}";

/// Shows one run until its sender is gone.
pub(crate) async fn follow(
    progress: Progress,
    name: String,
    mut reports: watch::Receiver<RunReport>,
) {
    let mut line = Line::new(&progress, name);
    let mut ticks = tokio::time::interval(REDRAW_EVERY);
    loop {
        tokio::select! {
            changed = reports.changed() => if changed.is_err() { break },
            _ = ticks.tick() => {}
        }
        let report = reports.borrow_and_update().clone();
        line.show(&report);
    }
    line.end();
}

struct Line {
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    logged: Option<(Instant, RunReport)>,
}

impl Line {
    fn new(progress: &Progress, name: String) -> Self {
        let style = ProgressStyle::with_template(TEMPLATE)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = progress.screen().map(|screen| {
            screen.add(ProgressBar::new(1)).with_style(style).with_prefix(name.clone())
        });
        Self { name, bar, started: Instant::now(), logged: None }
    }

    fn show(&mut self, report: &RunReport) {
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(report.chunks.max(1)));
            bar.set_position(u64::from(report.chunks_done));
            bar.set_message(describe(report, self.started.elapsed()));
            bar.tick();
        } else if self.worth_a_line(report) {
            tracing::info!(
                run = self.name,
                phase = ?report.phase,
                generation = report.generation,
                chunks_done = report.chunks_done,
                chunks = report.chunks,
                rows_read = report.rows_read,
                waits_for = report.message,
                "progress"
            );
            self.logged = Some((Instant::now(), report.clone()));
        }
    }

    /// News after a while; what begins and ends is logged by the run itself.
    fn worth_a_line(&self, report: &RunReport) -> bool {
        match &self.logged {
            None => self.started.elapsed() >= LOG_EVERY,
            Some((at, before)) => at.elapsed() >= LOG_EVERY && report != before,
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A run in a few words.
fn describe(report: &RunReport, took: Duration) -> String {
    let phase = match report.phase {
        RunPhase::Pending => "waits",
        RunPhase::Planning => "plans",
        RunPhase::Running => "reads",
        RunPhase::Committing => "commits",
        RunPhase::Succeeded => "done",
        RunPhase::Failed => "failed",
    };
    let mut parts = vec![phase.to_owned()];
    if report.chunks > 0 {
        parts.push(format!(
            "{}/{} chunks",
            grouped(report.chunks_done.into()),
            grouped(report.chunks.into())
        ));
    }
    parts.push(count(report.rows_read, "row", "rows"));
    let seconds = took.as_secs_f64();
    if seconds >= 1.0 {
        parts.push(format!("{} rows/s", grouped((report.rows_read as f64 / seconds) as u64)));
    }
    if report.dead_letters > 0 {
        parts.push(count(report.dead_letters, "dead letter", "dead letters"));
    }
    if !report.message.is_empty() {
        parts.push(report.message.clone());
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_under_way_says_how_far_and_how_fast_it_is() {
        let report = RunReport {
            phase: RunPhase::Running,
            chunks: 16,
            chunks_done: 9,
            rows_read: 45_000,
            dead_letters: 1,
            ..Default::default()
        };
        assert_eq!(
            describe(&report, Duration::from_secs(3)),
            "reads · 9/16 chunks · 45,000 rows · 15,000 rows/s · 1 dead letter"
        );
    }

    #[test]
    fn a_run_that_waits_says_for_what() {
        let report = RunReport {
            phase: RunPhase::Planning,
            message: "waits for transactions of pid 4711".into(),
            ..Default::default()
        };
        let text = describe(&report, Duration::ZERO);
        assert_eq!(text, "plans · 0 rows · waits for transactions of pid 4711");
    }

    #[test]
    fn without_a_terminal_a_long_run_is_a_line_now_and_then_while_something_moves() {
        let long_ago = Instant::now().checked_sub(LOG_EVERY).expect("the clock is older");
        let line = |started, logged| Line { name: "p".into(), bar: None, started, logged };
        let report = |rows_read| RunReport { rows_read, ..Default::default() };
        let now = Instant::now();
        for (started, logged, rows, worth) in [
            (now, None, 5, false),
            (long_ago, None, 5, true),
            (long_ago, Some((now, report(4))), 5, false),
            (long_ago, Some((long_ago, report(4))), 5, true),
            (long_ago, Some((long_ago, report(5))), 5, false),
        ] {
            let line = line(started, logged);
            assert_eq!(line.worth_a_line(&report(rows)), worth, "{:?}", line.logged);
        }
    }
}
