//! What the operator counts, and what it shows of each pipeline for alerts. Every name stands in this
//! folder.

mod families;
mod pipelines;
mod runs;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tidegate_types::Reason;

use self::families::{Adder, pipeline_labels};
use self::pipelines::PipelineMetrics;
use self::runs::RunMetrics;
use crate::key::Key;

pub(crate) use self::pipelines::PipelineGauges;
pub(crate) use self::runs::{BulkGauges, RunEnd, RunTally};

/// From a reconcile that finds nothing to do to one that waits for pods that do not answer.
const RECONCILE_SECONDS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything is as it should be, or was made so.
    Done,
    /// Somebody has to change something.
    Stalled,
    /// Something else has to happen first.
    Waiting,
    /// It is tried again.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Done, Self::Stalled, Self::Waiting, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Stalled => "stalled",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// Every family of the operator. Cloning shares the series.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    reconciles: Family<OutcomeLabels, Counter>,
    errors: Family<ReasonLabels, Counter>,
    duration: Histogram,
    queue_depth: Gauge,
    leader: Gauge,
    requests: Family<RequestLabels, Counter>,
    watch_errors: Family<KindLabels, Counter>,
    drift: Family<KindLabels, Counter>,
    polls: Family<OutcomeLabels, Counter>,
    pipelines: PipelineMetrics,
    runs: RunMetrics,
    shown: Arc<Mutex<HashSet<Key>>>,
}

impl Metrics {
    /// Registers every family.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let add = &mut Adder(registry);
        let metrics = Self {
            reconciles: add.plain("tidegate_operator_reconciles", "Reconciles by outcome"),
            errors: add.plain("tidegate_operator_reconcile_errors", "Failed reconciles by reason"),
            duration: add.seconds(
                "tidegate_operator_reconcile_duration",
                "How long reconciles take",
                Histogram::new(RECONCILE_SECONDS),
            ),
            queue_depth: add.plain("tidegate_operator_queue_depth", "Pipelines that are due"),
            leader: add.plain("tidegate_operator_leader", "1 while this replica holds the Lease"),
            requests: add.plain("tidegate_operator_api_requests", "Requests to the API server"),
            watch_errors: add
                .plain("tidegate_operator_watch_errors", "Watches that broke, by kind"),
            drift: add
                .plain("tidegate_operator_drift_repaired", "Objects changed by others, by kind"),
            polls: add.plain("tidegate_operator_pods_polled", "Questions to pods by outcome"),
            pipelines: PipelineMetrics::new(add),
            runs: RunMetrics::new(add),
            shown: Arc::default(),
        };
        // From the start, so that a rate can be taken of the first one too.
        for outcome in Outcome::ALL {
            drop(metrics.reconciles.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }));
        }
        metrics
    }

    pub(crate) fn reconciled(&self, outcome: Outcome, reason: Option<Reason>, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(reason) = reason {
            self.errors.get_or_create(&ReasonLabels { reason: reason.as_str() }).inc();
        }
    }

    pub(crate) fn set_queue_depth(&self, depth: usize) {
        self.queue_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// `code` is 0 when there was no answer.
    pub(crate) fn requested(&self, verb: &'static str, resource: &str, code: u16) {
        let labels = RequestLabels { verb, resource: resource.to_owned(), code };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn watch_failed(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn repaired(&self, kind: &'static str) {
        self.drift.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn polled(&self, outcome: &'static str) {
        self.polls.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Shows a pipeline.
    pub(crate) fn show(&self, key: &Key, gauges: &PipelineGauges) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        self.pipelines.show(&pipeline_labels(key), gauges);
    }

    /// Shows the runs of a bulk pipeline.
    pub(crate) fn show_runs(&self, key: &Key, gauges: &BulkGauges) {
        self.runs.show(key, gauges);
    }

    /// Takes the series of the runs of a pipeline away that has none any more.
    pub(crate) fn forget_runs(&self, key: &Key) {
        let labels = &pipeline_labels(key);
        if self.runs.is_shown(labels) {
            self.runs.forget(labels);
        }
    }

    /// Counts an attempt of a run, by its number.
    pub(crate) fn run_attempted(&self, key: &Key, number: u32) {
        self.runs.attempted(key, number);
    }

    /// Counts a run that is over.
    pub(crate) fn run_ended(&self, key: &Key, end: &RunEnd) {
        self.runs.ended(key, end);
    }

    /// Takes a pipeline's series away.
    pub(crate) fn forget(&self, key: &Key) {
        if !self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            return;
        }
        let labels = &pipeline_labels(key);
        self.pipelines.forget(labels);
        self.runs.forget(labels);
    }

    /// Takes all pipelines away: another replica shows them now.
    pub(crate) fn forget_all(&self) {
        let shown: Vec<Key> = {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.iter().cloned().collect()
        };
        shown.iter().for_each(|key| self.forget(key));
    }
}

#[cfg(test)]
mod tests;
