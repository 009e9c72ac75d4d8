//! What a worker is told and what it reports when it is done.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tidegate_config::PipelineConfig;
use tidegate_types::{ByteSize, Counters, PartitionId};

/// How to run one worker of one pipeline.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The resolved pipeline.
    pub config: PipelineConfig,
    /// The worker's stable name: the pod; for `run` host, ledger and index (P7).
    pub worker_name: String,
    /// The generation of the assignment; `None`: the log's own.
    pub assignment_generation: Option<AssignmentGeneration>,
    /// The partitions to work on; `None`: all.
    pub partitions: Option<Vec<PartitionId>>,
    /// Stop when everything that the stream held at the start is committed.
    pub until_caught_up: bool,
    /// Where secrets are mounted, as `<name>/<key>`.
    pub secrets_dir: Option<PathBuf>,
    /// Where the deduplication window may spill.
    pub spill_dir: PathBuf,
    /// Bytes that may be buffered by this worker.
    pub memory_budget: ByteSize,
    /// What this worker does for the stream beside reading it.
    pub stream_care: StreamCare,
    /// The program whose subcommand `decode-probe` runs [`crate::decode_probe`]: `tidegate` itself.
    /// Without it a message that kills the decoder keeps its partition from going on (S8).
    pub decoder_probe: Option<PathBuf>,
}

/// Which part of the work for the stream as a whole a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamCare {
    /// All of it: make and keep the stream, register the ledger, trim. One worker of a pipeline that has
    /// no agent.
    All,
    /// Register the ledger. Its other workers.
    Reader,
    /// None: the agent does it. That every message has a partition all of them see to.
    Agent,
}

/// The generation of the newest assignment that is known. It may rise while a worker works, when the
/// worker's own partitions stay: what it claims again it claims under the newest. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct AssignmentGeneration(Arc<AtomicI64>);

impl AssignmentGeneration {
    /// The newest generation.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A newer assignment is known.
    pub(crate) fn set(&self, generation: i64) {
        self.0.fetch_max(generation, Ordering::Relaxed);
    }
}

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// What became of the messages, in this run.
    pub counters: Counters,
    /// Data files committed.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Commits that won.
    pub commits: u64,
    /// The table's version after the last of them.
    pub last_version: Option<u64>,
    /// Undeclared fields that were dropped.
    pub unknown_fields: u64,
    /// Rows without a deduplication key.
    pub unkeyed: u64,
    /// Messages left in the stream when the worker stopped.
    pub lag: u64,
    /// It was told to leave before it could begin.
    pub interrupted: bool,
}
