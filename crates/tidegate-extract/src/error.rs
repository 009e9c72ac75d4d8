//! Why reading failed.

use std::error::Error as StdError;

use thiserror::Error;
use tidegate_types::{Explained, Reason};

/// Whatever lies underneath.
pub(crate) type Source = Box<dyn StdError + Send + Sync + 'static>;

/// Why a source could not be read. Messages never hold passwords.
#[derive(Debug, Error)]
pub enum ExtractError {
    /// Somebody has to change something first.
    #[error("{what}")]
    Permanent {
        /// The word for it.
        reason: Reason,
        /// What is wrong and what to do.
        what: String,
        /// Why.
        #[source]
        source: Option<Source>,
    },
    /// Trying again later may do.
    #[error("{what}")]
    Transient {
        /// The word for it.
        reason: Reason,
        /// What happened.
        what: String,
        /// Why.
        #[source]
        source: Option<Source>,
    },
    /// Nobody takes the rows any more.
    #[error("reading was given up")]
    Cancelled,
}

impl ExtractError {
    /// An error that waits for a person.
    pub(crate) fn permanent(reason: Reason, what: impl Into<String>) -> Self {
        Self::Permanent { reason, what: what.into(), source: None }
    }

    /// An error that time may mend.
    pub(crate) fn transient(reason: Reason, what: impl Into<String>) -> Self {
        Self::Transient { reason, what: what.into(), source: None }
    }

    /// Says which field of the pipeline asks for what is missing or wrong.
    pub(crate) fn asked_by(mut self, field: &str) -> Self {
        if let Self::Permanent { what, .. } | Self::Transient { what, .. } = &mut self {
            *what = format!("{field}: {what}");
        }
        self
    }

    /// Adds the cause.
    pub(crate) fn because(mut self, cause: impl Into<Source>) -> Self {
        if let Self::Permanent { source, .. } | Self::Transient { source, .. } = &mut self {
            *source = Some(cause.into());
        }
        self
    }
}

impl Explained for ExtractError {
    const WHAT: &'static str = "the source failed";

    fn reason(&self) -> Reason {
        match self {
            Self::Permanent { reason, .. } | Self::Transient { reason, .. } => *reason,
            Self::Cancelled => Reason::SourceUnreachable,
        }
    }

    fn is_transient(&self) -> bool {
        !matches!(self, Self::Permanent { .. })
    }
}
