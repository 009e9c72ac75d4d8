//! The kind `IngestionPipeline`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use tidegate_types::{Guarantee, Ledger, Span};

use crate::vocabulary;
use crate::{
    BulkSpec, DecodeSpec, DedupSpec, DeletionPolicySpec, FilterSpec, IngestionPipelineStatus,
    ObjectivesSpec, ScalingSpec, SchemaSpec, SinkSpec, SourceSpec, TemplateSpec,
};

/// One flow of data: where it comes from, how it is decoded, deduplicated, partitioned and filed.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "IngestionPipeline",
    plural = "ingestionpipelines",
    shortname = "ipl",
    category = "tidegate",
    namespaced,
    derive = "PartialEq",
    doc = "One flow of data: where it comes from, how it is decoded, deduplicated, partitioned and filed.",
    status = "IngestionPipelineStatus",
    validation = Rule::new("self.metadata.name.size() <= 45")
        .message("the name is longer than 45 characters, and the objects of a pipeline carry it with more behind it; choose a shorter one"),
    validation = Rule::new("!has(self.spec.source.type) || self.spec.source.type == 'JetStream' || self.metadata.name.size() <= 41")
        .message("the name is longer than 41 characters, and the runs of a bulk pipeline carry it with their time behind it; choose a shorter one"),
    validation = Rule::new("self.metadata.name.size() > 45 || self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name is not one that a Service can have, and the workers' is named for the pipeline; write a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Lag",
        type_ = "integer",
        description = "Messages that are not committed yet.",
        json_path = ".status.lag.messages"
    ),
    printcolumn(
        name = "Behind",
        type_ = "integer",
        description = "Seconds since the oldest of them was published.",
        json_path = ".status.lag.seconds"
    ),
    printcolumn(
        name = "Workers",
        type_ = "integer",
        description = "Workers that read their partitions.",
        json_path = ".status.readyReplicas"
    ),
    printcolumn(
        name = "Last Commit",
        type_ = "date",
        description = "How long ago the newest commit was made.",
        json_path = ".status.lastCommit.time"
    ),
    printcolumn(
        name = "Guarantee",
        type_ = "string",
        json_path = ".status.guarantee.effective",
        priority = 1
    ),
    printcolumn(
        name = "Source",
        type_ = "string",
        json_path = ".spec.source.type",
        priority = 1
    ),
    printcolumn(
        name = "Stream",
        type_ = "string",
        json_path = ".spec.source.jetStream.stream",
        priority = 1
    ),
    printcolumn(
        name = "Table",
        type_ = "string",
        json_path = ".spec.sink.storage.url",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ledger) == has(oldSelf.ledger) && (!has(self.ledger) || self.ledger == oldSelf.ledger)")
        .message("ledger cannot be changed: it is the pipeline's identity in the table's log; make another pipeline for another ledger")
        .field_path(".ledger"),
    validation = Rule::new("self.guarantee != 'AtMostOnce' || !has(self.dedup)")
        .message("dedup has no effect with guarantee AtMostOnce; remove it, or ask for AtLeastOnce or ExactlyOnce")
        .field_path(".dedup"),
    validation = Rule::new("!has(self.deletionPolicy) || self.deletionPolicy.stream != 'Delete' || (has(self.source.jetStream) && has(self.source.jetStream.subjects))")
        .message("only a stream that Tidegate keeps can be deleted with the pipeline; write source.jetStream.subjects, or stream: Retain")
        .field_path(".deletionPolicy.stream"),
    validation = Rule::new("!has(self.deletionPolicy) || self.deletionPolicy.data != 'Delete' || !self.sink.delta.shared")
        .message("deleting a shared table would take other ledgers' rows along; write data: Retain, or sink.delta.shared: false")
        .field_path(".deletionPolicy.data"),
    validation = Rule::new("self.source.type == 'JetStream' || !has(self.deletionPolicy) || self.deletionPolicy.data != 'Delete'")
        .message("the table of a bulk pipeline is not deleted with it; write data: Retain, and delete the table by hand")
        .field_path(".deletionPolicy.data"),
    validation = Rule::new("self.source.type != 'JetStream' || has(self.schema.fields)")
        .message("a stream does not say which columns its messages have; write schema.fields")
        .field_path(".schema"),
    validation = Rule::new("!has(self.source.objectStore) || self.source.objectStore.format == 'Parquet' || has(self.schema.fields)")
        .message("CSV and NDJSON files do not say which types their columns have; write schema.fields")
        .field_path(".schema"),
    validation = Rule::new("self.source.type != 'JetStream' || !has(self.bulk)")
        .message("bulk is about runs, and a stream has none; remove it, or name a source of type Postgres, MySQL or ObjectStore")
        .field_path(".bulk"),
    validation = Rule::new("self.source.type != 'JetStream' || !has(self.sink.writeMode)")
        .message("writeMode is about runs, and a stream is always appended; remove it, or name a source of type Postgres, MySQL or ObjectStore")
        .field_path(".sink.writeMode"),
    validation = Rule::new("self.source.type == 'JetStream' || !has(self.dedup)")
        .message("dedup compares messages of a stream, and runs are exact by their intervals; remove it")
        .field_path(".dedup"),
    validation = Rule::new("self.source.type == 'JetStream' || !has(self.filter)")
        .message("filter is for messages of a stream; remove it, and write a query for a database")
        .field_path(".filter"),
    validation = Rule::new("self.source.type == 'JetStream' || (self.decode.coercion == 'None' && self.decode.compression == 'None' && self.decode.limits.maxBytes == '1Mi' && self.decode.limits.maxDepth == 64)")
        .message("of decode only onError has an effect on runs; remove the rest, and write compression at source.objectStore")
        .field_path(".decode"),
    validation = Rule::new("self.source.type == 'JetStream' || self.schema.unknownFields == 'Ignore'")
        .message("unknownFields is for messages of a stream, and runs leave out what schema.fields does not name; remove it")
        .field_path(".schema.unknownFields"),
    validation = Rule::new("self.source.type == 'JetStream' || (self.sink.flush.maxInterval == '1m' && self.sink.flush.maxRows == 2000000 && self.sink.flush.idleAfter == '20s')")
        .message("flush has no effect on runs, each of which is one commit; remove it")
        .field_path(".sink.flush"),
    validation = Rule::new("self.source.type == 'JetStream' || !has(self.sink.eventTime)")
        .message("eventTime has no effect on runs, whose rows are never late; remove it")
        .field_path(".sink.eventTime"),
    validation = Rule::new("self.source.type == 'JetStream' || !has(self.deadLetter.breaker)")
        .message("the breaker has no effect on runs; remove it, and write decode: {onError: Halt} to fail at the first bad record")
        .field_path(".deadLetter.breaker"),
    validation = Rule::new("self.source.type == 'JetStream' || (self.scaling.mode == 'Lag' && self.scaling.minReplicas == 0 && !has(self.scaling.maxReplicas) && self.scaling.targetDrain == '1m' && self.scaling.cooldownPeriod == '5m')")
        .message("scaling is about workers of a stream, and runs have none; remove it, and write bulk.chunking.parallelism")
        .field_path(".scaling"),
    validation = Rule::new("self.source.type == 'JetStream' || self.replicas == 1")
        .message("replicas is about workers of a stream, and runs have none; remove it, and write bulk.maxActiveRuns")
        .field_path(".replicas"),
    validation = Rule::new("self.source.type == 'JetStream' || !has(self.template.agentResources)")
        .message("a bulk pipeline has no agent; remove agentResources, and write resources for its runs")
        .field_path(".template"),
    validation = Rule::new("!has(self.bulk) || !has(self.bulk.incremental) || self.source.type != 'ObjectStore'")
        .message("files have no cursor; remove incremental, and write the interval's time into glob, such as dt=%Y-%m-%d/*.csv")
        .field_path(".bulk.incremental"),
    validation = Rule::new("!has(self.bulk) || !has(self.bulk.chunking.field) || self.source.type != 'ObjectStore'")
        .message("files are divided by themselves; remove chunking.field")
        .field_path(".bulk.chunking"),
    validation = Rule::new("!has(self.bulk) || self.bulk.chunking.placement != 'Pods' || self.source.type != 'MySQL'")
        .message("a snapshot of MySQL belongs to the connections that opened it, so that other pods cannot read it; remove placement, and raise parallelism")
        .field_path(".bulk.chunking"),
)]
pub struct IngestionPipelineSpec {
    /// Stops the pipeline after a last commit; nothing is lost and it goes on where it stood. Default
    /// false.
    #[serde(default)]
    pub suspend: bool,
    /// How often a message may end in the table: AtMostOnce, AtLeastOnce or ExactlyOnce (default).
    /// Refused when source, deduplication or store cannot give it; the message names the weakest hop.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::one_of::<Guarantee>")]
    pub guarantee: Guarantee,
    /// The pipeline's identity in the table's log, at most 120 characters. Whoever opens the same
    /// ledger on the same table goes on where the log stands. Default `<namespace>.<name>`; cannot be
    /// changed, nor set later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::ledger")]
    pub ledger: Option<Ledger>,
    /// Where data comes from: messages of a stream, or rows that are stored already.
    pub source: SourceSpec,
    /// How a message's bytes become a record.
    #[serde(default)]
    pub decode: DecodeSpec,
    /// What a record looks like: the table's columns. Required with JetStream and with CSV and NDJSON
    /// files; databases and Parquet files describe themselves.
    #[serde(default)]
    pub schema: SchemaSpec,
    /// Which records are kept. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSpec>,
    /// Which records count as the same one. Default with ExactlyOnce: the header `Nats-Msg-Id` within
    /// one hour; otherwise ids are not compared. Refused with AtMostOnce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup: Option<DedupSpec>,
    /// Where rows go.
    pub sink: SinkSpec,
    /// What happens around records that cannot be rows. They stand in a table of their own at
    /// `<url>/_dead_letters`, with bytes, coordinates and reason.
    #[serde(default)]
    pub dead_letter: DeadLetterSpec,
    /// What happens outside the cluster when the pipeline is deleted. Default: everything stays. No
    /// effect under `tidegate run`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicySpec,
    /// The service account of the pods, for identities of a cloud. It must carry the label
    /// `tidegate.dev/pipeline-use: "true"`. Default: one of the pipeline's own without any rights. No
    /// effect under `tidegate run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::object_name")]
    pub service_account_name: Option<String>,
    /// Which runs are made, and how they read. Only with Postgres, MySQL and ObjectStore. Default: no
    /// schedule, and every run reads everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<BulkSpec>,
    /// What is promised to readers of the table.
    #[serde(default)]
    pub objectives: ObjectivesSpec,
    /// How many workers run with the scaling modes Fixed and External, 0 to 256; what the scale
    /// subresource reads and writes. Default 1. No effect with mode Lag and under `tidegate run`.
    #[serde(default = "default_replicas")]
    #[schemars(range(max = 256))]
    pub replicas: u32,
    /// How the number of workers is found. No effect under `tidegate run`, which has `--workers`.
    #[serde(default)]
    pub scaling: ScalingSpec,
    /// What may be said about the pods. No effect under `tidegate run`.
    #[serde(default)]
    pub template: TemplateSpec,
}

impl IngestionPipelineSpec {
    /// Whether it is made of runs: whether its data is stored already.
    #[must_use]
    pub fn is_bulk(&self) -> bool {
        self.source.source_type.is_bulk()
    }

    /// What is said about runs, with the defaults when nothing is.
    #[must_use]
    pub fn bulk_or_default(&self) -> BulkSpec {
        self.bulk.clone().unwrap_or_default()
    }
}

fn default_replicas() -> u32 {
    1
}

/// Dead letters.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterSpec {
    /// Stops the pipeline when too many records are dead, because then the schema is wrong rather than
    /// the records. Default: it never stops for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerSpec>,
}

/// When too many records are dead.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerSpec {
    /// The share of dead records above which the pipeline stops, in percent of the records read, 1 to
    /// 100.
    #[schemars(range(min = 1, max = 100))]
    pub max_percent: u32,
    /// The stretch of stream time over which the share is taken. Default 5m.
    #[serde(default = "default_over")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub over: Span,
}

fn default_over() -> Span {
    Span::seconds(300)
}
