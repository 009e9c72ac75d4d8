//! The resolved configuration: what the operator hands to pods and what `tidegate run` hands to
//! itself. Every default is filled in, every text is parsed, nothing refers to Kubernetes.
//!
//! It is a contract between releases: documents carry [`SCHEMA_VERSION`], and a pod refuses one that
//! it does not know instead of guessing.

mod guarantee;
mod lint;
mod pipeline;

pub use guarantee::{
    Assessment, Caveat, Discard, PathFacts, StoreFacts, StreamFacts, StreamRetention, WeakestHop,
    assess,
};
pub use lint::{Finding, Load, Severity, lint, lint_under};
pub use pipeline::{
    AddressingStyle, Breaker, DeadLetter, Decode, DeltaTable, EventTime, FilePolicy, FileRef,
    FlushPolicy, JetStreamSource, OnGap, OnSourceReset, Partitioning, PipelineConfig, Retention,
    S3Options, Schema, Sink, StartFrom, StoredConfig, Tls, Trim,
};

/// The version of the document's shape.
pub const SCHEMA_VERSION: u32 = 1;
