//! The resolved configuration of a bulk pipeline, and what a run says of itself.

use serde::{Deserialize, Serialize};
use tidegate_types::{BadRowPolicy, DataInterval, Evolution, Field, Guarantee, Ledger, Span};

use crate::pipeline::{FileRef, S3Options, Sink};
use crate::recount::FilesReport;

/// Everything that a run needs to know about its pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferConfig {
    /// `<namespace>/<name>`, for logs and metrics.
    pub name: String,
    /// The identity in the table's log.
    pub ledger: Ledger,
    /// What was asked for.
    pub guarantee: Guarantee,
    /// Where rows come from.
    pub source: BulkSource,
    /// The table's columns; none: as the source describes itself.
    pub fields: Option<Vec<Field>>,
    /// Which changes of columns an existing table takes.
    pub evolution: Evolution,
    /// What happens to records of files that cannot be rows.
    pub on_error: BadRowPolicy,
    /// How a run finds the rows of its interval; none: it reads everything.
    pub incremental: Option<Incremental>,
    /// How a run is divided.
    pub chunking: Chunking,
    /// Where chunks are read.
    pub placement: Placement,
    /// When runs are made; none: only when asked for.
    pub schedule: Option<Schedule>,
    /// What a commit does to rows that are in the table already.
    pub write_mode: WriteMode,
    /// Whether an interval may lose most of its rows when it is run again (B4).
    pub allow_shrink: bool,
    /// The streamed pipeline whose rows its runs replace (B10); none: its rows are its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Repairs>,
    /// Where rows go; `flush` has no effect on runs.
    pub sink: Sink,
}

/// A source of rows that are stored already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkSource {
    /// PostgreSQL.
    Postgres(DatabaseSource),
    /// MySQL or MariaDB.
    MySql(DatabaseSource),
    /// Files in an object store or a directory.
    ObjectStore(ObjectSource),
}

impl BulkSource {
    /// Whether the source itself knows which of its data belongs to an interval.
    #[must_use]
    pub fn is_by_interval(&self) -> bool {
        matches!(self, Self::ObjectStore(files) if files.is_named_for_time())
    }
}

/// A relation of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseSource {
    /// Secret with `uri`, or `host`, `port`, `user`, `password`, `database`.
    pub connection: String,
    /// What is read.
    pub relation: Relation,
    /// How the server is trusted.
    pub tls: DatabaseTls,
}

/// What is read of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// A table or view; the schema (MySQL: database) is the connection's when absent.
    Table {
        /// The schema's name, unquoted.
        schema: Option<String>,
        /// The table's name, unquoted.
        name: String,
    },
    /// A whole SELECT; it runs read-only.
    Query(String),
}

/// TLS towards a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseTls {
    /// Whether the connection may be plain.
    pub mode: TlsMode,
    /// The file with the certificate authorities to trust; none: the system's.
    pub ca: Option<FileRef>,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TlsMode {
    /// Never.
    Disable,
    /// Always, and the server's certificate must be good for its name.
    #[default]
    VerifyFull,
}

/// Files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSource {
    /// The folder: `s3://…`, `gs://…`, `abfss://…` or `file:///…`, without a slash at the end.
    pub url: String,
    /// Secret with the store's keys.
    pub secret: Option<String>,
    /// Where a store other than S3 answers; none: the cloud's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Settings of an S3 store.
    pub s3: S3Options,
    /// Which files, relative to `url`; strftime fields may stand in it that tell an interval's files by the
    /// schedule's clock, such as `dt=%Y-%m-%d/*.csv`. `*` stays within a folder, `**` does not.
    pub glob: String,
    /// What the files hold.
    pub format: FileFormat,
    /// How they are compressed.
    pub compression: FileCompression,
    /// Where the columns of CSV come from.
    pub csv: CsvOptions,
    /// What a file that cannot be read does.
    pub on_bad_file: BadFilePolicy,
}

impl ObjectSource {
    /// Whether the names of the files say to which interval they belong; `%%` is a percent sign.
    #[must_use]
    pub fn is_named_for_time(&self) -> bool {
        self.glob.replace("%%", "").contains('%')
    }
}

/// What files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFormat {
    /// Comma-separated values.
    Csv,
    /// A JSON object a line.
    NdJson,
    /// Parquet.
    Parquet,
}

/// How files are compressed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FileCompression {
    /// By the end of the name: `.gz`, `.zst`, else not.
    #[default]
    Auto,
    /// Not.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// How CSV is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CsvOptions {
    /// Between fields; one byte.
    pub delimiter: char,
    /// Whether the first line names the columns.
    pub header: bool,
    /// What stands for null beside the empty field.
    pub null: String,
}

/// What a file that cannot be read does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BadFilePolicy {
    /// The run fails.
    #[default]
    Fail,
    /// The file becomes one dead letter, and the run goes on.
    DeadLetter,
}

/// Reading by interval (B7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incremental {
    /// The column that says when a row came; rows never change afterwards.
    pub cursor_field: String,
    /// The zone of a cursor without one.
    pub time_zone: Option<String>,
    /// How long after the interval's end reading begins.
    pub settle: Span,
    /// How long a run waits for transactions that began before the interval's end.
    pub max_wait: Span,
    /// Roles whose transactions are not waited for.
    pub ignore_roles: Vec<String>,
    /// What a row without a cursor does.
    pub on_null_cursor: NullCursorPolicy,
    /// How many intervals before the newest are run again with it.
    pub rerun_last: u32,
}

/// What a row without a cursor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NullCursorPolicy {
    /// The run fails.
    #[default]
    Fail,
    /// It is left out; the run says how many there are.
    Ignore,
}

/// How a run is divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunking {
    /// The column by whose ranges a table is divided; none: as the source can.
    pub field: Option<String>,
    /// About how many rows a chunk has.
    pub target_rows: u64,
    /// How many chunks are read at a time, each over a connection of its own.
    pub parallelism: u32,
}

/// Where chunks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Placement {
    /// By the coordinator itself.
    #[default]
    InProcess,
    /// In a pod each; without a cluster as above.
    Pods,
}

/// When runs are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// An IANA zone.
    pub time_zone: String,
}

/// What a run must know of the streamed pipeline whose rows it replaces (B10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repairs {
    /// `<namespace>/<name>` of the pipeline, for people.
    pub pipeline: String,
    /// Its identity in the table's log.
    pub ledger: Ledger,
    /// The column with the event's time.
    pub event_time: String,
    /// How long after its event a message may be published.
    pub allowed_lateness: Span,
    /// How long ids are remembered; none when they are not compared.
    pub window: Option<Span>,
    /// How many partitions the stream has.
    pub partitions: u32,
}

/// What a commit does to rows that are in the table already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum WriteMode {
    /// It adds.
    Append,
    /// It takes the place of what earlier runs of the interval wrote.
    #[default]
    ReplaceInterval,
    /// It takes the place of everything.
    Overwrite,
}

/// Why a run was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Trigger {
    /// The schedule came round.
    Scheduled,
    /// A person asked; an interval that is done is run again.
    Manual,
    /// One of many past intervals.
    Backfill,
    /// An interval of a streamed table is read again from another source (B10).
    Repair,
}

/// How far a run is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum RunPhase {
    /// It waits for its turn, or for its time.
    #[default]
    Pending,
    /// The snapshot is opened and divided.
    Planning,
    /// Chunks are read and written.
    Running,
    /// The commit is made.
    Committing,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
}

/// What a run says of itself: at `/status` while it runs, in the termination message afterwards (at most
/// 4 KiB).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// How far.
    pub phase: RunPhase,
    /// A word of the closed set: `Ok`, `AlreadyComplete`, or why it failed.
    pub reason: String,
    /// One line about it, at most 256 bytes.
    #[serde(default)]
    pub message: String,
    /// The attempt's number in the log (B2); 0 before it was claimed.
    pub generation: u64,
    /// Chunks that are written.
    pub chunks_done: u32,
    /// All chunks; 0 before the plan.
    pub chunks: u32,
    /// Rows read from the source.
    pub rows_read: u64,
    /// Rows committed; of a run under way: written so far.
    pub rows_committed: u64,
    /// Records set aside.
    pub dead_letters: u64,
    /// Rows that the commit took out of the table.
    pub rows_replaced: u64,
    /// While chunks wait to be read by pods of their own: where they are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desk: Option<DeskReport>,
    /// The version of the table's log that holds the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether the files of intervals that are done are those that were loaded (B8); none where nobody looked,
    /// or not everything was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesReport>,
}

/// What whoever makes the readers of chunks needs to know; how many chunks there are stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeskReport {
    /// What tells this coordinator from others; its readers show it, with their secret behind it.
    pub nonce: String,
    /// How many readers there are to be at a time.
    pub parallelism: u32,
}

impl DeskReport {
    /// The variable in which the pods of an attempt have the secret that they share.
    pub const TOKEN_VARIABLE: &str = "TIDEGATE_DESK_TOKEN";

    /// What is shown at the desk: the nonce, which everybody may see, and the secret behind it.
    #[must_use]
    pub fn key(nonce: &str, token: &str) -> String {
        format!("{nonce}{token}")
    }
}

/// What a coordinator is told when the Job of its readers was given up.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenUp {
    /// Which coordinator is meant: [`DeskReport::key`].
    pub nonce: String,
    /// The chunk that no reader could read; none: the Job as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
    /// Why, for people.
    pub message: String,
    /// The reason of a failure that no other attempt would be spared; none: the next one may do better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permanent: Option<String>,
}

impl GivenUp {
    /// The coordinator's page to which it is posted.
    pub const PAGE: &str = "/chunks/given-up";
}

/// What the table's log holds of a stretch of time: the answer of `tidegate calendar`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calendar {
    /// Intervals that are done, merged where they touch, oldest first.
    pub done: Vec<DataInterval>,
    /// Intervals whose last run was begun and is not done, oldest first; `done` may hold them too, by a run
    /// before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<DataInterval>,
    /// Where the answer was cut to fit; ask again from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_in_a_glob_is_found() {
        let is_by_interval = |glob: &str| {
            let files = ObjectSource {
                url: "file:///in".to_owned(),
                secret: None,
                endpoint: None,
                s3: S3Options::default(),
                glob: glob.to_owned(),
                format: FileFormat::Csv,
                compression: FileCompression::Auto,
                csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
                on_bad_file: BadFilePolicy::Fail,
            };
            BulkSource::ObjectStore(files).is_by_interval()
        };
        assert!(is_by_interval("dt=%Y-%m-%d/*.csv"));
        assert!(is_by_interval("100%%/%H/*"));
        assert!(!is_by_interval("100%%/*.csv") && !is_by_interval("**/*.parquet"));
    }
}
