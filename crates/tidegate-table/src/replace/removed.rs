//! Which messages' rows leave the table: ranges of sequences, each with how many rows it stands for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_types::{Incarnation, PartitionId, StreamTime};

/// Ranges that one partition has at most; beyond it neighbours are joined over wider gaps.
const MOST: usize = 256;

/// Streamed rows that leave the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemovedRows {
    by_partition: BTreeMap<(Incarnation, PartitionId), Ranges>,
    newest: Option<StreamTime>,
}

/// Rows of messages whose sequences lie in `[from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedRange {
    /// The lowest sequence.
    pub from: u64,
    /// The highest.
    pub to: u64,
    /// How many rows there were.
    pub rows: u64,
}

impl RemovedRows {
    /// Adds the row of a message.
    pub(crate) fn add(
        &mut self,
        of: (Incarnation, PartitionId),
        sequence: u64,
        published: Option<StreamTime>,
    ) {
        let range = RemovedRange { from: sequence, to: sequence, rows: 1 };
        self.by_partition.entry(of).or_default().add(range);
        self.newest = self.newest.max(published);
    }

    /// Takes over those of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (of, ranges) in &other.by_partition {
            let own = self.by_partition.entry(*of).or_default();
            ranges.iter().for_each(|range| own.add(range));
        }
        self.newest = self.newest.max(other.newest);
    }

    /// All of them.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.by_partition.values().map(Ranges::rows).sum()
    }

    /// When the newest of the messages was published, where the rows say that. Those that do not are older
    /// than deduplication: no window ever holds them, so that it stays the same without them (D1).
    #[must_use]
    pub fn newest(&self) -> Option<StreamTime> {
        self.newest
    }

    /// The partitions that lose rows.
    pub fn partitions(&self) -> impl Iterator<Item = (Incarnation, PartitionId)> {
        self.by_partition.keys().copied()
    }

    /// How many rows a partition loses.
    #[must_use]
    pub fn rows_of(&self, of: (Incarnation, PartitionId)) -> u64 {
        self.by_partition.get(&of).map_or(0, Ranges::rows)
    }

    /// The ranges of a partition, ascending and apart.
    pub fn ranges_of(
        &self,
        of: (Incarnation, PartitionId),
    ) -> impl Iterator<Item = RemovedRange> + '_ {
        self.by_partition.get(&of).into_iter().flat_map(Ranges::iter)
    }
}

/// The ranges of one partition: highest sequence and rows by the lowest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Ranges {
    /// How many sequences may lie between two ranges that are joined.
    gap: u64,
    ranges: BTreeMap<u64, (u64, u64)>,
}

impl Ranges {
    fn add(&mut self, mut range: RemovedRange) {
        let reach = self.gap.saturating_add(1);
        let near = |of: &RemovedRange| of.to.saturating_add(reach);
        while let Some((&from, &(to, rows))) = self.ranges.range(..=near(&range)).next_back()
            && to.saturating_add(reach) >= range.from
        {
            self.ranges.remove(&from);
            range = RemovedRange {
                from: range.from.min(from),
                to: range.to.max(to),
                rows: range.rows + rows,
            };
        }
        self.ranges.insert(range.from, (range.to, range.rows));
        if self.ranges.len() > MOST {
            self.gap = self.gap.saturating_mul(4).saturating_add(1);
            let apart: Vec<_> = self.iter().collect();
            self.ranges.clear();
            apart.into_iter().for_each(|range| self.add(range));
        }
    }

    fn rows(&self) -> u64 {
        self.ranges.values().map(|(_, rows)| rows).sum()
    }

    fn iter(&self) -> impl Iterator<Item = RemovedRange> + '_ {
        self.ranges.iter().map(|(from, (to, rows))| RemovedRange {
            from: *from,
            to: *to,
            rows: *rows,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of() -> (Incarnation, PartitionId) {
        (Incarnation::derive("S", "", 0), PartitionId(3))
    }

    proptest! {
        #[test]
        fn ranges_hold_every_sequence_and_count_every_row_however_many_there_are(
            sequences in prop::collection::vec(0_u64..5_000_000, 1..2_000),
        ) {
            let mut removed = RemovedRows::default();
            for sequence in &sequences {
                removed.add(of(), *sequence, Some(StreamTime(1)));
            }
            let ranges: Vec<_> = removed.ranges_of(of()).collect();
            prop_assert!(ranges.len() <= MOST);
            prop_assert_eq!(removed.rows(), sequences.len() as u64);
            prop_assert!(ranges.windows(2).all(|two| two[0].to < two[1].from));
            for range in &ranges {
                let inside = |s: &&u64| (range.from..=range.to).contains(*s);
                prop_assert_eq!(sequences.iter().filter(inside).count() as u64, range.rows);
                prop_assert!(sequences.contains(&range.from) && sequences.contains(&range.to));
            }
            let mut twice = removed.clone();
            twice.merge(&removed);
            prop_assert_eq!(twice.rows(), 2 * removed.rows());
        }
    }

    #[test]
    fn neighbours_are_one_range_and_strangers_are_not() {
        let mut removed = RemovedRows::default();
        for sequence in [7, 5, 6, 9, 5] {
            removed.add(of(), sequence, None);
        }
        let ranges: Vec<_> = removed.ranges_of(of()).map(|r| (r.from, r.to, r.rows)).collect();
        assert_eq!(ranges, [(5, 7, 4), (9, 9, 1)]);
        assert_eq!((removed.newest(), removed.rows_of(of())), (None, 5));
    }
}
