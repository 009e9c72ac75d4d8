//! Why a worker stopped.

use std::error::Error as StdError;

use thiserror::Error;
use tidegate_table::files::is_out_of_space;
use tidegate_types::Reason;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A worker stopped before its work was done. Nothing that was committed is affected; what was not is
/// read again.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct WorkerError {
    reason: Reason,
    retry: bool,
    what: String,
    #[source]
    source: Option<Source>,
}

impl WorkerError {
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

/// Whether a fault with this reason may be gone at the next try.
fn passes(reason: Reason) -> bool {
    matches!(reason, Reason::SinkUnreachable | Reason::ResourceExhausted)
}

macro_rules! from_error {
    ($($error:ty => $what:literal, $reason:expr, $retry:expr;)+) => {$(
        impl From<$error> for WorkerError {
            fn from(source: $error) -> Self {
                let reason: fn(&$error) -> Reason = $reason;
                let retry: fn(&$error) -> bool = $retry;
                let (reason, retry) = (reason(&source), retry(&source));
                Self { reason, retry, what: $what.to_owned(), source: None }.because(source)
            }
        }
    )+};
}

from_error! {
    tidegate_source::SourceError => "the source failed", |e| e.reason(), |e| e.is_transient();
    tidegate_table::log::LogError => "the table's log failed", |e| e.reason(), |e| e.is_transient();
    tidegate_table::files::FileError => "a file of the table failed", |e| e.reason(), |e| passes(e.reason());
    tidegate_table::store::StoreError => "the object store failed", |e| e.reason(), |e| e.is_transient();
    tidegate_table::ledger::LedgerError => "the table's log holds a value that is not ours",
        |_| Reason::TableMismatch, |_| false;
    tidegate_table::ledger::SettingsError => "the ledger's settings failed",
        |_| Reason::SinkUnreachable, |e| matches!(e, tidegate_table::ledger::SettingsError::Store { .. });
    crate::secrets::SecretError => "a secret is missing", |_| Reason::SecretMissing, |_| true;
}
