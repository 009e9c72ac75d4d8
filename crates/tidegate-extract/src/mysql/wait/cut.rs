//! Whether a list of transactions may have been cut (B7).
//!
//! InnoDB copies its list into 16 MiB, together with the statements' texts and the locks that are waited
//! for. What does not fit is left out and nobody is told: one version of the server writes a line into its log,
//! another does not even do that. So a list is believed only when it takes a quarter of that memory even if
//! each of its rows is as large as it can be. The row that did not fit is not in the list, and has room in the
//! rest.
//!
//! The rest is also for what earlier days took: arrays grow by half and never shrink. The largest is of pairs,
//! who waits behind whom; newer servers of MySQL have none. As long as no thousand connections were there at
//! once, the pairs of the worst of days left a quarter and more. After that only texts are counted on that need
//! next to no room, and rows that have had their place since the first list.

/// All that there is, in bytes.
const LIMIT: u64 = 16 << 20;
/// What a list may take.
const ROOM: u64 = LIMIT / 4;
/// What it may take beside its rows on a server that was crowded.
const LITTLE_ROOM: u64 = 128 << 10;
/// Rows that the list has room for from the beginning.
const FIRST_ROWS: u64 = 1_024;
/// From so many connections on, each waiting behind all before it, pairs leave less than [`ROOM`].
const CROWD: u64 = 1_000;
/// A transaction: its numbers in an array that may be larger by half, and at most 1 KiB of its statement,
/// 256 bytes of an error and 64 of what it is at.
const TRANSACTION: u64 = 2 << 10;
/// The record that a transaction waits for, of which up to 8 KiB are copied, and its names.
const AWAITED: u64 = 9 << 10;
/// A lock that a transaction waits for behind another one, and the pair of both.
const BEHIND: u64 = 192;

/// How much of the list there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Transactions.
    pub(super) listed: u64,
    /// Those of them that wait for a lock.
    pub(super) waiting: u64,
    /// Bytes of their texts.
    pub(super) texts: u64,
}

/// What the server's memory for lists has been through since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    /// It lists who waits behind whom.
    pub(super) has_pairs: bool,
    /// Most connections at once.
    pub(super) connections: u64,
}

impl Extent {
    /// Whether something may have been left out.
    pub(super) fn may_be_cut(self, past: Past) -> bool {
        let Self { listed, waiting, texts } = self;
        let awaited = waiting.saturating_mul(AWAITED);
        let behind = waiting.saturating_mul(listed).saturating_mul(BEHIND);
        let rows = listed.saturating_mul(TRANSACTION);
        let is_large = rows.saturating_add(awaited).saturating_add(behind) > ROOM;
        let was_crowded = past.has_pairs && past.connections >= CROWD;
        let needs_memory = listed >= FIRST_ROWS || texts.saturating_add(awaited) > LITTLE_ROOM;
        is_large || (was_crowded && needs_memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Past = Past { has_pairs: true, connections: 999 };
    const CROWDED: Past = Past { connections: 1_000, ..QUIET };

    #[test]
    fn a_list_is_believed_while_it_is_far_from_the_memory_that_it_has() {
        for (listed, waiting, may_be_cut) in [
            (0, 0, false),
            (200, 0, false),
            (200, 30, false),
            (1_000, 10, false),
            (2_048, 0, false),
            (2_049, 0, true),
            // Everybody wants the same row: each waits behind all before it.
            (100, 99, false),
            (150, 149, true),
            (1_000, 999, true),
            // Each copies what it waits for, which may be large.
            (300, 53, false),
            (300, 54, true),
            (u64::MAX, u64::MAX, true),
        ] {
            let extent = Extent { listed, waiting, texts: listed.saturating_mul(1_024) };
            assert_eq!(extent.may_be_cut(QUIET), may_be_cut, "{extent:?}");
            let newer = Past { has_pairs: false, ..CROWDED };
            assert_eq!(extent.may_be_cut(newer), may_be_cut, "{extent:?}, no pairs");
        }
    }

    #[test]
    fn what_an_earlier_crowd_took_is_not_counted_on() {
        for (listed, waiting, texts, may_be_cut) in [
            (1_000, 0, 128 << 10, false),
            (1_000, 0, (128 << 10) + 1, true),
            (1_024, 0, 0, true),
            (100, 14, 0, false),
            (100, 15, 0, true),
        ] {
            let extent = Extent { listed, waiting, texts };
            assert!(!extent.may_be_cut(QUIET), "{extent:?}");
            assert_eq!(extent.may_be_cut(CROWDED), may_be_cut, "{extent:?}");
        }
    }

    /// An array of pairs begins with 1024 of 16 bytes and grows by half, as long as there is memory.
    #[test]
    fn pairs_leave_room_for_a_list_as_long_as_there_was_no_crowd() {
        let left_by = |pairs: u64| {
            let mut rows = 1_024;
            while rows < pairs {
                rows += rows / 2;
            }
            LIMIT.saturating_sub(16 * rows)
        };
        let behind_each_other = |connections: u64| connections * (connections - 1) / 2;
        assert!(left_by(behind_each_other(CROWD)) > ROOM);
        assert!(left_by(behind_each_other(CROWD + 200)) < ROOM);
    }
}
