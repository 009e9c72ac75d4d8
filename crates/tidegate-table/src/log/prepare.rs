//! From a request over a base to the bytes of one version.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use arrow::json::ReaderBuilder;
use bytes::Bytes;
use delta_kernel::engine::arrow_conversion::{TryFromArrow, TryFromKernel};
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::expressions::ColumnName;
use delta_kernel::schema::{StructField, StructType};
use delta_kernel::snapshot::SnapshotRef;
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::transaction::{Transaction, UpdateTableOperation};
use delta_kernel::{Engine, FilteredEngineData, KernelError, KernelResult};
use object_store::memory::InMemory;
use serde_json::json;

use super::CommitLog;
use super::boot_time::BootTime;
use super::error::LogError;
use super::hole::check_base_age;
use super::kernel::{CapturingCommitter, KERNEL_ROOT, engine};
use super::live_files::LiveFile;
use super::request::{CommitKind, CommitRequest, CommitTag, TableSpec};
use super::snapshot::TableSnapshot;
use super::splice::splice;
use crate::files::DataFile;
use crate::schema::nullable;

/// Who wrote, in `commitInfo.engineInfo`.
const ENGINE_INFO: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// R1: statistics for every column, however many there are, so that the system columns always have
/// them.
const STATISTICS: (&str, &str) = ("delta.dataSkippingNumIndexedCols", "-1");

/// The bytes of one version, ready to be put. They never change: every attempt puts the same (P5).
#[derive(Debug, Clone)]
pub struct PreparedCommit {
    pub(super) version: u64,
    pub(super) bytes: Bytes,
    pub(super) tag: CommitTag,
    /// When the base was loaded; none when the commit creates the table.
    pub(super) base_loaded_at: Option<BootTime>,
    /// Attempts so far, shared by clones: once one was made, doubt must end, whatever the age.
    pub(super) attempts: Arc<AtomicU32>,
}

impl PreparedCommit {
    /// The version that it is for.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The tag that it carries.
    #[must_use]
    pub fn tag(&self) -> &CommitTag {
        &self.tag
    }

    /// The JSON actions.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How often it was put. A clone kept by the caller shows it while the commit is being settled:
    /// more than one means that the outcome was in doubt.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }

    fn new(version: u64, bytes: Bytes, tag: CommitTag, base: Option<BootTime>) -> Self {
        Self { version, bytes, tag, base_loaded_at: base, attempts: Arc::default() }
    }
}

impl CommitLog {
    /// Serialises `request` as the version after `base`. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`LogError::BaseTooOld`] (P8), [`LogError::InvalidRequest`], or what the kernel refuses: a
    /// feature it cannot write, a column that exists, a partition value that is missing, a file to
    /// remove that is not there.
    pub async fn prepare(
        &self,
        base: &TableSnapshot,
        request: &CommitRequest,
    ) -> Result<PreparedCommit, LogError> {
        check_base_age(base.loaded_at(), BootTime::now())?;
        base.check_usable(self.root.as_str())?;
        let committer = CapturingCommitter::default();
        let (kernel, owned, sink) = (base.kernel.clone(), request.clone(), committer.clone());
        self.with_kernel("prepare a commit", move |engine| {
            let operation = operation(&owned);
            let data_change = !owned.adds.is_empty() || !owned.removes.is_empty();
            let mut builder = kernel.clone().update_table(operation, ENGINE_INFO, data_change);
            for column in &owned.add_columns {
                let field = StructField::try_from_arrow(&nullable(&column.field))?;
                builder = builder.add_column_at(ColumnName::new(&column.parent), field);
            }
            for (app_id, version) in &owned.txns {
                builder = builder.with_transaction_id(app_id, *version);
            }
            // Other writers may rebase over a blind append: one that removes rows is none.
            if data_change && owned.removes.is_empty() {
                builder = builder.with_blind_append();
            }
            let mut transaction = builder.build(engine, Box::new(sink))?;
            stage_files(&mut transaction, &owned.adds)?;
            stage_removes(&mut transaction, &kernel, engine, &owned.removes)?;
            transaction.commit(engine).map(drop)
        })
        .await?;
        self.finish(&committer, base.version() + 1, request, Some(base.loaded_at()))
    }

    /// Serialises the creation of a table as version 0. Nothing is written; whether the table
    /// exists already shows when the commit is put.
    ///
    /// # Errors
    ///
    /// [`LogError::InvalidRequest`] when the request carries files or columns; what the kernel
    /// refuses otherwise.
    pub async fn prepare_create(
        &self,
        spec: &TableSpec,
        request: &CommitRequest,
    ) -> Result<PreparedCommit, LogError> {
        let files = !request.adds.is_empty() || !request.removes.is_empty();
        if files || !request.add_columns.is_empty() {
            let problem = "a table is created without files".to_owned();
            return Err(LogError::InvalidRequest { problem });
        }
        let committer = CapturingCommitter::default();
        // An empty store: the kernel would refuse if the table existed, and that is for the PUT
        // to find out, atomically.
        let scratch = engine(Arc::new(InMemory::new()))?;
        let (spec, owned, sink) = (spec.clone(), request.clone(), committer.clone());
        let operation = "prepare a table";
        tokio::task::spawn_blocking(move || serialise_table(&scratch, &spec, &owned, sink))
            .await
            .map_err(|source| LogError::Task { operation, source })?
            .map_err(|source| self.kernel_error(operation, source))?;
        self.finish(&committer, 0, request, None)
    }

    fn finish(
        &self,
        committer: &CapturingCommitter,
        version: u64,
        request: &CommitRequest,
        base: Option<BootTime>,
    ) -> Result<PreparedCommit, LogError> {
        let captured = committer.take().filter(|captured| captured.version == version);
        let captured = captured.ok_or_else(|| LogError::InvalidRequest {
            problem: format!("the kernel did not serialise version {version}"),
        })?;
        let bytes = splice(&captured.bytes, request)?;
        Ok(PreparedCommit::new(version, bytes, request.tag.clone(), base))
    }
}

/// The names that keep the kernel's incremental checksum intact, and that people read in the
/// history.
fn operation(request: &CommitRequest) -> UpdateTableOperation {
    match request.tag.kind {
        _ if !request.add_columns.is_empty() => UpdateTableOperation::AlterTable,
        CommitKind::RunClaim | CommitKind::Run | CommitKind::Repair => UpdateTableOperation::Write,
        _ if !request.removes.is_empty() => UpdateTableOperation::Write,
        _ => UpdateTableOperation::StreamingUpdate,
    }
}

fn serialise_table(
    engine: &dyn Engine,
    spec: &TableSpec,
    request: &CommitRequest,
    committer: CapturingCommitter,
) -> KernelResult<()> {
    let fields: Vec<Field> = spec.schema.fields().iter().map(|field| nullable(field)).collect();
    let schema = StructType::try_from_arrow(&Schema::new(fields))?;
    let mut properties: HashMap<String, String> =
        spec.properties.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    properties.insert(STATISTICS.0.to_owned(), STATISTICS.1.to_owned());
    let mut builder = create_table(KERNEL_ROOT, Arc::new(schema), ENGINE_INFO, false)
        .with_table_properties(properties);
    if !spec.partition_columns.is_empty() {
        let columns = spec.partition_columns.iter().map(String::as_str);
        builder = builder.with_data_layout(DataLayout::partitioned(columns));
    }
    for (app_id, version) in &request.txns {
        builder = builder.with_transaction_id(app_id, *version);
    }
    builder.build(engine, Box::new(committer))?.commit(engine).map(drop)
}

/// Hands the files to the kernel, with the number of rows as their only statistic: the rest is
/// spliced in, because the kernel would want it as a typed struct.
fn stage_files(transaction: &mut Transaction, files: &[DataFile]) -> KernelResult<()> {
    if files.is_empty() {
        return Ok(());
    }
    let schema = Schema::try_from_kernel(transaction.add_files_schema().as_ref())?;
    let mut decoder = ReaderBuilder::new(Arc::new(schema)).build_decoder()?;
    let rows: Vec<_> = files
        .iter()
        .map(|file| {
            json!({
                "path": file.path,
                "partitionValues": file.partition_values,
                "size": file.size,
                "modificationTime": file.modification_time_ms,
                "stats": {"numRecords": file.rows},
            })
        })
        .collect();
    decoder.serialize(&rows)?;
    let batch = decoder.flush()?.ok_or_else(|| KernelError::generic("no files were staged"))?;
    transaction.add_files(Box::new(ArrowEngineData::new(batch)));
    Ok(())
}

/// Hands the rows of the log that describe the files to the kernel, which knows what a `remove` repeats
/// of them, deletion vectors included.
fn stage_removes(
    transaction: &mut Transaction,
    base: &SnapshotRef,
    engine: &dyn Engine,
    files: &[LiveFile],
) -> KernelResult<()> {
    let mut wanted: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for batch in base.clone().scan_builder().build()?.scan_metadata(engine)? {
        let rows = batch?.scan_files.apply_selection_vector()?.try_into_record_batch()?;
        let chosen = choose(&rows, &mut wanted)?;
        if chosen.num_rows() > 0 {
            let chosen = Box::new(ArrowEngineData::new(chosen));
            transaction.remove_files(FilteredEngineData::with_all_rows_selected(chosen));
        }
    }
    match wanted.iter().min() {
        None => Ok(()),
        Some(path) => Err(KernelError::generic(format!("{path} is not in the table any more"))),
    }
}

/// The rows of the wanted files; what was found is wanted no longer.
fn choose(rows: &RecordBatch, wanted: &mut HashSet<&str>) -> KernelResult<RecordBatch> {
    let paths = rows.column_by_name("path").and_then(|column| column.as_string_opt::<i32>());
    let paths = paths.ok_or_else(|| KernelError::generic("scan rows have no paths"))?;
    let chosen: BooleanArray = (0..paths.len())
        .map(|row| Some(paths.is_valid(row) && wanted.remove(paths.value(row))))
        .collect();
    Ok(filter_record_batch(rows, &chosen)?)
}
