//! What a worker says about itself.

use std::sync::{Mutex, PoisonError};

use tidegate_config::{CommitReport, LONGEST_MESSAGE, PodReport, State, WorkerReport};
use tidegate_telemetry::{MetricsSnapshot, PipelineMetrics};
use tidegate_types::Reason;

/// What is the same in every report of a pod.
#[derive(Debug, Clone)]
pub struct PodIdentity {
    /// `<namespace>/<name>` of the pipeline.
    pub pipeline: String,
    /// The release of the binary.
    pub version: String,
    /// The hash of the configuration that the pod works with.
    pub config_hash: String,
}

impl PodIdentity {
    pub(crate) fn report(&self, reason: Reason, message: &str) -> PodReport {
        let Self { pipeline, version, config_hash } = self.clone();
        PodReport { pipeline, version, config_hash, state: state(reason, message) }
    }
}

/// A state for a report.
pub(crate) fn state(reason: Reason, message: &str) -> State {
    State { reason: reason.as_str().to_owned(), message: bounded(message, LONGEST_MESSAGE) }
}

/// The beginning of a text, at most so many bytes, on a character's edge.
#[must_use]
pub fn bounded(text: &str, bytes: usize) -> String {
    const MORE: &str = "…";
    if text.len() <= bytes {
        return text.to_owned();
    }
    let mut end = bytes.saturating_sub(MORE.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MORE}", &text[..end])
}

/// What a worker in a pod is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// It has no partitions.
    #[default]
    Idle,
    /// It works on its partitions, or is about to.
    Working,
    /// It commits and gives back, because it has to leave or has got others.
    Draining,
    /// It failed and waits before it tries again.
    Paused { reason: Reason, message: String },
}

/// Where the phase stands.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Phase>);

impl Board {
    pub(super) fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a report is made from.
#[derive(Clone, Copy)]
pub(super) struct ReportFacts<'a> {
    pub(super) identity: &'a PodIdentity,
    /// The worker's, as it stands in assignments.
    pub(super) name: &'a str,
    /// Of the assignment that it follows.
    pub(super) generation: i64,
    pub(super) phase: &'a Phase,
    pub(super) metrics: &'a PipelineMetrics,
}

pub(super) fn report(facts: ReportFacts<'_>) -> WorkerReport {
    let ReportFacts { identity, name, generation, phase, metrics } = facts;
    let seen = metrics.snapshot();
    let (reason, message) = match phase {
        Phase::Paused { reason, message } => (*reason, message.clone()),
        Phase::Idle => (Reason::Ok, String::new()),
        Phase::Working | Phase::Draining => metrics.state(),
    };
    WorkerReport {
        pod: identity.report(reason, &message),
        name: name.to_owned(),
        ready: match phase {
            Phase::Idle => true,
            Phase::Working => seen.ready,
            Phase::Draining | Phase::Paused { .. } => false,
        },
        draining: *phase == Phase::Draining,
        assignment_generation: generation,
        partitions: metrics.held_partitions(),
        counters: seen.counters,
        files: seen.files,
        bytes: seen.bytes,
        commits: seen.commits,
        fenced: seen.fenced,
        busy_seconds: seen.busy_seconds,
        last_commit: last_commit(&seen),
    }
}

fn last_commit(seen: &MetricsSnapshot) -> Option<CommitReport> {
    let time = seen.last_commit?;
    // Seconds with six digits behind the point, far from the limits.
    Some(CommitReport { version: seen.last_version, time: (time * 1e6) as i64 })
}

#[cfg(test)]
mod tests {
    use tidegate_telemetry::Registry;
    use tidegate_types::{Counters, Epoch, PartitionId};

    use super::*;

    fn told(phase: &Phase, metrics: &PipelineMetrics) -> WorkerReport {
        let identity =
            PodIdentity { pipeline: "a/p".into(), version: "1".into(), config_hash: "h".into() };
        let name = "p-worker-0";
        report(ReportFacts { identity: &identity, name, generation: 4, phase, metrics })
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(bounded("short", 9), "short");
        assert_eq!(bounded("äöü", 6), "äöü");
        assert_eq!(bounded("äöüä", 6), "ä…");
        for bytes in 3..40 {
            assert!(bounded(&"東京 🌊 ".repeat(9), bytes).len() <= bytes);
        }
    }

    #[test]
    fn a_worker_is_ready_idle_or_reading_and_never_while_it_waits_or_drains() {
        let metrics = PipelineMetrics::new(&mut Registry::default(), "a/p");
        let paused = Phase::Paused { reason: Reason::SecretMissing, message: "m".repeat(999) };
        assert!(told(&Phase::Idle, &metrics).ready);
        assert!(!told(&Phase::Working, &metrics).ready, "nothing is claimed yet");
        metrics.set_ready(true);
        assert!(told(&Phase::Working, &metrics).ready);
        for phase in [&Phase::Draining, &paused] {
            assert!(!told(phase, &metrics).ready, "{phase:?}");
        }
        let report = told(&paused, &metrics);
        assert_eq!(report.pod.state.reason, "SecretMissing");
        assert_eq!(report.pod.state.message.len(), LONGEST_MESSAGE);
        assert!(told(&Phase::Draining, &metrics).draining);
    }

    #[test]
    fn a_report_has_what_the_metrics_counted() {
        let metrics = PipelineMetrics::new(&mut Registry::default(), "a/p");
        assert_eq!(told(&Phase::Working, &metrics).last_commit, None);
        let counters = Counters { read: 3, rows: 2, dead: 1, ..Counters::default() };
        metrics.committed(counters, 2, 100, 0.1);
        metrics.set_last_version(17);
        metrics.set_epoch(PartitionId(3), Epoch(1));
        metrics.set_epoch(PartitionId(1), Epoch(1));
        metrics.fenced(2);
        metrics.busy(1.5);
        let report = told(&Phase::Working, &metrics);
        assert_eq!((report.counters, report.files, report.bytes), (counters, 2, 100));
        assert_eq!(report.partitions, [PartitionId(1), PartitionId(3)]);
        assert_eq!((report.fenced, report.assignment_generation), (2, 4));
        assert!((report.busy_seconds - 1.5).abs() < 1e-9);
        let last = report.last_commit.expect("a commit");
        assert!(last.version == 17 && last.time > 1_700_000_000_000_000, "{last:?}");
    }
}
