//! What the status is made from.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_api::ScalingMode;
use tidegate_config::AgentReport;

use super::facts::{Decisions, Observed};
use super::memory::Memory;
use super::workers::PATIENCE;
use crate::clock::is_over;
use crate::failure::Failure;
use crate::validation::{Rejection, ValidatedPipeline};

/// What one reconcile knows at its end, however far it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusFacts<'a> {
    /// The pipeline's name.
    pub(crate) name: &'a str,
    /// `metadata.generation`.
    pub(crate) generation: i64,
    /// What is being done about the deletion, in a sentence; none while nobody asked for it.
    pub(crate) deleting: Option<&'a str>,
    /// Why the resource as it stands is not run.
    pub(crate) rejection: Option<&'a Rejection>,
    /// Whether nothing runs because the service account of the accepted spec does not offer itself any
    /// more; the rejection says so.
    pub(crate) withheld: bool,
    /// What runs instead, or as it stands; none when nothing was ever accepted or the reconcile did not
    /// come so far.
    pub(crate) pipeline: Option<&'a ValidatedPipeline>,
    /// What was decided; none when the reconcile did not come so far.
    pub(crate) decisions: Option<&'a Decisions>,
    /// What was observed before anything was applied; of the workloads, what the API server answered.
    pub(crate) observed: &'a Observed,
    /// What ended the reconcile early.
    pub(crate) failure: Option<&'a Failure>,
    /// What is remembered.
    pub(crate) memory: &'a Memory,
}

impl<'a> StatusFacts<'a> {
    /// Whether the spec that runs is suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        self.pipeline.is_some_and(|pipeline| pipeline.spec.suspend)
    }

    /// How the number of workers is found.
    pub(crate) fn mode(&self) -> ScalingMode {
        self.pipeline.map(|pipeline| pipeline.spec.scaling.mode).unwrap_or_default()
    }

    /// Workers that should exist.
    pub(crate) fn replicas(&self) -> i32 {
        self.decisions.map_or(self.observed.workers.wanted, |decisions| decisions.replicas)
    }

    /// What the agent says; none when it does not answer.
    pub(crate) fn agent(&self) -> Option<&'a AgentReport> {
        self.observed.agent_report()
    }

    /// Whether the agent has been silent for so long that what it said last is no longer taken for true.
    pub(crate) fn agent_is_lost(&self, now: Timestamp) -> bool {
        self.memory.agent_silent_since.is_some_and(|since| is_over(since, PATIENCE, now))
    }

    /// Whether reading has begun, from every partition.
    pub(crate) fn has_begun(&self) -> bool {
        let partitions = self.pipeline.map(|p| p.config.source.partitioning.count());
        partitions.is_some_and(|partitions| self.observed.has_begun(partitions))
    }

    /// Whether pods of another template than the wanted one exist.
    pub(crate) fn is_rolling(&self) -> bool {
        let observed = self.observed;
        self.memory.rolling || observed.agent.is_rolling() || observed.workers.is_rolling()
    }

    /// Whether everything is there that was decided.
    pub(crate) fn is_settled(&self) -> bool {
        let observed = self.observed;
        self.decisions.is_some_and(|decisions| {
            observed.workers.wanted == decisions.replicas
                && observed.agent.wanted == decisions.agents
        }) && observed.workers.is_settled()
            && observed.agent.is_settled()
            && !self.memory.rolling
    }

    /// How old messages may be before the pipeline is said to be behind: two flush intervals, at least
    /// a minute. Whatever arrives waits for the next commit.
    pub(crate) fn usual_delay(&self) -> Duration {
        let flush = self.pipeline.map(|p| p.config.sink.flush.max_interval.to_duration());
        flush.unwrap_or_default().saturating_mul(2).max(Duration::from_secs(60))
    }
}
