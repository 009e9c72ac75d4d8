//! The shape of the resolved configuration.

use serde::{Deserialize, Serialize};
use tidegate_types::{
    AfterRepairPolicy, BadRowPolicy, ByteSize, Coercion, Compression, DuplicateWindow, Evolution,
    Field, Guarantee, LatePolicy, Ledger, PartitionColumn, PayloadCompression, Span, UnknownFields,
};

/// Everything that a worker needs to know about one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineConfig {
    /// `<namespace>/<name>`, for logs and metrics.
    pub name: String,
    /// The identity in the table's log.
    pub ledger: Ledger,
    /// What was asked for.
    pub guarantee: Guarantee,
    /// Where messages come from.
    pub source: JetStreamSource,
    /// How bytes become records.
    pub decode: Decode,
    /// What a record looks like.
    pub schema: Schema,
    /// A CEL expression over `record` that must be true for a record to be kept.
    pub filter: Option<String>,
    /// The deduplication window; none when ids are not compared.
    pub dedup: Option<DuplicateWindow>,
    /// Where rows go.
    pub sink: Sink,
    /// When dead letters stop the pipeline.
    pub dead_letter: DeadLetter,
}

/// A JetStream stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JetStreamSource {
    /// `nats://` or `tls://` addresses; empty: the embedded server of `tidegate run`.
    pub servers: Vec<String>,
    /// The stream's name.
    pub stream: String,
    /// The stream's subjects. Not empty: Tidegate creates and keeps the stream. Empty: it must exist.
    pub subjects: Vec<String>,
    /// How the stream is split into ordered partitions.
    pub partitioning: Partitioning,
    /// Limits of a stream that Tidegate keeps.
    pub retention: Retention,
    /// The broker's own duplicate window.
    pub duplicate_window: Span,
    /// Whether committed messages are removed from the stream.
    pub trim: Option<Trim>,
    /// Where a ledger that was never here begins.
    pub start_from: StartFrom,
    /// What to do when the stream is not the one that the log knows.
    pub on_source_reset: OnSourceReset,
    /// What to do when unread messages are gone.
    pub on_gap: OnGap,
    /// Secret with the worker's credentials.
    pub credentials: Option<String>,
    /// Secret with the stream administrator's credentials.
    pub admin_credentials: Option<String>,
    /// TLS settings; none: as the server's address asks, with the system's roots.
    pub tls: Option<Tls>,
}

/// How a stream is split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioning {
    /// One partition: the whole stream.
    None,
    /// The stream's subject transform puts the partition number in front: `<n>.<subject>`.
    Subject {
        /// How many partitions.
        partitions: u32,
        /// The user's word that one id always uses one subject (S11).
        id_subject_stable: bool,
    },
    /// Subjects carry the partition already: `pattern` has one `{partition}`.
    Declared {
        /// How many partitions.
        partitions: u32,
        /// The filter of a partition, with `{partition}` for its number.
        subject_pattern: String,
    },
}

impl Partitioning {
    /// How many partitions there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self {
            Self::None => 1,
            Self::Subject { partitions, .. } | Self::Declared { partitions, .. } => *partitions,
        }
    }
}

/// Limits of a stream that Tidegate keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Most bytes; publishers see 503 beyond.
    pub max_bytes: Option<ByteSize>,
    /// Oldest message.
    pub max_age: Option<Span>,
    /// Copies.
    pub replicas: u32,
}

/// Removing committed messages from the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// How long committed messages stay, by their publish time.
    pub keep: Span,
}

/// Where reading begins when the log knows no position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFrom {
    /// At the oldest message that the stream holds.
    All,
    /// After the newest.
    New,
    /// At this sequence.
    Sequence(u64),
    /// At the first message published at or after this instant (microseconds since 1970).
    Time(i64),
}

/// What to do when the stream was deleted and made again, or restored from an older copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnSourceReset {
    /// Stop and say so.
    Halt,
    /// Begin a new incarnation.
    NewIncarnation,
}

/// What to do when messages vanished before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnGap {
    /// Stop and name the range.
    Halt,
    /// Write the range to the log of the process and go on behind it.
    RecordAndContinue,
}

/// TLS towards the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The file with the certificate authorities to trust.
    pub ca: Option<FileRef>,
    /// Secret with `tls.crt` and `tls.key` for client authentication.
    pub client_secret: Option<String>,
}

/// A key of a mounted Secret or `ConfigMap`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    /// The object's name.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// How bytes become records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decode {
    /// What happens to bad records.
    pub on_error: BadRowPolicy,
    /// Whether neighbouring types are taken.
    pub coercion: Coercion,
    /// How payloads are compressed.
    pub compression: PayloadCompression,
    /// Largest payload, after decompression.
    pub max_bytes: ByteSize,
    /// Deepest nesting.
    pub max_depth: u32,
}

/// What a record looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    /// Which changes an existing table takes.
    pub evolution: Evolution,
    /// What happens to undeclared fields.
    pub unknown_fields: UnknownFields,
    /// The columns, in order.
    pub fields: Vec<Field>,
}

/// Where rows go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// The table's root, `file:///…`, `s3://bucket/…` or `abfss://container@account.dfs.…/…`, without a
    /// slash at the end.
    pub url: String,
    /// Secret with the store's keys.
    pub secret: Option<String>,
    /// Where a store other than S3 answers; none: the cloud's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Settings of an S3 store.
    pub s3: S3Options,
    /// Settings of the Delta table.
    pub delta: DeltaTable,
    /// Partition columns.
    pub partition_by: Vec<PartitionColumn>,
    /// File sizes.
    pub file: FilePolicy,
    /// When a commit is made.
    pub flush: FlushPolicy,
    /// Which column is the event's time.
    pub event_time: Option<EventTime>,
}

/// Settings of an S3 store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Options {
    /// The endpoint's address; none: AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// How the bucket is addressed.
    pub addressing_style: AddressingStyle,
}

/// How an S3 bucket is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AddressingStyle {
    /// `bucket.host`.
    #[default]
    Virtual,
    /// `host/bucket`.
    Path,
}

/// Settings of the Delta table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeltaTable {
    /// Other ledgers may write here too.
    pub shared: bool,
}

/// File sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilePolicy {
    /// Largest file of one flush.
    pub target_size: ByteSize,
    /// Codec.
    pub compression: Compression,
    /// Most files open at once; beyond it the one unused for longest is closed.
    pub max_open_partitions: u32,
}

/// When a commit is made: whatever comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushPolicy {
    /// Age of the oldest uncommitted row.
    pub max_interval: Span,
    /// Rows.
    pub max_rows: u64,
    /// Silence of the source.
    pub idle_after: Span,
}

/// Event time and lateness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTime {
    /// The column.
    pub field: String,
    /// How far the event time may be from the publish time, in both directions.
    pub allowed_lateness: Span,
    /// What happens beyond.
    pub late_policy: LatePolicy,
    /// What happens to records of intervals that were repaired before they came (B10).
    #[serde(default)]
    pub after_repair: AfterRepairPolicy,
}

/// Dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// When to stop.
    pub breaker: Option<Breaker>,
}

/// Stops the pipeline when too many records are dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    /// The share of dead records, in percent.
    pub max_percent: u32,
    /// Over how long.
    pub over: Span,
}
