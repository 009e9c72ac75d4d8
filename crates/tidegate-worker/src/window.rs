//! Deduplication windows between runs: snapshots as a cache, the table as the truth (D2, D3).

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tidegate_dedup::{Fingerprint, KeyHasher, SnapshotExpectation, Window, WindowOptions};
use tidegate_runtime::{RunError, failpoint};
use tidegate_table::files::layout;
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_table::window_scan::{IdColumn, LiveFileRef, WindowQuery, scan_window};
use tidegate_types::{
    DedupKey, DuplicateWindow, Incarnation, Ledger, Nonce, PartitionId, Position, Reason,
    StreamTime,
};
use tracing::{debug, info, warn};

use crate::batch::WindowSnapshot;
use crate::claimed::ClaimedPartition;

/// Ids that enter the window together.
const INSERTED_AT_ONCE: usize = 8_192;

/// Saves, finds and rebuilds the windows of one pipeline.
pub(crate) struct WindowStore {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) log: CommitLog,
    /// `_tg_src` of this ledger and incarnation.
    pub(crate) source: String,
    pub(crate) ledger: Ledger,
    pub(crate) incarnation: Incarnation,
    pub(crate) rule: Option<WindowRule>,
}

/// What the windows of a pipeline are made with.
pub(crate) struct WindowRule {
    pub(crate) window: DuplicateWindow,
    pub(crate) hasher: KeyHasher,
    pub(crate) memory_limit: usize,
    pub(crate) spill_dir: PathBuf,
    /// Changes when key, window or precision change: older snapshots are thrown away.
    pub(crate) config_hash: u64,
}

impl WindowStore {
    /// Writes a snapshot under the name that the commit will carry; never over another.
    pub(crate) async fn save(&self, snapshot: &WindowSnapshot) -> Result<(), RunError> {
        let path = self.path(snapshot.partition, snapshot.nonce);
        let payload = PutPayload::from_bytes(snapshot.bytes.clone());
        self.store.put(&path, payload).await.map_err(|source| {
            RunError::transient(Reason::SinkUnreachable, "window snapshot could not be written")
                .because(source)
        })?;
        Ok(())
    }

    /// Changes with the rule; 0 without one.
    pub(crate) fn config_hash(&self) -> u64 {
        self.rule.as_ref().map_or(0, |rule| rule.config_hash)
    }

    fn path(&self, partition: PartitionId, nonce: Nonce) -> Path {
        layout::window_snapshot(&self.ledger, self.incarnation, partition, nonce)
    }

    /// The window of a partition as the table's snapshot has it; `None` when ids are not compared.
    ///
    /// # Errors
    ///
    /// When the table's files cannot be read.
    pub(crate) async fn load(
        &self,
        claimed: &ClaimedPartition,
    ) -> Result<Option<Window>, RunError> {
        let Some(rule) = &self.rule else { return Ok(None) };
        let (mut window, above) = match self.cached(rule, claimed).await {
            Some((window, floor)) => (window, Some(floor)),
            None => (Window::new(rule.options(claimed.partition)?), None),
        };
        // Before the rows, so that none of them looks like a jump of the clock.
        window.resume_at(claimed.state.time);
        let found = self.scan(rule, claimed, above, &mut window).await?;
        info!(
            partition = claimed.partition.0,
            from_snapshot = above.is_some(),
            scanned = found,
            ids = window.len(),
            "window loaded"
        );
        failpoint::hit("window.loaded");
        Ok(Some(window))
    }

    /// The window in the snapshot that the commit names, with the floor at which it was cut.
    async fn cached(
        &self,
        rule: &WindowRule,
        claimed: &ClaimedPartition,
    ) -> Option<(Window, Position)> {
        let nonce = claimed.state.snapshot?;
        let path = self.path(claimed.partition, nonce);
        let bytes: Bytes = match self.store.get(&path).await {
            Ok(found) => found.bytes().await.ok()?,
            Err(error) => {
                debug!(partition = claimed.partition.0, error = %error, "no window snapshot");
                return None;
            }
        };
        let expected = SnapshotExpectation {
            base: claimed.state.floor.unwrap_or_default(),
            stream_time: claimed.state.time,
            config_hash: rule.config_hash,
            partition: claimed.partition,
            nonce,
        };
        let options = rule.options(claimed.partition).ok()?;
        match Window::restore(&bytes[..], &expected, options) {
            Ok(restored) => Some((restored.window, restored.floor)),
            Err(rejected) => {
                warn!(partition = claimed.partition.0, why = %rejected, "window snapshot thrown away");
                None
            }
        }
    }

    /// Adds the ids of accepted rows: those above the snapshot's floor, or all of the last W.
    async fn scan(
        &self,
        rule: &WindowRule,
        claimed: &ClaimedPartition,
        above: Option<Position>,
        window: &mut Window,
    ) -> Result<u64, RunError> {
        let files = self.log.live_files(&claimed.snapshot).await?;
        let files: Vec<_> = files
            .into_iter()
            .map(|file| LiveFileRef {
                path: file.path,
                partition_values: file.partition_values,
                stats: file.stats,
            })
            .collect();
        let window_start = claimed.state.time.0.saturating_sub(rule.window.window.as_micros());
        let query = WindowQuery {
            ledger: self.ledger.clone(),
            partition: claimed.partition,
            after_time: StreamTime(window_start),
            above: above.map(|floor| (self.source.clone(), floor)),
            id: rule.id_column(&claimed.snapshot)?,
        };
        let (mut rows, mut refused) = (Vec::with_capacity(INSERTED_AT_ONCE), None);
        let summary = scan_window(&self.store, &files, &query, |row| {
            rows.push((rule.fingerprint(row.id), row.time));
            if rows.len() == INSERTED_AT_ONCE {
                refused = window.insert_all(&rows).err();
                rows.clear();
            }
            if refused.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
        match refused.or(window.insert_all(&rows).err()) {
            None => Ok(summary.rows),
            Some(error) => {
                let what = "the deduplication window does not fit";
                Err(RunError::transient(Reason::ResourceExhausted, what).because(error))
            }
        }
    }
}

impl WindowRule {
    /// The window's options; its spill folder is made.
    fn options(&self, partition: PartitionId) -> Result<WindowOptions, RunError> {
        let spill_dir = self.spill_dir.join(format!("window-{partition}"));
        std::fs::create_dir_all(&spill_dir).map_err(|source| {
            let what = format!("spill folder {} could not be made", spill_dir.display());
            RunError::transient(Reason::ResourceExhausted, what).because(source)
        })?;
        Ok(WindowOptions {
            window: self.window.window,
            keys: self.window.keys,
            memory_limit: self.memory_limit,
            spill_dir: Some(spill_dir),
        })
    }

    fn id_column(&self, snapshot: &TableSnapshot) -> Result<IdColumn, RunError> {
        let DedupKey::Field(name) = &self.window.key else { return Ok(IdColumn::Fingerprint) };
        let field = snapshot.schema().field_with_name(name).map_err(|source| {
            let what = format!("the table lacks the deduplication column {name}");
            RunError::permanent(Reason::TableMismatch, what).because(source)
        })?;
        Ok(IdColumn::Field { name: name.clone(), data_type: field.data_type().clone() })
    }

    fn fingerprint(&self, id: &[u8]) -> Fingerprint {
        match (&self.window.key, <[u8; 16]>::try_from(id)) {
            (DedupKey::Header(_), Ok(bytes)) => Fingerprint::from_be_bytes(bytes),
            _ => self.hasher.fingerprint(id),
        }
    }
}
