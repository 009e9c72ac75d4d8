//! What was read becomes a commit, or is read again.

use std::collections::BTreeMap;

use tidegate_runtime::{RunError, failpoint};
use tidegate_table::files::DataFile;
use tidegate_table::ledger::{LedgerState, PartitionState};
use tidegate_table::log::CommitKind;
use tidegate_types::{Counters, Nonce, Reason};
use tracing::{info, warn};

use super::attempt::{Attempt, Plan};
use super::{Committed, Committer, Event, held};
use crate::batch::SealedBatch;
use crate::decide::{CommitDecision, LostPartition, eased, through};

/// A checkpoint each this many versions keeps the log short to read.
const CHECKPOINT_EACH: u64 = 20;

impl Committer {
    pub(super) async fn commit_batch(&mut self, mut batch: SealedBatch) -> Result<(), RunError> {
        failpoint::hit("files.before_finish");
        let files = finish_files(&mut batch).await?;
        failpoint::hit("files.after_finish");
        let dead_nonce = self.write_dead_letters(&batch).await?;
        self.save_windows(&mut batch).await;
        let held: Vec<_> = if batch.release {
            self.all_held(&batch.progress)?
        } else {
            batch.progress.iter().map(|(k, p)| held(*k, p)).collect()
        };
        let (kind, record) = (CommitKind::Data, batch.record);
        let plan = Plan { kind, held: &held, record, files: files.clone() };
        let txns = |this: &Self, state: &LedgerState| this.batch_txns(&batch, dead_nonce, state);
        let attempt = self.attempt(plan, txns).await?;
        match attempt {
            Attempt::Won(version) => self.batch_won(&batch, &files, version).await,
            // What was read since is not to be read again: the broker has been told (X5).
            Attempt::GivenUp => self.tell(Event::GivenUp).await,
            Attempt::Void(CommitDecision::Lost(lost)) => self.rewind(&lost).await,
            Attempt::Void(CommitDecision::Rejudge) => {
                info!("an interval was repaired meanwhile; what was read is judged again");
                self.rewind(&[]).await
            }
            Attempt::Void(CommitDecision::Halt(what)) => {
                Err(RunError::permanent(Reason::TableRewound, what))
            }
            Attempt::Void(CommitDecision::Commit | CommitDecision::Refresh) => {
                unreachable!("both are carried out, not reported")
            }
        }
    }

    pub(super) fn batch_txns(
        &self,
        batch: &SealedBatch,
        dead_nonce: Option<Nonce>,
        state: &LedgerState,
    ) -> BTreeMap<String, i64> {
        let mut txns = BTreeMap::new();
        for (partition, progress) in &batch.progress {
            let before = state.partition(*partition);
            let cut = batch.snapshots.iter().find(|s| s.partition == *partition);
            let time = progress.time.max(before.time);
            let carries_dead = dead_nonce.filter(|_| progress.counters.dead > 0);
            let after = PartitionState {
                floor: Some(progress.cursor),
                fingerprint: progress.fingerprint,
                counters: before.counters + progress.counters,
                time,
                through: through(progress.complete, self.parts.allowed_lateness, before.through),
                snapshot: cut.map(|s| s.nonce).or(before.snapshot),
                dead_letter: carries_dead.or(before.dead_letter),
                stuck: eased(before.stuck),
                ..before
            };
            txns.extend(self.progress(*partition, &before, &after));
        }
        if batch.release {
            self.release_txns(&mut txns);
        }
        txns
    }

    pub(super) async fn batch_won(
        &mut self,
        batch: &SealedBatch,
        files: &[DataFile],
        version: u64,
    ) -> Result<(), RunError> {
        let counters = batch.progress.values().fold(Counters::default(), |sum, p| sum + p.counters);
        let bytes = files.iter().map(|file| file.size).sum();
        let count = files.len() as u64;
        let seconds = batch.opened.elapsed().as_secs_f64();
        self.parts.metrics.committed(counters, count, bytes, seconds);
        self.parts.metrics.set_last_version(version);
        for (partition, progress) in &batch.progress {
            self.parts.metrics.set_floor(*partition, progress.cursor);
        }
        self.roll_dead_letters_forward().await?;
        self.checkpoint_when_due(version).await;
        let receipts = batch.progress.iter().map(|(k, p)| (*k, p.receipt)).collect();
        let files = count;
        self.tell(Event::Committed(Committed { version, counters, files, bytes, receipts })).await
    }

    /// A snapshot is a cache (D2): one that cannot be written is not named, and the next holder rebuilds
    /// the window from the table.
    async fn save_windows(&self, batch: &mut SealedBatch) {
        for snapshot in std::mem::take(&mut batch.snapshots) {
            match self.parts.windows.save(&snapshot).await {
                Ok(()) => batch.snapshots.push(snapshot),
                Err(error) => {
                    warn!(partition = snapshot.partition.0, error = %error, "window snapshot left out");
                }
            }
            failpoint::hit("window.snapshot_written");
        }
    }

    /// Forgets everything uncommitted; the engine reads again from the floors in the log.
    pub(super) async fn rewind(&mut self, lost: &[LostPartition]) -> Result<(), RunError> {
        self.lineage += 1;
        self.parts.metrics.fenced(lost.len() as u64);
        for each in lost {
            warn!(partition = each.partition().0, ?each, reason = %Reason::Fenced, "partition lost");
            self.held.remove(&each.partition());
            self.lost_before.insert(each.partition());
            self.watched.remove(&each.partition());
            self.parts.metrics.forget_partition(each.partition());
        }
        let state = self.state()?;
        let again =
            self.held.iter().map(|(k, epoch)| self.claimed_partition(*k, *epoch, &state)).collect();
        self.tell(Event::Rewound { lineage: self.lineage, lost: lost.to_vec(), again }).await
    }

    pub(super) async fn write_dead_letters(
        &mut self,
        batch: &SealedBatch,
    ) -> Result<Option<Nonce>, RunError> {
        if batch.dead.is_empty() {
            return Ok(None);
        }
        // Only the next main commit that carries dead letters waits for the last one's.
        self.roll_dead_letters_forward().await?;
        let nonce = self.parts.random.nonce();
        let partitions: Vec<_> = batch
            .progress
            .iter()
            .filter(|(_, progress)| progress.counters.dead > 0)
            .map(|(partition, _)| *partition)
            .collect();
        self.parts.dead_letters.write(nonce, &partitions, &batch.dead).await?;
        failpoint::hit("dead_letters.file_written");
        Ok(Some(nonce))
    }

    pub(super) async fn roll_dead_letters_forward(&mut self) -> Result<(), RunError> {
        let parts = &mut self.parts;
        parts.dead_letters.roll_forward(&parts.log, &parts.snapshot, &mut parts.random).await
    }

    /// Best effort: the log is readable without.
    pub(super) async fn checkpoint_when_due(&mut self, version: u64) {
        // Others' commits count too, so a round number may not be ours.
        if version / CHECKPOINT_EACH == self.seen_version / CHECKPOINT_EACH {
            return;
        }
        self.seen_version = version;
        failpoint::hit("checkpoint.before");
        if let Err(error) = self.parts.log.checkpoint(&self.parts.snapshot).await {
            warn!(version, error = %error, "checkpoint failed, the next one will do");
        }
        // Spares the next reader the replay of every position.
        self.parts.log.write_checksum(&self.parts.snapshot).await;
        failpoint::hit("checkpoint.after");
    }
}

async fn finish_files(batch: &mut SealedBatch) -> Result<Vec<DataFile>, RunError> {
    let mut files = Vec::new();
    while let Some(joined) = batch.files.join_next().await {
        let file = joined.map_err(|source| {
            RunError::transient(Reason::SinkUnreachable, "an upload task died").because(source)
        })??;
        files.push(file);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
