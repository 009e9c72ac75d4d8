//! The custom resources: their types, the rules that the API server enforces on them, and the same
//! rules for documents on a laptop.
//!
//! [`parse`] is the way in for files: it checks a document against the very schema that [`crd`]
//! publishes (structure, bounds, and the CEL rules in it), so that `tidegate validate`, the unit tests
//! and a cluster cannot come to different verdicts. What compares fields with each other beyond that
//! belongs to the resolution of the configuration, not here. There is no client in this crate.

#![expect(unreachable_pub, reason = "the schema derivation writes public structs into functions")]

mod bulk;
mod bulk_source;
mod cluster;
mod crd;
mod decode;
mod dedup;
mod defaults;
mod documents;
mod jetstream;
mod pipeline;
mod rules;
mod run;
mod run_status;
mod sink;
mod source;
mod status;
mod stored;
mod structure;
mod tidy;
mod violation;
mod vocabulary;

pub use bulk::{
    BackoffSpec, BulkSpec, CatchupPolicy, ChunkPlacement, ChunkingSpec, DependencySpec,
    IncrementalSpec, Mutability, OnNullCursor, RepairsSpec, RetrySpec, RunTemplateSpec,
    ScheduleSpec,
};
pub use bulk_source::{
    ConnectionSpec, CsvSpec, DatabaseSpec, DatabaseTlsSpec, FileCompression, FileFormat,
    ObjectStoreSpec, OnBadFile, SourceStorageSpec, TlsMode,
};
pub use cluster::{
    DeletionAction, DeletionPolicySpec, ObjectivesSpec, ScalingMode, ScalingSpec, TemplateSpec,
};
pub use crd::{
    Definition, KUBERNETES_FIELDS, crd, crd_yaml, definitions, run_crd, run_schema, schema,
};
pub use decode::{DecodeSpec, FieldSpec, FilterSpec, Format, LimitsSpec, SchemaMode, SchemaSpec};
pub use dedup::{DedupSpec, KeySpec, KeyType};
pub use documents::{Documents, check, parse, read, validate_update};
pub use jetstream::{
    CaKind, CaRef, CredentialsSpec, JetStreamSpec, OnGap, OnSourceReset, PartitioningSpec,
    PartitioningType, RetentionSpec, SecretRef, StartFromSpec, StartType, TlsSpec, TrimSpec,
};
pub use pipeline::{BreakerSpec, DeadLetterSpec, IngestionPipeline, IngestionPipelineSpec};
pub use run::{IngestionRun, IngestionRunSpec, IntervalSpec, PipelineRef, Reprocess, RunTrigger};
pub use run_status::{
    ChildrenStatus, ChunksStatus, IngestionRunStatus, MOST_PLANNED_INTERVALS, RowsStatus, RunPhase,
};
pub use sink::{
    AddressingStyle, DeltaSpec, EventTimeSpec, FileSpec, FlushSpec, PartitionBySpec, S3Spec,
    SinkSpec, SinkType, StorageSpec, TransformName, WriteMode,
};
pub use source::{SourceSpec, SourceType};
pub use status::{
    DedupStatus, GuaranteeStatus, IngestionPipelineStatus, LagStatus, LastCommitStatus, Phase,
    RecordsStatus, ScalingStatus, ScheduleStatus,
};
pub use stored::{read_pipeline, read_run};
pub use violation::Violation;

/// The API group of every kind.
pub const GROUP: &str = "tidegate.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// The kind of a flow of data.
pub const KIND: &str = "IngestionPipeline";
/// The kind of an execution of a bulk pipeline.
pub const RUN_KIND: &str = "IngestionRun";
/// The most characters of a pipeline's name: `<name>-worker-<ten characters>` is a label of the workers'
/// pods, and a label has 63.
pub const LONGEST_NAME: usize = 45;
/// The most characters of a bulk pipeline's name: `<name>-<tick as yyyymmddthhmmssz>` is the name of a
/// scheduled run.
pub const LONGEST_BULK_NAME: usize = 41;
/// The most characters of a run's name: `<name>-g<attempt of up to three digits>` is a label of its pods.
pub const LONGEST_RUN_NAME: usize = 58;
