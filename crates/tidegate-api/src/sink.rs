//! The sink: a Delta table in an object store or a local directory.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::{AfterRepairPolicy, ByteSize, Compression, LatePolicy, Span};

use crate::{SecretRef, vocabulary};

/// Where rows go.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.partitionBy) == has(oldSelf.partitionBy) && (!has(self.partitionBy) || self.partitionBy == oldSelf.partitionBy)")
        .message("partitionBy cannot be changed, because a Delta table keeps its partition columns for life; make another pipeline with another table")
        .field_path(".partitionBy"),
)]
pub struct SinkSpec {
    /// The kind of table: Delta (default).
    #[serde(rename = "type", default)]
    pub sink_type: SinkType,
    /// What a run does to rows that are in the table already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_mode: Option<WriteMode>,
    /// Settings of the Delta table.
    #[serde(default)]
    pub delta: DeltaSpec,
    /// Where the table stands.
    pub storage: StorageSpec,
    /// The table's partition columns, at most 8. Default: none. Cannot be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub partition_by: Vec<PartitionBySpec>,
    /// Sizes and form of the data files.
    #[serde(default)]
    pub file: FileSpec,
    /// When rows become visible: at whatever comes first.
    #[serde(default)]
    pub flush: FlushSpec,
    /// Which column is the event's time, and what happens to late records. Default: no record is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<EventTimeSpec>,
}

/// The kind of table.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SinkType {
    /// A Delta table.
    #[default]
    Delta,
}

// The schema of an optional enum takes its description from here.
/// What a run does to rows that are in the table already. ReplaceInterval takes the place of what
/// earlier runs of the interval wrote; it needs intervals: `bulk.schedule`, and `bulk.incremental` or
/// a time in the glob. Overwrite takes the place of everything that this pipeline wrote, for loads of
/// the whole source. Append adds. Only with bulk sources. Default: ReplaceInterval where runs have
/// intervals of rows, Overwrite elsewhere.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteMode {
    /// It adds.
    Append,
    /// It takes the place of what earlier runs of the interval wrote.
    ReplaceInterval,
    /// It takes the place of everything that the pipeline wrote.
    Overwrite,
}

/// Settings of the Delta table.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeltaSpec {
    /// Whether other ledgers may write to this table too. Default false: a table with another ledger's
    /// rows is refused.
    #[serde(default)]
    pub shared: bool,
}

/// Where the table stands.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.s3) || self.url.startsWith('s3://')")
        .message("s3 has no effect on a table that is not in S3; remove it, or write url: s3://bucket/path")
        .field_path(".s3"),
    validation = Rule::new("!has(self.endpoint) || self.url.startsWith('abfss://')")
        .message("endpoint goes with abfss:// addresses only; remove it, or write s3.endpoint for S3")
        .field_path(".endpoint"),
)]
pub struct StorageSpec {
    /// The table's root: `s3://bucket/path`, `abfss://container@account.dfs.core.windows.net/path`, or
    /// `file:///absolute/path`; under `tidegate run` also `file:./path` from the working directory. Cannot
    /// be changed.
    #[schemars(schema_with = "vocabulary::table_url")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the table's address cannot be changed; make another pipeline"))]
    pub url: String,
    /// The Secret in the pipeline's namespace: for S3 with the keys `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`, for Azure with `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_TOKEN`.
    /// Default: what the environment gives. No effect on local tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Where the store answers, `https://host` or `http://host:port`, instead of the cloud's own address. The
    /// account follows in the path, as stand-ins for Azure want it, unless the host begins with it, as that
    /// of a private endpoint. Only with `abfss://` addresses; S3 has its own under `s3`. Default: the
    /// cloud's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::endpoint")]
    pub endpoint: Option<String>,
    /// Settings of the S3 store. Only with s3:// addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Spec>,
}

/// Settings of an S3 store.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Spec {
    /// The store's address, `https://host` or `http://host:port`. Default: AWS in `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::endpoint")]
    pub endpoint: Option<String>,
    /// The region, such as eu-west-1. Default: what the environment gives, else us-east-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// How the bucket is addressed: Virtual (default), `bucket.host`; or Path, `host/bucket`, which
    /// most stores other than AWS want.
    #[serde(default)]
    pub addressing_style: AddressingStyle,
}

/// How an S3 bucket is addressed.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AddressingStyle {
    /// `bucket.host`.
    #[default]
    Virtual,
    /// `host/bucket`.
    Path,
}

/// One partition column.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.transform == 'Bucket') == has(self.buckets)")
        .message("buckets goes with transform Bucket and with nothing else; write {transform: Bucket, buckets: 16}, or remove it"),
)]
pub struct PartitionBySpec {
    /// The declared column that the partition derives from.
    #[schemars(schema_with = "vocabulary::column")]
    pub field: String,
    /// Identity: the value itself, in a column of the same name; an empty text is read as null there, since
    /// Delta has no empty partition value. Hour, Day, Month: of a date or timestamp in UTC, in the column
    /// `<field>_hour` and so on. Bucket: a hash of the value modulo `buckets`, in the column `<field>_bucket`.
    pub transform: TransformName,
    /// How many buckets, 1 to 1024. Required with Bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub buckets: Option<u32>,
}

/// How a column becomes a partition value.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransformName {
    /// The value itself.
    Identity,
    /// The hour.
    Hour,
    /// The day.
    Day,
    /// The month.
    Month,
    /// A hash modulo a number.
    Bucket,
}

/// Sizes and form of the data files.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileSpec {
    /// The size at which a file is closed and the next one begun. A flush closes smaller ones too.
    /// Default 256Mi.
    #[serde(default = "default_target_size")]
    #[schemars(schema_with = "vocabulary::size")]
    pub target_size: ByteSize,
    /// The codec: ZSTD (default), SNAPPY, LZ4 or None.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<Compression>")]
    pub compression: Compression,
    /// Most files open at once, one for each partition value that is being written, 1 to 1024. Beyond
    /// it the one unused for longest is closed early; no record is refused. Default 64.
    #[serde(default = "default_max_open_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_open_partitions: u32,
}

impl Default for FileSpec {
    fn default() -> Self {
        Self {
            target_size: default_target_size(),
            compression: Compression::default(),
            max_open_partitions: default_max_open_partitions(),
        }
    }
}

fn default_target_size() -> ByteSize {
    ByteSize::mib(256)
}

fn default_max_open_partitions() -> u32 {
    64
}

/// When rows become visible.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushSpec {
    /// The age of the oldest row that is not committed: the longest that a reader waits. Shorter means
    /// more and smaller files. Default 1m.
    #[serde(default = "default_max_interval")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub max_interval: Span,
    /// Rows of one commit, 1 to 1000000000. Default 2000000.
    #[serde(default = "default_max_rows")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_rows: u64,
    /// How long the source may be silent before what was read is committed. Default 20s. No effect
    /// when it is longer than `maxInterval`.
    #[serde(default = "default_idle_after")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub idle_after: Span,
}

impl Default for FlushSpec {
    fn default() -> Self {
        Self {
            max_interval: default_max_interval(),
            max_rows: default_max_rows(),
            idle_after: default_idle_after(),
        }
    }
}

fn default_max_interval() -> Span {
    Span::seconds(60)
}

fn default_max_rows() -> u64 {
    2_000_000
}

fn default_idle_after() -> Span {
    Span::seconds(20)
}

/// Event time and lateness.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventTimeSpec {
    /// The declared column with the event's time, of type timestamp or date.
    #[schemars(schema_with = "vocabulary::column")]
    pub field: String,
    /// How far the event's time may be from the publish time, in both directions. Default 2h.
    #[serde(default = "default_allowed_lateness")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub allowed_lateness: Span,
    /// What happens to records that are later: Append (default) files them where they belong,
    /// DeadLetter sets them aside. Records too far ahead of their publish time are treated alike.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<LatePolicy>")]
    pub late_policy: LatePolicy,
    /// What happens to records of an interval that was repaired before they came: DeadLetter (default)
    /// sets them aside with the reason IntervalRepaired, Append files them beside the rows of the repair.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<AfterRepairPolicy>")]
    pub after_repair: AfterRepairPolicy,
}

fn default_allowed_lateness() -> Span {
    Span::seconds(7_200)
}
