//! Reading the log: snapshots and entries.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StructArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use delta_kernel::actions::LOG_TXN_SCHEMA;
use delta_kernel::crc::SetTransactionState;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::snapshot::{IncrementalReplay, SnapshotRef};
use delta_kernel::{Engine, KernelError, KernelResult, Snapshot};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use super::CommitLog;
use super::boot_time::BootTime;
use super::entry::LogEntry;
use super::error::LogError;
use super::hole::LogFile;
use super::kernel::KERNEL_ROOT;
use super::snapshot::TableSnapshot;
use super::txns::Txns;
use crate::files::layout::{log_entry, log_folder, log_offset};

/// Entries read at once: enough to hide a store's latency, few enough that entries of some
/// megabytes each (a commit with thousands of files) stay below 100 MB.
const ENTRIES_IN_FLIGHT: usize = 8;

impl CommitLog {
    /// The table at its latest version; `None` when there is no table.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the log cannot be read.
    pub async fn load(&self) -> Result<Option<TableSnapshot>, LogError> {
        let loaded_at = BootTime::now();
        if !self.exists().await? {
            return Ok(None);
        }
        let (kernel, txns) = self
            .with_kernel("load a snapshot", |engine| {
                let kernel = Snapshot::builder_for(KERNEL_ROOT)
                    .with_incremental_crc_replay(IncrementalReplay::Unlimited)
                    .build(engine)?;
                let txns = read_txns(&kernel, engine)?;
                Ok((kernel, txns))
            })
            .await?;
        self.snapshot(kernel, Arc::new(txns), loaded_at).map(Some)
    }

    /// The table at its latest version, and every entry after `base` in order.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the log cannot be read, [`LogError::EntryMissing`] when an entry between
    /// the two versions is gone.
    pub async fn refresh(
        &self,
        base: &TableSnapshot,
    ) -> Result<(TableSnapshot, Vec<LogEntry>), LogError> {
        let loaded_at = BootTime::now();
        let from = base.kernel.clone();
        let kernel = self
            .with_kernel("refresh a snapshot", move |engine| {
                Snapshot::builder_from(from)
                    .with_incremental_crc_replay(IncrementalReplay::Unlimited)
                    .build(engine)
            })
            .await?;
        let entries = self.entries(base.version() + 1, kernel.version()).await?;
        let mut txns = base.txns.clone();
        if !entries.is_empty() {
            let known = Arc::make_mut(&mut txns);
            entries.iter().for_each(|entry| known.apply(&entry.txns));
        }
        Ok((self.snapshot(kernel, txns, loaded_at)?, entries))
    }

    /// Whether there is a version after that of `base`: one small request.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the store does not answer.
    pub async fn has_newer(&self, base: &TableSnapshot) -> Result<bool, LogError> {
        let path = log_entry(base.version() + 1);
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.store_error("look for", &path, error)),
        }
    }

    /// The entries from `from_version` on, as far as they are kept: older ones may have been
    /// cleaned up, so the first entry's version can be higher than what was asked for.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the log cannot be read, or has an entry missing after the first.
    pub async fn history(&self, from_version: u64) -> Result<Vec<LogEntry>, LogError> {
        let kept: Vec<u64> = self
            .log_files(from_version)
            .await?
            .into_iter()
            .filter(|file| file.is_commit)
            .map(|file| file.version)
            .collect();
        match (kept.iter().min(), kept.iter().max()) {
            (Some(first), Some(last)) => self.entries(*first, *last).await,
            _ => Ok(Vec::new()),
        }
    }

    /// The bytes of one entry; `None` when it does not exist.
    pub(super) async fn read_entry(
        &self,
        store: &dyn ObjectStore,
        version: u64,
    ) -> Result<Option<Bytes>, LogError> {
        let path = log_entry(version);
        let answer = match store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.store_error("read", &path, error)),
        }
    }

    /// Commits and checkpoints at `from_version` and above, unordered.
    pub(super) async fn log_files(&self, from_version: u64) -> Result<Vec<LogFile>, LogError> {
        let folder = log_folder();
        self.store
            .list_with_offset(Some(&folder), &log_offset(from_version))
            .map_err(|error| self.store_error("list", &folder, error))
            .try_filter_map(|meta| async move { Ok(LogFile::from_listing(&meta)) })
            .try_collect()
            .await
    }

    async fn exists(&self) -> Result<bool, LogError> {
        let folder = log_folder();
        let mut listing = self.store.list(Some(&folder));
        while let Some(meta) = listing.next().await {
            let meta = meta.map_err(|error| self.store_error("list", &folder, error))?;
            if LogFile::from_listing(&meta).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn entries(&self, first: u64, last: u64) -> Result<Vec<LogEntry>, LogError> {
        futures::stream::iter(first..=last)
            .map(|version| async move {
                let bytes = self.read_entry(&self.store, version).await?;
                LogEntry::parse(version, bytes.ok_or(LogError::EntryMissing { version })?)
            })
            .buffered(ENTRIES_IN_FLIGHT)
            .try_collect()
            .await
    }

    fn snapshot(
        &self,
        kernel: SnapshotRef,
        txns: Arc<Txns>,
        loaded_at: BootTime,
    ) -> Result<TableSnapshot, LogError> {
        TableSnapshot::new(kernel, txns, loaded_at)
            .map_err(|error| self.kernel_error("read the schema", KernelError::from(error)))
    }
}

/// Every application id's latest version: from the checksum when it has them all, else from the
/// checkpoint and the commits after it.
fn read_txns(snapshot: &SnapshotRef, engine: &dyn Engine) -> KernelResult<Txns> {
    if let Some(crc) = snapshot.crc_at_version()
        && let SetTransactionState::Complete(known) = &crc.set_transaction_state
    {
        return Ok(known.values().map(|txn| (txn.app_id(), txn.version())).collect());
    }
    scan_txns(snapshot, engine)
}

/// Reads the log from its newest entry to its oldest; the first action of an id is its latest.
fn scan_txns(snapshot: &SnapshotRef, engine: &dyn Engine) -> KernelResult<Txns> {
    let mut txns = Txns::default();
    for batch in snapshot.log_segment().read_actions(engine, LOG_TXN_SCHEMA.clone())? {
        let batch: RecordBatch = batch?.actions.try_into_record_batch()?;
        take_txns(&batch, &mut txns)?;
    }
    Ok(txns)
}

fn take_txns(batch: &RecordBatch, txns: &mut Txns) -> KernelResult<()> {
    let Some(actions) = batch.column_by_name("txn").and_then(|column| column.as_struct_opt())
    else {
        return Ok(());
    };
    let app_ids = member(actions, "appId")?.as_string_opt::<i32>();
    let versions = member(actions, "version")?.as_primitive_opt::<Int64Type>();
    let (Some(app_ids), Some(versions)) = (app_ids, versions) else {
        return Err(KernelError::generic("txn actions have unexpected types"));
    };
    for row in 0..actions.len() {
        if actions.is_valid(row) && app_ids.is_valid(row) && versions.is_valid(row) {
            txns.add_older(app_ids.value(row), versions.value(row));
        }
    }
    Ok(())
}

fn member<'a>(actions: &'a StructArray, name: &str) -> KernelResult<&'a Arc<dyn Array>> {
    actions
        .column_by_name(name)
        .ok_or_else(|| KernelError::generic(format!("txn actions have no {name}")))
}
