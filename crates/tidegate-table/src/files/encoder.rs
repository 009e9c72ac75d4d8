//! The Parquet encoder of one file, feeding its upload.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;

use super::FileError;
use super::upload::Upload;

/// An encoder whose finished row groups go to the store.
pub(super) struct Encoder {
    writer: ArrowWriter<Vec<u8>>,
    upload: Upload,
}

impl Encoder {
    pub(super) fn new(
        upload: Upload,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, FileError> {
        // Readers get the types from Parquet's own annotations; Arrow's schema would repeat them.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        match ArrowWriter::try_new_with_options(Vec::new(), schema, options) {
            Ok(writer) => Ok(Self { writer, upload }),
            Err(source) => Err(FileError::Parquet { path: upload.path().to_string(), source }),
        }
    }

    /// Encodes rows, and sends what row groups they complete.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        let groups = self.writer.flushed_row_groups().len();
        self.writer.write(batch).map_err(|source| self.parquet_error(source))?;
        if self.writer.flushed_row_groups().len() > groups {
            self.send().await?;
        }
        Ok(())
    }

    /// Encodes the footer and sends all but what [`Encoder::complete`] sends.
    pub(super) async fn end(&mut self) -> Result<ParquetMetaData, FileError> {
        let metadata = self.writer.finish().map_err(|source| self.parquet_error(source))?;
        self.send().await?;
        Ok(metadata)
    }

    /// Makes the object visible.
    pub(super) async fn complete(&mut self) -> Result<(), FileError> {
        self.upload.complete().await.map_err(|source| self.store_error(source))
    }

    pub(super) async fn abort(mut self) {
        self.upload.abort().await;
    }

    /// Bytes of the object; whole after [`Encoder::end`].
    pub(super) fn length(&self) -> u64 {
        self.upload.length()
    }

    /// About how large the file would be if it ended here.
    pub(super) fn size_estimate(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Bytes in memory: the open row group, what it left, and parts under way.
    pub(super) fn buffered(&self) -> usize {
        self.writer.memory_size() + self.writer.inner().len() + self.upload.buffered()
    }

    async fn send(&mut self) -> Result<(), FileError> {
        let encoded = std::mem::take(self.writer.inner_mut());
        self.upload.push(Bytes::from(encoded)).await.map_err(|source| self.store_error(source))
    }

    fn parquet_error(&self, source: ParquetError) -> FileError {
        FileError::Parquet { path: self.upload.path().to_string(), source }
    }

    fn store_error(&self, source: object_store::Error) -> FileError {
        FileError::Store { path: self.upload.path().to_string(), source }
    }
}
