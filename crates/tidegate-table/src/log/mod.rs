//! The commit log: a Delta log used as a compare-and-swap register.
//!
//! A commit is made in three steps, so that its outcome is always known:
//!
//! 1. [`CommitLog::prepare`] turns a [`CommitRequest`] over a base snapshot into the exact bytes of
//!    version base + 1. The kernel serialises; nothing is written.
//! 2. [`CommitLog::put`] stores these bytes under a condition: only if the version does not exist.
//! 3. [`CommitLog::settle`] repeats step 2 until the version exists, and reads it back whenever the
//!    answer does not say whose it is (P5). It ends won, lost, or (only when cancelled) in doubt.
//!
//! Nothing here rebases: a lost commit is prepared anew by the caller, over a new snapshot, after
//! its own checks.
//!
//! The kernel blocks, so its calls run on tokio's blocking threads; a multi-threaded runtime is
//! required.

mod boot_time;
mod column_bounds;
mod entry;
mod error;
mod foreign;
mod hole;
mod kernel;
mod live_files;
mod maintenance;
mod prepare;
mod read;
mod request;
mod settle;
mod snapshot;
mod splice;
mod txns;

use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

use crate::store::TableStore;

pub use boot_time::BootTime;
pub use column_bounds::{ColumnBounds, Nulls};
pub use entry::{AddedFile, LogEntry, RemovedFile};
pub use error::{HoleEvidence, LogError};
pub use foreign::{ForeignEdit, Rewinds, Strangers};
pub use hole::MAX_BASE_AGE;
pub use live_files::LiveFile;
pub use prepare::PreparedCommit;
pub use request::{CommitKind, CommitRequest, CommitTag, TableSpec};
pub use settle::{Outcome, PutOutcome, RetryPolicy};
pub use snapshot::TableSnapshot;
pub use txns::Txns;

/// One table's log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CommitLog {
    /// Rooted at the table: reads, checkpoints.
    store: Arc<dyn ObjectStore>,
    /// The same place for the commit's PUT: without retries of its own, because a retry inside the
    /// client would turn our own landed commit into somebody else's.
    commit_store: Arc<dyn ObjectStore>,
    /// For people: messages name the table by it.
    root: Url,
}

impl CommitLog {
    /// The log of the table at the root of `store`; `root` names it in messages.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, root: Url) -> Self {
        Self { commit_store: store.clone(), store, root }
    }

    /// Puts commits through `commit_store`, a client of the same place that does not retry by
    /// itself.
    #[must_use]
    pub fn with_commit_store(mut self, commit_store: Arc<dyn ObjectStore>) -> Self {
        self.commit_store = commit_store;
        self
    }

    /// The log of the table that `store` was opened for.
    #[must_use]
    pub fn open(store: &TableStore) -> Self {
        Self {
            store: store.data.clone(),
            commit_store: store.commit.clone(),
            root: store.root.clone(),
        }
    }

    /// The name of the table in messages.
    #[must_use]
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The store that the table lies in, rooted at the table.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }
}

#[cfg(test)]
mod tests;
