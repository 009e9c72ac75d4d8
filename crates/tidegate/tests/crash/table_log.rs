//! What the table's log says, read by nothing of ours: commit files as JSON lines.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use object_store::{Error, ObjectStore, ObjectStoreExt};
use serde_json::Value;

/// Every `txn` of the log up to a version.
pub(crate) struct TableLog {
    store: Arc<dyn ObjectStore>,
    /// The table's folder in the store.
    folder: String,
    next: u64,
    txns: BTreeMap<String, i64>,
}

impl TableLog {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, folder: &str) -> Self {
        Self { store, folder: folder.to_owned(), next: 0, txns: BTreeMap::new() }
    }

    /// Reads what was committed since the last time.
    pub(crate) async fn refresh(&mut self) -> Result<&Self> {
        loop {
            let path = format!("{}/_delta_log/{:020}.json", self.folder, self.next);
            let commit = match self.store.get(&path.as_str().into()).await {
                Ok(found) => found.bytes().await.context("read a commit")?,
                Err(Error::NotFound { .. }) => return Ok(self),
                Err(error) => return Err(error).context("look for a commit"),
            };
            for line in commit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let action: Value = serde_json::from_slice(line).context("parse a commit")?;
                if let (Some(id), Some(version)) =
                    (action["txn"]["appId"].as_str(), action["txn"]["version"].as_i64())
                {
                    self.txns.insert(id.to_owned(), version);
                }
            }
            self.next += 1;
        }
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// The sum over the partitions of a counter.
    pub(crate) fn sum(&self, counter: &str) -> i64 {
        let ending = format!("/{counter}");
        self.txns.iter().filter(|(id, _)| id.ends_with(&ending)).map(|(_, value)| value).sum()
    }

    /// Grows with every floor that moves.
    pub(crate) fn progress(&self) -> i64 {
        self.sum("floor")
    }
}
