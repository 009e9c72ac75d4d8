//! Reading whose rows a file holds, and of which time.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, PrimitiveArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int32Type, Int64Type};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use tidegate_types::{Incarnation, PartitionId, StreamTime};

use super::selection::{Part, Selection, Verdict};
use super::{AT_ONCE, RemovedRows};
use crate::files::layout::object_of_log_path;
use crate::files::reader::read_columns;
use crate::files::times::microseconds;
use crate::files::{FileError, system};
use crate::log::LiveFile;

/// How many rows of a file are selected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub(super) selected: u64,
    pub(super) others: u64,
    /// The selected ones that a stream wrote.
    pub(super) streamed: RemovedRows,
}

/// Counts the rows of a file; owns what it needs, so that it may be waited for on any thread.
pub(super) async fn count(
    store: Arc<dyn ObjectStore>,
    in_log: String,
    selection: Selection,
) -> Result<(String, Counted), FileError> {
    let path = object_of_log_path(&in_log)?;
    let columns = selection.columns();
    let mut batches = read_columns(&store, &path, &columns).await?;
    let mut counted = Counted::default();
    while let Some(batch) = batches.try_next().await? {
        let selected = selection.look(&batch, Some(&mut counted.streamed))?.true_count() as u64;
        counted.selected += selected;
        counted.others += batch.num_rows() as u64 - selected;
    }
    Ok((in_log, counted))
}

/// The streamed rows that each of the selections selects, in any of the files; nothing is changed. A file is
/// read once, whatever their number.
///
/// # Errors
///
/// When a file that may hold such rows cannot be read.
pub async fn find_streamed(
    store: &Arc<dyn ObjectStore>,
    files: &[LiveFile],
    selections: &[Selection],
) -> Result<Vec<RemovedRows>, FileError> {
    let looking: Vec<_> = files
        .iter()
        .map(|file| (file.path.clone(), may_select(selections, file)))
        .filter(|(_, wanted)| !wanted.is_empty())
        .map(|(path, wanted)| find(Arc::clone(store), path, wanted))
        .collect();
    let mut looking = stream::iter(looking).buffer_unordered(AT_ONCE);
    let mut all = vec![RemovedRows::default(); selections.len()];
    while let Some(found) = looking.try_next().await? {
        for (number, removed) in found {
            all[number].merge(&removed);
        }
    }
    Ok(all)
}

/// The selections of which the file may hold rows, with their numbers.
fn may_select(selections: &[Selection], file: &LiveFile) -> Vec<(usize, Selection)> {
    let may = |(_, selection): &(usize, &Selection)| selection.judge(file) != Verdict::Stays;
    let wanted = selections.iter().enumerate().filter(may);
    wanted.map(|(number, selection)| (number, selection.clone())).collect()
}

/// Owns what it needs, as [`count`] does.
async fn find(
    store: Arc<dyn ObjectStore>,
    in_log: String,
    wanted: Vec<(usize, Selection)>,
) -> Result<Vec<(usize, RemovedRows)>, FileError> {
    let path = object_of_log_path(&in_log)?;
    let columns: BTreeSet<&str> =
        wanted.iter().flat_map(|(_, selection)| selection.columns()).collect();
    let columns: Vec<&str> = columns.into_iter().collect();
    let mut batches = read_columns(&store, &path, &columns).await?;
    let mut found: Vec<_> =
        wanted.iter().map(|(number, _)| (*number, RemovedRows::default())).collect();
    while let Some(batch) = batches.try_next().await? {
        for ((_, selection), (_, removed)) in wanted.iter().zip(&mut found) {
            selection.look(&batch, Some(removed))?;
        }
    }
    Ok(found)
}

impl Selection {
    /// The columns that say which rows are selected.
    fn columns(&self) -> Vec<&str> {
        let mut columns = vec![system::SOURCE, system::PARTITION, system::SEQUENCE, system::TIME];
        columns.extend(self.parts.iter().map(|part| part.column.as_str()));
        columns
    }

    /// Which rows of a batch are selected. A batch without the columns has none: it is older than bulk
    /// runs in this table, or a stranger's.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<BooleanArray, FileError> {
        self.look(batch, None)
    }

    /// The same; `removed` gets the identities of the rows that a stream wrote.
    fn look(
        &self,
        batch: &RecordBatch,
        mut removed: Option<&mut RemovedRows>,
    ) -> Result<BooleanArray, FileError> {
        let mut selected = vec![false; batch.num_rows()];
        let Some(sources) = column(batch, system::SOURCE, &DataType::Utf8)? else {
            return Ok(selected.into());
        };
        let sources = sources.as_string::<i32>();
        for part in &self.parts {
            let times = Times::of(part, batch)?;
            let streamed = if part.sources.streamed { Some(Identities::of(batch)?) } else { None };
            for (row, selected) in selected.iter_mut().enumerate() {
                let of_part = sources.is_valid(row)
                    && part.sources.contain(sources.value(row))
                    && times.contain(row);
                let Some(identities) = streamed.as_ref().filter(|_| of_part) else {
                    *selected |= of_part;
                    continue;
                };
                let life = &sources.value(row)[part.sources.from.len()..];
                if let Some((of, sequence, published)) = identities.row(life, row) {
                    *selected = true;
                    if let Some(removed) = &mut removed {
                        removed.add(of, sequence, published);
                    }
                }
            }
        }
        Ok(selected.into())
    }
}

/// The times by which a part selects.
enum Times {
    Any,
    None,
    In(TimestampMicrosecondArray, std::ops::Range<i64>),
}

impl Times {
    fn of(part: &Part, batch: &RecordBatch) -> Result<Self, FileError> {
        let Some(wanted) = part.interval else { return Ok(Self::Any) };
        let Some(times) = microseconds(batch, &part.column)? else { return Ok(Self::None) };
        let span = wanted.start().as_microsecond()..wanted.end().as_microsecond();
        Ok(Self::In(times, span))
    }

    fn contain(&self, row: usize) -> bool {
        match self {
            Self::Any => true,
            Self::None => false,
            Self::In(times, span) => times.is_valid(row) && span.contains(&times.value(row)),
        }
    }
}

/// Whose row it is, of a stream.
struct Identities {
    partitions: Option<PrimitiveArray<Int32Type>>,
    sequences: Option<PrimitiveArray<Int64Type>>,
    published: Option<TimestampMicrosecondArray>,
}

impl Identities {
    fn of(batch: &RecordBatch) -> Result<Self, FileError> {
        Ok(Self {
            partitions: numbers(batch, system::PARTITION, &DataType::Int32)?,
            sequences: numbers(batch, system::SEQUENCE, &DataType::Int64)?,
            published: microseconds(batch, system::TIME)?,
        })
    }

    /// None of a row that we cannot have written.
    fn row(
        &self,
        life: &str,
        row: usize,
    ) -> Option<((Incarnation, PartitionId), u64, Option<StreamTime>)> {
        let life = Incarnation::parse(life).ok()?;
        let partition = valid(self.partitions.as_ref()?, row)?;
        let sequence = valid(self.sequences.as_ref()?, row)?;
        let published = self.published.as_ref().and_then(|times| valid(times, row));
        let partition = PartitionId(u32::try_from(partition).ok()?);
        let sequence = u64::try_from(sequence).ok()?;
        Some(((life, partition), sequence, published.map(StreamTime)))
    }
}

fn valid<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    array.is_valid(row).then(|| array.value(row))
}

fn column(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
) -> Result<Option<arrow::array::ArrayRef>, FileError> {
    let cast = batch.column_by_name(name).map(|column| cast(column, data_type)).transpose();
    cast.map_err(|source| FileError::Columns { source })
}

fn numbers<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
) -> Result<Option<PrimitiveArray<T>>, FileError> {
    Ok(column(batch, name, data_type)?.map(|column| column.as_primitive::<T>().clone()))
}
