//! The one place of a worker that writes to the table's log.
//!
//! An actor owns the log's snapshot and the partitions that this worker holds. Batches, claims, idle
//! advances and releases reach it one after the other; each becomes one commit, checked against the
//! snapshot that it extends, again on every retry (I1).
//!
//! # Failure points
//!
//! - Before the put: nothing happened; whoever holds the partition reads from the floor again.
//! - During the put: the outcome is settled by reading the version back (P5); nothing is deleted and
//!   nothing else is committed meanwhile.
//! - After the put, before the dead letters' own commit: the next holder rolls them forward (P4).

//!
//! `claims` takes partitions, `batches` commits what was read, `idle` moves floors and gives back, and
//! `attempt` is the one commit that all of them are.

mod attempt;
mod batches;
mod claims;
mod idle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidegate_runtime::{Random, RunError};
use tidegate_source::Receipt;
use tidegate_table::ledger::{LedgerState, PartitionState};
use tidegate_table::log::{CommitLog, Strangers, TableSnapshot};
use tidegate_telemetry::PipelineMetrics;
use tidegate_types::{
    Counters, Epoch, Holder, Incarnation, Ledger, PartitionId, Position, Reason, Span, StreamTime,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::batch::{PartitionProgress, SealedBatch};
use crate::claimed::ClaimedPartition;
use crate::dead_letters::DeadLetters;
use crate::decide::{Held, LostPartition};
use crate::options::AssignmentGeneration;
use crate::window::WindowStore;

/// How many requests may wait: one batch in the making behind the one being committed, plus an advance.
pub(crate) const REQUESTS: usize = 2;

/// What the engine asks for.
pub(crate) enum Request {
    /// Commit a batch.
    Commit(Box<SealedBatch>),
    /// Move the floors of idle partitions (S5).
    Advance { lineage: u64, moves: Vec<FloorMove> },
    /// Give everything back and end.
    Release,
}

/// What the engine is told.
pub(crate) enum Event {
    /// These partitions are ours from the given state on.
    Claimed(Vec<ClaimedPartition>),
    /// A batch is in the table.
    Committed(Committed),
    /// Under AtMostOnce: a batch may be in the table or not, and that is the end of it (X5).
    GivenUp,
    /// Floors moved without rows.
    Advanced(Vec<FloorMove>),
    /// Everything uncommitted is void: `lost` are somebody else's, the others are to be read again from
    /// their floors. `lineage` numbers what is read from now on.
    Rewound { lineage: u64, lost: Vec<LostPartition>, again: Vec<ClaimedPartition> },
    /// Everything was given back.
    Released,
    /// The worker must stop.
    Failed(RunError),
}

/// Where the floor of an idle partition goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FloorMove {
    pub(crate) partition: PartitionId,
    pub(crate) base: Position,
    pub(crate) to: Position,
    /// The broker's time up to which nothing of the partition is missing.
    pub(crate) complete: StreamTime,
}

/// What a commit brought.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) version: u64,
    pub(crate) counters: Counters,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) receipts: Vec<(PartitionId, Receipt)>,
}

/// What the committer is made from.
pub(crate) struct CommitterParts {
    pub(crate) log: CommitLog,
    pub(crate) snapshot: TableSnapshot,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) windows: Arc<WindowStore>,
    pub(crate) ledger: Ledger,
    pub(crate) incarnation: Incarnation,
    pub(crate) me: Holder,
    pub(crate) generation: Option<AssignmentGeneration>,
    pub(crate) wanted: BTreeSet<PartitionId>,
    pub(crate) initial_floor: Position,
    pub(crate) max_interval: Duration,
    pub(crate) allowed_lateness: Span,
    pub(crate) position_in_log: bool,
    pub(crate) repeat_in_doubt: bool,
    /// How long a commit may stay in doubt; none: until it is known.
    pub(crate) doubt_limit: Option<Duration>,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) random: Random,
}

/// The actor.
pub(crate) struct Committer {
    parts: CommitterParts,
    /// Epoch of each partition that we hold.
    held: BTreeMap<PartitionId, Epoch>,
    lost_before: BTreeSet<PartitionId>,
    /// For each partition that somebody else holds the state last seen, and since when it stands.
    watched: BTreeMap<PartitionId, (PartitionState, Instant)>,
    /// Since when a wanted partition has been another assignment's, which is newer than ours.
    superseded_since: Option<Instant>,
    lineage: u64,
    /// The version at the start, or of the last checkpoint.
    seen_version: u64,
    /// What took the table back in time since then (T1).
    rewound: Option<String>,
    /// What others did since our start (T1).
    strangers: Strangers,
    table_id: String,
    events: mpsc::Sender<Event>,
}

impl Committer {
    pub(crate) fn new(parts: CommitterParts, events: mpsc::Sender<Event>) -> Self {
        let table_id = parts.snapshot.metadata_id().to_owned();
        let seen_version = parts.snapshot.version();
        Self {
            parts,
            held: BTreeMap::new(),
            lost_before: BTreeSet::new(),
            watched: BTreeMap::new(),
            superseded_since: None,
            lineage: 0,
            seen_version,
            rewound: None,
            strangers: Strangers::default(),
            table_id,
            events,
        }
    }

    /// Works until a release or a failure.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if let Err(error) = self.work(&mut requests).await {
            // The engine may be gone already; then nobody is left to be told.
            let _ = self.events.send(Event::Failed(error)).await;
        }
    }

    pub(super) async fn work(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), RunError> {
        loop {
            let wait = self.claim_what_can_be().await?;
            let request = tokio::select! {
                request = requests.recv() => request,
                () = tokio::time::sleep(wait) => continue,
            };
            match request {
                Some(Request::Commit(batch)) if batch.lineage == self.lineage => {
                    let (release, lineage) = (batch.release, self.lineage);
                    self.commit_batch(*batch).await?;
                    // After a rewind the engine says whether to go on or to give back.
                    if release && lineage == self.lineage {
                        return self.tell(Event::Released).await;
                    }
                }
                // Read before a rewind: void, and its uploads are aborted as it is dropped.
                Some(Request::Commit(_)) => {}
                Some(Request::Advance { lineage, moves }) if lineage == self.lineage => {
                    self.advance(moves).await?;
                }
                Some(Request::Advance { .. }) => {}
                Some(Request::Release) => {
                    self.release().await?;
                    return self.tell(Event::Released).await;
                }
                None => return Ok(()),
            }
        }
    }

    pub(super) async fn tell(&self, event: Event) -> Result<(), RunError> {
        let gone = |_| RunError::transient(Reason::Fenced, "the worker's engine is gone");
        self.events.send(event).await.map_err(gone)
    }

    pub(super) fn state(&self) -> Result<LedgerState, RunError> {
        let txns = self.parts.snapshot.txns();
        Ok(LedgerState::read(txns, &self.parts.ledger, self.parts.incarnation)?)
    }
}

fn held(partition: PartitionId, progress: &PartitionProgress) -> Held {
    Held { partition, epoch: progress.epoch, base: progress.base }
}
