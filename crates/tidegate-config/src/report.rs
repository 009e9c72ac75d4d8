//! What pods say about themselves at `GET /status`, as JSON: the operator's only view of the data.
//!
//! Both sides may be of different releases while an upgrade is under way: a field is only ever added,
//! with a default, and reasons travel as text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_types::{Counters, Guarantee, PartitionId, Position};

/// The longest message in a report, in bytes.
pub const LONGEST_MESSAGE: usize = 256;

/// How something is: a [`Reason`](tidegate_types::Reason) as text, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// `Ok`, or why not.
    pub reason: String,
    /// What is wrong and what to do; empty when all is well. At most [`LONGEST_MESSAGE`] bytes.
    pub message: String,
}

/// What both kinds of pods say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodReport {
    /// `<namespace>/<name>` of the pipeline.
    pub pipeline: String,
    /// The release of the binary.
    pub version: String,
    /// [`content_hash`](crate::content_hash) of the configuration that the pod works with.
    pub config_hash: String,
    /// How the pod is.
    pub state: State,
}

/// What the agent says: the pipeline as the broker and the table's log show it, also when no worker
/// runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentReport {
    /// The pod.
    pub pod: PodReport,
    /// How the source is: reachable, safe, whole. None before it was looked at.
    pub source: Option<State>,
    /// Whether the broker keeps what it acknowledged when it crashes.
    pub durable: Option<State>,
    /// How table and store are. None before they were looked at.
    pub sink: Option<State>,
    /// How the removal of committed messages from the stream goes. None when the pipeline does not ask for
    /// it, and before the first time.
    pub trim: Option<State>,
    /// What the path gives. None before it was looked at.
    pub guarantee: Option<GuaranteeReport>,
    /// Messages behind the floors. None before the log was read, or while the source is out of reach.
    pub lag: Option<u64>,
    /// Seconds since the oldest of them was published; 0 without lag.
    pub lag_seconds: Option<u64>,
    /// What became of all messages of the ledger, from the log.
    pub counters: Counters,
    /// The committed floor of each partition.
    pub floors: BTreeMap<PartitionId, Position>,
    /// The highest assignment generation under which a partition was claimed; 0 when none is known. Only a
    /// higher one, or this one, can claim.
    pub claimed_generation: i64,
    /// Everything published before this instant is in the table (microseconds since 1970).
    pub complete_through: Option<i64>,
    /// The ledger's newest commit that the agent knows.
    pub last_commit: Option<CommitReport>,
}

/// What was asked for and what the path gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuaranteeReport {
    /// What was asked for.
    pub requested: Guarantee,
    /// What the path gives.
    pub effective: Guarantee,
    /// Where it is lost; none when everything asked for is given.
    pub weakest_hop: Option<String>,
}

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommitReport {
    /// The table's version.
    pub version: u64,
    /// When, in microseconds since 1970.
    pub time: i64,
}

/// What a worker says. Counts are of its whole life as a process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerReport {
    /// The pod.
    pub pod: PodReport,
    /// Its name, as it stands in assignments.
    pub name: String,
    /// Whether it reads everything that it was assigned.
    pub ready: bool,
    /// Whether it is committing what it holds in order to leave.
    pub draining: bool,
    /// The generation of the assignment that it follows.
    pub assignment_generation: i64,
    /// The partitions that it holds.
    pub partitions: Vec<PartitionId>,
    /// What became of the messages that it read.
    pub counters: Counters,
    /// Data files committed.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Commits that won.
    pub commits: u64,
    /// Times that another worker took a partition away.
    pub fenced: u64,
    /// Seconds in which it had something to do. Records per second of these are its rate.
    pub busy_seconds: f64,
    /// Its newest commit.
    pub last_commit: Option<CommitReport>,
}
