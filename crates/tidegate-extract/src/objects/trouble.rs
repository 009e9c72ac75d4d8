//! Why the reading of one file ended early.

use std::sync::{Arc, Mutex, PoisonError};

use tidegate_types::Reason;

use crate::ExtractError;

/// Why the reading of one file ended early.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Its bytes are not what they should be; the pipeline says what that does.
    Damaged {
        /// The word for it.
        reason: Reason,
        /// What is wrong, one line.
        what: String,
    },
    /// Anything else.
    Failed(ExtractError),
}

impl Trouble {
    /// The file's bytes are not what they should be.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { reason: Reason::Malformed, what: what.into() }
    }
}

impl From<ExtractError> for Trouble {
    fn from(error: ExtractError) -> Self {
        Self::Failed(error)
    }
}

/// Where the store's own error is kept while a parser, which only knows its own kinds, hands a stand-in
/// upwards: so a broken connection is not taken for a damaged file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause(Arc<Mutex<Option<ExtractError>>>);

impl Cause {
    /// Keeps the error; answers with what the parser gets.
    pub(crate) fn keep(&self, error: ExtractError) -> std::io::Error {
        let text = error.to_string();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        std::io::Error::other(text)
    }

    /// What really happened when a parser says `what`.
    pub(crate) fn explain(&self, what: impl Into<String>) -> Trouble {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.map_or_else(|| Trouble::damaged(what), Trouble::Failed)
    }
}
