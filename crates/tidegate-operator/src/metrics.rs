//! What the operator counts, and what it shows of each pipeline for alerts. Every name stands here.

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};
use tidegate_api::RunTrigger;
use tidegate_types::Reason;

use crate::client::Call;
use crate::key::Key;
use crate::runs::RunTally;

type SecondsGauge = Gauge<f64, AtomicU64>;

/// From a run that finds its interval done to a first load of a large table.
const RUN_SECONDS: [f64; 11] =
    [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0];
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

/// What is shown of one pipeline; what is not known is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct PipelineGauges {
    pub(crate) ready: bool,
    pub(crate) stalled: bool,
    pub(crate) suspended: bool,
    pub(crate) lag: Option<u64>,
    pub(crate) lag_seconds: Option<u64>,
    pub(crate) freshness_objective: Option<Duration>,
    /// Microseconds since 1970.
    pub(crate) complete_through: Option<i64>,
    pub(crate) workers: i32,
    pub(crate) workers_ready: i32,
}

/// What is shown of one bulk pipeline besides.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct BulkGauges {
    pub(crate) tally: RunTally,
    /// Intervals that are due and have no run yet.
    pub(crate) due: u64,
    /// Whether the last run of the newest interval failed.
    pub(crate) failed: bool,
    /// Whether files of intervals that are done are not those that were loaded.
    pub(crate) stale: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RunEnd {
    /// Why it was made; none when that cannot be read.
    pub(crate) trigger: Option<RunTrigger>,
    pub(crate) succeeded: bool,
    pub(crate) reason: Reason,
    /// From its first attempt on; none for one that made others.
    pub(crate) took: Option<Duration>,
    /// Rows by what became of them, as [`ROWS`] names them.
    pub(crate) rows: [u64; 4],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    pipeline: Arc<str>,
    phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunEndLabels {
    pipeline: Arc<str>,
    phase: &'static str,
    reason: &'static str,
    trigger: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    pipeline: Arc<str>,
    attempt: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RowLabels {
    pipeline: Arc<str>,
    kind: &'static str,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: Arc<str>,
}

type PerPipeline<M> = Family<PipelineLabels, M>;

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
    lag: PerPipeline<Gauge<u64, AtomicU64>>,
    lag_seconds: PerPipeline<Gauge<u64, AtomicU64>>,
    ready: PerPipeline<Gauge>,
    stalled: PerPipeline<Gauge>,
    suspended: PerPipeline<Gauge>,
    freshness: PerPipeline<SecondsGauge>,
    complete_through: PerPipeline<SecondsGauge>,
    workers: PerPipeline<Gauge>,
    workers_ready: PerPipeline<Gauge>,
    runs: Family<RunLabels, Gauge>,
    runs_ended: Family<RunEndLabels, Counter>,
    run_attempts: Family<AttemptLabels, Counter>,
    run_rows: Family<RowLabels, Counter>,
    run_duration: Family<PipelineLabels, Histogram, fn() -> Histogram>,
    runs_due: PerPipeline<Gauge>,
    run_failed: PerPipeline<Gauge>,
    intervals_stale: PerPipeline<Gauge>,
    last_success: PerPipeline<SecondsGauge>,
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
            lag: add.plain("tidegate_pipeline_lag", "Messages that are not committed yet"),
            lag_seconds: add.seconds(
                "tidegate_pipeline_lag",
                "Age of the oldest message that is not committed yet",
                Family::default(),
            ),
            ready: add.plain("tidegate_pipeline_ready", "1 while the condition Ready is True"),
            stalled: add.plain("tidegate_pipeline_stalled", "1 while somebody has to act"),
            suspended: add.plain("tidegate_pipeline_suspended", "1 while it is suspended"),
            freshness: add.seconds(
                "tidegate_pipeline_freshness_objective",
                "How old data may be, by objectives.freshness",
                Family::default(),
            ),
            complete_through: add.seconds(
                "tidegate_pipeline_complete_through",
                "Everything published before this instant (since 1970) is in the table",
                Family::default(),
            ),
            workers: add.plain("tidegate_pipeline_workers", "Workers that are wanted"),
            workers_ready: add.plain("tidegate_pipeline_workers_ready", "Workers that are ready"),
            runs: add.plain("tidegate_runs", "Runs of bulk pipelines, by phase"),
            runs_ended: add
                .plain("tidegate_runs_ended", "Runs that are over, by phase, reason and trigger"),
            run_attempts: add.plain(
                "tidegate_run_attempts",
                "Attempts that were made: first, and again after one that failed",
            ),
            run_rows: add.plain("tidegate_run_rows", "Rows of runs that succeeded, by kind"),
            run_duration: add.seconds(
                "tidegate_run_duration",
                "From the first attempt of a run to its end",
                Family::new_with_constructor(|| Histogram::new(RUN_SECONDS)),
            ),
            runs_due: add
                .plain("tidegate_pipeline_runs_due", "Intervals that are due and have no run yet"),
            run_failed: add.plain(
                "tidegate_pipeline_run_failed",
                "1 while the last run of the newest interval is one that failed",
            ),
            intervals_stale: add.plain(
                "tidegate_pipeline_intervals_stale",
                "1 while files of intervals that are done are not those that were loaded",
            ),
            last_success: add.seconds(
                "tidegate_pipeline_last_success_timestamp",
                "When a run last succeeded, since 1970",
                Family::default(),
            ),
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
    pub(crate) fn requested(&self, call: &Call, code: u16) {
        let labels = RequestLabels { verb: call.verb, resource: call.resource.clone(), code };
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
        let labels = &pipeline_labels(key);
        self.ready.get_or_create(labels).set(i64::from(gauges.ready));
        self.stalled.get_or_create(labels).set(i64::from(gauges.stalled));
        self.suspended.get_or_create(labels).set(i64::from(gauges.suspended));
        self.workers.get_or_create(labels).set(i64::from(gauges.workers));
        self.workers_ready.get_or_create(labels).set(i64::from(gauges.workers_ready));
        set_or_remove(&self.lag, labels, gauges.lag);
        set_or_remove(&self.lag_seconds, labels, gauges.lag_seconds);
        let freshness = gauges.freshness_objective.map(|objective| objective.as_secs_f64());
        set_or_remove_seconds(&self.freshness, labels, freshness);
        #[expect(clippy::cast_precision_loss, reason = "microseconds matter to nobody here")]
        let through = gauges.complete_through.map(|micros| micros as f64 / 1e6);
        set_or_remove_seconds(&self.complete_through, labels, through);
    }

    /// Shows the runs of a bulk pipeline.
    pub(crate) fn show_runs(&self, key: &Key, gauges: &BulkGauges) {
        let labels = &pipeline_labels(key);
        let BulkGauges { tally, due, failed, stale } = gauges;
        let RunTally { pending, active, succeeded, failed: gave_up, last_success } = tally;
        for (phase, count) in PHASES.into_iter().zip([pending, active, succeeded, gave_up]) {
            let labels = RunLabels { pipeline: labels.pipeline.clone(), phase };
            self.runs.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.runs_due.get_or_create(labels).set(i64::try_from(*due).unwrap_or(i64::MAX));
        self.run_failed.get_or_create(labels).set(i64::from(*failed));
        self.intervals_stale.get_or_create(labels).set(i64::from(*stale));
        #[expect(clippy::cast_precision_loss, reason = "an instant of seconds is far below 2⁵³")]
        let last = last_success.map(|at| at.as_second() as f64);
        if let Some(last) = last {
            // It stays when the object of that run is gone.
            set_or_remove_seconds(&self.last_success, labels, Some(last));
        }
    }

    /// Counts an attempt of a run, by its number.
    pub(crate) fn run_attempted(&self, key: &Key, number: u32) {
        let pipeline = pipeline_labels(key).pipeline;
        let attempt = ATTEMPTS[usize::from(number > 1)];
        self.run_attempts.get_or_create(&AttemptLabels { pipeline, attempt }).inc();
    }

    /// Counts a run that is over.
    pub(crate) fn run_ended(&self, key: &Key, end: &RunEnd) {
        let RunEnd { trigger, succeeded, reason, took, rows } = end;
        let labels = pipeline_labels(key);
        let ended = RunEndLabels {
            pipeline: labels.pipeline.clone(),
            phase: if *succeeded { "Succeeded" } else { "Failed" },
            reason: reason.as_str(),
            trigger: trigger.map_or(NO_TRIGGER, RunTrigger::as_str),
        };
        self.runs_ended.get_or_create(&ended).inc();
        for (kind, count) in ROWS.into_iter().zip(rows) {
            let labels = RowLabels { pipeline: labels.pipeline.clone(), kind };
            self.run_rows.get_or_create(&labels).inc_by(*count);
        }
        if let Some(took) = took {
            self.run_duration.get_or_create(&labels).observe(took.as_secs_f64());
        }
    }

    /// Takes a pipeline's series away.
    pub(crate) fn forget(&self, key: &Key) {
        if !self.shown.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            return;
        }
        let labels = &pipeline_labels(key);
        for family in
            [&self.ready, &self.stalled, &self.suspended, &self.workers, &self.workers_ready]
        {
            family.remove(labels);
        }
        for phase in PHASES {
            self.runs.remove(&RunLabels { pipeline: labels.pipeline.clone(), phase });
        }
        for ended in run_ends(&labels.pipeline) {
            self.runs_ended.remove(&ended);
        }
        for attempt in ATTEMPTS {
            let pipeline = labels.pipeline.clone();
            self.run_attempts.remove(&AttemptLabels { pipeline, attempt });
        }
        for kind in ROWS {
            self.run_rows.remove(&RowLabels { pipeline: labels.pipeline.clone(), kind });
        }
        self.run_duration.remove(labels);
        self.runs_due.remove(labels);
        self.run_failed.remove(labels);
        self.intervals_stale.remove(labels);
        self.last_success.remove(labels);
        self.lag.remove(labels);
        self.lag_seconds.remove(labels);
        self.freshness.remove(labels);
        self.complete_through.remove(labels);
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

/// The phases of runs, in the order of [`RunTally`].
const PHASES: [&str; 4] = ["Pending", "Active", "Succeeded", "Failed"];

/// The first attempt of a run, and those after one that failed.
const ATTEMPTS: [&str; 2] = ["first", "again"];
/// What becomes of rows, in the order of [`RunEnd::rows`].
const ROWS: [&str; 4] = ["read", "committed", "replaced", "dead_lettered"];

/// The trigger of a run of which it cannot be read.
const NO_TRIGGER: &str = "";

/// All ends that runs of a pipeline can have.
fn run_ends(pipeline: &Arc<str>) -> impl Iterator<Item = RunEndLabels> {
    let triggers = RunTrigger::ALL.map(RunTrigger::as_str).into_iter().chain([NO_TRIGGER]);
    triggers.flat_map(move |trigger| {
        ["Succeeded", "Failed"].into_iter().flat_map(move |phase| {
            Reason::ALL.iter().map(move |reason| RunEndLabels {
                pipeline: Arc::clone(pipeline),
                phase,
                reason: reason.as_str(),
                trigger,
            })
        })
    })
}

fn pipeline_labels(key: &Key) -> PipelineLabels {
    PipelineLabels { pipeline: Arc::from(key.to_string()) }
}

fn set_or_remove(
    family: &PerPipeline<Gauge<u64, AtomicU64>>,
    labels: &PipelineLabels,
    value: Option<u64>,
) {
    match value {
        Some(value) => drop(family.get_or_create(labels).set(value)),
        None => drop(family.remove(labels)),
    }
}

fn set_or_remove_seconds(
    family: &PerPipeline<SecondsGauge>,
    labels: &PipelineLabels,
    value: Option<f64>,
) {
    match value {
        Some(value) => drop(family.get_or_create(labels).set(value)),
        None => drop(family.remove(labels)),
    }
}

struct Adder<'a>(&'a mut Registry);

impl Adder<'_> {
    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn seconds<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
