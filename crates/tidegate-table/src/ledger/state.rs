//! The state of a ledger, read from the `txn` actions of a snapshot, and the actions that move it.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use tidegate_types::{
    Counters, Epoch, Holder, Incarnation, Ledger, Nonce, PartitionId, Position, StreamTime,
};

use super::name::{LedgerField, PositionField, TxnName};
use crate::log::Txns;

/// A `txn` action holds a number that Tidegate never writes there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{app_id} is {version} in the table's log, which is no valid value")]
pub struct LedgerError {
    /// The application id.
    pub app_id: String,
    /// Its version.
    pub version: i64,
}

/// Where a partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionState {
    /// The fencing epoch; zero before the first claim.
    pub epoch: Epoch,
    /// Who holds it.
    pub holder: Holder,
    /// The floor; none until a claim committed the initial one (P6).
    pub floor: Option<Position>,
    /// Fingerprint of the message at the floor; zero when there is none.
    pub fingerprint: i64,
    /// What became of the records up to the floor.
    pub counters: Counters,
    /// Stream time at the floor.
    pub time: StreamTime,
    /// What `completeThrough` was, in microseconds since 1970.
    pub through: Option<i64>,
    /// The window snapshot that fits the floor.
    pub snapshot: Option<Nonce>,
    /// The last dead-letter file.
    pub dead_letter: Option<Nonce>,
    /// Claims in a row without progress and without a release between them (S8).
    pub stuck: u32,
    /// Late duplicates that compaction removed. Streaming commits never write it.
    pub removed: u64,
    /// Rows that repairs replaced. Streaming commits never write it.
    pub superseded: u64,
}

/// Where a ledger stands in a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerState {
    /// Its partitions, in the incarnation that was asked for.
    pub partitions: BTreeMap<PartitionId, PartitionState>,
    /// The last repair or removal record.
    pub record: Option<Nonce>,
    /// Its settings file; none before the first claim.
    pub keys: Option<Nonce>,
    /// The floors of every incarnation of this ledger, the one asked for included.
    pub incarnations: BTreeMap<Incarnation, BTreeMap<PartitionId, Position>>,
    /// Whether it has data intervals (B1).
    pub has_intervals: bool,
    /// Other ledgers with positions or intervals in this table (X6).
    pub other_ledgers: BTreeSet<Ledger>,
    /// Those of them with positions: they stream into the table.
    pub other_streams: BTreeSet<Ledger>,
}

/// The table belongs to another ledger (X6).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the table holds rows of ledger {other}, not of {ledger}; set sink.delta.shared: true to write beside \
     it, or take another url"
)]
pub struct LedgerMismatch {
    /// Who would write.
    pub ledger: Ledger,
    /// Who has written.
    pub other: Ledger,
}

impl LedgerState {
    /// Reads the state of `ledger` in `incarnation`.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when one of its values cannot be ours.
    pub fn read(
        txns: &Txns,
        ledger: &Ledger,
        incarnation: Incarnation,
    ) -> Result<Self, LedgerError> {
        let mut state = Self::default();
        for (app_id, version) in txns.iter() {
            let Some(name) = TxnName::parse(app_id) else { continue };
            match name.ledger() {
                Some(owner) if owner == ledger => {
                    let taken = state.take(&name, version, incarnation);
                    taken.ok_or_else(|| LedgerError { app_id: app_id.to_owned(), version })?;
                }
                Some(other) => {
                    if matches!(name, TxnName::Position(..)) {
                        state.other_streams.insert(other.clone());
                    }
                    state.other_ledgers.insert(other.clone());
                }
                None => {}
            }
        }
        Ok(state)
    }

    /// Whether the table knows the ledger: it has positions, settings or intervals in it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.incarnations.is_empty() || self.keys.is_some() || self.has_intervals
    }

    /// Whether `ledger`, whose state this is, may write to the table (X6).
    ///
    /// # Errors
    ///
    /// [`LedgerMismatch`] when the table holds another ledger's rows and nothing allows that.
    pub fn check_shared(&self, ledger: &Ledger, shared: bool) -> Result<(), LedgerMismatch> {
        match self.other_ledgers.first() {
            Some(other) if !shared && !self.is_known() => {
                Err(LedgerMismatch { ledger: ledger.clone(), other: other.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The state of a partition; the default when the log does not know it.
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> PartitionState {
        self.partitions.get(&partition).copied().unwrap_or_default()
    }

    /// `None` when the version cannot be ours.
    fn take(&mut self, name: &TxnName, version: i64, incarnation: Incarnation) -> Option<()> {
        match name {
            TxnName::Epoch(_, partition) => {
                self.partitions.entry(*partition).or_default().epoch = Epoch(natural(version)?);
            }
            TxnName::Holder(_, partition) => {
                self.partitions.entry(*partition).or_default().holder = Holder(natural(version)?);
            }
            TxnName::Position(_, life, partition, field) => {
                if *field == PositionField::Floor {
                    let floor = Position(u64::try_from(version).ok()?);
                    self.incarnations.entry(*life).or_default().insert(*partition, floor);
                }
                if *life == incarnation {
                    self.partitions.entry(*partition).or_default().set(*field, version)?;
                }
            }
            TxnName::Ledger(_, LedgerField::Record) => self.record = Nonce::from_txn(version),
            TxnName::Ledger(_, LedgerField::Keys) => self.keys = Nonce::from_txn(version),
            TxnName::Interval(..) => self.has_intervals = true,
            TxnName::Maintainer(_) => {}
        }
        Some(())
    }
}

impl PartitionState {
    fn set(&mut self, field: PositionField, version: i64) -> Option<()> {
        let count = || u64::try_from(version).ok();
        match field {
            PositionField::Floor => self.floor = Some(Position(count()?)),
            PositionField::Fingerprint => self.fingerprint = version,
            PositionField::Read => self.counters.read = count()?,
            PositionField::Rows => self.counters.rows = count()?,
            PositionField::Dead => self.counters.dead = count()?,
            PositionField::Duplicate => self.counters.duplicate = count()?,
            PositionField::Filtered => self.counters.filtered = count()?,
            PositionField::Removed => self.removed = count()?,
            PositionField::Superseded => self.superseded = count()?,
            PositionField::Time => self.time = StreamTime(version),
            PositionField::Through => self.through = Some(version),
            PositionField::Snapshot => self.snapshot = Nonce::from_txn(version),
            PositionField::DeadLetter => self.dead_letter = Nonce::from_txn(version),
            PositionField::Stuck => self.stuck = u32::try_from(version).ok()?,
        }
        Some(())
    }

    /// What a streaming commit writes for a field; `None` for what it leaves alone. Values are
    /// sequences, counts and clocks, which stay far below the 63 bits.
    fn streaming_value(&self, field: PositionField) -> Option<i64> {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let nonce = |nonce: Option<Nonce>| nonce.map(Nonce::as_txn);
        match field {
            PositionField::Floor => self.floor.map(|floor| count(floor.0)),
            PositionField::Fingerprint => Some(self.fingerprint),
            PositionField::Read => Some(count(self.counters.read)),
            PositionField::Rows => Some(count(self.counters.rows)),
            PositionField::Dead => Some(count(self.counters.dead)),
            PositionField::Duplicate => Some(count(self.counters.duplicate)),
            PositionField::Filtered => Some(count(self.counters.filtered)),
            PositionField::Time => Some(self.time.0),
            PositionField::Through => self.through,
            // Zero says "none": a snapshot that no longer fits must not be found again.
            PositionField::Snapshot => Some(nonce(self.snapshot).unwrap_or(0)),
            PositionField::DeadLetter => nonce(self.dead_letter),
            PositionField::Stuck => Some(i64::from(self.stuck)),
            PositionField::Removed | PositionField::Superseded => None,
        }
    }
}

fn natural(version: i64) -> Option<i64> {
    (version >= 0).then_some(version)
}

/// The actions of a claim (P7). The initial floor, when there is none yet, comes from
/// [`progress_txns`] in the same commit (P6).
#[must_use]
pub fn claim_txns(
    ledger: &Ledger,
    partition: PartitionId,
    epoch: Epoch,
    holder: Holder,
) -> [(String, i64); 2] {
    [
        (TxnName::Epoch(ledger.clone(), partition).to_string(), epoch.0),
        (TxnName::Holder(ledger.clone(), partition).to_string(), holder.0),
    ]
}

/// The action that gives a partition back: a drain's last commit carries it.
#[must_use]
pub fn release_txns(ledger: &Ledger, partition: PartitionId) -> [(String, i64); 1] {
    [(TxnName::Holder(ledger.clone(), partition).to_string(), Holder::RELEASED.0)]
}

/// The actions that move a partition from `before` to `after`: the floor always, so that every
/// commit shows its link of the chain, the rest where it changed. Epoch and holder belong to claims,
/// `removed` and `superseded` to maintainers and runs: they are not written.
#[must_use]
pub fn progress_txns(
    ledger: &Ledger,
    incarnation: Incarnation,
    partition: PartitionId,
    before: &PartitionState,
    after: &PartitionState,
) -> Vec<(String, i64)> {
    PositionField::ALL
        .iter()
        .filter_map(|field| {
            let value = after.streaming_value(*field)?;
            let known = before.streaming_value(*field).filter(|_| before.floor.is_some());
            let write = *field == PositionField::Floor || known != Some(value);
            let name = TxnName::Position(ledger.clone(), incarnation, partition, *field);
            write.then(|| (name.to_string(), value))
        })
        .collect()
}

impl tidegate_types::Explained for LedgerError {
    const WHAT: &'static str = "the table's log holds a value that is not ours";

    fn reason(&self) -> tidegate_types::Reason {
        tidegate_types::Reason::TableMismatch
    }

    fn is_transient(&self) -> bool {
        false
    }
}

impl tidegate_types::Explained for LedgerMismatch {
    const WHAT: &'static str = "the table belongs to another pipeline";

    fn reason(&self) -> tidegate_types::Reason {
        tidegate_types::Reason::LedgerMismatch
    }

    fn is_transient(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new("l").expect("valid")
    }

    fn life(resets: u32) -> Incarnation {
        Incarnation::derive("S", "2026-01-01T00:00:00Z", resets)
    }

    fn moved(floor: u64) -> PartitionState {
        PartitionState {
            floor: Some(Position(floor)),
            fingerprint: 77,
            counters: Counters { read: floor, rows: floor, ..Counters::default() },
            time: StreamTime(1_000),
            ..PartitionState::default()
        }
    }

    fn read(txns: &Txns) -> LedgerState {
        LedgerState::read(txns, &ledger(), life(0)).expect("valid")
    }

    #[test]
    fn p2_what_is_written_is_read_back() {
        let mut after = moved(9);
        after.through = Some(-5);
        after.snapshot = Nonce::from_txn(3);
        after.dead_letter = Nonce::from_txn(4);
        let k = PartitionId(2);
        let mut txns = Txns::from_iter(claim_txns(&ledger(), k, Epoch(1 << 20 | 1), Holder(5)));
        let progress = progress_txns(&ledger(), life(0), k, &PartitionState::default(), &after);
        txns.apply(&progress.into_iter().collect());
        let expected = PartitionState { epoch: Epoch(1 << 20 | 1), holder: Holder(5), ..after };
        assert_eq!(read(&txns).partition(k), expected);
        txns.apply(&BTreeMap::from(release_txns(&ledger(), k)));
        assert_eq!(read(&txns).partition(k).holder, Holder::RELEASED);
    }

    #[test]
    fn p2_a_commit_writes_the_floor_and_what_changed() {
        let after = PartitionState { dead_letter: None, ..moved(9) };
        let again = progress_txns(&ledger(), life(0), PartitionId(0), &after, &after);
        let floor = TxnName::Position(ledger(), life(0), PartitionId(0), PositionField::Floor);
        assert_eq!(again, [(floor.to_string(), 9)]);
        let first = progress_txns(
            &ledger(),
            life(0),
            PartitionId(0),
            &PartitionState::default(),
            &PartitionState { floor: Some(Position(0)), ..PartitionState::default() },
        );
        let fields: Vec<_> = first.iter().filter_map(|(id, _)| id.rsplit('/').next()).collect();
        let initial =
            ["floor", "fp", "in", "rows", "dead", "dup", "filtered", "time", "snap", "stuck"];
        assert_eq!(fields, initial, "P6: the initial floor stands with all that belongs to it");
    }

    #[test]
    fn p2_streaming_commits_leave_removed_and_superseded_alone() {
        let before = moved(1);
        let after = PartitionState { removed: 5, superseded: 6, ..moved(2) };
        let written = progress_txns(&ledger(), life(0), PartitionId(0), &before, &after);
        let names: Vec<_> = written.iter().map(|(id, _)| id.as_str()).collect();
        assert!(names.iter().all(|id| !id.ends_with("removed") && !id.ends_with("superseded")));
    }

    #[test]
    fn epochs_outlive_an_incarnation_and_positions_do_not() {
        let k = PartitionId(0);
        let mut txns = Txns::from_iter(claim_txns(&ledger(), k, Epoch(7), Holder(1)));
        let old = progress_txns(&ledger(), life(0), k, &PartitionState::default(), &moved(40));
        txns.apply(&old.into_iter().collect());
        let other = Ledger::new("other").expect("valid");
        txns.apply(&BTreeMap::from(claim_txns(&other, k, Epoch(1), Holder(1))));
        txns.apply(&BTreeMap::from([("spark".to_owned(), -3)]));
        let state = LedgerState::read(&txns, &ledger(), life(1)).expect("valid");
        assert_eq!(state.partition(k).epoch, Epoch(7));
        assert_eq!(state.partition(k).floor, None);
        assert_eq!(state.incarnations[&life(0)][&k], Position(40));
        assert_eq!(state.other_ledgers, BTreeSet::from([other]));
    }

    #[test]
    fn x6_a_bulk_pipeline_is_a_ledger_of_the_table_like_any_other() {
        let k = PartitionId(0);
        let mut txns = Txns::from_iter([("tidegate/loads/i/0-3600", 6)]);
        let state = read(&txns);
        let loads = Ledger::new("loads").expect("valid");
        assert_eq!(state.other_ledgers, BTreeSet::from([loads.clone()]));
        assert!(state.other_streams.is_empty(), "it holds no floors");
        assert!(state.check_shared(&ledger(), false).is_err());
        assert!(state.check_shared(&ledger(), true).is_ok());
        let own = LedgerState::read(&txns, &loads, life(0)).expect("valid");
        assert!(own.is_known() && own.check_shared(&loads, false).is_ok());
        let mine = progress_txns(&ledger(), life(0), k, &PartitionState::default(), &moved(4));
        txns.apply(&mine.into_iter().collect());
        let own = LedgerState::read(&txns, &loads, life(0)).expect("valid");
        assert_eq!(own.other_streams, BTreeSet::from([ledger()]));
        assert!(own.check_shared(&loads, false).is_ok(), "it was there before");
    }

    #[test]
    fn a_value_that_cannot_be_ours_is_an_error_and_not_a_default() {
        for field in [PositionField::Floor, PositionField::Rows] {
            let name = TxnName::Position(ledger(), life(0), PartitionId(0), field).to_string();
            let txns = Txns::from_iter([(name.clone(), -1)]);
            let error = LedgerState::read(&txns, &ledger(), life(0)).expect_err("negative");
            assert_eq!(error, LedgerError { app_id: name, version: -1 });
        }
    }

    proptest! {
        #[test]
        fn writing_only_differences_gives_the_same_state(steps in prop::collection::vec(
            (0_u64..1 << 40, any::<i64>(), 0_u64..9, prop::option::of(1_i64..9)), 1..6,
        )) {
            let (mut txns, mut before) = (Txns::default(), PartitionState::default());
            for (floor, fingerprint, dead, nonce) in steps {
                let dead_letter = nonce.and_then(Nonce::from_txn).or(before.dead_letter);
                let snapshot = nonce.and_then(Nonce::from_txn);
                let counters = Counters { read: dead, dead, ..Counters::default() };
                let floor = Some(Position(floor));
                let after = PartitionState {
                    floor, fingerprint, counters, dead_letter, snapshot, ..before
                };
                let k = PartitionId(1);
                let written = progress_txns(&ledger(), life(0), k, &before, &after);
                txns.apply(&written.into_iter().collect());
                prop_assert_eq!(read(&txns).partition(k), after);
                before = after;
            }
        }
    }
}
