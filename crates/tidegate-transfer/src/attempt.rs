//! What an attempt at a run is about.

use serde::{Deserialize, Serialize};
use tidegate_config::TransferConfig;
use tidegate_table::store::TableStore;
use tidegate_types::DataInterval;

use crate::layout::Layout;

/// How an attempt keeps its finished chunks for the next one, should it die (B5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keeping {
    /// The generation that the rows carry: of the attempt that began to read the files.
    pub(crate) origin: u64,
    /// A hash of everything that the rows depend on, in hexadecimal digits.
    pub(crate) mark: String,
}

/// Whose chunks are read and written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// The pipeline.
    pub(crate) config: &'a TransferConfig,
    /// Where the files go.
    pub(crate) store: &'a TableStore,
    /// How the source's columns become the table's.
    pub(crate) layout: &'a Layout,
    /// Whose rows; none: everything.
    pub(crate) interval: Option<DataInterval>,
    /// What was claimed (B2).
    pub(crate) generation: u64,
    /// How finished chunks are kept for the next attempt; none: they are not (B5).
    pub(crate) keeping: Option<&'a Keeping>,
}

impl Attempt<'_> {
    /// The generation that the rows carry.
    pub(crate) fn origin(&self) -> u64 {
        self.keeping.map_or(self.generation, |keeping| keeping.origin)
    }
}
