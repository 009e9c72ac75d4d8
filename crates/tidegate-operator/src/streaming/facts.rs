//! What the steps hand to each other.
//!
//! dereference → `References` → validate → `ValidatedPipeline` or `Rejection` → observe → [`Observed`] →
//! decide → [`Decisions`] → build → `Resources<Prepared>` → apply → `Resources<Applied>` → status.

use std::collections::BTreeMap;

use tidegate_api::ScalingStatus;
use tidegate_config::{AgentReport, Assignment, WorkerReport};
use tidegate_types::{PartitionId, Reason};

use crate::pods::PodFacts;

/// What runs now, from the API server and from the pods themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// The agent's Deployment.
    pub(crate) agent: WorkloadFacts,
    /// The workers' `StatefulSet`.
    pub(crate) workers: WorkloadFacts,
    /// The agent's pod and what it says.
    pub(crate) agent_pod: Option<PodFacts<AgentReport>>,
    /// The workers' pods by name, and what they say.
    pub(crate) worker_pods: BTreeMap<String, PodFacts<WorkerReport>>,
    /// The assignment that stands in its `ConfigMap`.
    pub(crate) assignment: Option<Assignment>,
}

/// A Deployment or `StatefulSet`, from its own status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WorkloadFacts {
    /// Whether it exists.
    pub(crate) exists: bool,
    /// Whether its controller has seen the newest template.
    pub(crate) observed: bool,
    /// Pods that it wants.
    pub(crate) wanted: i32,
    /// Pods that exist.
    pub(crate) existing: i32,
    /// Pods of the newest template.
    pub(crate) updated: i32,
    /// Pods that are ready.
    pub(crate) ready: i32,
}

impl WorkloadFacts {
    /// Whether it is what it should be: every pod that is wanted exists, is new and is ready.
    pub(crate) fn is_settled(self) -> bool {
        self.exists
            && self.observed
            && self.existing == self.wanted
            && self.updated == self.wanted
            && self.ready == self.wanted
    }

    /// Whether its controller has replaced what it had to replace, be the new pods ready or not.
    pub(crate) fn is_replaced(self) -> bool {
        self.observed && self.existing == self.wanted && self.updated == self.existing
    }

    /// Whether pods of an older template exist.
    pub(crate) fn is_rolling(self) -> bool {
        self.observed && self.updated < self.existing
    }
}

impl Observed {
    /// What the agent says; none when it does not answer.
    pub(crate) fn agent_report(&self) -> Option<&AgentReport> {
        self.agent_pod.as_ref().and_then(|pod| pod.report.as_ref())
    }

    /// Whether every partition has a floor in the log: reading has begun, and where it begins is known
    /// for good. False when the agent does not answer or has not seen the log.
    pub(crate) fn has_begun(&self, partitions: u32) -> bool {
        let has_floor = |report: &AgentReport| {
            (0..partitions).all(|k| report.floors.contains_key(&PartitionId(k)))
        };
        self.agent_report().is_some_and(has_floor)
    }

    /// The highest generation that a worker follows or the log knows.
    pub(crate) fn known_generation(&self) -> i64 {
        let log = self.agent_report().map_or(0, |report| report.claimed_generation);
        let pods = self.worker_pods.values().filter_map(|pod| pod.report.as_ref());
        pods.map(|report| report.assignment_generation).fold(log, i64::max)
    }
}

/// What is to be, beside what the spec says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decisions {
    /// Workers.
    pub(crate) replicas: i32,
    /// Agents: 0 while suspended, else 1.
    pub(crate) agents: i32,
    /// Who reads what.
    pub(crate) assignment: Assignment,
    /// How `replicas` was found.
    pub(crate) scaling: ScalingDecision,
    /// Whether new pod templates wait for their turn: the live ones stay.
    pub(crate) hold_templates: bool,
}

/// The answer of the scaling and what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScalingDecision {
    /// Why: `Ok` for mode Lag at a steady number, `ScaledUp`, `ScaledDown`, `ScaledToZero`,
    /// `ScalingFixed`, `ScaledExternally`, `Suspended`.
    pub(crate) reason: Reason,
    /// Inputs and answer in words, for the Event and the condition.
    pub(crate) message: String,
    /// What goes into the status and is read from there the next time. None for modes other than Lag.
    pub(crate) memory: Option<ScalingStatus>,
}

impl ScalingDecision {
    /// Whether it changed the number.
    pub(crate) fn is_step(&self) -> bool {
        matches!(self.reason, Reason::ScaledUp | Reason::ScaledDown | Reason::ScaledToZero)
    }
}

/// A count as Kubernetes keeps it.
pub(crate) fn as_count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
