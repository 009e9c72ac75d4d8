//! When a batch is full, and what it is handed on with.

use std::time::Duration;

use tidegate_batch::{FlushFacts, FlushPolicy, FlushReason, flush_due};
use tidegate_dedup::SnapshotHeader;
use tidegate_runtime::{RunError, failpoint};
use tidegate_types::{PartitionId, Reason, Span};
use tokio::time::Instant;
use tracing::debug;

use super::{Engine, IN_FLIGHT};
use crate::batch::{OpenBatch, WindowSnapshot};
use crate::committer::Request;

/// A window snapshot is cut at least this often (D3).
const SNAPSHOT_EACH: Duration = Duration::from_secs(300);

impl Engine {
    pub(super) async fn seal_when_due(&mut self) -> Result<(), RunError> {
        let waits = self.advancing > 0 || self.in_flight >= IN_FLIGHT || self.owes_idle_look();
        if self.batch.is_empty() || waits {
            return Ok(());
        }
        let flush = &self.parts.config.sink.flush;
        let policy = FlushPolicy {
            max_interval: flush.max_interval,
            max_rows: flush.max_rows,
            idle_after: flush.idle_after,
            max_bytes: self.parts.max_batch_bytes,
        };
        let fresh = |k: &PartitionId| self.active.get(k).is_some_and(|active| active.fresh);
        let facts = FlushFacts {
            oldest_record_age: self.batch.opened.map(|opened| span(opened.elapsed())),
            rows: self.batch.rows + self.batch.dead.len() as u64,
            buffered_bytes: self.batch.buffered_bytes(),
            source_idle_for: span(self.last_message.elapsed()),
            first_after_claim: self.in_flight == 0 && self.batch.progress.keys().any(fresh),
            draining: self.leaving.is_some(),
            caught_up: self.parts.until.is_some() && self.all_done(),
        };
        match flush_due(&policy, &facts) {
            Some(reason) if self.is_same_stream().await? => self.seal(reason).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn seal(&mut self, reason: FlushReason) -> Result<(), RunError> {
        let release = self.leaving.is_some();
        self.releasing = release;
        let snapshots = self.window_snapshots(release)?;
        let empty = OpenBatch::new(&self.parts.files, &mut self.parts.random);
        let mut batch = std::mem::replace(&mut self.batch, empty);
        for (partition, progress) in &mut batch.progress {
            if let Some(active) = self.active.get_mut(partition) {
                active.base = progress.cursor;
                progress.complete = active.complete;
            }
        }
        debug!(?reason, rows = batch.rows, "batch sealed");
        let sealed = batch.seal(self.lineage, snapshots, self.record, release);
        failpoint::hit("batch.sealed");
        self.in_flight += 1;
        self.ask(Request::Commit(Box::new(sealed))).await
    }

    /// Cuts the windows of the batch's partitions where it is time, and all of them before a release.
    pub(super) fn window_snapshots(
        &mut self,
        release: bool,
    ) -> Result<Vec<WindowSnapshot>, RunError> {
        let mut snapshots = Vec::new();
        for (partition, progress) in &self.batch.progress {
            let Some(active) = self.active.get_mut(partition) else { continue };
            let Some(window) = &active.window else { continue };
            if !release && active.snapshot_at.elapsed() < SNAPSHOT_EACH {
                continue;
            }
            let nonce = self.parts.random.nonce();
            let header = SnapshotHeader {
                floor: progress.cursor,
                config_hash: self.parts.windows.config_hash(),
                partition: *partition,
                nonce,
            };
            let bytes = window.snapshot(&header).map_err(|source| {
                RunError::transient(Reason::ResourceExhausted, "window could not be copied")
                    .because(source)
            })?;
            active.snapshot_at = Instant::now();
            snapshots.push(WindowSnapshot { partition: *partition, nonce, bytes: bytes.into() });
        }
        Ok(snapshots)
    }
}

fn span(duration: Duration) -> Span {
    Span::millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
