//! What a bulk run shows while it runs.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::families::CountGauge;
use crate::health::{LoopState, Watched};

/// The label of every series of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    pipeline: Arc<str>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunNumbers {
    /// All chunks; 0 before they are known.
    pub chunks: u64,
    /// Chunks that are written.
    pub chunks_done: u64,
    /// Rows read from the source.
    pub rows_read: u64,
    /// Records set aside.
    pub dead_letters: u64,
}

/// A run's gauges. It is ready while it has a plan.
#[derive(Debug)]
pub struct RunMetrics {
    pipeline: Arc<str>,
    chunks: Family<RunLabels, CountGauge>,
    chunks_done: Family<RunLabels, CountGauge>,
    rows_read: Family<RunLabels, CountGauge>,
    dead_letters: Family<RunLabels, CountGauge>,
    health: LoopState,
}

impl RunMetrics {
    /// Registers the gauges for the run of one pipeline.
    #[must_use]
    pub fn new(registry: &mut Registry, pipeline: &str) -> Self {
        let metrics = Self {
            pipeline: Arc::from(pipeline),
            chunks: Family::default(),
            chunks_done: Family::default(),
            rows_read: Family::default(),
            dead_letters: Family::default(),
            health: LoopState::new(),
        };
        for (name, help, family) in [
            ("tidegate_run_chunks", "Chunks of the run's plan", &metrics.chunks),
            ("tidegate_run_chunks_done", "Chunks that are written", &metrics.chunks_done),
            ("tidegate_run_rows_read", "Rows read from the source", &metrics.rows_read),
            ("tidegate_run_dead_letters", "Records set aside", &metrics.dead_letters),
        ] {
            registry.register(name, help, family.clone());
        }
        metrics
    }

    /// How far the run is now.
    pub fn set(&self, numbers: RunNumbers) {
        for (family, value) in [
            (&self.chunks, numbers.chunks),
            (&self.chunks_done, numbers.chunks_done),
            (&self.rows_read, numbers.rows_read),
            (&self.dead_letters, numbers.dead_letters),
        ] {
            let labels = RunLabels { pipeline: Arc::clone(&self.pipeline) };
            family.get_or_create(&labels).set(value);
        }
        self.health.set_ready(numbers.chunks > 0);
    }
}

impl Watched for RunMetrics {
    fn name(&self) -> String {
        format!("{} run", self.pipeline)
    }

    fn health(&self) -> &LoopState {
        &self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::printed;

    #[test]
    fn a_run_shows_how_far_it_is_and_is_ready_once_it_has_a_plan() {
        let mut registry = Registry::default();
        let metrics = RunMetrics::new(&mut registry, "shop/orders");
        assert!(!metrics.health().is_ready());
        metrics.set(RunNumbers { chunks: 16, chunks_done: 9, rows_read: 70, dead_letters: 1 });
        assert!(metrics.health().is_ready());
        let text = printed(&registry);
        for line in [
            "tidegate_run_chunks{pipeline=\"shop/orders\"} 16",
            "tidegate_run_chunks_done{pipeline=\"shop/orders\"} 9",
            "tidegate_run_rows_read{pipeline=\"shop/orders\"} 70",
            "tidegate_run_dead_letters{pipeline=\"shop/orders\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
