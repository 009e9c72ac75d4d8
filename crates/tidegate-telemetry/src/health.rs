//! Whether the process is alive and ready: a pure function over what its loops last said.
//!
//! *Ready* means that every pipeline reads its partitions. *Alive* means that no loop has fallen
//! silent; a worker that waits for a broker or a store goes round its loop all the same, so an outage
//! elsewhere never gets a healthy process killed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The heartbeat of one loop.
#[derive(Debug)]
pub struct LoopState {
    made: Instant,
    /// Milliseconds from `made` to the last beat, plus one; 0 before the first.
    beat: AtomicU64,
    ready: AtomicBool,
    finished: AtomicBool,
}

/// What the endpoints answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthReport {
    /// Loops that have been silent for too long.
    pub silent: Vec<String>,
    /// Loops that are not ready.
    pub unready: Vec<String>,
}

/// A loop that the endpoints look at.
pub trait Watched: std::fmt::Debug + Send + Sync {
    /// What the endpoints call it.
    fn name(&self) -> String;
    /// How it is.
    fn health(&self) -> &LoopState;
}

/// The loops of a process. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Health {
    longest_silence: Duration,
    watched: Arc<Mutex<Vec<Arc<dyn Watched>>>>,
}

impl LoopState {
    pub(crate) fn new() -> Self {
        Self {
            made: Instant::now(),
            beat: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    pub(crate) fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.made).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX - 1);
        self.beat.store(since.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// A new life of the loop: not ready, and watched from its first beat on.
    pub(crate) fn start(&self) {
        self.ready.store(false, Ordering::Relaxed);
        self.beat.store(0, Ordering::Relaxed);
        self.finished.store(false, Ordering::Relaxed);
    }

    pub(crate) fn finish(&self, well: bool) {
        self.ready.store(well, Ordering::Relaxed);
        self.finished.store(true, Ordering::Relaxed);
    }

    /// How long the loop has been silent at `now`; none before its first beat and after its end.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        let beat = self.beat.load(Ordering::Relaxed);
        if beat == 0 || self.finished.load(Ordering::Relaxed) {
            return None;
        }
        Some(now.saturating_duration_since(self.made + Duration::from_millis(beat - 1)))
    }

    /// Whether the loop reads, or has done all that was asked of it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

impl Health {
    /// No loops yet; a loop silent for longer than `longest_silence` makes the process not alive.
    #[must_use]
    pub fn new(longest_silence: Duration) -> Self {
        Self { longest_silence, watched: Arc::default() }
    }

    /// Watches a loop from its first beat on.
    pub fn watch(&self, watched: Arc<dyn Watched>) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// The state of all loops at `now`. A process without any loop is not ready.
    #[must_use]
    pub fn report(&self, now: Instant) -> HealthReport {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = HealthReport::default();
        if watched.is_empty() {
            report.unready.push("no pipeline has started".to_owned());
        }
        for each in watched.iter() {
            let (name, state) = (each.name(), each.health());
            if state.silence(now).is_some_and(|silence| silence > self.longest_silence) {
                report.silent.push(name.clone());
            }
            if !state.is_ready() {
                report.unready.push(name);
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::PipelineMetrics;

    const LONGEST: Duration = Duration::from_secs(60);

    fn watched() -> (Health, Arc<PipelineMetrics>) {
        let metrics = Arc::new(PipelineMetrics::new(&mut Registry::default(), "p"));
        let health = Health::new(LONGEST);
        health.watch(metrics.clone());
        (health, metrics)
    }

    #[test]
    fn a_loop_is_silent_only_after_its_first_beat_and_too_long_a_wait() {
        let (health, metrics) = watched();
        let start = Instant::now();
        assert_eq!(health.report(start + LONGEST * 3).silent, [""; 0], "it has not started");
        metrics.health().beat(start);
        assert_eq!(health.report(start + LONGEST / 2).silent, [""; 0]);
        assert_eq!(health.report(start + LONGEST * 2).silent, ["p worker 0"]);
        metrics.health().beat(start + LONGEST * 2);
        assert_eq!(health.report(start + LONGEST * 2).silent, [""; 0], "it woke up");
    }

    #[test]
    fn a_finished_loop_is_not_silent_and_unready_only_after_an_error() {
        let (health, metrics) = watched();
        metrics.beat();
        metrics.finish(true);
        let later = Instant::now() + LONGEST * 10;
        assert_eq!(health.report(later), HealthReport::default());
        metrics.finish(false);
        assert_eq!(health.report(later).unready, ["p worker 0"]);
        assert_eq!(health.report(later).silent, [""; 0]);
    }

    #[test]
    fn a_loop_that_starts_again_is_watched_again() {
        let (health, metrics) = watched();
        metrics.beat();
        metrics.finish(true);
        metrics.start();
        let later = Instant::now() + LONGEST * 2;
        let report = health.report(later);
        assert_eq!((report.silent.len(), report.unready.len()), (0, 1), "not ready, not begun");
        metrics.beat();
        assert_eq!(health.report(Instant::now() + LONGEST * 2).silent, ["p worker 0"]);
    }

    #[test]
    fn a_process_is_ready_when_every_loop_is() {
        let (health, first) = watched();
        let second = Arc::new(crate::MetricFamilies::new(&mut Registry::default()).worker("q", 1));
        health.watch(second.clone());
        first.set_ready(true);
        assert_eq!(health.report(Instant::now()).unready, ["q worker 1"]);
        second.set_ready(true);
        assert_eq!(health.report(Instant::now()).unready, [""; 0]);
        first.set_ready(false);
        assert_eq!(health.report(Instant::now()).unready, ["p worker 0"]);
    }

    #[test]
    fn a_process_without_pipelines_is_alive_but_not_ready() {
        let report = Health::new(LONGEST).report(Instant::now());
        assert!(report.silent.is_empty() && report.unready.len() == 1);
    }
}
