//! What the agent shows of a pipeline: one series each, whatever number of workers runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tidegate_types::{PartitionId, Position, Reason};

use crate::families::{CountGauge, SecondsGauge};
use crate::health::{LoopState, Watched};

/// The label of every series of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    pipeline: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentReasonLabels {
    pipeline: Arc<str>,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentPartitionLabels {
    pipeline: Arc<str>,
    partition: u32,
}

/// An agent's gauges, and whether it is well.
///
/// A number that is not known at the moment has no series: a stale one would hide that.
#[derive(Debug)]
pub struct AgentMetrics {
    pipeline: Arc<str>,
    lag: Family<AgentLabels, CountGauge>,
    lag_seconds: Family<AgentLabels, CountGauge>,
    complete_through: Family<AgentLabels, SecondsGauge>,
    last_commit: Family<AgentLabels, SecondsGauge>,
    trim_blocked: Family<AgentLabels, CountGauge>,
    floors: Family<AgentPartitionLabels, CountGauge>,
    state: Family<AgentReasonLabels, CountGauge>,
    current: Mutex<Reason>,
    health: LoopState,
}

impl AgentMetrics {
    /// Registers the gauges for one pipeline.
    #[must_use]
    pub fn new(registry: &mut Registry, pipeline: &str) -> Self {
        let metrics = Self {
            pipeline: Arc::from(pipeline),
            lag: Family::default(),
            lag_seconds: Family::default(),
            complete_through: Family::default(),
            last_commit: Family::default(),
            trim_blocked: Family::default(),
            floors: Family::default(),
            state: Family::default(),
            current: Mutex::new(Reason::Ok),
            health: LoopState::new(),
        };
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("tidegate_agent_lag", "Messages behind the floors", self.lag.clone());
        registry.register(
            "tidegate_agent_lag_seconds",
            "Seconds since the oldest message behind the floors was published",
            self.lag_seconds.clone(),
        );
        registry.register(
            "tidegate_agent_complete_through_timestamp_seconds",
            "Unix time before which everything published is in the table",
            self.complete_through.clone(),
        );
        registry.register(
            "tidegate_agent_last_commit_timestamp_seconds",
            "Unix time of the newest data commit in the log",
            self.last_commit.clone(),
        );
        registry.register(
            "tidegate_agent_trim_blocked",
            "1 while another reader keeps the stream from being trimmed",
            self.trim_blocked.clone(),
        );
        registry.register(
            "tidegate_agent_floor",
            "Committed stream sequence, from the log",
            self.floors.clone(),
        );
        registry.register("tidegate_agent_state", "1 at the current reason", self.state.clone());
    }

    fn labels(&self) -> AgentLabels {
        AgentLabels { pipeline: Arc::clone(&self.pipeline) }
    }

    /// Messages behind the floors, and seconds since the oldest of them was published.
    pub fn set_lag(&self, messages: Option<u64>, seconds: Option<u64>) {
        for (family, value) in [(&self.lag, messages), (&self.lag_seconds, seconds)] {
            match value {
                Some(value) => _ = family.get_or_create(&self.labels()).set(value),
                None => _ = family.remove(&self.labels()),
            }
        }
    }

    /// The instant before which everything published is in the table, in microseconds since 1970.
    pub fn set_complete_through(&self, micros: Option<i64>) {
        self.set_time(&self.complete_through, micros);
    }

    /// When the newest data commit was made, in microseconds since 1970.
    pub fn set_last_commit(&self, micros: Option<i64>) {
        self.set_time(&self.last_commit, micros);
    }

    fn set_time(&self, family: &Family<AgentLabels, SecondsGauge>, micros: Option<i64>) {
        match micros {
            // Exact to the microsecond until the year 2255.
            Some(micros) => _ = family.get_or_create(&self.labels()).set(micros as f64 / 1e6),
            None => _ = family.remove(&self.labels()),
        }
    }

    /// Whether another reader keeps the stream from being trimmed.
    pub fn set_trim_blocked(&self, blocked: bool) {
        self.trim_blocked.get_or_create(&self.labels()).set(u64::from(blocked));
    }

    /// The committed floors.
    pub fn set_floors(&self, floors: &BTreeMap<PartitionId, Position>) {
        for (partition, floor) in floors {
            let pipeline = Arc::clone(&self.pipeline);
            let labels = AgentPartitionLabels { pipeline, partition: partition.0 };
            self.floors.get_or_create(&labels).set(floor.0);
        }
    }

    /// The agent's state; exactly one reason is 1 at a time. It is ready when all is well.
    pub fn set_state(&self, reason: Reason) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |reason: Reason| AgentReasonLabels {
            pipeline: Arc::clone(&self.pipeline),
            reason: reason.as_str(),
        };
        self.state.get_or_create(&labels(*current)).set(0);
        self.state.get_or_create(&labels(reason)).set(1);
        *current = reason;
        self.health.set_ready(reason == Reason::Ok);
    }

    /// The agent's loop went round.
    pub fn beat(&self) {
        self.health.beat(Instant::now());
    }
}

impl Watched for AgentMetrics {
    fn name(&self) -> String {
        format!("{} agent", self.pipeline)
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
    fn every_gauge_stands_under_its_documented_name() {
        let mut registry = Registry::default();
        let metrics = AgentMetrics::new(&mut registry, "a/p");
        metrics.set_lag(Some(7), Some(3));
        metrics.set_complete_through(Some(1_500_000));
        metrics.set_last_commit(Some(2_000_000));
        metrics.set_trim_blocked(true);
        metrics.set_floors(&BTreeMap::from([(PartitionId(2), Position(9))]));
        metrics.set_state(Reason::SourceUnreachable);
        let text = printed(&registry);
        for line in [
            r#"tidegate_agent_lag{pipeline="a/p"} 7"#,
            r#"tidegate_agent_lag_seconds{pipeline="a/p"} 3"#,
            r#"tidegate_agent_complete_through_timestamp_seconds{pipeline="a/p"} 1.5"#,
            r#"tidegate_agent_last_commit_timestamp_seconds{pipeline="a/p"} 2.0"#,
            r#"tidegate_agent_trim_blocked{pipeline="a/p"} 1"#,
            r#"tidegate_agent_floor{pipeline="a/p",partition="2"} 9"#,
            r#"tidegate_agent_state{pipeline="a/p",reason="SourceUnreachable"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_number_that_is_not_known_has_no_series() {
        let mut registry = Registry::default();
        let metrics = AgentMetrics::new(&mut registry, "a/p");
        metrics.set_lag(Some(7), Some(3));
        metrics.set_lag(None, None);
        metrics.set_complete_through(None);
        assert!(!printed(&registry).contains("pipeline="), "{}", printed(&registry));
    }

    #[test]
    fn an_agent_is_ready_when_all_is_well() {
        let metrics = AgentMetrics::new(&mut Registry::default(), "a/p");
        assert!(!metrics.health().is_ready(), "nothing was looked at yet");
        metrics.set_state(Reason::Ok);
        assert!(metrics.health().is_ready());
        metrics.set_state(Reason::SinkUnreachable);
        assert!(!metrics.health().is_ready());
    }
}
