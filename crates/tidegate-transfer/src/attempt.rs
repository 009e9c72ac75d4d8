//! What an attempt at a run is about.

use tidegate_config::TransferConfig;
use tidegate_table::store::TableStore;
use tidegate_types::DataInterval;

use crate::layout::Layout;

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
}
