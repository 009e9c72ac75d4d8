//! Writing the dead-letter file of a run.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use bytes::Bytes;
use jiff::Timestamp;
use object_store::ObjectStore;
use std::collections::BTreeMap;
use tidegate_types::{DataInterval, Reason};

use super::super::schema;
use super::footer::RunFooter;
use crate::files::layout::DataPath;
use crate::files::system::run_source_name;
use crate::files::{FileError, FileWriter, WriteOptions};

/// Bytes of payloads after which a row group is closed: dead letters can be large, and every one of an
/// open row group is in memory.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// A record of a bulk source that is no row, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDeadLetter {
    /// The chunk that it was read with.
    pub chunk: u32,
    /// Its number within the chunk, rows counted too.
    pub ordinal: u64,
    /// Where it stands, for people: a file's path and line. It becomes `subject`.
    pub place: String,
    /// Why.
    pub reason: Reason,
    /// What is wrong with it.
    pub detail: String,
    /// Its bytes.
    pub payload: Bytes,
}

/// The dead-letter file of a run, while it is written. A file that is not finished leaves nothing behind.
pub struct RunDeadLetterFile {
    writer: FileWriter,
    source: String,
    interval: Option<DataInterval>,
    footer: RunFooter,
    written_at: Timestamp,
}

impl RunDeadLetterFile {
    pub(super) fn create(
        store: Arc<dyn ObjectStore>,
        footer: RunFooter,
        written_at: Timestamp,
    ) -> Self {
        let options = WriteOptions {
            metadata: footer.to_key_values(),
            row_group_bytes: ROW_GROUP_BYTES,
            ..WriteOptions::default()
        };
        let path = DataPath::dead_letters(&footer.ledger, footer.nonce);
        let writer = FileWriter::create(store, path, schema(), BTreeMap::new(), &options);
        let source = run_source_name(&footer.ledger, footer.generation);
        let interval = footer.ran.interval();
        Self { writer, source, interval, footer, written_at }
    }

    /// Adds dead letters.
    ///
    /// # Errors
    ///
    /// As [`FileWriter::write`].
    pub async fn write(&mut self, dead: &[RunDeadLetter]) -> Result<(), FileError> {
        if dead.is_empty() {
            return Ok(());
        }
        let batch = self.batch(dead)?;
        self.writer.write(&batch).await
    }

    /// How many there are so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.writer.rows()
    }

    /// Ends the file. It is invisible until the main commit that names its nonce was rolled forward.
    ///
    /// # Errors
    ///
    /// As [`FileWriter::finish`].
    pub async fn finish(self) -> Result<u64, FileError> {
        Ok(self.writer.finish().await?.rows)
    }

    /// Gives the file up.
    pub async fn abort(self) {
        self.writer.abort().await;
    }

    fn batch(&self, dead: &[RunDeadLetter]) -> Result<RecordBatch, FileError> {
        let int = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let long = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let time = |at: Option<Timestamp>| {
            let micros = at.map(Timestamp::as_microsecond);
            let array =
                TimestampMicrosecondArray::from_iter(std::iter::repeat_n(micros, dead.len()));
            array.with_timezone("UTC")
        };
        let no_ids = vec![None::<&[u8]>; dead.len()];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::new_repeated(&self.source, dead.len())),
            Arc::new(Int32Array::from_iter_values(dead.iter().map(|d| int(d.chunk)))),
            Arc::new(Int64Array::from_iter_values(dead.iter().map(|d| long(d.ordinal)))),
            Arc::new(Int32Array::from_value(0, dead.len())),
            Arc::new(StringArray::from_iter_values(dead.iter().map(|d| &d.place))),
            Arc::new(time(Some(self.written_at))),
            Arc::new(StringArray::from_iter_values(dead.iter().map(|d| d.reason.as_str()))),
            Arc::new(StringArray::from_iter_values(dead.iter().map(|d| &d.detail))),
            Arc::new(BinaryArray::from_iter_values(dead.iter().map(|d| &d.payload))),
            Arc::new(BinaryArray::from(no_ids)),
            Arc::new(StringArray::new_repeated(self.footer.nonce.to_string(), dead.len())),
            Arc::new(time(self.interval.map(DataInterval::start))),
            Arc::new(Int64Array::from_value(long(self.footer.generation), dead.len())),
        ];
        RecordBatch::try_new(schema(), columns).map_err(|source| FileError::Columns { source })
    }
}
