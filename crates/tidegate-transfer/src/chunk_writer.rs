//! The files of one chunk.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use tidegate_batch::{OpenFiles, PartitionRouter, PartitionValues};
use tidegate_config::TransferConfig;
use tidegate_runtime::RunError;
use tidegate_table::files::layout::{DataPath, FileName};
use tidegate_table::files::system::{BulkColumns, BulkCoordinates};
use tidegate_table::files::{DataFile, FileError, FileWriter, WriteOptions};
use tidegate_table::store::TableStore;
use tidegate_types::{ByteSize, Ledger, Nonce, Reason};
use tokio::task::JoinSet;

use crate::attempt::Attempt;
use crate::decide::Memory;
use crate::event_times::EventTimes;

/// How the files of a run are written.
pub(crate) struct FileSettings {
    pub(crate) store: TableStore,
    /// The data files' columns.
    pub(crate) schema: SchemaRef,
    pub(crate) router: PartitionRouter,
    pub(crate) options: WriteOptions,
    pub(crate) ledger: Ledger,
    pub(crate) target_size: ByteSize,
    /// Files that one writer has open at most.
    pub(crate) open_each: usize,
    /// Bytes that the open files of one writer may hold.
    pub(crate) bytes_each: usize,
    /// Files of one writer whose upload is being finished beside the reading of further rows.
    pub(crate) finishing: usize,
    /// Of a repair: what every row's event time must be.
    pub(crate) event_times: Option<EventTimes>,
}

impl FileSettings {
    /// How the attempt's files are written.
    pub(crate) fn of(attempt: Attempt<'_>) -> Self {
        let Attempt { config, store, layout, interval, .. } = attempt;
        let memory = Memory::shares(config);
        Self {
            store: store.clone(),
            schema: Arc::clone(&layout.file_schema),
            router: layout.router.clone(),
            options: write_options(config),
            ledger: config.ledger.clone(),
            target_size: config.sink.file.target_size,
            open_each: memory.open_each,
            bytes_each: memory.files_each,
            finishing: memory.finishing,
            event_times: EventTimes::of(config, interval),
        }
    }
}

/// How the pipeline's files are encoded and uploaded.
pub(crate) fn write_options(config: &TransferConfig) -> WriteOptions {
    let memory = Memory::shares(config);
    WriteOptions {
        compression: config.sink.file.compression,
        row_group_bytes: memory.row_group_bytes,
        part_size: memory.part_size,
        parts_in_flight: memory.parts_in_flight,
        ..WriteOptions::default()
    }
}

/// What distinguishes the rows and files of one attempt at a chunk (B6).
#[derive(Debug, Clone)]
pub(crate) struct ChunkIdentity {
    /// What `_tg_src` says.
    pub(crate) source: String,
    /// The interval's start.
    pub(crate) interval: Option<Timestamp>,
    pub(crate) generation: u64,
    pub(crate) chunk: u32,
    /// Of this attempt: what a zombie writes never has the name of what was committed.
    pub(crate) nonce: Nonce,
}

/// Writes the rows of one attempt at a chunk. When it is dropped nothing of it is ever named.
pub(crate) struct ChunkWriter {
    settings: Arc<FileSettings>,
    identity: ChunkIdentity,
    writers: BTreeMap<PartitionValues, FileWriter>,
    open: OpenFiles<PartitionValues>,
    finishing: JoinSet<Result<DataFile, FileError>>,
    finished: Vec<DataFile>,
    files_begun: u32,
    rows: u64,
}

impl ChunkWriter {
    pub(crate) fn new(settings: &Arc<FileSettings>, identity: ChunkIdentity) -> Self {
        Self {
            open: OpenFiles::new(settings.open_each, settings.target_size),
            settings: Arc::clone(settings),
            identity,
            writers: BTreeMap::new(),
            finishing: JoinSet::new(),
            finished: Vec::new(),
            files_begun: 0,
            rows: 0,
        }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows, in the source's columns.
    ///
    /// # Errors
    ///
    /// When a row has no place in the table, or the store refuses.
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<(), RunError> {
        if let Some(event_times) = &self.settings.event_times {
            event_times.check(batch)?;
        }
        let rows = BulkCoordinates {
            source: &self.identity.source,
            chunk: self.identity.chunk,
            first: self.rows,
            interval: self.identity.interval,
        };
        let batch = BulkColumns.append(batch, &rows)?;
        self.rows += batch.num_rows() as u64;
        let routed = self.settings.router.route(&batch).map_err(|source| {
            let what = "a row cannot be filed under the table's partitions";
            RunError::permanent(Reason::TableMismatch, what).because(source)
        })?;
        for part in routed {
            if let Some(closing) = self.open.open(&part.values) {
                self.finish(&closing).await?;
            }
            let writer = self.writer(&part.values);
            writer.write(&part.rows).await?;
            let size = ByteSize(writer.bytes_written_estimate());
            if self.open.wrote(&part.values, size) {
                self.finish(&part.values).await?;
            }
        }
        self.make_room().await
    }

    /// Ends every file; what they are.
    pub(crate) async fn end(mut self) -> Result<Vec<DataFile>, RunError> {
        for values in self.open.close_all() {
            self.finish(&values).await?;
        }
        self.wait_until(0).await?;
        Ok(self.finished)
    }

    /// Closes the file that holds most, until the open ones hold no more than they may.
    async fn make_room(&mut self) -> Result<(), RunError> {
        while self.writers.len() > 1 && self.buffered() > self.settings.bytes_each {
            let largest = self.writers.iter().max_by_key(|(_, writer)| writer.buffered_bytes());
            let Some(values) = largest.map(|(values, _)| values.clone()) else { break };
            self.open.close(&values);
            self.finish(&values).await?;
        }
        Ok(())
    }

    fn buffered(&self) -> usize {
        self.writers.values().map(FileWriter::buffered_bytes).sum()
    }

    fn writer(&mut self, values: &PartitionValues) -> &mut FileWriter {
        let number = &mut self.files_begun;
        let (settings, identity) = (&self.settings, &self.identity);
        self.writers.entry(values.clone()).or_insert_with(|| {
            let ChunkIdentity { generation, chunk, nonce, .. } = *identity;
            let ledger = settings.ledger.clone();
            let name = FileName::of_run(ledger, generation, chunk, nonce, *number);
            *number += 1;
            FileWriter::create(
                Arc::clone(&settings.store.data),
                DataPath::new(&values.0, &name),
                Arc::clone(&settings.schema),
                values.0.iter().cloned().collect(),
                &settings.options,
            )
        })
    }

    /// Finishes a file beside the reading of further rows, of which there are few at a time.
    async fn finish(&mut self, values: &PartitionValues) -> Result<(), RunError> {
        if let Some(writer) = self.writers.remove(values) {
            self.wait_until(self.settings.finishing.saturating_sub(1)).await?;
            self.finishing.spawn(writer.finish());
            self.wait_until(self.settings.finishing).await?;
        }
        Ok(())
    }

    async fn wait_until(&mut self, most: usize) -> Result<(), RunError> {
        while self.finishing.len() > most {
            match self.finishing.join_next().await {
                Some(Ok(file)) => self.finished.push(file?),
                Some(Err(source)) => {
                    let what = "a file could not be finished";
                    return Err(RunError::transient(Reason::SinkUnreachable, what).because(source));
                }
                None => {}
            }
        }
        Ok(())
    }
}
