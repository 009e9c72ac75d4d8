//! What a repair leaves behind (B10): a record that the log names, in a chain of records, and what workers
//! have to know of all of them.
//!
//! A record says which interval was written anew and by whom, where the stream stood (the cut), and which of
//! its rows went. Together the chain explains every row that the counters know and the table lacks.

use std::collections::{BTreeMap, HashSet};

use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_types::{DataInterval, Incarnation, Ledger, Nonce, PartitionId, Position, Reason};

use super::name::{LedgerField, PositionField, TxnName};
use super::side_file::{self, SideFile, SideFileError};
use super::state::{LedgerError, LedgerState, PartitionState};
use crate::files::layout::repair_record;
use crate::log::Txns;
use crate::replace::{RemovedRange, RemovedRows};

/// Stretches of time that the records of a ledger may tell apart; intervals that touch are one.
const MOST_STRETCHES: usize = 10_000;
/// What is wrong with a record that comes before itself.
const CYCLE: &str = "a record before it names it again";

/// The record of one repair. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairRecord {
    /// The record before it; none: it is the first.
    pub before: Option<Nonce>,
    /// What was written anew.
    pub interval: DataInterval,
    /// The column by which rows belong to it: the same in every record of a chain.
    pub event_time: String,
    /// The ledger of the bulk pipeline that did it.
    pub by: Ledger,
    /// The run's generation.
    pub generation: u64,
    /// Rows that the run wrote.
    pub rows: u64,
    /// Rows of earlier repairs whose place they took.
    pub replaced: u64,
    /// Where the stream stood, and what it lost.
    pub cuts: Vec<Cut>,
    /// Everything that was repaired so far, this included.
    pub repaired: RepairedTime,
}

/// One partition of a stream at a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// Of which life of the stream.
    pub incarnation: Incarnation,
    /// Which.
    pub partition: PartitionId,
    /// Its floor.
    pub floor: Position,
    /// Its rows that left the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedRange>,
}

/// Stretches of time that were repaired, by the ledger that did it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepairedTime(BTreeMap<Ledger, Vec<DataInterval>>);

/// A repair cannot follow those that were made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RepairError {
    /// Its rows would stand beside those of another pipeline.
    #[error(
        "ledger {other} repaired {known}, of which {wanted} is a part or shares one: repair it with that \
         pipeline, whose rows it then replaces"
    )]
    OfAnother {
        /// Who repaired.
        other: Ledger,
        /// What.
        known: DataInterval,
        /// What was asked for.
        wanted: DataInterval,
    },
    /// Rows would belong to repaired time by one column or another.
    #[error(
        "rows of {repaired} were replaced by the event time {known}, not {wanted}: write \
         sink.eventTime.field: {known} again"
    )]
    OtherColumn {
        /// What was repaired last.
        repaired: DataInterval,
        /// By which column.
        known: String,
        /// Which one the stream's pipeline names now.
        wanted: String,
    },
    /// Workers would have too much to remember.
    #[error(
        "{wanted} would be one stretch of repaired time more than {MOST_STRETCHES}: repair what lies between \
         two of them as well, so that they become one"
    )]
    TooMany {
        /// What was asked for.
        wanted: DataInterval,
    },
}

impl tidegate_types::Explained for RepairError {
    const WHAT: &'static str = "the interval cannot be repaired";

    fn reason(&self) -> Reason {
        match self {
            Self::OfAnother { .. } => Reason::IntervalConflict,
            Self::OtherColumn { .. } => Reason::TableMismatch,
            Self::TooMany { .. } => Reason::RunLimitReached,
        }
    }

    fn is_transient(&self) -> bool {
        false
    }
}

impl RepairedTime {
    /// With one more.
    ///
    /// # Errors
    ///
    /// [`RepairError`] when another ledger repaired a part of it, or there are too many.
    pub fn with(&self, by: &Ledger, wanted: DataInterval) -> Result<Self, RepairError> {
        let others = self.0.iter().filter(|(ledger, _)| *ledger != by);
        for (other, intervals) in others {
            if let Some(known) = intervals.iter().find(|known| known.overlaps(wanted)) {
                let (other, known) = (other.clone(), *known);
                return Err(RepairError::OfAnother { other, known, wanted });
            }
        }
        let mut all = self.clone();
        let own = all.0.entry(by.clone()).or_default();
        *own = DataInterval::merged(own.iter().copied().chain([wanted]));
        if all.0.values().map(Vec::len).sum::<usize>() > MOST_STRETCHES {
            return Err(RepairError::TooMany { wanted });
        }
        Ok(all)
    }

    /// What `by` repaired, in order and joined where they touch.
    #[must_use]
    pub fn of(&self, by: &Ledger) -> &[DataInterval] {
        self.0.get(by).map_or(&[], Vec::as_slice)
    }

    /// All of them, in order and joined where they touch.
    #[must_use]
    pub fn stretches(&self) -> Vec<DataInterval> {
        DataInterval::merged(self.0.values().flatten().copied())
    }
}

impl SideFile for RepairRecord {
    const WHAT: &'static str = "record";

    fn path(ledger: &Ledger, nonce: Nonce) -> object_store::path::Path {
        repair_record(ledger, nonce)
    }
}

impl RepairRecord {
    /// The record that the log names; none without one.
    ///
    /// # Errors
    ///
    /// [`SideFileError`] when the record cannot be used: nobody may guess what was repaired.
    pub async fn newest(
        store: &dyn ObjectStore,
        ledger: &Ledger,
        newest: Option<Nonce>,
    ) -> Result<Option<Self>, SideFileError> {
        match newest {
            Some(nonce) => Self::read(store, ledger, nonce).await.map(Some),
            None => Ok(None),
        }
    }

    /// Checks that rows still belong to repaired time by the column by which they were replaced.
    ///
    /// # Errors
    ///
    /// [`RepairError::OtherColumn`] with both names.
    pub fn check_event_time(&self, wanted: &str) -> Result<(), RepairError> {
        if self.event_time == wanted {
            return Ok(());
        }
        let (repaired, known) = (self.interval, self.event_time.clone());
        Err(RepairError::OtherColumn { repaired, known, wanted: wanted.to_owned() })
    }

    /// All records, the newest first, up to the first that cannot be used. Of what was repaired before only
    /// the newest says anything: each repeats it.
    pub async fn chain(
        store: &dyn ObjectStore,
        ledger: &Ledger,
        newest: Option<Nonce>,
    ) -> (Vec<Self>, Option<SideFileError>) {
        let (mut records, mut seen, mut next) = (Vec::new(), HashSet::new(), newest);
        while let Some(nonce) = next {
            if !seen.insert(nonce) {
                return (
                    records,
                    Some(side_file::damaged(&Self::path(ledger, nonce), CYCLE.to_owned())),
                );
            }
            match Self::read(store, ledger, nonce).await {
                Ok(mut record) => {
                    next = record.before;
                    if !records.is_empty() {
                        record.repaired = RepairedTime::default();
                    }
                    records.push(record);
                }
                Err(error) => return (records, Some(error)),
            }
        }
        (records, None)
    }

    /// Streamed rows that the repair took out.
    #[must_use]
    pub fn removed_rows(&self) -> u64 {
        self.cuts.iter().flat_map(|cut| &cut.removed).map(|range| range.rows).sum()
    }
}

/// Where a streamed ledger stands, in all its lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamFloors {
    /// Each partition that has a floor.
    pub lives: BTreeMap<Incarnation, BTreeMap<PartitionId, PartitionState>>,
    /// The newest record.
    pub record: Option<Nonce>,
}

impl StreamFloors {
    /// Reads where `ledger` stands.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] when a value cannot be ours.
    pub fn read(txns: &Txns, ledger: &Ledger) -> Result<Self, LedgerError> {
        let none = Incarnation::derive("", "", 0);
        let known = LedgerState::read(txns, ledger, none)?;
        let mut floors = Self { record: known.record, ..Self::default() };
        for life in known.incarnations.into_keys() {
            let mut partitions = LedgerState::read(txns, ledger, life)?.partitions;
            partitions.retain(|_, now| now.floor.is_some());
            floors.lives.insert(life, partitions);
        }
        Ok(floors)
    }

    /// The cuts of a repair that removes these rows.
    #[must_use]
    pub fn cuts(&self, removed: &RemovedRows) -> Vec<Cut> {
        let mut cuts = Vec::new();
        for (incarnation, partitions) in &self.lives {
            for (partition, now) in partitions {
                let removed = removed.ranges_of((*incarnation, *partition)).collect();
                let (incarnation, partition) = (*incarnation, *partition);
                let floor = now.floor.unwrap_or_default();
                cuts.push(Cut { incarnation, partition, floor, removed });
            }
        }
        cuts
    }
}

/// The actions of a repair's commit in the ledger of the stream: the record, and how many rows of each
/// partition the table lost. Nobody else writes them.
///
/// # Errors
///
/// [`LedgerError`] when a value in the log cannot be ours.
pub fn repair_txns(
    txns: &Txns,
    ledger: &Ledger,
    removed: &RemovedRows,
    record: Nonce,
) -> Result<BTreeMap<String, i64>, LedgerError> {
    let name = TxnName::Ledger(ledger.clone(), LedgerField::Record).to_string();
    let mut changes = BTreeMap::from([(name, record.as_txn())]);
    for (life, partition) in removed.partitions() {
        let known = LedgerState::read(txns, ledger, life)?.partition(partition).superseded;
        let sum = known.saturating_add(removed.rows_of((life, partition)));
        let field = PositionField::Superseded;
        let name = TxnName::Position(ledger.clone(), life, partition, field).to_string();
        changes.insert(name, i64::try_from(sum).unwrap_or(i64::MAX));
    }
    Ok(changes)
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;
