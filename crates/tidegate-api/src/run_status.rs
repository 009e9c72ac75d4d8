//! What the operator says about a run. Every list is bounded and every message at most 256 bytes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IntervalSpec, vocabulary};

/// The most intervals that the status of a dry run names.
pub const MOST_PLANNED_INTERVALS: usize = 100;

/// What was seen of the run.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngestionRunStatus {
    /// The generation of the spec that this status speaks about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// How far the run is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RunPhase>,
    /// The conditions by name, see the page of the kind for what each one means.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "vocabulary::conditions")]
    pub conditions: Vec<Condition>,
    /// The chunks of the current or last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunksStatus>,
    /// What became of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsStatus>,
    /// The number of the current or last attempt, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub attempt: Option<u32>,
    /// The number of the attempt in the table's log, which rises with every run of the interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub generation: Option<u64>,
    /// The version of the table that holds the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub version: Option<u64>,
    /// When the first attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// When the next attempt is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,
    /// From start to end in words, such as 3m12s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub duration: Option<String>,
    /// The generation of the pipeline's spec that the run reads by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub pipeline_generation: Option<i64>,
    /// The runs of a range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildrenStatus>,
}

/// How far a run is.
#[derive(
    JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum RunPhase {
    /// It waits for its turn, or for its next attempt.
    Pending,
    /// The source is opened and divided.
    Planning,
    /// Chunks are read and written; of a range: its runs are made.
    Running,
    /// The commit is made.
    Committing,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
}

/// The chunks of an attempt.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChunksStatus {
    /// All.
    #[schemars(range(min = 0))]
    pub total: u32,
    /// Those that are written.
    #[schemars(range(min = 0))]
    pub done: u32,
    /// Both in words, such as 9/16.
    #[schemars(length(max = 32))]
    pub progress: String,
}

/// What became of the rows: `read = committed + deadLettered`.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RowsStatus {
    /// Read from the source.
    #[schemars(range(min = 0))]
    pub read: u64,
    /// Rows in the table; of a run under way: written so far.
    #[schemars(range(min = 0))]
    pub committed: u64,
    /// Rows of earlier runs that these took the place of.
    #[schemars(range(min = 0))]
    pub replaced: u64,
    /// Set aside in the table of dead letters.
    #[schemars(range(min = 0))]
    pub dead_lettered: u64,
}

/// The runs of a range.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChildrenStatus {
    /// Intervals to run; of a dry run: that would be run.
    #[schemars(range(min = 0))]
    pub total: u32,
    /// Intervals of the range that need no run.
    #[schemars(range(min = 0))]
    pub skipped: u32,
    /// Runs under way.
    #[schemars(range(min = 0))]
    pub active: u32,
    /// Runs that succeeded.
    #[schemars(range(min = 0))]
    pub succeeded: u32,
    /// Runs that failed.
    #[schemars(range(min = 0))]
    pub failed: u32,
    /// Where the next interval begins; everything before has its run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_through: Option<Time>,
    /// The first intervals that a dry run would run, at most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub planned: Vec<IntervalSpec>,
}
