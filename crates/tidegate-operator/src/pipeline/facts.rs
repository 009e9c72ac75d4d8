//! What the steps hand to each other.
//!
//! dereference → [`References`] → validate → [`ValidatedPipeline`] or [`Rejection`] → observe →
//! [`Observed`] → decide → [`Decisions`] → build → `Resources<Prepared>` → apply → `Resources<Applied>`
//! → status.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tidegate_api::{IngestionPipelineSpec, ScalingStatus};
use tidegate_config::{AgentReport, Assignment, PipelineConfig, WorkerReport};
use tidegate_types::{PartitionId, Reason};

/// What the spec points to and what is remembered of it, read from the caches.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct References {
    /// The service accounts of the namespace that offer themselves to pipelines: those that carry the
    /// label `tidegate.dev/pipeline-use: "true"`.
    pub(crate) offered_accounts: BTreeSet<String>,
    /// The spec that was accepted last; none for a new pipeline.
    pub(crate) accepted: Option<IngestionPipelineSpec>,
    /// The specs that the pipelines run by whose rows this one replaces, by their names: what the new spec
    /// names and what the accepted one names, as far as anything was accepted there.
    pub(crate) repaired: BTreeMap<String, IngestionPipelineSpec>,
}

/// A pipeline that can run; `C` is its resolved configuration: that of a stream, or
/// [`TransferConfig`](tidegate_config::TransferConfig).
#[derive(Debug, Clone)]
pub(crate) struct ValidatedPipeline<C = PipelineConfig> {
    /// Its namespace; every object of ours stands there.
    pub(crate) namespace: String,
    /// Its name, the stem of theirs.
    pub(crate) name: String,
    /// The owner reference of every object of ours.
    pub(crate) owner: OwnerReference,
    /// The accepted spec: the resource's own, or the last one that was good.
    pub(crate) spec: IngestionPipelineSpec,
    /// What the pods get to read.
    pub(crate) config: C,
    /// The same as it stands in the `ConfigMap`, `pipeline.json`.
    pub(crate) config_json: String,
    /// [`tidegate_config::content_hash`] of it.
    pub(crate) config_hash: String,
}

/// Why the resource as it stands is not run. When a spec was accepted before, that one goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The category.
    pub(crate) reason: Reason,
    /// What is wrong, where, and what to write instead.
    pub(crate) message: String,
}

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

/// A pod, and what it says about itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodFacts<R> {
    /// Whether its readiness probe passes.
    pub(crate) ready: bool,
    /// Since when it has not been ready; none while it is.
    pub(crate) not_ready_since: Option<Timestamp>,
    /// Whether it was asked to leave.
    pub(crate) leaving: bool,
    /// What Kubernetes says is wrong with it.
    pub(crate) trouble: Option<Trouble>,
    /// What it says itself; none when it does not answer.
    pub(crate) report: Option<R>,
}

/// What is wrong with a pod that cannot speak for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// [`Reason::Unschedulable`] or [`Reason::PodFailing`].
    pub(crate) reason: Reason,
    /// Kubernetes' own words, bounded.
    pub(crate) message: String,
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
