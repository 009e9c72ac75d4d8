//! Reading whose rows a file holds, and of which interval.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use futures::TryStreamExt;
use object_store::ObjectStore;

use super::Selection;
use crate::files::layout::object_of_log_path;
use crate::files::reader::read_columns;
use crate::files::{FileError, system};

/// How many rows of a file are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub(super) selected: u64,
    pub(super) others: u64,
}

/// Counts the rows of a file; owns what it needs, so that it may be waited for on any thread.
pub(super) async fn count(
    store: Arc<dyn ObjectStore>,
    in_log: String,
    selection: Selection,
) -> Result<(String, Counted), FileError> {
    let path = object_of_log_path(&in_log)?;
    let columns = [system::SOURCE, system::INTERVAL];
    let mut batches = read_columns(&store, &path, &columns).await?;
    let mut counted = Counted::default();
    while let Some(batch) = batches.try_next().await? {
        let selected = selection.rows(&batch)?.true_count() as u64;
        counted.selected += selected;
        counted.others += batch.num_rows() as u64 - selected;
    }
    Ok((in_log, counted))
}

impl Selection {
    /// Which rows of a batch are selected. A batch without the columns has none: it is older than bulk
    /// runs in this table, or a stranger's.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<BooleanArray, FileError> {
        let none = BooleanArray::from(vec![false; batch.num_rows()]);
        let column = |name: &str, data_type: &DataType| {
            let column = batch.column_by_name(name);
            let cast = column.map(|column| cast(column, data_type)).transpose();
            cast.map_err(|source| FileError::Columns { source })
        };
        let Some(sources) = column(system::SOURCE, &DataType::Utf8)? else { return Ok(none) };
        let sources = sources.as_string::<i32>();
        let of_us = |row| sources.is_valid(row) && sources.value(row).starts_with(&self.prefix);
        let Some(wanted) = self.interval else {
            return Ok((0..batch.num_rows()).map(|row| Some(of_us(row))).collect());
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let Some(intervals) = column(system::INTERVAL, &time)? else { return Ok(none) };
        let intervals = intervals.as_primitive::<TimestampMicrosecondType>();
        let span = wanted.start().as_microsecond()..wanted.end().as_microsecond();
        let within = |row| intervals.is_valid(row) && span.contains(&intervals.value(row));
        Ok((0..batch.num_rows()).map(|row| Some(of_us(row) && within(row))).collect())
    }
}
