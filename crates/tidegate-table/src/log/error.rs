//! What can go wrong with a table's log.

use std::fmt;
use std::time::Duration;

use delta_kernel::KernelError;
use thiserror::Error;
use tidegate_types::Reason;

/// An operation on a table's log failed.
#[derive(Debug, Error)]
pub enum LogError {
    /// The kernel refused or failed.
    #[error("failed to {operation} in the log of {table}")]
    Kernel {
        /// What was being done.
        operation: &'static str,
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<KernelError>,
    },
    /// The object store failed.
    #[error("failed to {operation} {path} of {table}")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// The object.
        path: String,
        /// The table.
        table: String,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
    /// An entry of the log cannot be read as JSON actions.
    #[error("version {version} of the log is malformed: {problem}")]
    Malformed {
        /// The entry's version.
        version: u64,
        /// What is wrong.
        problem: String,
    },
    /// An entry between two known versions is gone.
    #[error("version {version} of the log is missing")]
    EntryMissing {
        /// The entry's version.
        version: u64,
    },
    /// The table cannot be used as it is.
    #[error("table {table} cannot be used: {problem}")]
    Mismatch {
        /// The table.
        table: String,
        /// What does not fit.
        problem: String,
    },
    /// A commit was asked for over a snapshot that is too old (P8).
    #[error("the base snapshot is {}s old, more than {}s", age.as_secs(), limit.as_secs())]
    BaseTooOld {
        /// Its age.
        age: Duration,
        /// The highest age that is allowed.
        limit: Duration,
    },
    /// A version was won that had been in the log before (P8).
    #[error("version {version} was won in a hole of the log of {table}: {evidence}")]
    Hole {
        /// The version that was won.
        version: u64,
        /// The table.
        table: String,
        /// What shows it.
        evidence: HoleEvidence,
    },
    /// A commit carries something that the log cannot hold.
    #[error("the commit cannot be written: {problem}")]
    InvalidRequest {
        /// What.
        problem: String,
    },
    /// There is no multi-threaded tokio runtime to run the kernel on.
    #[error("the commit log needs a multi-threaded tokio runtime")]
    NoRuntime,
    /// The blocking task died.
    #[error("the task that should {operation} did not finish")]
    Task {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl LogError {
    /// The reason for conditions, metrics and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Kernel { source, .. } if !is_io(source) => Reason::TableMismatch,
            Self::Kernel { .. } | Self::Store { .. } | Self::Task { .. } => Reason::SinkUnreachable,
            Self::Malformed { .. } | Self::EntryMissing { .. } | Self::Hole { .. } => {
                Reason::TableRewound
            }
            Self::Mismatch { .. } => Reason::TableMismatch,
            Self::BaseTooOld { .. } => Reason::BaseTooOld,
            Self::InvalidRequest { .. } | Self::NoRuntime => Reason::InvalidConfiguration,
        }
    }

    /// Whether trying again later, without anybody changing anything, may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store { .. } | Self::BaseTooOld { .. } => true,
            Self::Kernel { source, .. } => is_io(source),
            _ => false,
        }
    }
}

/// What shows that a version had been in the log before it was won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoleEvidence {
    /// A later commit is older.
    LaterCommit(u64),
    /// A checkpoint at this or a later version is older.
    Checkpoint(u64),
    /// The version it extends is gone.
    BaseMissing,
}

impl fmt::Display for HoleEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LaterCommit(version) => write!(f, "version {version} was there before"),
            Self::Checkpoint(version) => write!(f, "a checkpoint at {version} was there before"),
            Self::BaseMissing => f.write_str("the version before it is gone"),
        }
    }
}

/// Whether the kernel failed because of the store rather than because of what it read there.
fn is_io(error: &KernelError) -> bool {
    match error {
        KernelError::Backtraced { source, .. } => is_io(source),
        KernelError::ObjectStore(_) | KernelError::IOError(_) => true,
        // A checkpoint is Parquet, whose reader wraps what the store said.
        other => comes_from_store(other),
    }
}

fn comes_from_store(error: &dyn std::error::Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.any(|cause| cause.is::<object_store::Error>())
}

impl tidegate_types::Explained for LogError {
    const WHAT: &'static str = "the table's log failed";

    fn reason(&self) -> Reason {
        Self::reason(self)
    }

    fn is_transient(&self) -> bool {
        Self::is_transient(self)
    }
}
