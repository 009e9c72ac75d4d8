//! What is asked of a source.

use tidegate_config::{BadFilePolicy, BulkSource, Chunking, Incremental};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{BadRowPolicy, DataInterval, Field};

/// What is asked of a source.
#[derive(Debug, Clone)]
pub struct ReadRequest {
    /// The source.
    pub source: BulkSource,
    /// Where its credentials are.
    pub secrets: Secrets,
    /// How connections introduce themselves: `tidegate/<ledger>`. Transactions of that name are not waited for.
    pub application: String,
    /// The columns wanted, in order; none: all that the source has.
    pub fields: Option<Vec<Field>>,
    /// Whose rows; with `incremental` none of others. Object sources find its files by their names.
    pub interval: Option<DataInterval>,
    /// On whose clock names of files tell the time: the schedule's zone; none: UTC.
    pub time_zone: Option<String>,
    /// How the interval's rows are found; none: everything is read.
    pub incremental: Option<Incremental>,
    /// How the rows are divided.
    pub chunking: Chunking,
    /// Records of files that cannot be rows.
    pub on_error: BadRowPolicy,
    /// Files that cannot be read; of object sources.
    pub on_bad_file: BadFilePolicy,
    /// About how many rows a batch has.
    pub batch_rows: usize,
    /// About how many bytes a batch has at most.
    pub batch_bytes: usize,
}
