//! Writing one data file.
//!
//! Failure points: before [`FileWriter::finish`] begins, nothing is visible and dropping the writer
//! cleans up; when finish fails, the object is removed or was never there; after it succeeded, the
//! object is whole (its size and its footer's row count were read back from the store) and is rubbish
//! until a commit names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use tidegate_types::Compression;

use super::encoder::Encoder;
use super::layout::DataPath;
use super::profile::writer_properties;
use super::reader::{Footer, read_footer};
use super::stats::{NestedNulls, file_stats};
use super::upload::Upload;
use super::{DataFile, FileError};

/// How files are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// The codec.
    pub compression: Compression,
    /// Most rows of a row group.
    pub row_group_rows: usize,
    /// A row group is closed when its encoded size reaches this many bytes.
    pub row_group_bytes: usize,
    /// Bytes of one part of an upload. S3 takes no part below 5 MiB but the last, and 10,000 parts.
    pub part_size: usize,
    /// Parts in flight at once. With parts of 8 MiB and 4 of them one file holds at most 40 MiB that the
    /// store has not acknowledged, the open part included.
    pub parts_in_flight: usize,
    /// Entries of the footer's key-value metadata.
    pub metadata: Vec<(String, String)>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            compression: Compression::default(),
            row_group_rows: 1 << 20,
            // An open row group is memory, and every open file has one.
            row_group_bytes: 32 << 20,
            part_size: 8 << 20,
            parts_in_flight: 4,
            metadata: Vec::new(),
        }
    }
}

/// Writes one data file, uploading it as it grows.
pub struct FileWriter {
    store: Arc<dyn ObjectStore>,
    path: DataPath,
    schema: SchemaRef,
    partition_values: BTreeMap<String, Option<String>>,
    options: WriteOptions,
    /// None before the first batch, which decides the encodings, and after a failure.
    encoder: Option<Encoder>,
    nested_nulls: NestedNulls,
    rows: u64,
    failed: bool,
}

/// Writes a whole file at once, with entries in its footer: for dead letters (P4).
///
/// # Errors
///
/// As [`FileWriter::write`] and [`FileWriter::finish`].
pub async fn write_file(
    store: Arc<dyn ObjectStore>,
    path: DataPath,
    schema: SchemaRef,
    batches: &[RecordBatch],
    options: &WriteOptions,
) -> Result<DataFile, FileError> {
    let mut writer = FileWriter::create(store, path, schema, BTreeMap::new(), options);
    for batch in batches {
        writer.write(batch).await?;
    }
    writer.finish().await
}

impl FileWriter {
    /// Begins a file. Nothing is sent yet.
    ///
    /// `schema` is that of the file, without partition columns; `partition_values` are what the
    /// commit will say of them.
    #[must_use]
    pub fn create(
        store: Arc<dyn ObjectStore>,
        path: DataPath,
        schema: SchemaRef,
        partition_values: BTreeMap<String, Option<String>>,
        options: &WriteOptions,
    ) -> Self {
        Self {
            store,
            path,
            schema,
            partition_values,
            options: options.clone(),
            encoder: None,
            nested_nulls: NestedNulls::default(),
            rows: 0,
            failed: false,
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    ///
    /// When the batch has another schema or the store fails; the file is then given up, and the writer
    /// answers [`FileError::Closed`] from there on.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        let outcome = match self.open(Some(batch)) {
            Ok(encoder) => encoder.write(batch).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.give_up().await;
            return outcome;
        }
        self.nested_nulls.add(batch);
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// About how large the file would be if it ended here: what is encoded, the open row group
    /// included.
    #[must_use]
    pub fn bytes_written_estimate(&self) -> u64 {
        self.encoder.as_ref().map_or(0, Encoder::size_estimate)
    }

    /// Bytes that this writer holds in memory: the open row group and parts under way.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.encoder.as_ref().map_or(0, Encoder::buffered)
    }

    /// Ends the file and reads back that it is whole.
    ///
    /// # Errors
    ///
    /// When the store fails, or holds something else than was sent. No object remains then.
    pub async fn finish(mut self) -> Result<DataFile, FileError> {
        let outcome = self.seal().await;
        if outcome.is_err() {
            self.give_up().await;
            remove(&self.store, self.path.object()).await;
        }
        outcome
    }

    /// Gives the file up. No object remains.
    pub async fn abort(mut self) {
        self.give_up().await;
    }

    async fn seal(&mut self) -> Result<DataFile, FileError> {
        let encoder = self.open(None)?;
        let metadata = encoder.end().await?;
        let length = encoder.length();
        let footer = match encoder.complete().await {
            Ok(()) => read_back(&self.store, self.path.object(), length, self.rows).await?,
            // The answer may be what was lost, not the object: then it is there and whole.
            Err(error) => {
                let found = read_back(&self.store, self.path.object(), length, self.rows).await;
                found.map_err(|_| error)?
            }
        };
        self.describe(&metadata, &footer)
    }

    fn describe(&self, metadata: &ParquetMetaData, footer: &Footer) -> Result<DataFile, FileError> {
        let stats = file_stats(&self.schema, metadata, &self.nested_nulls)
            .map_err(|source| self.parquet_error(source))?;
        Ok(DataFile {
            path: self.path.in_log(),
            size: footer.object.size,
            rows: self.rows,
            partition_values: self.partition_values.clone(),
            modification_time_ms: footer.object.last_modified.timestamp_millis(),
            stats,
        })
    }

    /// The encoder, made with the encodings that suit the first batch.
    fn open(&mut self, first: Option<&RecordBatch>) -> Result<&mut Encoder, FileError> {
        if self.failed {
            return Err(FileError::Closed { path: self.path.object().to_string() });
        }
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => self.encoder(first)?,
        };
        Ok(self.encoder.insert(encoder))
    }

    fn encoder(&self, first: Option<&RecordBatch>) -> Result<Encoder, FileError> {
        let sample = first.filter(|batch| batch.num_columns() == self.schema.fields().len());
        let properties = writer_properties(&self.schema, sample, &self.options);
        let path = self.path.object().clone();
        let WriteOptions { part_size, parts_in_flight, .. } = self.options;
        let upload = Upload::new(Arc::clone(&self.store), path, part_size, parts_in_flight);
        Encoder::new(upload, Arc::clone(&self.schema), properties)
    }

    async fn give_up(&mut self) {
        self.failed = true;
        if let Some(encoder) = self.encoder.take() {
            encoder.abort().await;
        }
    }

    fn parquet_error(&self, source: ParquetError) -> FileError {
        FileError::Parquet { path: self.path.object().to_string(), source }
    }
}

/// Reads the footer back and compares: the object is whole, or the file is none (the borrow of the
/// writer must not live across a wait, because its encoder cannot be shared between threads).
async fn read_back(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    length: u64,
    rows: u64,
) -> Result<Footer, FileError> {
    let footer = read_footer(store, path).await?;
    let found_rows = footer.metadata.file_metadata().num_rows().unsigned_abs();
    for (what, expected, found) in
        [("bytes", length, footer.object.size), ("rows", rows, found_rows)]
    {
        if expected != found {
            return Err(FileError::NotWhole { path: path.to_string(), what, expected, found });
        }
    }
    Ok(footer)
}

/// Removes what a failed finish may have left. No commit ever named it, so nobody misses it.
async fn remove(store: &Arc<dyn ObjectStore>, path: &Path) {
    match store.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::debug!(%path, %error, "unfinished file stays"),
    }
}

/// Describes a file of flat columns that lies in the store already, with the entries of its footer:
/// enough to commit it without the worker that wrote it (P4).
///
/// # Errors
///
/// When the file is missing, cut short, or its statistics cannot be read.
pub async fn describe_file(
    store: &Arc<dyn ObjectStore>,
    path: &DataPath,
    schema: &Schema,
) -> Result<(DataFile, BTreeMap<String, String>), FileError> {
    let footer = read_footer(store, path.object()).await?;
    Ok((describe_footer(&footer, path, schema)?, footer.entries()))
}

/// Describes a file by its footer alone; values of partition columns it does not have. Of lists and maps
/// the null counts are left out.
///
/// # Errors
///
/// When the footer does not have the schema's columns.
pub fn describe_footer(
    footer: &Footer,
    path: &DataPath,
    schema: &Schema,
) -> Result<DataFile, FileError> {
    let stats = file_stats(schema, &footer.metadata, &NestedNulls::default())
        .map_err(|source| FileError::Parquet { path: path.object().to_string(), source })?;
    Ok(DataFile {
        path: path.in_log(),
        size: footer.object.size,
        rows: footer.metadata.file_metadata().num_rows().unsigned_abs(),
        partition_values: BTreeMap::new(),
        modification_time_ms: footer.object.last_modified.timestamp_millis(),
        stats,
    })
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
