//! What is counted and shown of the runs of bulk pipelines.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tidegate_api::RunTrigger;
use tidegate_types::Reason;

use super::families::{
    Adder, PerPipeline, PipelineLabels, SecondsGauge, pipeline_labels, set_or_remove_seconds,
};
use crate::key::Key;

/// From a run that finds its interval done to a first load of a large table.
const RUN_SECONDS: [f64; 11] =
    [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0];

/// The runs of a pipeline in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RunTally {
    /// Runs that wait.
    pub(crate) pending: u64,
    /// Runs with an attempt under way, or waiting for the next one.
    pub(crate) active: u64,
    /// Objects of succeeded runs.
    pub(crate) succeeded: u64,
    /// Objects of failed runs.
    pub(crate) failed: u64,
    /// When the last one succeeded, as far as objects tell.
    pub(crate) last_success: Option<Timestamp>,
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

/// The families of runs. Cloning shares the series.
#[derive(Debug, Clone)]
pub(super) struct RunMetrics {
    runs: Family<RunLabels, Gauge>,
    runs_ended: Family<RunEndLabels, Counter>,
    run_attempts: Family<AttemptLabels, Counter>,
    run_rows: Family<RowLabels, Counter>,
    run_duration: Family<PipelineLabels, Histogram, fn() -> Histogram>,
    runs_due: PerPipeline<Gauge>,
    run_failed: PerPipeline<Gauge>,
    intervals_stale: PerPipeline<Gauge>,
    last_success: PerPipeline<SecondsGauge>,
}

impl RunMetrics {
    /// Registers every family.
    pub(super) fn new(add: &mut Adder<'_>) -> Self {
        Self {
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
        }
    }

    /// Shows the runs of a bulk pipeline.
    pub(super) fn show(&self, key: &Key, gauges: &BulkGauges) {
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
    pub(super) fn attempted(&self, key: &Key, number: u32) {
        let pipeline = pipeline_labels(key).pipeline;
        let attempt = ATTEMPTS[usize::from(number > 1)];
        self.run_attempts.get_or_create(&AttemptLabels { pipeline, attempt }).inc();
    }

    /// Counts a run that is over.
    pub(super) fn ended(&self, key: &Key, end: &RunEnd) {
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

    /// Whether the runs of a pipeline were shown.
    pub(super) fn is_shown(&self, labels: &PipelineLabels) -> bool {
        self.runs_due.get(labels).is_some()
    }

    /// Takes a pipeline's series away.
    pub(super) fn forget(&self, labels: &PipelineLabels) {
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
