//! What is shown of each pipeline for alerts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::{
    Adder, PerPipeline, PipelineLabels, SecondsGauge, set_or_remove, set_or_remove_seconds,
};

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

/// The families of pipelines. Cloning shares the series.
#[derive(Debug, Clone)]
pub(super) struct PipelineMetrics {
    lag: PerPipeline<Gauge<u64, AtomicU64>>,
    lag_seconds: PerPipeline<Gauge<u64, AtomicU64>>,
    ready: PerPipeline<Gauge>,
    stalled: PerPipeline<Gauge>,
    suspended: PerPipeline<Gauge>,
    freshness: PerPipeline<SecondsGauge>,
    complete_through: PerPipeline<SecondsGauge>,
    workers: PerPipeline<Gauge>,
    workers_ready: PerPipeline<Gauge>,
}

impl PipelineMetrics {
    /// Registers every family.
    pub(super) fn new(add: &mut Adder<'_>) -> Self {
        Self {
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
        }
    }

    /// Shows a pipeline.
    pub(super) fn show(&self, labels: &PipelineLabels, gauges: &PipelineGauges) {
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

    /// Takes a pipeline's series away.
    pub(super) fn forget(&self, labels: &PipelineLabels) {
        for family in
            [&self.ready, &self.stalled, &self.suspended, &self.workers, &self.workers_ready]
        {
            family.remove(labels);
        }
        self.lag.remove(labels);
        self.lag_seconds.remove(labels);
        self.freshness.remove(labels);
        self.complete_through.remove(labels);
    }
}
