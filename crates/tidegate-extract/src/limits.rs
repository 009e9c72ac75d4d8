//! What a run takes at most of any database.

/// The largest row that is taken. A row stands in memory once on its way, so that a few readers stay
/// within the memory of a run.
pub(crate) const LARGEST_ROW: usize = 64 << 20;
