//! A partition as the committer hands it to the engine, which loads its window and reads it.

use tidegate_table::ledger::PartitionState;
use tidegate_table::log::TableSnapshot;
use tidegate_types::{Epoch, Nonce, PartitionId};

/// A partition that was claimed.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedPartition {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    pub(crate) state: PartitionState,
    pub(crate) snapshot: TableSnapshot,
    /// The last repair record that verdicts have to know (B10).
    pub(crate) record: Option<Nonce>,
}
