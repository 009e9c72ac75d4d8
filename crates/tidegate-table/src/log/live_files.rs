//! The files that make up a table at a snapshot.

use std::collections::BTreeMap;

use delta_kernel::KernelResult;
use delta_kernel::engine::arrow_utils::to_json_bytes;
use delta_kernel::{Engine, KernelError};
use serde::Deserialize;

use super::CommitLog;
use super::entry::LogEntry;
use super::error::LogError;
use super::snapshot::TableSnapshot;

/// A data file of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    /// Its path as it stands in the log: relative to the table, URL-encoded.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows, if the statistics say so; rows that a deletion vector hides are still counted.
    pub rows: Option<u64>,
    /// Rows that a deletion vector hides.
    pub deleted_rows: u64,
    /// Its partition values by column; `None` is null.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Its statistics as Delta writes them; none in a stranger's file without statistics.
    pub stats: Option<serde_json::Value>,
    /// When it was written, by the writer's clock, in milliseconds since 1970.
    pub modification_time_ms: i64,
}

impl CommitLog {
    /// Every file of the table at `snapshot`.
    ///
    /// # Errors
    ///
    /// [`LogError`] when the log cannot be read.
    pub async fn live_files(&self, snapshot: &TableSnapshot) -> Result<Vec<LiveFile>, LogError> {
        let kernel = snapshot.kernel.clone();
        self.with_kernel("list the files", move |engine| {
            let mut files = Vec::new();
            let scan = kernel.scan_builder().build()?;
            for batch in scan.scan_metadata(engine as &dyn Engine)? {
                let json = to_json_bytes(std::iter::once(batch.map(|batch| batch.scan_files)))?;
                read_rows(&json, &mut files)?;
            }
            Ok(files)
        })
        .await
    }
}

impl LogEntry {
    /// The files that the commit adds, with their statistics.
    #[must_use]
    pub fn files(&self) -> Vec<LiveFile> {
        let lines = self.bytes.split(|byte| *byte == b'\n');
        // Lines that cannot be read made no entry.
        let actions = lines.filter_map(|line| serde_json::from_slice::<AddLine>(line).ok());
        actions.filter_map(|line| line.add).map(LiveFile::from).collect()
    }
}

/// A line of a commit.
#[derive(Deserialize)]
struct AddLine {
    add: Option<AddRow>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddRow {
    partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(flatten)]
    row: ScanRow,
}

impl From<AddRow> for LiveFile {
    fn from(AddRow { partition_values, row }: AddRow) -> Self {
        Self { partition_values: partition_values.unwrap_or_default(), ..row.into() }
    }
}

/// The kernel's scan rows, which carry more than we need.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScanRow {
    path: String,
    size: u64,
    modification_time: Option<i64>,
    stats: Option<String>,
    deletion_vector: Option<DeletionVector>,
    file_constant_values: Option<FileConstants>,
}

#[derive(Deserialize)]
struct DeletionVector {
    cardinality: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileConstants {
    partition_values: Option<BTreeMap<String, Option<String>>>,
}

fn read_rows(json: &[u8], files: &mut Vec<LiveFile>) -> KernelResult<()> {
    for row in serde_json::Deserializer::from_slice(json).into_iter::<ScanRow>() {
        let row = row.map_err(|error| KernelError::generic(format!("scan row: {error}")))?;
        files.push(row.into());
    }
    Ok(())
}

impl From<ScanRow> for LiveFile {
    fn from(row: ScanRow) -> Self {
        // A stranger's statistics that are not JSON are as good as none: the file counts as touched.
        let stats: Option<serde_json::Value> =
            row.stats.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self {
            path: row.path,
            size: row.size,
            rows: stats.as_ref().and_then(|stats| stats.get("numRecords")?.as_u64()),
            deleted_rows: row.deletion_vector.and_then(|dv| dv.cardinality).unwrap_or(0),
            partition_values: row
                .file_constant_values
                .and_then(|constants| constants.partition_values)
                .unwrap_or_default(),
            stats,
            modification_time_ms: row.modification_time.unwrap_or(0),
        }
    }
}
