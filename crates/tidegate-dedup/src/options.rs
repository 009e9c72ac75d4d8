//! How a window remembers, and what happens when it cannot.

use std::path::PathBuf;

use thiserror::Error;
use tidegate_types::{KeyPrecision, Span};

use crate::run::SpillError;

/// How a window remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOptions {
    /// How long an id is remembered, in stream time (W).
    pub window: Span,
    /// How much of an id is kept (D5).
    pub keys: KeyPrecision,
    /// Most bytes of memory. It must hold the ids of one batch; while ids are moved to disk those of
    /// one twelfth of the window exist twice on top of it.
    pub memory_limit: usize,
    /// An existing folder for ids that do not fit; none: a full window is an error.
    pub spill_dir: Option<PathBuf>,
}

impl WindowOptions {
    /// Exact keys, and nothing on disk.
    #[must_use]
    pub fn in_memory(window: Span, memory_limit: usize) -> Self {
        Self { window, keys: KeyPrecision::Exact, memory_limit, spill_dir: None }
    }
}

/// The window could not take up a batch. It is as it was before the call.
#[derive(Debug, Error)]
pub enum WindowError {
    /// The ids do not fit, and there is nowhere to move them: reading must stop.
    #[error("duplicate window needs {needed} bytes of memory and may use {limit}")]
    OverBudget {
        /// Bytes that the batch would have needed.
        needed: usize,
        /// The limit.
        limit: usize,
    },
    /// The disk failed.
    #[error("unable to use the disk for the duplicate window")]
    Spill(#[from] SpillError),
}
