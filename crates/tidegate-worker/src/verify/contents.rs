//! The rows of a table as identities: who, where from, which sequence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_runtime::RunError;
use tidegate_table::files::layout::object_of_log_path;
use tidegate_table::files::reader::{ColumnStream, Footer, read_columns, read_footer};
use tidegate_table::files::system;
use tidegate_table::log::LiveFile;
use tidegate_types::{PartitionId, Reason};

use super::report::VerifyReport;
use super::sequences::SequenceSet;

/// Ids that are compared; beyond it memory would be the limit (about 40 bytes each).
const MAX_IDS: usize = 50_000_000;

/// Rows by `_tg_src` and partition.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) sequences: BTreeMap<(String, PartitionId), SequenceSet>,
    /// Rows whose identity stands in the table already, where redelivery may make them (P3).
    again: BTreeMap<(String, PartitionId), u64>,
    pub(super) redelivery: bool,
    /// For each id and partition its times; only with deduplication by header.
    ids: HashMap<(u128, u32), Vec<i64>>,
    ids_seen: usize,
    pub(super) ids_complete: bool,
}

impl Contents {
    /// Reads the identity columns of every file whose rows can be of `ledger`, and checks on the way
    /// that files are there, whole, and of the size and row count that the log says.
    pub(super) async fn read(
        store: &Arc<dyn ObjectStore>,
        files: &[LiveFile],
        with_ids: bool,
        redelivery: bool,
        report: &mut VerifyReport,
    ) -> Result<Self, RunError> {
        let mut contents = Self { ids_complete: with_ids, redelivery, ..Self::default() };
        for file in files {
            contents.read_file(store, file, with_ids, report).await?;
        }
        Ok(contents)
    }

    async fn read_file(
        &mut self,
        store: &Arc<dyn ObjectStore>,
        file: &LiveFile,
        with_ids: bool,
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let beside: &[_] = if with_ids { &[system::ID, system::TIME] } else { &[] };
        let found = read_identities(store, file, beside, report).await?;
        let Some((mut batches, ids_here)) = found else { return Ok(()) };
        while let Some(batch) = batches.try_next().await? {
            self.add(&batch, with_ids && ids_here, &file.path, report)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        batch: &RecordBatch,
        with_ids: bool,
        file: &str,
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let column = |name: &str, data_type: &DataType| {
            let found = batch.column_by_name(name).ok_or_else(|| missing(file, name))?;
            cast(found, data_type).map_err(|source| missing(file, name).because(source))
        };
        let sources = column(system::SOURCE, &DataType::Utf8)?;
        let partitions = column(system::PARTITION, &DataType::Int32)?;
        let sequences = column(system::SEQUENCE, &DataType::Int64)?;
        let (sources, partitions, sequences) = (
            sources.as_string::<i32>(),
            partitions.as_primitive::<Int32Type>(),
            sequences.as_primitive::<Int64Type>(),
        );
        for row in 0..batch.num_rows() {
            if sources.is_null(row) || partitions.is_null(row) || sequences.is_null(row) {
                continue; // a stranger's row
            }
            let partition = PartitionId(u32::try_from(partitions.value(row)).unwrap_or(u32::MAX));
            let sequence = u64::try_from(sequences.value(row)).unwrap_or(u64::MAX);
            let source = sources.value(row);
            if system::is_run_source(source) {
                continue; // of a bulk pipeline, which has a verification of its own
            }
            let key = (source.to_owned(), partition);
            let fresh = self.sequences.entry(key.clone()).or_default().insert(sequence);
            if !fresh && self.redelivery {
                *self.again.entry(key).or_default() += 1;
            } else if !fresh {
                let detail = format!(
                    "({source}, partition {partition}, sequence {sequence}) stands twice, again in {file}"
                );
                report.damaged("identity", detail);
            }
        }
        if with_ids {
            self.add_ids(batch, partitions, file)?;
        }
        Ok(())
    }

    fn add_ids(
        &mut self,
        batch: &RecordBatch,
        partitions: &arrow::array::Int32Array,
        file: &str,
    ) -> Result<(), RunError> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let column = |name: &str, data_type: &DataType| {
            let found = batch.column_by_name(name).ok_or_else(|| missing(file, name))?;
            cast(found, data_type).map_err(|source| missing(file, name).because(source))
        };
        let ids = column(system::ID, &DataType::Binary)?;
        let times = column(system::TIME, &time)?;
        let (ids, times) =
            (ids.as_binary::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
        for row in 0..batch.num_rows() {
            if ids.is_null(row) || times.is_null(row) || partitions.is_null(row) {
                continue;
            }
            if self.ids_seen >= MAX_IDS {
                self.ids_complete = false;
                return Ok(());
            }
            let Ok(id) = <[u8; 16]>::try_from(ids.value(row)) else { continue };
            let partition = u32::try_from(partitions.value(row)).unwrap_or(u32::MAX);
            self.ids_seen += 1;
            let key = (u128::from_be_bytes(id), partition);
            self.ids.entry(key).or_default().push(times.value(row));
        }
        Ok(())
    }

    /// Pairs of rows of one partition with one id less than `window` microseconds apart (D1).
    pub(super) fn doubles_within(&self, window: i64) -> u64 {
        let pairs = |times: &Vec<i64>| {
            let mut times = times.clone();
            times.sort_unstable();
            times.windows(2).filter(|pair| pair[1] - pair[0] < window).count() as u64
        };
        self.ids.values().filter(|times| times.len() > 1).map(pairs).sum()
    }

    /// Ids that stand in more than one partition (D6).
    pub(super) fn ids_in_two_partitions(&self) -> u64 {
        let mut seen: HashMap<u128, u32> = HashMap::new();
        for (id, _) in self.ids.keys() {
            *seen.entry(*id).or_default() += 1;
        }
        seen.values().filter(|partitions| **partitions > 1).count() as u64
    }

    /// The rows of one source and partition.
    pub(super) fn of(&self, source: &str, partition: PartitionId) -> SequenceSet {
        self.sequences.get(&(source.to_owned(), partition)).cloned().unwrap_or_default()
    }

    /// Rows that redelivery doubled.
    pub(super) fn again(&self, source: &str, partition: PartitionId) -> u64 {
        self.again.get(&(source.to_owned(), partition)).copied().unwrap_or(0)
    }

    /// Rows of every source of `ledger`.
    pub(super) fn rows_of(&self, ledger: &str) -> u64 {
        let prefix = format!("{ledger}/");
        let ours = self.sequences.iter().filter(|((source, _), _)| source.starts_with(&prefix));
        ours.map(|(_, set)| set.len()).sum()
    }
}

/// The identity columns of a file, with those `beside` them if it has all of these, and whether it has.
/// None when it is a stranger's, or [not whole](check_file).
pub(super) async fn read_identities(
    store: &Arc<dyn ObjectStore>,
    file: &LiveFile,
    beside: &[&'static str],
    report: &mut VerifyReport,
) -> Result<Option<(ColumnStream, bool)>, RunError> {
    let Some((path, footer)) = check_file(store, file, report).await? else { return Ok(None) };
    let schema = footer.metadata.file_metadata().schema();
    let has = |name: &&str| schema.get_fields().iter().any(|field| field.name() == *name);
    if !system::IDENTITY.iter().all(has) {
        return Ok(None);
    }
    let has_beside = beside.iter().all(has);
    let beside = if has_beside { beside } else { &[] };
    let columns = [&system::IDENTITY[..], beside].concat();
    Ok(Some((read_columns(store, &path, &columns).await?, has_beside)))
}

/// Checks that a file is there, whole, and of the size and row count that the log says; none when it
/// cannot be read at all.
pub(super) async fn check_file(
    store: &Arc<dyn ObjectStore>,
    file: &LiveFile,
    report: &mut VerifyReport,
) -> Result<Option<(Path, Footer)>, RunError> {
    let path = object_of_log_path(&file.path)?;
    match store.head(&path).await {
        Ok(found) if found.size == file.size => {}
        Ok(found) => {
            let detail =
                format!("{} has {} bytes, the log says {}", file.path, found.size, file.size);
            report.damaged("files", detail);
        }
        Err(object_store::Error::NotFound { .. }) => {
            report.damaged("files", format!("{} is missing", file.path));
            return Ok(None);
        }
        Err(source) => {
            let what = format!("{} cannot be looked at", file.path);
            return Err(RunError::transient(Reason::SinkUnreachable, what).because(source));
        }
    }
    if file.deleted_rows > 0 {
        report.not_provable("rows", format!("{} has a deletion vector", file.path));
    }
    let footer = match read_footer(store, &path).await {
        Ok(footer) => footer,
        Err(error) => {
            report.damaged("files", format!("{} is no whole Parquet file: {error}", file.path));
            return Ok(None);
        }
    };
    let rows = footer.metadata.file_metadata().num_rows().unsigned_abs();
    if file.rows.is_some_and(|said| said != rows) {
        let said = file.rows.unwrap_or_default();
        report.damaged("files", format!("{} holds {rows} rows, the log says {said}", file.path));
    }
    Ok(Some((path, footer)))
}

pub(super) fn missing(file: &str, column: &str) -> RunError {
    let what = format!("column {column} of {file} cannot be read");
    RunError::permanent(Reason::TableMismatch, what)
}
