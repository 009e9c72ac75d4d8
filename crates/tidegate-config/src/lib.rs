//! The contract between the operator and the pods: the resolved configuration (which `tidegate run`
//! hands to itself), the assignment of partitions, and what pods report. Every default is filled in,
//! every text is parsed, nothing refers to Kubernetes.

mod assignment;
mod guarantee;
mod hash;
mod lint;
mod pipeline;
mod recount;
mod report;
mod transfer;

pub use assignment::{Assignment, WorkerAssignment};
pub use guarantee::{
    Assessment, Caveat, Discard, PathFacts, StoreFacts, StreamFacts, StreamRetention, WeakestHop,
    assess,
};
pub use hash::content_hash;
pub use lint::{Finding, Load, Severity, lint, lint_under};
pub use pipeline::{
    AddressingStyle, Breaker, DeadLetter, Decode, DeltaTable, EventTime, FilePolicy, FileRef,
    FlushPolicy, JetStreamSource, OnGap, OnSourceReset, Partitioning, PipelineConfig, Retention,
    S3Options, Schema, Sink, StartFrom, Tls, Trim,
};
pub use recount::{
    FilesReport, Recount, SourceAnswer, SourceSays, late_files_in_words, loaded_again_in_words,
};
pub use report::{
    AgentReport, CommitReport, GuaranteeReport, LONGEST_MESSAGE, PodReport, State, WorkerReport,
};
pub use transfer::{
    BadFilePolicy, BulkSource, Calendar, Chunking, CsvOptions, DatabaseSource, DatabaseTls,
    DeskReport, FileCompression, FileFormat, GivenUp, Incremental, NullCursorPolicy, ObjectSource,
    Placement, Relation, Repairs, RunPhase, RunReport, Schedule, TlsMode, TransferConfig, Trigger,
    WriteMode,
};
