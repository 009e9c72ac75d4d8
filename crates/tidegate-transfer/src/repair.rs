//! A run that takes the place of streamed rows (B10): whether it may, which rows go, and the record that it
//! leaves.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;
use tidegate_config::{Repairs, TransferConfig, Trigger};
use tidegate_runtime::RunError;
use tidegate_table::ledger::{
    Intervals, RepairRecord, RepairedTime, SideFile, StreamFloors, repair_txns,
};
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_table::replace::{RemovedRows, Replacement, Selection, find_streamed};
use tidegate_types::{DataInterval, Ledger, Nonce, Reason, SYSTEM_PREFIX, StreamTime};
use tracing::info;

use crate::decide::{RepairDecision, RepairFacts, decide_repair};

/// A repair of one interval.
#[derive(Debug, Clone)]
pub(crate) struct Repair {
    repairs: Repairs,
    interval: DataInterval,
}

/// What a repair is about to commit.
pub(crate) struct RepairWork<'a> {
    /// The ledger of the run.
    pub(crate) by: &'a Ledger,
    pub(crate) generation: u64,
    /// Rows that it wrote.
    pub(crate) rows: u64,
    /// What goes in their place.
    pub(crate) replacement: &'a Replacement,
}

/// A record that a commit is to name.
pub(crate) struct Recorded {
    /// Whose rows went.
    of: Ledger,
    record: RepairRecord,
    /// The actions by which the commit names it.
    pub(crate) txns: BTreeMap<String, i64>,
}

impl Recorded {
    /// Says what was repaired, once the commit is in the log.
    pub(crate) fn tell(&self) {
        let record = &self.record;
        info!(
            interval = %record.interval,
            of = %self.of,
            streamed = record.removed_rows(),
            repaired = record.replaced,
            rows = record.rows,
            "repaired"
        );
    }
}

impl Repair {
    /// None of a run that is no repair.
    pub(crate) fn of(config: &TransferConfig, interval: Option<DataInterval>) -> Option<Self> {
        Some(Self { repairs: config.repairs.clone()?, interval: interval? })
    }

    /// Whether the repair may be begun: before anything is claimed or read.
    pub(crate) async fn check(
        &self,
        log: &CommitLog,
        snapshot: &TableSnapshot,
        by: &Ledger,
    ) -> Result<(), RunError> {
        let (store, ledger) = (log.store().as_ref(), &self.repairs.ledger);
        let floors = StreamFloors::read(snapshot.txns(), ledger)?;
        self.decide(&floors, None)?;
        let known = RepairRecord::newest(store, ledger, floors.record).await?;
        self.follow(known.as_ref(), by, &Intervals::read(snapshot.txns(), by)?)?;
        if self.repairs.window.is_some() {
            // Decided again on the commit's own snapshot; here so that nothing is read in vain.
            self.decide(&floors, self.newest_streamed(log, snapshot).await?)?;
        }
        Ok(())
    }

    /// When the newest message was published whose row would go.
    async fn newest_streamed(
        &self,
        log: &CommitLog,
        snapshot: &TableSnapshot,
    ) -> Result<Option<StreamTime>, RunError> {
        let Repairs { ledger, event_time, .. } = &self.repairs;
        let files = log.live_files(snapshot).await?;
        let streamed = [Selection::streamed(ledger, event_time, self.interval)];
        let found = find_streamed(log.store(), &files, &streamed).await?;
        Ok(found.iter().filter_map(RemovedRows::newest).max())
    }

    /// A repair writes the table's columns, all of them and no others: where the source lacks one, values of
    /// the stream would become null.
    pub(crate) fn check_columns(&self, table: &Schema, layout: &Schema) -> Result<(), RunError> {
        let (known, given) = (data_columns(table), data_columns(layout));
        let Some(odd) = known.symmetric_difference(&given).next() else { return Ok(()) };
        let what = if known.contains(odd) {
            format!(
                "the source gives no column {odd}, which the table of {} has; name it in the query and in \
                 schema.fields, as null where nothing is known",
                self.repairs.pipeline
            )
        } else {
            format!(
                "the source gives a column {odd}, which the table of {} lacks; leave it out by a query or \
                 schema.fields, or add it to that pipeline's schema.fields",
                self.repairs.pipeline
            )
        };
        Err(RunError::permanent(Reason::TableMismatch, what))
    }

    /// What was repaired with this one, after the newest record.
    fn follow(
        &self,
        newest: Option<&RepairRecord>,
        by: &Ledger,
        intervals: &Intervals,
    ) -> Result<RepairedTime, RunError> {
        if let Some(newest) = newest {
            newest.check_event_time(&self.repairs.event_time)?;
        }
        let known = newest.map(|newest| newest.repaired.clone()).unwrap_or_default();
        if let Some(other) = strange(intervals.held(), known.of(by), self.interval) {
            let (interval, Repairs { pipeline, .. }) = (self.interval, &self.repairs);
            let what = format!(
                "ledger {by} wrote rows of {other} that are no repair of {pipeline}, and those of {interval} \
                 would take their place; give a pipeline that repairs another stream its own ledger"
            );
            return Err(RunError::permanent(Reason::LedgerMismatch, what));
        }
        Ok(known.with(by, self.interval)?)
    }

    /// The run's own rows and those of the stream.
    pub(crate) fn select(&self, own: Selection) -> Selection {
        let Repairs { ledger, event_time, .. } = &self.repairs;
        own.or(Selection::streamed(ledger, event_time, self.interval))
    }

    /// Decides on the snapshot that the commit extends, and writes the record that the commit names.
    pub(crate) async fn record(
        &self,
        log: &CommitLog,
        snapshot: &TableSnapshot,
        work: &RepairWork<'_>,
        nonce: Nonce,
    ) -> Result<Recorded, RunError> {
        let ledger = &self.repairs.ledger;
        let floors = StreamFloors::read(snapshot.txns(), ledger)?;
        let removed = &work.replacement.streamed;
        self.decide(&floors, removed.newest())?;
        let store = log.store().as_ref();
        let known = RepairRecord::newest(store, ledger, floors.record).await?;
        let intervals = Intervals::read(snapshot.txns(), work.by)?;
        let record = RepairRecord {
            before: floors.record,
            interval: self.interval,
            event_time: self.repairs.event_time.clone(),
            by: work.by.clone(),
            generation: work.generation,
            rows: work.rows,
            replaced: work.replacement.rows.saturating_sub(removed.rows()),
            cuts: floors.cuts(removed),
            repaired: self.follow(known.as_ref(), work.by, &intervals)?,
        };
        record.write(store, ledger, nonce).await?;
        let txns = repair_txns(snapshot.txns(), ledger, removed, nonce)?;
        Ok(Recorded { of: ledger.clone(), record, txns })
    }

    fn decide(
        &self,
        floors: &StreamFloors,
        newest_removed: Option<StreamTime>,
    ) -> Result<(), RunError> {
        let (interval, repairs) = (self.interval, &self.repairs);
        match decide_repair(&RepairFacts { interval, repairs, floors, newest_removed }) {
            RepairDecision::Go => Ok(()),
            RepairDecision::Refuse { reason, retry: true, what } => {
                Err(RunError::transient(reason, what))
            }
            RepairDecision::Refuse { reason, retry: false, what } => {
                Err(RunError::permanent(reason, what))
            }
        }
    }
}

/// An interval whose rows the ledger holds, and would lose, though it wrote them for another stream.
fn strange(
    mut held: impl Iterator<Item = DataInterval>,
    repaired: &[DataInterval],
    wanted: DataInterval,
) -> Option<DataInterval> {
    let is_known = |held: DataInterval| repaired.iter().any(|known| known.contains(held));
    held.find(|held| held.overlaps(wanted) && !is_known(*held))
}

/// The columns that are not our own.
fn data_columns(schema: &Schema) -> BTreeSet<String> {
    let names = schema.fields().iter().map(|field| field.name());
    names.filter(|name| !name.starts_with(SYSTEM_PREFIX)).cloned().collect()
}

/// Whose rows a pipeline replaces decides what its runs are.
pub(crate) fn check_trigger(config: &TransferConfig, trigger: Trigger) -> Result<(), RunError> {
    let what = match (&config.repairs, trigger) {
        (Some(_), Trigger::Repair) => return Ok(()),
        (None, trigger) if trigger != Trigger::Repair => return Ok(()),
        (Some(repairs), _) => format!(
            "the runs of {} are repairs of {}; write trigger: Repair, or make them with `tidegate backfill`",
            config.name, repairs.pipeline
        ),
        (None, _) => format!(
            "{} does not say bulk.repairs, so that there is nothing for a run with trigger Repair",
            config.name
        ),
    };
    Err(RunError::permanent(Reason::InvalidConfiguration, what))
}

/// A repair makes no table.
pub(crate) fn nothing_to_repair(log: &CommitLog) -> RunError {
    let what = format!(
        "there is no table at {} that could be repaired; run the streamed pipeline first",
        log.root()
    );
    RunError::permanent(Reason::TableMismatch, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::hours;

    #[test]
    fn b10_rows_that_were_written_for_another_stream_are_never_replaced() {
        let known = [hours(0, 2), hours(5, 6)];
        for (held, wanted, expected) in [
            (hours(0, 1), hours(0, 1), None),
            (hours(1, 2), hours(0, 3), None),
            (hours(2, 3), hours(0, 3), Some(hours(2, 3))),
            (hours(1, 3), hours(0, 3), Some(hours(1, 3))),
            (hours(3, 4), hours(0, 3), None),
        ] {
            assert_eq!(strange([held].into_iter(), &known, wanted), expected, "{held} {wanted}");
        }
    }
}
