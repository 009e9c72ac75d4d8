//! Live progress: what one line says, and who draws it.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tidegate_telemetry::{LogPrinter, MetricsSnapshot, PipelineMetrics, standard_error};
use tidegate_types::Reason;
use tokio_util::sync::CancellationToken;

use crate::output::{bytes, complain, count, grouped, say};

pub(crate) const REDRAW_EVERY: Duration = Duration::from_secs(1);
/// Without a terminal progress is a log line, and then only when something moved.
pub(crate) const LOG_EVERY: Duration = Duration::from_secs(30);
/// Rows arrive by commits, so the rate is taken over the longest usual `maxInterval`.
const RATE_OVER_SECONDS: f64 = 60.0;

/// Draws on the terminal, or logs where there is none.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    screen: Option<MultiProgress>,
}

/// A pipeline's workers, shown as one line.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) workers: Vec<Arc<PipelineMetrics>>,
}

/// Rows a second over the last minute.
#[derive(Debug, Default)]
struct Rate {
    samples: VecDeque<(f64, u64)>,
}

struct Line {
    shown: Shown,
    rate: Rate,
    bar: Option<ProgressBar>,
    logged: MetricsSnapshot,
}

impl Progress {
    /// For the standard error stream as it is.
    pub(crate) fn detect() -> Self {
        let screen = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { screen }
    }

    /// Where bars are drawn; none without a terminal.
    pub(crate) fn screen(&self) -> Option<&MultiProgress> {
        self.screen.as_ref()
    }

    /// Prints to standard output while the bars step aside.
    pub(crate) fn say(&self, line: impl AsRef<str>) -> std::io::Result<()> {
        match &self.screen {
            Some(screen) => screen.suspend(|| say(line)),
            None => say(line),
        }
    }

    /// The same to standard error.
    pub(crate) fn complain(&self, line: impl AsRef<str>) -> std::io::Result<()> {
        match &self.screen {
            Some(screen) => screen.suspend(|| complain(line)),
            None => complain(line),
        }
    }

    /// A log printer that lets the progress lines step aside.
    pub(crate) fn log_printer(&self) -> LogPrinter {
        let print = standard_error();
        match self.screen.clone() {
            None => print,
            Some(screen) => Arc::new(move |line| screen.suspend(|| print(line))),
        }
    }

    /// Shows the pipelines until told to stop.
    pub(crate) async fn show(self, pipelines: Vec<Shown>, stop: CancellationToken) {
        let mut lines: Vec<Line> = pipelines.into_iter().map(|shown| self.line(shown)).collect();
        let every = if self.screen.is_some() { REDRAW_EVERY } else { LOG_EVERY };
        let mut ticks = tokio::time::interval(every);
        let start = Instant::now();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            for line in &mut lines {
                line.tick(start.elapsed().as_secs_f64());
            }
        }
        if let Some(screen) = &self.screen {
            // Clearing a terminal that went away is not worth a word.
            let _ = screen.clear();
        }
    }

    fn line(&self, shown: Shown) -> Line {
        let style = ProgressStyle::with_template("{spinner} {msg}");
        let bar = self.screen.as_ref().map(|screen| {
            let bar = screen.add(ProgressBar::new_spinner());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        let logged = shown.snapshot();
        Line { shown, rate: Rate::default(), bar, logged }
    }
}

impl Shown {
    /// The workers' numbers together.
    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        let snapshots = self.workers.iter().map(|worker| worker.snapshot());
        snapshots.reduce(MetricsSnapshot::with).unwrap_or_default()
    }
}

impl Line {
    fn tick(&mut self, at: f64) {
        let seen = self.shown.snapshot();
        let rate = self.rate.observe(at, seen.counters.rows);
        if let Some(bar) = &self.bar {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            bar.set_message(describe(&self.shown.name, &seen, rate, now.as_secs_f64()));
            bar.tick();
        } else if seen != self.logged {
            tracing::info!(
                pipeline = self.shown.name,
                read = seen.counters.read,
                rows = seen.counters.rows,
                rows_per_second = rate,
                lag = seen.lag,
                files = seen.files,
                commits = seen.commits,
                state = seen.state.unwrap_or(Reason::Ok).as_str(),
                "progress"
            );
            self.logged = seen;
        }
    }
}

impl Rate {
    /// Takes the count at a time in seconds and returns the whole rows a second since the oldest sample
    /// that is kept.
    fn observe(&mut self, at: f64, rows: u64) -> u64 {
        self.samples.push_back((at, rows));
        while self.samples.front().is_some_and(|(then, _)| at - then > RATE_OVER_SECONDS) {
            self.samples.pop_front();
        }
        let Some((then, before)) = self.samples.front() else { return 0 };
        let seconds = at - then;
        if seconds <= 0.0 { 0 } else { (rows.saturating_sub(*before) as f64 / seconds) as u64 }
    }
}

/// One pipeline in one line.
fn describe(name: &str, seen: &MetricsSnapshot, rate: u64, now: f64) -> String {
    let mut parts = vec![
        format!("{} rows/s", grouped(rate)),
        count(seen.counters.rows, "row", "rows"),
        format!("lag {}", grouped(seen.lag)),
        format!("{} ({})", count(seen.files, "file", "files"), bytes(seen.bytes)),
        match seen.last_commit {
            Some(then) => format!("last commit {} s ago", (now - then).max(0.0) as u64),
            None => "no commit yet".to_owned(),
        },
    ];
    for (number, one, many) in [
        (seen.counters.dead, "dead letter", "dead letters"),
        (seen.counters.duplicate, "duplicate", "duplicates"),
    ] {
        if number > 0 {
            parts.push(count(number, one, many));
        }
    }
    parts.extend(seen.state.filter(|s| *s != Reason::Ok).map(|state| state.to_string()));
    format!("{name}: {}", parts.join(" · "))
}

#[cfg(test)]
mod tests {
    use tidegate_types::Counters;

    use super::*;

    #[test]
    fn a_line_says_what_moves_and_what_is_wrong() {
        let mut seen = MetricsSnapshot {
            counters: Counters { read: 1_240, rows: 1_234, dead: 1, duplicate: 5, filtered: 0 },
            files: 12,
            bytes: 3 << 20,
            lag: 9_876,
            last_commit: Some(1_000.0),
            state: Some(Reason::Ok),
            ..Default::default()
        };
        assert_eq!(
            describe("default/clicks", &seen, 56_789, 1_002.9),
            "default/clicks: 56,789 rows/s · 1,234 rows · lag 9,876 · 12 files (3.0 MiB) · \
             last commit 2 s ago · 1 dead letter · 5 duplicates"
        );
        seen.state = Some(Reason::SinkUnreachable);
        assert!(describe("p", &seen, 0, 1_000.0).ends_with(" · SinkUnreachable"));
        let fresh = describe("p", &MetricsSnapshot::default(), 0, 5.0);
        assert_eq!(fresh, "p: 0 rows/s · 0 rows · lag 0 · 0 files (0 B) · no commit yet");
    }

    #[test]
    fn a_clock_set_back_does_not_make_a_commit_of_the_future() {
        let seen = MetricsSnapshot { last_commit: Some(100.0), ..Default::default() };
        assert!(describe("p", &seen, 0, 50.0).contains("last commit 0 s ago"));
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let mut rate = Rate::default();
        assert_eq!(rate.observe(0.0, 0), 0);
        assert_eq!(rate.observe(10.0, 1_000), 100);
        assert_eq!(rate.observe(60.0, 6_000), 100);
        assert_eq!(rate.observe(80.0, 6_000), 0, "only the sample at 60 s is young enough");
        assert!(rate.samples.len() <= 3);
    }

    #[test]
    fn workers_are_shown_together() {
        let families = tidegate_telemetry::MetricFamilies::new(&mut Default::default());
        let workers: Vec<_> = (0..2).map(|n| Arc::new(families.worker("p", n))).collect();
        workers[0].set_lag(2);
        workers[1].set_lag(3);
        assert_eq!(Shown { name: "p".into(), workers }.snapshot().lag, 5);
    }
}
