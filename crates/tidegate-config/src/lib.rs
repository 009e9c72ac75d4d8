//! The resolved configuration: what the operator hands to pods and what `tidegate run` hands to
//! itself. Every default is filled in, every text is parsed, nothing refers to Kubernetes.

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
    S3Options, Schema, Sink, StartFrom, Tls, Trim,
};
