//! How much a run takes at most.

/// Most connections of a run.
pub(super) const MOST_CONNECTIONS: usize = 64;
/// Most bytes of a batch, whatever is asked for: text of a column is addressed by 31 bits.
pub(super) const LARGEST_BATCH: usize = 256 << 20;
