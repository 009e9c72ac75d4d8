//! What can go wrong at the source, and what it means for the pipeline.

use std::error::Error as StdError;
use std::fmt;

use thiserror::Error;
use tidegate_types::Reason;

/// A cause that is kept as a source and never printed twice.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// Why a stream is not the one that the log knows (S6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityFinding {
    /// The stream was deleted and made again.
    Created {
        /// The creation time that was known.
        known: String,
        /// The creation time that the broker states.
        found: String,
    },
    /// The stream ends before a position that was already read: it was restored from an older copy.
    EndsBefore {
        /// The position that was read.
        cursor: u64,
        /// The last sequence that the stream holds.
        last: u64,
    },
    /// The message at a known sequence is another one.
    OtherMessage {
        /// The sequence.
        sequence: u64,
    },
}

impl fmt::Display for IdentityFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { known, found } => {
                write!(f, "it was created at {found}, the known one at {known}")
            }
            Self::EndsBefore { cursor, last } => {
                write!(f, "it ends at sequence {last}, but {cursor} was read from it")
            }
            Self::OtherMessage { sequence } => {
                write!(f, "another message stands at sequence {sequence}")
            }
        }
    }
}

/// A failure of the source.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The broker could not be reached, or nobody answers there.
    #[error("unable to reach the broker for {operation}")]
    Unreachable {
        /// What was attempted.
        operation: String,
        /// The client's error.
        #[source]
        source: Cause,
    },
    /// No answer in time. The request may have been carried out.
    #[error("the broker did not answer {operation} in time")]
    TimedOut {
        /// What was attempted.
        operation: String,
    },
    /// The credentials are refused.
    #[error("the broker refused the credentials")]
    CredentialsRefused {
        /// The client's error.
        #[source]
        source: Cause,
    },
    /// Addresses, credentials or TLS files cannot be used.
    #[error("{what} cannot be used to connect to the broker")]
    Settings {
        /// Which setting.
        what: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The stream does not exist.
    #[error("stream {stream} does not exist")]
    StreamMissing {
        /// The stream.
        stream: String,
    },
    /// The broker answered with an error.
    #[error("the broker refused {operation}: {description} (code {code})")]
    Refused {
        /// What was attempted.
        operation: String,
        /// The HTTP-like status.
        status: u16,
        /// The broker's error number.
        code: u64,
        /// The broker's words.
        description: String,
    },
    /// The stream was not made by Tidegate.
    #[error(
        "stream {stream} was not made by tidegate and is left as it is: leave out `subjects` to read it"
    )]
    NotOurs {
        /// The stream.
        stream: String,
    },
    /// The stream exists with another partitioning; `partitions` cannot be changed.
    #[error(
        "stream {stream} is partitioned as {found}, not as {wanted}, and that cannot be changed"
    )]
    PartitioningChanged {
        /// The stream.
        stream: String,
        /// What the stream has.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The stream's configuration cannot carry the guarantee (S1).
    #[error("stream {stream} cannot carry the guarantee: {}", problems.join("; "))]
    Unsafe {
        /// The stream.
        stream: String,
        /// Each setting and what is wrong with it.
        problems: Vec<String>,
    },
    /// Messages that were not read are gone (S1, S2).
    #[error("messages {from} to {to} of stream {stream} are gone before they were read")]
    Gap {
        /// The stream.
        stream: String,
        /// The first sequence that is gone.
        from: u64,
        /// The last sequence that is gone.
        to: u64,
    },
    /// The stream is not the one that the log knows (S6).
    #[error("stream {stream} is not the one that was read before: {finding}")]
    Identity {
        /// The stream.
        stream: String,
        /// What shows it.
        finding: IdentityFinding,
    },
    /// Messages are under no partition's filter, and would be missed by all (S3).
    #[error("{outside} messages of stream {stream} belong to no partition")]
    SubjectsOutsidePartitions {
        /// The stream.
        stream: String,
        /// How many there are at least.
        outside: u64,
    },
    /// The asked start lies behind the end of the stream.
    #[error("sequence {sequence} is not in stream {stream}, which ends at {last}")]
    StartBeyondEnd {
        /// The stream.
        stream: String,
        /// What was asked for.
        sequence: u64,
        /// The last sequence that the stream holds.
        last: u64,
    },
    /// The consumer was re-created several times without a single message.
    #[error("consumer {consumer} of stream {stream} delivers nothing: {detail}")]
    NoProgress {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The last thing that was seen.
        detail: String,
    },
    /// The broker said something that this program does not understand.
    #[error("the broker's answer to {operation} is not understood")]
    Protocol {
        /// What was attempted.
        operation: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A message could not be published within the time given.
    #[error("message for {subject} was not stored after {attempts} attempts")]
    NotPublished {
        /// The subject.
        subject: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        #[source]
        source: Cause,
    },
}

impl SourceError {
    /// The stable word for conditions, events, metrics and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::StreamMissing { .. } => Reason::StreamMissing,
            Self::Gap { .. } => Reason::SourceGap,
            Self::Identity { .. } => Reason::SourceIdentity,
            Self::Unsafe { .. } => Reason::SourceUnsafe,
            Self::SubjectsOutsidePartitions { .. } => Reason::SubjectsOutsidePartitions,
            Self::NotOurs { .. }
            | Self::PartitioningChanged { .. }
            | Self::StartBeyondEnd { .. }
            | Self::Settings { .. } => Reason::InvalidConfiguration,
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::CredentialsRefused { .. }
            | Self::Refused { .. }
            | Self::NoProgress { .. }
            | Self::Protocol { .. }
            | Self::NotPublished { .. } => Reason::SourceUnreachable,
        }
    }

    /// Whether trying the same again later may succeed without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::NoProgress { .. } => true,
            // A consumer that is just being removed can neither be made nor changed.
            Self::Refused { status, code, .. } => *status == 503 || *code == code::CONSUMER_GOING,
            _ => false,
        }
    }

    /// Whether the broker answered with this error number.
    pub(crate) fn has_code(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }
}

/// Error numbers of the broker that decide what is done next.
pub(crate) mod code {
    pub(crate) const CONSUMER_NOT_FOUND: u64 = 10_014;
    pub(crate) const CONSUMER_GOING: u64 = 10_149;
    pub(crate) const NO_MESSAGE_FOUND: u64 = 10_037;
    pub(crate) const STREAM_NOT_FOUND: u64 = 10_059;
}

impl tidegate_types::Explained for SourceError {
    const WHAT: &'static str = "the source failed";

    fn reason(&self) -> Reason {
        Self::reason(self)
    }

    fn is_transient(&self) -> bool {
        Self::is_transient(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_that_pass_by_themselves_are_transient() {
        let refused = |status| SourceError::Refused {
            operation: "x".into(),
            status,
            code: 1,
            description: "d".into(),
        };
        assert!(refused(503).is_transient());
        assert!(!refused(400).is_transient());
        assert!(SourceError::TimedOut { operation: "x".into() }.is_transient());
        let gap = SourceError::Gap { stream: "S".into(), from: 3, to: 9 };
        assert!(!gap.is_transient());
        assert_eq!(gap.reason(), Reason::SourceGap);
        assert_eq!(gap.to_string(), "messages 3 to 9 of stream S are gone before they were read");
    }
}
