//! The custom resources: their types, the rules that the API server enforces on them, and the same
//! rules for documents on a laptop.
//!
//! [`parse`] is the way in for files: it checks a document against the very schema that [`crd`]
//! publishes (structure, bounds, and the CEL rules in it), so that `tidegate validate`, the unit tests
//! and a cluster cannot come to different verdicts. What compares fields with each other beyond that
//! belongs to the resolution of the configuration, not here. There is no client in this crate.

#![expect(unreachable_pub, reason = "the schema derivation writes public structs into functions")]

mod cluster;
mod crd;
mod decode;
mod dedup;
mod defaults;
mod documents;
mod jetstream;
mod pipeline;
mod rules;
mod sink;
mod status;
mod stored;
mod structure;
mod tidy;
mod violation;
mod vocabulary;

pub use cluster::{
    DeletionAction, DeletionPolicySpec, ObjectivesSpec, ScalingMode, ScalingSpec, TemplateSpec,
};
pub use crd::{KUBERNETES_FIELDS, crd, crd_yaml, schema};
pub use decode::{DecodeSpec, FieldSpec, FilterSpec, Format, LimitsSpec, SchemaMode, SchemaSpec};
pub use dedup::{DedupSpec, KeySpec, KeyType};
pub use documents::{Documents, check, parse, read, validate_update};
pub use jetstream::{
    CaKind, CaRef, CredentialsSpec, JetStreamSpec, OnGap, OnSourceReset, PartitioningSpec,
    PartitioningType, RetentionSpec, SecretRef, SourceSpec, SourceType, StartFromSpec, StartType,
    TlsSpec, TrimSpec,
};
pub use pipeline::{BreakerSpec, DeadLetterSpec, IngestionPipeline, IngestionPipelineSpec};
pub use sink::{
    AddressingStyle, DeltaSpec, EventTimeSpec, FileSpec, FlushSpec, PartitionBySpec, S3Spec,
    SinkSpec, SinkType, StorageSpec, TransformName,
};
pub use status::{
    DedupStatus, GuaranteeStatus, IngestionPipelineStatus, LagStatus, LastCommitStatus, Phase,
    RecordsStatus, ScalingStatus,
};
pub use stored::read_pipeline;
pub use violation::Violation;

/// The API group of every kind.
pub const GROUP: &str = "tidegate.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// The kind that this crate knows.
pub const KIND: &str = "IngestionPipeline";
/// The most characters of a pipeline's name: `<name>-worker-<ten characters>` is a label of the workers'
/// pods, and a label has 63.
pub const LONGEST_NAME: usize = 45;
