//! The conservation counters of a partition.

use serde::{Deserialize, Serialize};

/// What became of the messages of a partition. Cumulative in the log, a difference in a batch.
///
/// Conservation: `read = rows + dead + duplicate + filtered`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Records taken from the stream (`in` in the log).
    pub read: u64,
    /// Rows written to the table.
    pub rows: u64,
    /// Records set aside as dead letters.
    pub dead: u64,
    /// Records dropped because the window holds their id.
    pub duplicate: u64,
    /// Records dropped by the filter.
    pub filtered: u64,
}

impl Counters {
    /// Whether every record that was read went somewhere.
    #[must_use]
    pub fn conserved(&self) -> bool {
        // Wider than any sum of four: a log that somebody edited may hold any number.
        let became: u128 =
            [self.rows, self.dead, self.duplicate, self.filtered].into_iter().map(u128::from).sum();
        became == u128::from(self.read)
    }
}

impl std::ops::Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            read: self.read + other.read,
            rows: self.rows + other.rows,
            dead: self.dead + other.dead,
            duplicate: self.duplicate + other.duplicate,
            filtered: self.filtered + other.filtered,
        }
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
