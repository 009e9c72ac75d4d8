//! Rows on their way from the judge to the commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use object_store::ObjectStore;
use tidegate_batch::{OpenFiles, PartitionRouter, PartitionValues};
use tidegate_config::FilePolicy;
use tidegate_runtime::{Random, RunError};
use tidegate_source::Receipt;
use tidegate_table::files::layout::{DataPath, FileName};
use tidegate_table::files::{DataFile, FileError, FileWriter, WriteOptions};
use tidegate_types::{
    ByteSize, Counters, Epoch, Ledger, Nonce, PartitionId, Position, Reason, StreamTime,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::dead_letters::DeadLetter;

/// How far one partition got within a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionProgress {
    /// The epoch under which it was read.
    pub(crate) epoch: Epoch,
    /// The floor that the batch rests on.
    pub(crate) base: Position,
    /// The last sequence in the batch: the new floor.
    pub(crate) cursor: Position,
    /// The fingerprint of the message at the cursor.
    pub(crate) fingerprint: i64,
    /// What became of the messages.
    pub(crate) counters: Counters,
    /// Stream time at the cursor.
    pub(crate) time: StreamTime,
    /// The broker's time up to which nothing of the partition is missing.
    pub(crate) complete: StreamTime,
    /// What to acknowledge once it is committed.
    pub(crate) receipt: Receipt,
}

/// A window snapshot, cut at the batch's end.
pub(crate) struct WindowSnapshot {
    pub(crate) partition: PartitionId,
    pub(crate) nonce: Nonce,
    pub(crate) bytes: Bytes,
}

/// A batch that takes no more rows.
pub(crate) struct SealedBatch {
    /// Which line of readings it belongs to; a rewind begins a new line.
    pub(crate) lineage: u64,
    pub(crate) progress: BTreeMap<PartitionId, PartitionProgress>,
    /// Uploads that are being finished.
    pub(crate) files: JoinSet<Result<DataFile, FileError>>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) snapshots: Vec<WindowSnapshot>,
    /// The last repair record that the verdicts knew (B10).
    pub(crate) record: Option<Nonce>,
    /// Give the partitions back with this commit.
    pub(crate) release: bool,
    pub(crate) opened: Instant,
}

/// Where and how data files are written.
pub(crate) struct FileSettings {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The data files' schema: without partition columns that are derived or Identity.
    pub(crate) schema: SchemaRef,
    pub(crate) options: WriteOptions,
    pub(crate) policy: FilePolicy,
    pub(crate) ledger: Ledger,
}

/// A batch that takes rows.
pub(crate) struct OpenBatch {
    writers: BTreeMap<PartitionValues, FileWriter>,
    open: OpenFiles<PartitionValues>,
    finishing: JoinSet<Result<DataFile, FileError>>,
    pub(crate) progress: BTreeMap<PartitionId, PartitionProgress>,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) dead_bytes: usize,
    pub(crate) rows: u64,
    pub(crate) opened: Option<Instant>,
    files_begun: u32,
    nonce: Nonce,
}

impl OpenBatch {
    /// An empty batch.
    pub(crate) fn new(settings: &FileSettings, random: &mut Random) -> Self {
        Self {
            writers: BTreeMap::new(),
            open: OpenFiles::new(
                settings.policy.max_open_partitions as usize,
                settings.policy.target_size,
            ),
            finishing: JoinSet::new(),
            progress: BTreeMap::new(),
            dead: Vec::new(),
            dead_bytes: 0,
            rows: 0,
            opened: None,
            files_begun: 0,
            nonce: random.nonce(),
        }
    }

    /// Whether there is nothing to commit.
    pub(crate) fn is_empty(&self) -> bool {
        self.progress.is_empty()
    }

    /// Bytes that are held in memory for it.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.dead_bytes + self.writers.values().map(FileWriter::buffered_bytes).sum::<usize>()
    }

    /// Writes rows (with system columns) to the files of their partition paths.
    ///
    /// # Errors
    ///
    /// When the store refuses; the batch is then void.
    pub(crate) async fn write(
        &mut self,
        rows: &RecordBatch,
        router: &PartitionRouter,
        epoch: Epoch,
        settings: &FileSettings,
    ) -> Result<(), RunError> {
        let routed = router.route(rows).map_err(|source| {
            RunError::permanent(Reason::TableMismatch, "rows could not be routed").because(source)
        })?;
        for part in routed {
            self.rows += part.rows.num_rows() as u64;
            if let Some(closing) = self.open.open(&part.values) {
                self.finish(&closing);
            }
            let writer = self.writer(&part.values, epoch, settings);
            writer.write(&part.rows).await?;
            let size = ByteSize(writer.bytes_written_estimate());
            if self.open.wrote(&part.values, size) {
                self.finish(&part.values);
            }
        }
        Ok(())
    }

    fn writer(
        &mut self,
        values: &PartitionValues,
        epoch: Epoch,
        settings: &FileSettings,
    ) -> &mut FileWriter {
        let number = &mut self.files_begun;
        let nonce = self.nonce;
        self.writers.entry(values.clone()).or_insert_with(|| {
            let ledger = settings.ledger.clone();
            let name = FileName { ledger, epoch, nonce, number: *number };
            *number += 1;
            FileWriter::create(
                Arc::clone(&settings.store),
                DataPath::new(&values.0, &name),
                Arc::clone(&settings.schema),
                values.0.iter().cloned().collect(),
                &settings.options,
            )
        })
    }

    /// Finishes a file beside the reading of further rows.
    fn finish(&mut self, values: &PartitionValues) {
        if let Some(writer) = self.writers.remove(values) {
            self.finishing.spawn(writer.finish());
        }
    }

    /// Takes no more rows; every open file is being finished from here on.
    pub(crate) fn seal(
        mut self,
        lineage: u64,
        snapshots: Vec<WindowSnapshot>,
        record: Option<Nonce>,
        release: bool,
    ) -> SealedBatch {
        for values in self.open.close_all() {
            self.finish(&values);
        }
        SealedBatch {
            lineage,
            progress: self.progress,
            files: self.finishing,
            dead: self.dead,
            snapshots,
            record,
            release,
            opened: self.opened.unwrap_or_else(Instant::now),
        }
    }
}
