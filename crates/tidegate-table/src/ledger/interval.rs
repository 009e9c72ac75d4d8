//! What the log says of data intervals: the calendar of a bulk pipeline (B1).
//!
//! One number per interval holds its generation, which every claim raises (B2), and how far that
//! generation is.

use std::collections::BTreeMap;

use tidegate_types::{DataInterval, Ledger, Nonce};

use super::interval_key::IntervalKey;
use super::name::{IntervalField, TxnName};
use super::state::LedgerError;
use crate::log::Txns;

/// How far an interval's newest generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunState {
    /// A longer interval that contains it took its place.
    Superseded,
    /// A run claimed it and has not committed, or never will.
    Claimed,
    /// Its rows are in the table.
    Done,
    /// It was read, and there were none.
    DoneEmpty,
}

impl RunState {
    const ALL: [Self; 4] = [Self::Superseded, Self::Claimed, Self::Done, Self::DoneEmpty];

    /// Generation and state of a number that stands in the log; none when it cannot be ours.
    #[must_use]
    pub fn read(version: i64) -> Option<(u64, Self)> {
        IntervalState::decode(version)
    }

    /// Whether a run of this generation committed, and nothing took its place since.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Done | Self::DoneEmpty)
    }
}

/// What the log says of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntervalState {
    /// How often it was claimed.
    pub generation: u64,
    /// How far the newest claim is.
    pub state: RunState,
    /// The dead-letter file of the last run that had one.
    pub dead_letters: Option<Nonce>,
    /// What its files were, of a source of files (B8): 63 bits.
    pub fingerprint: Option<u64>,
    /// The generation whose rows the table holds while a newer one is claimed.
    pub before: Option<u64>,
    /// The run that claimed it last, where that was written down.
    pub run: Option<u64>,
    /// The generation that the rows carry, where it is not the one that committed them (B5).
    pub origin: Option<u64>,
    /// What its bounds meant at the database when its rows were read (B7): 63 bits of a hash. While it is
    /// claimed again it is that of the rows that are there.
    pub cursor: Option<u64>,
}

impl IntervalState {
    /// The generation whose rows the table holds, were they none at all; none when no run committed, or
    /// a longer interval took its place.
    #[must_use]
    pub fn held(&self) -> Option<u64> {
        match self.state {
            RunState::Done | RunState::DoneEmpty => Some(self.generation),
            RunState::Claimed => self.before,
            RunState::Superseded => None,
        }
    }

    /// The generation that the rows carry which the table holds: of the attempt that began to read them, where
    /// a later one kept its chunks (B5).
    #[must_use]
    pub fn held_origin(&self) -> Option<u64> {
        self.held().map(|held| self.origin.unwrap_or(held))
    }

    /// The number that stands in the log.
    pub(super) fn encode(generation: u64, state: RunState) -> i64 {
        // Generations count claims, each a commit: they stay far below the 61 bits.
        i64::try_from(generation).unwrap_or(i64::MAX >> 2).saturating_mul(4) + state as i64
    }

    fn decode(version: i64) -> Option<(u64, RunState)> {
        let version = u64::try_from(version).ok()?;
        let state = RunState::ALL[usize::try_from(version % 4).ok()?];
        Some((version / 4, state))
    }
}

/// All intervals of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intervals(BTreeMap<IntervalKey, IntervalState>);

impl Intervals {
    /// Reads those of `ledger`.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when a number cannot be ours.
    pub fn read(txns: &Txns, ledger: &Ledger) -> Result<Self, LedgerError> {
        let mut intervals = Self::default();
        let mut fields = Vec::new();
        for (app_id, version) in txns.iter() {
            let Some(TxnName::Interval(owner, key, field)) = TxnName::parse(app_id) else {
                continue;
            };
            if owner != *ledger {
                continue;
            }
            if field != IntervalField::State {
                fields.push((key, field, version));
                continue;
            }
            let wrong = || LedgerError { app_id: app_id.to_owned(), version };
            let (generation, state) = IntervalState::decode(version).ok_or_else(wrong)?;
            let known = IntervalState {
                generation,
                state,
                dead_letters: None,
                fingerprint: None,
                before: None,
                run: None,
                origin: None,
                cursor: None,
            };
            intervals.0.insert(key, known);
        }
        for (key, field, version) in fields {
            intervals.set(key, field, version);
        }
        Ok(intervals)
    }

    /// What the log says of `key`; none before its first claim.
    #[must_use]
    pub fn get(&self, key: IntervalKey) -> Option<IntervalState> {
        self.0.get(&key).copied()
    }

    /// Everything, `all` first, then by start.
    pub fn iter(&self) -> impl Iterator<Item = (IntervalKey, IntervalState)> {
        self.0.iter().map(|(key, state)| (*key, *state))
    }

    /// The intervals that are done, by start.
    pub fn done(&self) -> impl Iterator<Item = DataInterval> {
        let done = self.0.iter().filter(|(_, known)| known.state.is_done());
        done.filter_map(|(key, _)| key.interval())
    }

    /// The intervals whose rows the table holds, by start: those that are done, and those that are
    /// claimed again.
    pub fn held(&self) -> impl Iterator<Item = DataInterval> {
        let held = self.0.iter().filter(|(_, known)| known.held().is_some());
        held.filter_map(|(key, _)| key.interval())
    }

    /// Whether the last run of `key` committed.
    #[must_use]
    pub fn is_done(&self, key: IntervalKey) -> bool {
        self.get(key).is_some_and(|known| known.state.is_done())
    }

    /// Whether the ledger has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A field without its state is a leftover of nothing that we write: it says nothing.
    fn set(&mut self, key: IntervalKey, field: IntervalField, version: i64) {
        let Some(known) = self.0.get_mut(&key) else { return };
        match field {
            IntervalField::State => {}
            IntervalField::DeadLetter => known.dead_letters = Nonce::from_txn(version),
            IntervalField::Fingerprint => known.fingerprint = u64::try_from(version).ok(),
            IntervalField::Before => known.before = positive(version),
            IntervalField::Run => known.run = positive(version),
            IntervalField::Origin => known.origin = positive(version),
            IntervalField::Cursor => known.cursor = positive(version),
        }
    }
}

/// Zero says "none".
fn positive(version: i64) -> Option<u64> {
    u64::try_from(version).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new("l").expect("valid")
    }

    #[test]
    fn b1_the_calendar_is_read_from_the_log() {
        let txns = Txns::from_iter([
            ("tidegate/l/i/all", 4 * 7 + 1),
            ("tidegate/l/i/0-3600", 4 * 2 + 2),
            ("tidegate/l/i/0-3600/dl", 5),
            ("tidegate/l/i/0-3600/fp", 77),
            ("tidegate/l/i/3600-7200", 4 + 3),
            ("tidegate/l/i/3600-7200/dl", 0),
            ("tidegate/l/i/7200-10800", 4 * 3),
            ("tidegate/other/i/0-60", 6),
            ("tidegate/l/0/epoch", 9),
        ]);
        let intervals = Intervals::read(&txns, &ledger()).expect("valid");
        let states: Vec<_> = intervals.iter().map(|(_, s)| (s.generation, s.state)).collect();
        assert_eq!(
            states,
            [
                (7, RunState::Claimed),
                (2, RunState::Done),
                (1, RunState::DoneEmpty),
                (3, RunState::Superseded),
            ]
        );
        let hour = IntervalKey::parse("0-3600").expect("valid");
        let known = intervals.get(hour).expect("known");
        assert_eq!(known.dead_letters, Nonce::from_txn(5));
        assert_eq!(known.fingerprint, Some(77));
        let done: Vec<_> = intervals.done().map(|i| i.start_second()).collect();
        assert_eq!(done, [0, 3600], "superseded and claimed ones are not");
        assert!(!intervals.is_done(IntervalKey::All));
    }

    #[test]
    fn a_number_that_cannot_be_ours_is_an_error() {
        let txns = Txns::from_iter([("tidegate/l/i/0-60", -1)]);
        let error = Intervals::read(&txns, &ledger()).expect_err("negative");
        assert_eq!(error.app_id, "tidegate/l/i/0-60");
    }

    proptest! {
        #[test]
        fn generation_and_state_share_a_number(generation in 0_u64..1 << 60, state in 0_usize..4) {
            let state = RunState::ALL[state];
            let number = IntervalState::encode(generation, state);
            prop_assert_eq!(IntervalState::decode(number), Some((generation, state)));
        }
    }
}
