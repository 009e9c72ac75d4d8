//! Bounds of a backfill, the same for the operator and for the binary.

/// Most intervals of one range: two years of hours.
pub const MOST_INTERVALS: usize = 20_000;
/// When so many of its runs have failed no more are begun: the cause is a common one.
pub const MOST_FAILED_RUNS: u32 = 20;
