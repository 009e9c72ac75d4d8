//! The closed set of reasons.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why something is as it is: the same word in errors, logs, metric labels, conditions, Events
        /// and in the `reason` column of the dead letters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word itself.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The reason behind a word that another process wrote; none for a word of another release.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
            }
        }
    };
}

reasons! {
    // --- dead letters: about one record
    /// The bytes are not a value of the declared format.
    Malformed,
    /// The bytes are not valid UTF-8.
    InvalidEncoding,
    /// The message is larger than `decode.limits.maxBytes`.
    TooLarge,
    /// The value is nested deeper than `decode.limits.maxDepth`.
    TooDeep,
    /// A field has another type than the schema declares.
    WrongType,
    /// A number does not fit the declared type.
    OutOfRange,
    /// A required field is missing or null.
    MissingField,
    /// The record has a field that the schema does not declare, and `unknownFields: DeadLetter`.
    UnknownField,
    /// The record has no deduplication key, and `onMissingKey: DeadLetter`.
    MissingKey,
    /// The event time is older than the publish time by more than `allowedLateness`.
    TooLate,
    /// The event time is further in the future than `allowedLateness`.
    TooFarAhead,
    /// The filter expression failed on this record.
    FilterFailed,
    /// Decoding this message killed the decoder.
    CrashedDecoder,
    /// The event time lies in an interval that was repaired before the record came, and `afterRepair:
    /// DeadLetter`.
    IntervalRepaired,

    // --- the source
    /// The broker cannot be reached.
    SourceUnreachable,
    /// The stream does not exist and `subjects` does not ask for it to be made.
    StreamMissing,
    /// Messages that were not read are gone from the stream.
    SourceGap,
    /// The stream is not the one that the log knows.
    SourceIdentity,
    /// The stream's configuration cannot carry the guarantee.
    SourceUnsafe,
    /// One replica, or lazy fsync: the broker may lose what it acknowledged.
    SourceNotDurable,
    /// Messages of the stream belong to no partition.
    SubjectsOutsidePartitions,
    /// The broker's clock jumped ahead by more than the deduplication window.
    StreamClockJump,
    /// Another reader of the stream keeps it from being trimmed.
    TrimBlocked,

    // --- the sink
    /// The object store cannot be reached or refuses.
    SinkUnreachable,
    /// The object store does not honour a conditional put.
    CommitStoreUnsafe,
    /// The table was rewound, replaced or restored by somebody else.
    TableRewound,
    /// The table holds another ledger's rows.
    LedgerMismatch,
    /// The table's schema or partitioning does not fit the pipeline.
    TableMismatch,
    /// The schema change is not allowed by `schema.evolution`.
    SchemaChangeRefused,
    /// The outcome of a commit is not known yet.
    CommitInDoubt,
    /// The dead-letter table has not yet got the last dead letters.
    DeadLetterCommitPending,
    /// More than `deadLetter.breaker.maxPercent` of the records were dead.
    BreakerOpen,
    /// The disk or the memory budget is exhausted.
    ResourceExhausted,

    // --- the worker
    /// Another worker holds the partition.
    Fenced,
    /// The base snapshot is older than the log's safety margin.
    BaseTooOld,
    /// A referenced secret is missing.
    SecretMissing,
    /// The configuration is not valid.
    InvalidConfiguration,
    /// The guarantee cannot be given on this path.
    GuaranteeNotMet,
    /// The deduplication window does not reach back far enough yet.
    WindowFilling,

    // --- the cluster
    /// Objects of the pipeline are being made.
    Progressing,
    /// Pods are being replaced by newer ones.
    RollingOut,
    /// Pods would be replaced because of a new release of the operator, and wait for their turn.
    RolloutQueued,
    /// A pod cannot be placed on any node.
    Unschedulable,
    /// A pod fails before it can say why: its image, its start, its memory.
    PodFailing,
    /// The agent does not answer.
    AgentUnreachable,
    /// A worker does not answer.
    WorkerUnreachable,
    /// The service account does not exist or does not offer itself to pipelines.
    ServiceAccountRefused,
    /// An object of that name belongs to somebody else.
    NameTaken,
    /// The Kubernetes API refused a request.
    ApiRefused,
    /// The Kubernetes API cannot be reached.
    ApiUnavailable,
    /// Workers were added.
    ScaledUp,
    /// Workers were taken away.
    ScaledDown,
    /// No worker runs because nothing waits.
    ScaledToZero,
    /// Somebody else decides about the number of workers.
    ScaledExternally,
    /// The number of workers is fixed.
    ScalingFixed,
    /// Messages wait in the stream.
    Behind,
    /// Data is older than `objectives.freshness` allows.
    Late,
    /// Some records became dead letters.
    DeadLettersWritten,
    /// Columns were added to the table.
    SchemaChanged,
    /// Somebody changed an object of the pipeline's, and it was put back.
    DriftRepaired,
    /// What lies outside the cluster is being deleted.
    Deleting,
    /// Something outside the cluster could not be deleted.
    DeletionIncomplete,
    /// The pipeline is suspended.
    Suspended,

    // --- bulk
    /// The table's log holds the interval already.
    AlreadyComplete,
    /// The interval is no union of whole ticks of the schedule.
    IntervalNotAligned,
    /// The interval overlaps one that the table holds without containing it.
    IntervalConflict,
    /// Files of the interval appeared or changed after it was loaded.
    IntervalStale,
    /// A newer attempt of the interval was claimed in the table's log.
    GenerationLost,
    /// The source counted other rows than were written.
    CountMismatch,
    /// The interval would lose most of its rows, and `allowShrink` is not set.
    IntervalShrank,
    /// Transactions that began before the interval's end are still open at the source.
    SourceTransactionsOpen,
    /// The source does not show other users' transactions.
    SourceTransactionsHidden,
    /// The source changed while it was read.
    SourceChanged,
    /// The source's snapshot is no longer held.
    SnapshotLost,
    /// Rows have no cursor.
    NullCursor,
    /// A column's type has no counterpart in the table.
    UnsupportedType,
    /// The source refused a request.
    SourceRefused,
    /// The run waits for its time.
    WaitingForTick,
    /// The run waits for another pipeline.
    WaitingForDependency,
    /// As many runs as are allowed are under way.
    RunLimitReached,
    /// A run was given up.
    RunFailed,
    /// The run was told to stop.
    Interrupted,
    /// Too many records cannot be rows.
    TooManyDeadLetters,
    /// The run names a pipeline that does not exist.
    PipelineMissing,
    /// An attempt took longer than it may.
    DeadlineExceeded,
    /// Chunks that pods of their own read were given up, or nobody was heard of them.
    ChunksFailed,
    /// The stream has not passed the interval that is to be repaired.
    RepairTooEarly,
    /// All is well.
    Ok,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
