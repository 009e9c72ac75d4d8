//! Reading the deduplication window back from the table (D2).
//!
//! The window is a view of the table: the ids of this ledger's and partition's rows whose time lies
//! within the last W. Statistics say which files can hold such rows; a file without statistics (a
//! stranger's) counts as touched. Of those, only the id, the time and the identity columns are read,
//! a few batches at a time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use object_store::ObjectStore;
use serde_json::Value;
use tidegate_types::{Ledger, PartitionId, Position, StreamTime};

use crate::files::key_bytes::KeyColumn;
use crate::files::reader::{ColumnStream, read_columns};
use crate::files::{FileError, layout, system};

/// Files whose footers are read ahead.
const FILES_AT_ONCE: usize = 4;

/// A file of the table, as the log describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFileRef {
    /// Its path in the log.
    pub path: String,
    /// Its partition values.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Its statistics.
    pub stats: Option<Value>,
}

/// Where a row's id stands.
#[derive(Debug, Clone, PartialEq)]
pub enum IdColumn {
    /// In `_tg_id`: the fingerprint itself.
    Fingerprint,
    /// In a declared column: a key whose fingerprint is still to be made.
    Field {
        /// The column.
        name: String,
        /// Its type in the table; needed where it is a partition column.
        data_type: DataType,
    },
}

/// Which rows are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowQuery {
    /// Rows of this ledger, of all its incarnations (D1).
    pub ledger: Ledger,
    /// Rows of this stream partition.
    pub partition: PartitionId,
    /// Rows later than this.
    pub after_time: StreamTime,
    /// With a snapshot: only rows of this source (`<ledger>/<incarnation>`) above its floor (D3).
    pub above: Option<(String, Position)>,
    /// Where the id stands.
    pub id: IdColumn,
}

/// A row of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRow<'a> {
    /// The fingerprint, or the key to make it from.
    pub id: &'a [u8],
    /// The broker's time of its message.
    pub time: StreamTime,
    /// The stream sequence of its message.
    pub sequence: u64,
}

/// What a scan did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanSummary {
    /// Files that could hold such rows.
    pub files: usize,
    /// Rows that were handed on.
    pub rows: u64,
    /// Whether the visitor ended the scan early.
    pub stopped: bool,
}

/// Hands every row of the window to `visit`, in no particular order, until it says to stop. Rows
/// without an id or a time are not in the window.
///
/// # Errors
///
/// When a file cannot be read: the window would then forget, so there is no partial answer.
pub async fn scan_window(
    store: &Arc<dyn ObjectStore>,
    files: &[LiveFileRef],
    query: &WindowQuery,
    mut visit: impl FnMut(WindowRow<'_>) -> ControlFlow<()>,
) -> Result<ScanSummary, FileError> {
    let touched: Vec<_> = files.iter().filter(|file| may_hold(file, query)).cloned().collect();
    let mut summary = ScanSummary { files: touched.len(), ..ScanSummary::default() };
    let opening = touched.into_iter().map(|file| open(Arc::clone(store), file, query.id.clone()));
    let mut opened = stream::iter(opening).buffered(FILES_AT_ONCE);
    while let Some((file, mut batches)) = opened.try_next().await? {
        while let Some(batch) = batches.try_next().await? {
            let Some(rows) = Rows::of(&batch, &file, query)? else { continue };
            if rows.visit(query, &mut summary.rows, &mut visit).is_break() {
                summary.stopped = true;
                return Ok(summary);
            }
        }
    }
    Ok(summary)
}

/// Owns what it needs, so that a worker may wait for it on any thread.
async fn open(
    store: Arc<dyn ObjectStore>,
    file: LiveFileRef,
    id: IdColumn,
) -> Result<(LiveFileRef, ColumnStream), FileError> {
    let path = layout::object_of_log_path(&file.path)?;
    let id = match &id {
        IdColumn::Fingerprint => system::ID,
        IdColumn::Field { name, .. } => name,
    };
    let columns = [system::SOURCE, system::PARTITION, system::SEQUENCE, system::TIME, id];
    let batches = read_columns(&store, &path, &columns).await?;
    Ok((file, batches))
}

/// Whether the file can hold a wanted row, by what its statistics say. Pure.
fn may_hold(file: &LiveFileRef, query: &WindowQuery) -> bool {
    let Some(stats) = &file.stats else { return true };
    let bound = |end: &str, column: &str| stats.get(end).and_then(|b| b.get(column)).cloned();
    let number = |end: &str, column: &str| bound(end, column).and_then(|v| v.as_i64());
    let text = |end: &str, column: &str| bound(end, column)?.as_str().map(ToOwned::to_owned);

    let partition = i64::from(query.partition.0);
    let other_partition = number("minValues", system::PARTITION).is_some_and(|n| n > partition)
        || number("maxValues", system::PARTITION).is_some_and(|n| n < partition);
    // Others round the upper bound down to a millisecond.
    let too_old = text("maxValues", system::TIME)
        .and_then(|text| text.parse::<Timestamp>().ok())
        .is_some_and(|max| max.as_microsecond().saturating_add(999) <= query.after_time.0);
    let committed_before = query.above.as_ref().is_some_and(|(_, floor)| {
        let highest = number("maxValues", system::SEQUENCE).and_then(|n| u64::try_from(n).ok());
        highest.is_some_and(|highest| highest <= floor.0)
    });
    let prefix = format!("{}/", query.ledger);
    let other_source = text("maxValues", system::SOURCE).is_some_and(|max| max < prefix)
        || text("minValues", system::SOURCE)
            .is_some_and(|min| min > prefix && !min.starts_with(&prefix));
    !(other_partition || too_old || committed_before || other_source)
}

/// The columns of one batch.
struct Rows {
    sources: ArrayRef,
    partitions: ArrayRef,
    sequences: ArrayRef,
    times: ArrayRef,
    ids: Ids,
}

enum Ids {
    PerRow(KeyColumn),
    /// The id is a partition value: one for the whole file.
    PerFile(KeyColumn),
}

impl Rows {
    /// `None` when the file lacks a column: its rows are older than deduplication, or a stranger's.
    fn of(
        batch: &RecordBatch,
        file: &LiveFileRef,
        query: &WindowQuery,
    ) -> Result<Option<Self>, FileError> {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let column = |name: &str, data_type: &DataType| {
            let cast = |column: &ArrayRef| {
                cast(column, data_type).map_err(|source| FileError::Columns { source })
            };
            batch.column_by_name(name).map(cast).transpose()
        };
        let (Some(sources), Some(partitions), Some(sequences), Some(times), Some(ids)) = (
            column(system::SOURCE, &DataType::Utf8)?,
            column(system::PARTITION, &DataType::Int32)?,
            column(system::SEQUENCE, &DataType::Int64)?,
            column(system::TIME, &utc)?,
            ids(batch, file, &query.id)?,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self { sources, partitions, sequences, times, ids }))
    }

    fn visit(
        &self,
        query: &WindowQuery,
        count: &mut u64,
        visit: &mut impl FnMut(WindowRow<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let partitions = self.partitions.as_primitive::<Int32Type>();
        let sequences = self.sequences.as_primitive::<Int64Type>();
        let times = self.times.as_primitive::<TimestampMicrosecondType>();
        let sources = self.sources.as_string::<i32>();
        let prefix = format!("{}/", query.ledger);
        for row in 0..sources.len() {
            let known = [&self.sources, &self.partitions, &self.sequences, &self.times]
                .iter()
                .all(|column| column.is_valid(row));
            let wanted = known
                && i64::from(partitions.value(row)) == i64::from(query.partition.0)
                && times.value(row) > query.after_time.0
                && sources.value(row).starts_with(&prefix);
            let sequence = sequences.value(row).unsigned_abs();
            if !wanted || !is_above(query, sources.value(row), sequence) {
                continue;
            }
            let id = match &self.ids {
                Ids::PerRow(keys) => keys.get(row),
                Ids::PerFile(keys) => keys.get(0),
            };
            let Some(id) = id else { continue };
            *count += 1;
            visit(WindowRow { id: &id, time: StreamTime(times.value(row)), sequence })?;
        }
        ControlFlow::Continue(())
    }
}

fn is_above(query: &WindowQuery, source: &str, sequence: u64) -> bool {
    query.above.as_ref().is_none_or(|(of, floor)| source == of && sequence > floor.0)
}

fn ids(
    batch: &RecordBatch,
    file: &LiveFileRef,
    column: &IdColumn,
) -> Result<Option<Ids>, FileError> {
    let name = match column {
        IdColumn::Fingerprint => system::ID,
        IdColumn::Field { name, .. } => name,
    };
    if let Some(values) = batch.column_by_name(name) {
        return KeyColumn::new(name, values).map(Ids::PerRow).map(Some);
    }
    match (column, file.partition_values.get(name)) {
        (IdColumn::Field { data_type, .. }, Some(value)) => {
            let key = KeyColumn::of_partition_value(name, value.as_deref(), data_type)?;
            Ok(Some(Ids::PerFile(key)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
#[path = "window_scan_tests.rs"]
mod tests;
