//! Why a worker or a run stopped.

use std::error::Error as StdError;

use thiserror::Error;
use tidegate_table::files::is_out_of_space;
use tidegate_types::{Explained, Reason};

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A worker or a run stopped before its work was done. Nothing that was committed is affected; what was
/// not is read again.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct RunError {
    reason: Reason,
    retry: bool,
    what: String,
    #[source]
    source: Option<Source>,
}

impl RunError {
    /// Somebody has to change something first.
    pub fn permanent(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, retry: false, what: what.into(), source: None }
    }

    /// Trying again later may do.
    pub fn transient(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, retry: true, what: what.into(), source: None }
    }

    /// Adds the cause. A full disk is the reason wherever it is met.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        let source = source.into();
        if self.retry && is_out_of_space(source.as_ref()) {
            self.reason = Reason::ResourceExhausted;
        }
        self.source = Some(source);
        self
    }

    /// The word for conditions, metrics and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether a restart may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.retry
    }

    /// The process' exit code: 75 to be tried again, 65 to wait for a person.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.retry { 75 } else { 65 }
    }
}

/// What happened and why, in one line.
#[must_use]
pub fn in_words(error: &(dyn StdError + 'static)) -> String {
    causes(error).join(": ")
}

/// What happened and why, from the outside in. A cause that its effect quotes already is left out.
#[must_use]
pub fn causes(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| (*error).source()) {
        let cause = cause.to_string();
        if !told.last().is_some_and(|effect| effect.ends_with(&cause)) {
            told.push(cause);
        }
    }
    told
}

impl<E: Explained + Send + Sync + 'static> From<E> for RunError {
    fn from(source: E) -> Self {
        let (reason, retry) = (source.reason(), source.is_transient());
        Self { reason, retry, what: E::WHAT.to_owned(), source: None }.because(source)
    }
}
