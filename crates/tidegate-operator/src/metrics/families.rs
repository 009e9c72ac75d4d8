//! What families are made of: their labels, and how they are registered.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::key::Key;

/// Seconds, or an instant in them.
pub(super) type SecondsGauge = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PipelineLabels {
    pub(super) pipeline: Arc<str>,
}

/// One series a pipeline.
pub(super) type PerPipeline<M> = Family<PipelineLabels, M>;

pub(super) fn pipeline_labels(key: &Key) -> PipelineLabels {
    PipelineLabels { pipeline: Arc::from(key.to_string()) }
}

pub(super) fn set_or_remove(
    family: &PerPipeline<Gauge<u64, AtomicU64>>,
    labels: &PipelineLabels,
    value: Option<u64>,
) {
    match value {
        Some(value) => drop(family.get_or_create(labels).set(value)),
        None => drop(family.remove(labels)),
    }
}

pub(super) fn set_or_remove_seconds(
    family: &PerPipeline<SecondsGauge>,
    labels: &PipelineLabels,
    value: Option<f64>,
) {
    match value {
        Some(value) => drop(family.get_or_create(labels).set(value)),
        None => drop(family.remove(labels)),
    }
}

/// Registers families.
pub(super) struct Adder<'a>(pub(super) &'a mut Registry);

impl Adder<'_> {
    pub(super) fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// Of seconds.
    pub(super) fn seconds<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}
