//! The step *decide*: the number of workers and who reads what, from what was observed and remembered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tidegate_api::{IngestionPipelineStatus, ScalingMode};
use tidegate_config::WorkerReport;

use super::assignment::{GenerationFacts, assign, worker_facts};
use super::facts::{Decisions, Observed, ScalingDecision, as_count};
use super::memory::{Memory, reports};
use super::meter::lifetime_rate;
use super::scaling::{self, ScalingFacts};
use super::workers::Seen;
use crate::cluster::names;
use crate::validation::ValidatedPipeline;

/// What is decided from, beside what is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionFacts<'a> {
    pub(crate) pipeline: &'a ValidatedPipeline,
    pub(crate) observed: &'a Observed,
    /// What was written last.
    pub(crate) status: Option<&'a IngestionPipelineStatus>,
    pub(crate) now: Timestamp,
}

/// Decides, after [`Memory::observe`]. Whether new pod templates have to wait
/// ([`super::rollout::Rollouts::turn`]) is known only after they are built: `hold_templates` is false.
pub(crate) fn decide(facts: DecisionFacts<'_>, memory: &mut Memory) -> Decisions {
    let DecisionFacts { pipeline, observed, now, .. } = facts;
    let partitions = pipeline.config.source.partitioning.count();
    let (replicas, scaling) = scale(facts, memory);
    memory.scaling.clone_from(&scaling.memory);
    let workers = worker_facts(&pipeline.name, replicas, Seen { observed, memory, now });
    Decisions {
        replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        agents: i32::from(!pipeline.spec.suspend),
        assignment: assign(
            observed.assignment.as_ref(),
            partitions,
            &workers,
            GenerationFacts { known: observed.known_generation(), now },
        ),
        scaling,
        hold_templates: false,
    }
}

fn scale(facts: DecisionFacts<'_>, memory: &mut Memory) -> (u32, ScalingDecision) {
    let DecisionFacts { pipeline, observed, status, now } = facts;
    let answering = answering_workers(&pipeline.name, observed);
    let flush = pipeline.config.sink.flush.max_interval;
    memory.meter.observe(&answering, flush.to_duration(), now);
    let lifetime = || lifetime_rate(answering.values().copied());
    let previous = memory.scaling.as_ref().or_else(|| status.and_then(|s| s.scaling.as_ref()));
    let lag = pipeline.spec.scaling.mode == ScalingMode::Lag;
    scaling::decide(&ScalingFacts {
        spec: &pipeline.spec.scaling,
        suspended: pipeline.spec.suspend,
        replicas: pipeline.spec.replicas,
        partitions: pipeline.config.source.partitioning.count(),
        current: as_count(observed.workers.wanted),
        flush,
        unclaimed: is_unclaimed(pipeline, observed),
        pending: observed.agent_report().and_then(|report| report.lag),
        rate: memory.meter.rate().or_else(lifetime),
        flow: memory.meter.flow(),
        last_record: memory.meter.last_record(),
        rolling: memory.rolling || observed.workers.is_rolling(),
        starting: observed.workers.ready < observed.workers.wanted,
        previous: previous.filter(|_| lag),
        now,
    })
}

/// Whether the agent has seen the log, and not every partition was claimed.
fn is_unclaimed(pipeline: &ValidatedPipeline, observed: &Observed) -> bool {
    let seen = observed.agent_report().is_some_and(|report| report.lag.is_some());
    seen && !observed.has_begun(pipeline.config.source.partitioning.count())
}

/// The workers that should exist and say how they are.
fn answering_workers<'a>(
    pipeline: &str,
    observed: &'a Observed,
) -> BTreeMap<&'a str, &'a WorkerReport> {
    let wanted: Vec<String> = (0..as_count(observed.workers.wanted))
        .map(|ordinal| names::worker_pod(pipeline, ordinal))
        .collect();
    reports(observed).filter(|(name, _)| wanted.iter().any(|w| w == name)).collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
