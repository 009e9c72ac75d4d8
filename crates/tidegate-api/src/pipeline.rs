//! The kind `IngestionPipeline`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use tidegate_types::{Guarantee, Ledger, Span};

use crate::vocabulary;
use crate::{DecodeSpec, DedupSpec, FilterSpec, SchemaSpec, SinkSpec, SourceSpec};

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
    printcolumn(name = "Guarantee", type_ = "string", json_path = ".spec.guarantee"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Stream", type_ = "string", json_path = ".spec.source.jetStream.stream"),
    printcolumn(
        name = "Table",
        type_ = "string",
        json_path = ".spec.sink.storage.url",
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
    /// Where messages come from.
    pub source: SourceSpec,
    /// How a message's bytes become a record.
    #[serde(default)]
    pub decode: DecodeSpec,
    /// What a record looks like: the table's columns.
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
