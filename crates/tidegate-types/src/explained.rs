//! What every error has that ends a process or a run.

use std::error::Error;

use crate::Reason;

/// An error that knows its word of the closed set, and whether time may mend it.
pub trait Explained: Error {
    /// What failed, in front of the error itself: `the source failed`.
    const WHAT: &'static str;

    /// The word for conditions, metrics and logs.
    fn reason(&self) -> Reason;

    /// Whether trying again later may help.
    fn is_transient(&self) -> bool;
}
