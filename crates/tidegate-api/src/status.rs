//! What the operator says about a pipeline. Every list is bounded and every message at most 256 bytes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::Guarantee;

use crate::vocabulary;

/// What was seen of the pipeline.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngestionPipelineStatus {
    /// The generation of the spec that this status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// A word for people, derived from the conditions; programs read those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The conditions by name, see the page of the kind for what each one means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "vocabulary::conditions")]
    pub conditions: Vec<Condition>,
    /// What was asked for and what source, deduplication and store give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<GuaranteeStatus>,
    /// What waits in the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagStatus>,
    /// The newest commit to the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<LastCommitStatus>,
    /// What became of the messages, since the ledger began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordsStatus>,
    /// What the deduplication did, since the ledger began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup: Option<DedupStatus>,
    /// Everything published before this instant is in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_through: Option<Time>,
    /// The runs of a bulk pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleStatus>,
    /// Workers that exist; the scale subresource reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Workers that read their partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ready_replicas: Option<i32>,
    /// The selector of the workers' pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,
    /// How the number of workers was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
}

/// How a pipeline is, in a word.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Its objects are being made, or its pods start.
    Pending,
    /// Workers read.
    Running,
    /// No worker runs because nothing waits.
    Idle,
    /// Suspended by its spec.
    Suspended,
    /// Something passes by itself, or is being retried.
    Degraded,
    /// Somebody has to change something first.
    Stalled,
    /// It is being deleted.
    Deleting,
}

/// The runs of a bulk pipeline.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleStatus {
    /// Where the first interval begins that the schedule asks for: as `startAt` says, when the pipeline was
    /// made, or since the table's log knew it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Time>,
    /// The newest tick whose interval has had its run made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scheduled_tick: Option<Time>,
    /// Every interval that ends here or earlier is in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_through: Option<Time>,
    /// The next tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_tick: Option<Time>,
    /// Runs that are under way.
    #[schemars(range(min = 0))]
    pub active: u32,
    /// Intervals that are due and whose run is not made yet.
    #[schemars(range(min = 0))]
    pub missed: u32,
}

/// What was asked for and what is given.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuaranteeStatus {
    /// What the spec asks for.
    #[schemars(schema_with = "vocabulary::one_of::<Guarantee>")]
    pub requested: Guarantee,
    /// What source, deduplication and store give together.
    #[schemars(schema_with = "vocabulary::one_of::<Guarantee>")]
    pub effective: Guarantee,
    /// Where the rest is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub weakest_hop: Option<String>,
}

/// What waits in the stream.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LagStatus {
    /// Messages that are not committed yet.
    pub messages: u64,
    /// Seconds since the oldest of them was published.
    pub seconds: u64,
}

/// The newest commit.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastCommitStatus {
    /// The table's version.
    pub version: u64,
    /// When it was made.
    pub time: Time,
}

/// What became of the messages: `read = committed + deadLettered + filtered`
/// and what the deduplication dropped.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordsStatus {
    /// Taken from the stream.
    pub read: u64,
    /// Rows in the table.
    pub committed: u64,
    /// Set aside in the table of dead letters.
    pub dead_lettered: u64,
    /// Dropped by the filter.
    pub filtered: u64,
}

/// What the deduplication did.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DedupStatus {
    /// Messages dropped because the table had a row with their id.
    pub dropped: u64,
}

/// How the number of workers was found: the inputs and the answer.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingStatus {
    /// The answer.
    #[schemars(range(min = 0))]
    pub desired_replicas: i32,
    /// Messages that waited when it was found.
    pub pending: u64,
    /// Records that one worker takes in a busy second; absent before any was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_worker: Option<u64>,
    /// When the number last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
    /// Records per second of all workers before the last step up, to tell whether it gained anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_before_last_step: Option<u64>,
    /// Since when fewer workers would have sufficed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewer_since: Option<Time>,
}
