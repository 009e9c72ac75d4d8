//! A pipeline to try the decisions on: eight partitions, two workers, everything well. What a test is
//! about is changed by name.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use tidegate_api::{IngestionPipeline, IngestionPipelineStatus};
use tidegate_config::{
    AgentReport, Assignment, CommitReport, GuaranteeReport, PodReport, State, WorkerAssignment,
    WorkerReport,
};
use tidegate_types::{Counters, Guarantee, PartitionId, Position, Reason};

use super::conditions::conditions;
use super::facts::{Decisions, Observed, ScalingDecision, WorkloadFacts};
use super::memory::Memory;
use super::status_facts::StatusFacts;
use crate::cluster::names::worker_pod;
use crate::failure::Failure;
use crate::pods::PodFacts;
use crate::status::find;
use crate::validation::{Rejection, ValidatedPipeline};

const CLICKS: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks, namespace: analytics}
spec:
  source:
    type: JetStream
    jetStream:
      servers: ['nats://nats:4222']
      stream: CLICKS
      subjects: ['clicks.>']
      partitioning: {type: Subject, partitions: 8, idSubjectStable: true}
  schema:
    fields: [{name: id, type: string, required: true}, {name: ts, type: timestamp}]
  sink:
    type: Delta
    storage: {url: 's3://lake/clicks'}
";

/// So many seconds after the beginning of these tests.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("in range")
}

/// The fixture's pipeline, edited.
pub(crate) fn clicks(edit: impl FnOnce(&mut IngestionPipeline)) -> ValidatedPipeline {
    let mut pipeline: IngestionPipeline = serde_yaml::from_str(CLICKS).expect("it is one");
    edit(&mut pipeline);
    let config = tidegate_resolve::resolve_in(&pipeline, None).expect("it resolves");
    let config = config.into_stream().expect("a stream");
    ValidatedPipeline {
        namespace: "analytics".into(),
        name: "clicks".into(),
        owner: OwnerReference::default(),
        spec: pipeline.spec,
        config,
        config_json: "{}".into(),
        config_hash: "0123456789ab".into(),
    }
}

pub(crate) fn state(reason: Reason, message: &str) -> State {
    State { reason: reason.as_str().into(), message: message.into() }
}

fn pod_report(reason: Reason, message: &str) -> PodReport {
    PodReport { state: state(reason, message), ..PodReport::default() }
}

/// A pod that is ready and says so.
pub(crate) fn well<R>(report: R) -> PodFacts<R> {
    PodFacts {
        ready: true,
        not_ready_since: None,
        leaving: false,
        trouble: None,
        report: Some(report),
    }
}

pub(crate) fn settled(pods: i32) -> WorkloadFacts {
    WorkloadFacts {
        exists: true,
        observed: true,
        wanted: pods,
        existing: pods,
        updated: pods,
        ready: pods,
    }
}

pub(crate) fn assigned(generation: i64, shares: &[(&str, &[u32])]) -> Assignment {
    let share = |(name, partitions): &(&str, &[u32])| WorkerAssignment {
        name: (*name).to_owned(),
        partitions: partitions.iter().copied().map(PartitionId).collect(),
    };
    Assignment { generation, workers: shares.iter().map(share).collect() }
}

/// Everything that a reconcile knows at its end.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) generation: i64,
    pub(crate) deleting: Option<String>,
    pub(crate) rejection: Option<Rejection>,
    pub(crate) withheld: bool,
    pub(crate) pipeline: Option<ValidatedPipeline>,
    pub(crate) decisions: Option<Decisions>,
    pub(crate) observed: Observed,
    pub(crate) failure: Option<Failure>,
    pub(crate) memory: Memory,
    /// What was said last.
    pub(crate) before: Vec<Condition>,
    pub(crate) now: i64,
}

impl World {
    /// All is well, and for the first time.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            generation: 1,
            deleting: None,
            rejection: None,
            withheld: false,
            pipeline: Some(clicks(|_| {})),
            decisions: None,
            observed: Observed::default(),
            failure: None,
            memory: Memory::default(),
            before: Vec::new(),
            now: 0,
        };
        world.observed.agent = settled(1);
        world.observed.agent_pod = Some(well(agent()));
        world.observed.assignment = Some(assigned(
            7,
            &[("clicks-worker-0", &[0, 1, 2, 3]), ("clicks-worker-1", &[4, 5, 6, 7])],
        ));
        world.with_workers(2)
    }

    /// So many workers, as many as were decided, all ready.
    pub(crate) fn with_workers(mut self, workers: i32) -> Self {
        self.observed.workers = settled(workers);
        self.observed.worker_pods = (0..u32::try_from(workers).expect("a count"))
            .map(|ordinal| (worker_pod("clicks", ordinal), well(worker())))
            .collect();
        self.decisions = Some(Decisions {
            replicas: workers,
            agents: 1,
            assignment: Assignment::default(),
            scaling: ScalingDecision {
                reason: Reason::Ok,
                message: "so many".into(),
                memory: Some(tidegate_api::ScalingStatus {
                    desired_replicas: workers,
                    ..Default::default()
                }),
            },
            hold_templates: false,
        });
        self
    }

    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// Edits the spec that runs.
    pub(crate) fn spec(mut self, edit: impl FnOnce(&mut IngestionPipeline)) -> Self {
        self.pipeline = Some(clicks(edit));
        self
    }

    pub(crate) fn agent(&mut self) -> &mut AgentReport {
        let pod = self.observed.agent_pod.as_mut().expect("there is an agent");
        pod.report.as_mut().expect("it answers")
    }

    pub(crate) fn worker(&mut self, ordinal: u32) -> &mut PodFacts<WorkerReport> {
        self.observed.worker_pods.get_mut(&worker_pod("clicks", ordinal)).expect("it exists")
    }

    /// A worker that says why it does not read, since so many seconds.
    pub(crate) fn worker_says(mut self, ordinal: u32, reason: Reason, for_seconds: i64) -> Self {
        let since = at(self.now - for_seconds);
        let pod = self.worker(ordinal);
        pod.ready = false;
        pod.not_ready_since = Some(since);
        pod.report.as_mut().expect("it answers").pod = pod_report(reason, "its own words");
        self.observed.workers.ready -= 1;
        self
    }

    /// The agent does not answer, since so many seconds.
    pub(crate) fn agent_silent(mut self, for_seconds: i64) -> Self {
        self.observed.agent_pod.as_mut().expect("there is one").report = None;
        self.memory.agent_silent_since = Some(at(self.now - for_seconds));
        self
    }

    /// Lets the memory take note of what is to be seen.
    pub(crate) fn noted(mut self) -> Self {
        let observed = self.observed.clone();
        self.memory.observe("clicks", &observed, None, at(self.now));
        self
    }

    /// The same world a while later; what it says now was said before.
    pub(crate) fn later(mut self, seconds: i64) -> Self {
        self.before = self.conditions();
        self.now += seconds;
        self
    }

    pub(crate) fn facts(&self) -> StatusFacts<'_> {
        StatusFacts {
            name: "clicks",
            generation: self.generation,
            deleting: self.deleting.as_deref(),
            rejection: self.rejection.as_ref(),
            withheld: self.withheld,
            pipeline: self.pipeline.as_ref(),
            decisions: self.decisions.as_ref(),
            observed: &self.observed,
            failure: self.failure.as_ref(),
            memory: &self.memory,
        }
    }

    pub(crate) fn conditions(&self) -> Vec<Condition> {
        conditions(&self.facts(), &self.before, at(self.now))
    }

    /// `True/Ok`, or `-` when it is absent.
    pub(crate) fn says(&self, kind: &str) -> String {
        let conditions = self.conditions();
        let said = find(&conditions, kind).map(|c| format!("{}/{}", c.status, c.reason));
        said.unwrap_or_else(|| "-".into())
    }

    pub(crate) fn message(&self, kind: &str) -> String {
        find(&self.conditions(), kind).map(|c| c.message.clone()).unwrap_or_default()
    }

    pub(crate) fn status(
        &self,
        previous: Option<&IngestionPipelineStatus>,
    ) -> Option<IngestionPipelineStatus> {
        super::status::next_status(&self.facts(), previous, at(self.now))
    }
}

fn agent() -> AgentReport {
    AgentReport {
        pod: pod_report(Reason::Ok, ""),
        source: Some(state(Reason::Ok, "")),
        durable: Some(state(Reason::Ok, "")),
        sink: Some(state(Reason::Ok, "")),
        guarantee: Some(GuaranteeReport {
            requested: Guarantee::ExactlyOnce,
            effective: Guarantee::ExactlyOnce,
            weakest_hop: None,
        }),
        lag: Some(100),
        lag_seconds: Some(5),
        floors: (0..8).map(|k| (PartitionId(k), Position(100))).collect(),
        counters: Counters { read: 1_000, rows: 990, duplicate: 10, ..Counters::default() },
        complete_through: Some(at(-10).as_microsecond()),
        last_commit: Some(CommitReport { version: 40, time: at(-10).as_microsecond() }),
        ..AgentReport::default()
    }
}

fn worker() -> WorkerReport {
    WorkerReport { pod: pod_report(Reason::Ok, ""), ready: true, ..WorkerReport::default() }
}

/// The same instant, moved.
pub(crate) fn moved(time: Timestamp, seconds: i64) -> Timestamp {
    time + SignedDuration::from_secs(seconds)
}
