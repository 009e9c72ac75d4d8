//! What can go wrong with a data file.

use std::error::Error as StdError;
use std::io::ErrorKind;

use parquet::errors::ParquetError;
use thiserror::Error;
use tidegate_types::Reason;

/// A data file could not be written or read.
#[derive(Debug, Error)]
pub enum FileError {
    /// The store refused or could not be reached.
    #[error("failed to reach {path} in the object store")]
    Store {
        /// The object.
        path: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// Encoding or decoding failed; a store error during either is in the chain of sources.
    #[error("failed to encode or decode {path}")]
    Parquet {
        /// The object.
        path: String,
        /// What the codec said.
        #[source]
        source: ParquetError,
    },
    /// Columns do not have the shape that was asked for.
    #[error("columns do not fit together")]
    Columns {
        /// What Arrow said.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The object that was read back is not the one that was written.
    #[error("{path} was written with {expected} {what} but the store holds {found}")]
    NotWhole {
        /// The object.
        path: String,
        /// Which number differs.
        what: &'static str,
        /// What was written.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// The writer failed before or was aborted.
    #[error("the writer of {path} is closed")]
    Closed {
        /// The object.
        path: String,
    },
    /// A path in the log is not one below the table's root.
    #[error("{path:?} is not a path below the table's root")]
    ForeignPath {
        /// The path, as it stands in the log.
        path: String,
    },
    /// A column cannot be a deduplication key.
    #[error("column {column:?} of type {data_type} cannot be a deduplication key")]
    KeyType {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
}

impl FileError {
    /// The reason to report.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Columns { .. } | Self::ForeignPath { .. } | Self::KeyType { .. } => {
                Reason::TableMismatch
            }
            Self::Store { .. } | Self::Parquet { .. } if is_out_of_space(self) => {
                Reason::ResourceExhausted
            }
            Self::Store { .. }
            | Self::Parquet { .. }
            | Self::NotWhole { .. }
            | Self::Closed { .. } => Reason::SinkUnreachable,
        }
    }
}

/// Whether a full disk or quota is at the bottom of the chain.
#[must_use]
pub fn is_out_of_space(error: &(dyn StdError + 'static)) -> bool {
    let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    std::iter::successors(Some(error), |e| (*e).source())
        .filter_map(|e| e.downcast_ref::<std::io::Error>())
        .any(|e| full(e.kind()))
}

impl tidegate_types::Explained for FileError {
    const WHAT: &'static str = "a file of the table failed";

    fn reason(&self) -> Reason {
        Self::reason(self)
    }

    fn is_transient(&self) -> bool {
        matches!(self.reason(), Reason::SinkUnreachable | Reason::ResourceExhausted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_error(kind: ErrorKind) -> FileError {
        let source = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(std::io::Error::from(kind)),
        };
        FileError::Store { path: "x".to_owned(), source }
    }

    #[test]
    fn a_full_disk_is_told_from_an_unreachable_store() {
        assert_eq!(store_error(ErrorKind::StorageFull).reason(), Reason::ResourceExhausted);
        assert_eq!(store_error(ErrorKind::TimedOut).reason(), Reason::SinkUnreachable);
    }

    #[test]
    fn a_full_disk_is_seen_through_the_codec() {
        let FileError::Store { source, path } = store_error(ErrorKind::StorageFull) else {
            unreachable!("made above")
        };
        let error = FileError::Parquet { path, source: ParquetError::External(Box::new(source)) };
        assert_eq!(error.reason(), Reason::ResourceExhausted);
    }
}
