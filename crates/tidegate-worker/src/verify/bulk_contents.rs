//! The rows of a bulk pipeline's table: which run wrote them, and whether each stands there once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::ObjectStore;
use tidegate_runtime::RunError;
use tidegate_table::files::system::{self, run_source_prefix};
use tidegate_table::log::LiveFile;
use tidegate_types::Ledger;

use super::contents::{missing, read_identities};
use super::report::VerifyReport;
use super::sequences::SequenceSet;

/// Findings of one kind that are told in full; further ones are counted.
const TOLD: u64 = 10;

/// A generation of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The interval's start in microseconds since 1970; none of loads of everything.
    pub(super) interval: Option<i64>,
    pub(super) generation: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} of ", self.generation)?;
        match self.interval.map(Timestamp::from_microsecond) {
            Some(Ok(start)) => write!(f, "the interval from {start}"),
            Some(Err(_)) => f.write_str("an interval that no calendar has"),
            None => f.write_str("everything"),
        }
    }
}

/// The rows of one ledger's runs.
pub(super) struct BulkContents {
    prefix: String,
    /// Row numbers by chunk.
    rows: BTreeMap<(Place, i32), SequenceSet>,
    doubled: u64,
}

impl BulkContents {
    /// Reads the identity columns of every file, and checks on the way that files are there, whole, and
    /// of the size and row count that the log says.
    pub(super) async fn read(
        store: &Arc<dyn ObjectStore>,
        files: &[LiveFile],
        ledger: &Ledger,
        report: &mut VerifyReport,
    ) -> Result<Self, RunError> {
        let prefix = run_source_prefix(ledger);
        let mut contents = Self { prefix, rows: BTreeMap::new(), doubled: 0 };
        for file in files {
            contents.read_file(store, file, report).await?;
        }
        if contents.doubled > TOLD {
            let detail = format!("{} rows in all stand twice", contents.doubled);
            report.damaged("identity", detail);
        }
        Ok(contents)
    }

    /// Rows of each generation.
    pub(super) fn by_place(&self) -> impl Iterator<Item = (Place, u64)> {
        let mut rows: BTreeMap<Place, u64> = BTreeMap::new();
        for ((place, _), numbers) in &self.rows {
            *rows.entry(*place).or_default() += numbers.len();
        }
        rows.into_iter()
    }

    /// All rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows.values().map(SequenceSet::len).sum()
    }

    async fn read_file(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        file: &LiveFile,
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let found = read_identities(store, file, &[system::INTERVAL], report).await?;
        let Some((mut batches, _)) = found else { return Ok(()) };
        while let Some(batch) = batches.try_next().await? {
            self.add(&batch, &file.path, report)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        batch: &RecordBatch,
        file: &str,
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let columns = Columns::of(batch, file)?;
        for row in 0..batch.num_rows() {
            let Some(generation) = columns.source(row).and_then(|s| self.generation(s)) else {
                continue; // another ledger's row, or a stranger's
            };
            let place = Place { interval: columns.interval(row), generation };
            match columns.number(row) {
                Some((chunk, number)) => self.count(place, chunk, number, file, report),
                None => {
                    report.damaged("identity", format!("a row of {place} in {file} has no number"))
                }
            }
        }
        Ok(())
    }

    fn generation(&self, source: &str) -> Option<u64> {
        source.strip_prefix(self.prefix.as_str())?.parse().ok()
    }

    fn count(
        &mut self,
        place: Place,
        chunk: i32,
        number: i64,
        file: &str,
        report: &mut VerifyReport,
    ) {
        let numbers = self.rows.entry((place, chunk)).or_default();
        if numbers.insert(number.unsigned_abs()) {
            return;
        }
        self.doubled += 1;
        if self.doubled <= TOLD {
            let detail =
                format!("row {number} of chunk {chunk}, {place}, stands twice, again in {file}");
            report.damaged("identity", detail);
        }
    }
}

/// The identity columns of a batch.
struct Columns {
    sources: StringArray,
    chunks: Int32Array,
    numbers: Int64Array,
    intervals: Option<TimestampMicrosecondArray>,
}

impl Columns {
    fn of(batch: &RecordBatch, file: &str) -> Result<Self, RunError> {
        let maybe = |name: &str, data_type: &DataType| {
            let cast = batch.column_by_name(name).map(|column| cast(column, data_type));
            cast.transpose().map_err(|source| missing(file, name).because(source))
        };
        let column = |name: &str, data_type: &DataType| {
            maybe(name, data_type)?.ok_or_else(|| missing(file, name))
        };
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Ok(Self {
            sources: column(system::SOURCE, &DataType::Utf8)?.as_string().clone(),
            chunks: column(system::PARTITION, &DataType::Int32)?.as_primitive().clone(),
            numbers: column(system::SEQUENCE, &DataType::Int64)?.as_primitive().clone(),
            intervals: maybe(system::INTERVAL, &time)?.map(|column| column.as_primitive().clone()),
        })
    }

    fn source(&self, row: usize) -> Option<&str> {
        self.sources.is_valid(row).then(|| self.sources.value(row))
    }

    fn interval(&self, row: usize) -> Option<i64> {
        let intervals = self.intervals.as_ref()?;
        intervals.is_valid(row).then(|| intervals.value(row))
    }

    /// The chunk and the row's number in it.
    fn number(&self, row: usize) -> Option<(i32, i64)> {
        let known = self.chunks.is_valid(row) && self.numbers.is_valid(row);
        known.then(|| (self.chunks.value(row), self.numbers.value(row)))
    }
}
