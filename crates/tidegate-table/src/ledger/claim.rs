//! Who may run an interval, and what a run writes into the log (B2, B3).
//!
//! Pure. The caller reads [`Intervals`] from the snapshot that its commit extends, and asks again after
//! every lost race.

use std::collections::BTreeMap;

use thiserror::Error;
use tidegate_types::{DataInterval, Explained, Ledger, Nonce, Reason};

use super::interval::{IntervalState, Intervals, RunState};
use super::interval_key::IntervalKey;
use super::name::{IntervalField, TxnName};
use super::state::LedgerState;

/// An interval overlaps another one without containing it (B3).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntervalConflict {
    /// Two intervals.
    #[error(
        "interval {wanted} overlaps {known}, which the table holds, without containing it: run one that \
         contains both, or one beside it"
    )]
    Overlaps {
        /// What was asked for.
        wanted: DataInterval,
        /// What is there.
        known: DataInterval,
    },
    /// An interval that holds others, whose rows would be added again.
    #[error(
        "interval {wanted} contains {known}, which the table holds, and writeMode Append would add its rows \
         again: run the ones that are missing, or take writeMode ReplaceInterval"
    )]
    Contains {
        /// What was asked for.
        wanted: DataInterval,
        /// What is there.
        known: DataInterval,
    },
    /// An interval beside a load of everything.
    #[error(
        "the table holds a load of everything, in which interval {wanted} is contained: write it to a \
         table of its own, or load everything again"
    )]
    InAll {
        /// What was asked for.
        wanted: DataInterval,
    },
}

impl Explained for IntervalConflict {
    const WHAT: &'static str = "the interval cannot be run";

    fn reason(&self) -> Reason {
        Reason::IntervalConflict
    }

    fn is_transient(&self) -> bool {
        false
    }
}

/// A load of everything would stand beside rows that a stream writes (B9).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "ledger {stream} streams into the table: writeMode Overwrite needs a table of its own, because readers \
     would take all of it for what was loaded"
)]
pub struct OverwriteBesideStream {
    /// Whose positions the table holds.
    pub stream: Ledger,
}

impl Explained for OverwriteBesideStream {
    const WHAT: &'static str = "the table cannot be overwritten";

    fn reason(&self) -> Reason {
        Reason::LedgerMismatch
    }

    fn is_transient(&self) -> bool {
        false
    }
}

/// Checks that nobody streams into a table that `ledger`, whose state this is, would overwrite (B9);
/// the ledger itself in an earlier life included.
///
/// # Errors
///
/// [`OverwriteBesideStream`].
pub fn check_overwrite(
    ledger: &Ledger,
    state: &LedgerState,
    effect: Effect,
) -> Result<(), OverwriteBesideStream> {
    let own = (!state.incarnations.is_empty()).then_some(ledger);
    match state.other_streams.first().or(own) {
        Some(stream) if effect == Effect::Overwrite => {
            Err(OverwriteBesideStream { stream: stream.clone() })
        }
        _ => Ok(()),
    }
}

/// What a run's commit does to rows that are in the table already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing.
    Append,
    /// It takes the place of the interval's.
    ReplaceInterval,
    /// It takes the place of all of the ledger's.
    Overwrite,
}

/// A run's hold on its interval: what it claimed, and what its commit must find in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// What it runs.
    pub key: IntervalKey,
    /// What its commit does. `Overwrite` holds `all` as well, so that of two loads only the newer one can
    /// commit.
    pub effect: Effect,
    /// The generation: one more than any before.
    pub generation: u64,
}

/// Checks `key` against what the table holds, and names the intervals that it contains: a run of it
/// takes their place. Under `Overwrite` the load of everything is every run's own and no obstacle.
///
/// An interval counts as held once a run of it committed; while it is claimed again its rows are still
/// there. A first claim has no rows yet.
///
/// # Errors
///
/// [`IntervalConflict`] naming both.
pub fn conflict(
    intervals: &Intervals,
    key: IntervalKey,
    effect: Effect,
) -> Result<Vec<DataInterval>, IntervalConflict> {
    let mut contained = Vec::new();
    for (other, known) in intervals.iter() {
        if other == key || known.state == RunState::Superseded {
            continue;
        }
        let held = known.held().is_some();
        match (key, other) {
            (IntervalKey::All, _) | (_, IntervalKey::All) if effect == Effect::Overwrite => {}
            (IntervalKey::All, IntervalKey::Of(inner)) => contained.push(inner),
            (IntervalKey::Of(wanted), IntervalKey::Of(known)) if wanted.contains(known) => {
                if held && effect == Effect::Append {
                    return Err(IntervalConflict::Contains { wanted, known });
                }
                contained.push(known);
            }
            (IntervalKey::Of(wanted), IntervalKey::Of(known)) if held && wanted.overlaps(known) => {
                return Err(IntervalConflict::Overlaps { wanted, known });
            }
            (IntervalKey::Of(wanted), IntervalKey::All) if held => {
                return Err(IntervalConflict::InAll { wanted });
            }
            _ => {}
        }
    }
    Ok(contained)
}

impl Claim {
    /// The next claim of `key` (B2).
    #[must_use]
    pub fn next(intervals: &Intervals, key: IntervalKey, effect: Effect) -> Self {
        let claim = Self { key, effect, generation: 0 };
        let newest = match effect {
            // Newer than all whose place it takes, be they loaded by another effect (B9).
            Effect::Overwrite => intervals.iter().map(|(_, known)| known.generation).max(),
            Effect::Append | Effect::ReplaceInterval => Some(claim.newest_generation(intervals)),
        };
        Self { generation: newest.unwrap_or(0) + 1, ..claim }
    }

    /// Whether the log still says that the interval is this run's. It must hold in the very snapshot
    /// that the run's commit extends.
    #[must_use]
    pub fn is_held(&self, intervals: &Intervals) -> bool {
        self.keys().all(|key| {
            intervals.get(key).is_some_and(|known| {
                (known.generation, known.state) == (self.generation, RunState::Claimed)
            })
        })
    }

    /// The highest generation that the log knows of what this run holds: for saying who took it.
    #[must_use]
    pub fn newest_generation(&self, intervals: &Intervals) -> u64 {
        self.keys().filter_map(|key| intervals.get(key)).map(|k| k.generation).max().unwrap_or(0)
    }

    /// The highest generation of what the run's commit may replace: the rows of an attempt up to it are, or were,
    /// the table's.
    #[must_use]
    pub fn newest_held(&self, intervals: &Intervals) -> Option<u64> {
        self.keys().filter_map(|key| intervals.get(key)?.held()).max()
    }

    /// The interval whose dead letters the run replaces: under `Overwrite` all of the ledger's.
    #[must_use]
    pub fn dead_letter_key(&self) -> IntervalKey {
        if self.effect == Effect::Overwrite { IntervalKey::All } else { self.key }
    }

    fn keys(&self) -> impl Iterator<Item = IntervalKey> {
        let all = self.effect == Effect::Overwrite && self.key != IntervalKey::All;
        [self.key].into_iter().chain(all.then_some(IntervalKey::All))
    }
}

/// The actions of a run's claim commit (B2).
#[must_use]
pub fn run_claim_txns(ledger: &Ledger, claim: &Claim) -> BTreeMap<String, i64> {
    states(ledger, claim, RunState::Claimed)
}

/// What a claim of an interval says beside its state: the generation whose rows stay in the table until
/// the run commits, and `run`, by which a later attempt finds that an earlier one committed.
#[must_use]
pub fn claim_notes(
    ledger: &Ledger,
    intervals: &Intervals,
    claim: &Claim,
    run: Option<u64>,
) -> BTreeMap<String, i64> {
    let mut txns = BTreeMap::new();
    for key in claim.keys() {
        if let Some(held) = intervals.get(key).and_then(|known| known.held()) {
            txns.insert(name(ledger, key, IntervalField::Before), number(held));
        }
    }
    let known = intervals.get(claim.key).and_then(|known| known.run);
    if run != known {
        let name = name(ledger, claim.key, IntervalField::Run);
        txns.insert(name, run.map_or(0, number));
    }
    txns
}

/// What a run's commit says beside its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Whether there were no rows.
    pub empty: bool,
    /// The dead-letter file that the run wrote: needed when it has dead letters, or when
    /// [`has_dead_letters`] says that there are some to replace.
    pub dead_letters: Option<Nonce>,
    /// What the files were, of a source of files (B8): 63 bits.
    pub fingerprint: Option<u64>,
    /// The generation that the rows carry; none: that of the claim (B5).
    pub origin: Option<u64>,
    /// What the interval's bounds meant at the database (B7): 63 bits of a hash, never zero.
    pub cursor: Option<u64>,
}

/// The actions of a run's commit. The intervals that it contains are superseded: a run of theirs that
/// is under way has lost them.
///
/// # Errors
///
/// [`IntervalConflict`] when the log knows an interval by now that stands in the way.
pub fn done_txns(
    ledger: &Ledger,
    intervals: &Intervals,
    claim: &Claim,
    done: &Done,
) -> Result<BTreeMap<String, i64>, IntervalConflict> {
    let state = if done.empty { RunState::DoneEmpty } else { RunState::Done };
    let mut txns = states(ledger, claim, state);
    for key in claim.keys() {
        txns.extend(forget_before(ledger, intervals, key));
        let known = intervals.get(key).and_then(|known| known.origin);
        txns.extend(said((ledger, key, IntervalField::Origin), done.origin, known));
    }
    let known = intervals.get(claim.key).and_then(|known| known.cursor);
    txns.extend(said((ledger, claim.key, IntervalField::Cursor), done.cursor, known));
    for inner in conflict(intervals, claim.key, claim.effect)? {
        let key = IntervalKey::Of(inner);
        let Some(known) = intervals.get(key) else { continue };
        let number = IntervalState::encode(known.generation, RunState::Superseded);
        txns.insert(name(ledger, key, IntervalField::State), number);
        txns.extend(forget_before(ledger, intervals, key));
    }
    if let Some(nonce) = done.dead_letters {
        // What the file replaces is named no longer: a file of theirs that is still on its way to the
        // dead-letter table never gets there.
        for key in with_dead_letters(intervals, claim) {
            txns.insert(name(ledger, key, IntervalField::DeadLetter), 0);
        }
        let key = claim.dead_letter_key();
        txns.insert(name(ledger, key, IntervalField::DeadLetter), nonce.as_txn());
    }
    if let Some(fingerprint) = done.fingerprint {
        let number = number(fingerprint & (u64::MAX >> 1));
        txns.insert(name(ledger, claim.key, IntervalField::Fingerprint), number);
    }
    Ok(txns)
}

/// Whether earlier runs left dead letters that a run of this claim replaces: then its commit names a
/// dead-letter file even when it has none itself (B6a).
#[must_use]
pub fn has_dead_letters(intervals: &Intervals, claim: &Claim) -> bool {
    with_dead_letters(intervals, claim).next().is_some()
}

/// The intervals with dead letters that a run of this claim replaces.
fn with_dead_letters(intervals: &Intervals, claim: &Claim) -> impl Iterator<Item = IntervalKey> {
    let replaced = move |key: IntervalKey| match (claim.dead_letter_key(), key) {
        _ if claim.effect == Effect::Append => false,
        (IntervalKey::All, _) => true,
        (IntervalKey::Of(outer), IntervalKey::Of(inner)) => outer.contains(inner),
        (IntervalKey::Of(_), IntervalKey::All) => false,
    };
    let with = intervals.iter().filter(|(_, known)| known.dead_letters.is_some());
    with.map(|(key, _)| key).filter(move |key| replaced(*key))
}

/// The rows of an earlier generation are gone with this commit.
fn forget_before(
    ledger: &Ledger,
    intervals: &Intervals,
    key: IntervalKey,
) -> Option<(String, i64)> {
    intervals.get(key)?.before?;
    Some((name(ledger, key, IntervalField::Before), 0))
}

/// A value that not every interval has: said where there is one, or was one.
fn said(
    (ledger, key, field): (&Ledger, IntervalKey, IntervalField),
    value: Option<u64>,
    known: Option<u64>,
) -> Option<(String, i64)> {
    (value.is_some() || known.is_some())
        .then(|| (name(ledger, key, field), value.map_or(0, number)))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn states(ledger: &Ledger, claim: &Claim, state: RunState) -> BTreeMap<String, i64> {
    let number = IntervalState::encode(claim.generation, state);
    claim.keys().map(|key| (name(ledger, key, IntervalField::State), number)).collect()
}

fn name(ledger: &Ledger, key: IntervalKey, field: IntervalField) -> String {
    TxnName::Interval(ledger.clone(), key, field).to_string()
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
