//! A run that takes the place of streamed rows (B10): whether it may, which rows go, and the record that it
//! leaves.

use std::collections::BTreeMap;

use tidegate_config::{Repairs, TransferConfig, Trigger};
use tidegate_runtime::RunError;
use tidegate_table::ledger::{RepairRecord, StreamFloors, repair_txns};
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_table::replace::{Replacement, Selection};
use tidegate_types::{DataInterval, Ledger, Nonce, Reason, StreamTime};
use tracing::info;

use crate::decide::{RepairDecision, RepairFacts, decide_repair};
use crate::table::RunTable;

/// A repair of one interval.
#[derive(Debug, Clone)]
pub(crate) struct Repair {
    repairs: Repairs,
    interval: DataInterval,
}

/// What a repair is about to commit.
pub(crate) struct Repaired<'a> {
    /// The ledger of the run.
    pub(crate) by: &'a Ledger,
    pub(crate) generation: u64,
    /// Rows that it wrote.
    pub(crate) rows: u64,
    /// What goes in their place.
    pub(crate) replacement: &'a Replacement,
}

impl Repair {
    /// None of a run that is no repair.
    pub(crate) fn of(config: &TransferConfig, interval: Option<DataInterval>) -> Option<Self> {
        Some(Self { repairs: config.repairs.clone()?, interval: interval? })
    }

    /// Whether the repair may be begun: before anything is claimed or read.
    pub(crate) async fn check(&self, table: &RunTable) -> Result<(), RunError> {
        let (store, ledger) = (table.log.store().as_ref(), &self.repairs.ledger);
        let floors = StreamFloors::read(table.snapshot.txns(), ledger)?;
        self.decide(&floors, None)?;
        let known = RepairRecord::repaired(store, ledger, floors.record).await?;
        known.with(&table.ledger, self.interval)?;
        Ok(())
    }

    /// The run's own rows and those of the stream.
    pub(crate) fn select(&self, own: Selection) -> Selection {
        let Repairs { ledger, event_time, .. } = &self.repairs;
        own.or(Selection::streamed(ledger, event_time, self.interval))
    }

    /// Decides on the snapshot that the commit extends, writes the record, and answers the actions by which
    /// the commit names it.
    pub(crate) async fn record(
        &self,
        log: &CommitLog,
        snapshot: &TableSnapshot,
        work: &Repaired<'_>,
        nonce: Nonce,
    ) -> Result<BTreeMap<String, i64>, RunError> {
        let ledger = &self.repairs.ledger;
        let floors = StreamFloors::read(snapshot.txns(), ledger)?;
        let removed = &work.replacement.streamed;
        self.decide(&floors, removed.newest())?;
        let store = log.store().as_ref();
        let known = RepairRecord::repaired(store, ledger, floors.record).await?;
        let record = RepairRecord {
            before: floors.record,
            interval: self.interval,
            by: work.by.clone(),
            generation: work.generation,
            rows: work.rows,
            replaced: work.replacement.rows.saturating_sub(removed.rows()),
            cuts: floors.cuts(removed),
            repaired: known.with(work.by, self.interval)?,
        };
        record.write(store, ledger, nonce).await?;
        info!(
            interval = %self.interval,
            of = %ledger,
            streamed = removed.rows(),
            repaired = record.replaced,
            rows = work.rows,
            "repair recorded"
        );
        Ok(repair_txns(snapshot.txns(), ledger, removed, nonce)?)
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
    let what = format!("there is no table at {} that could be repaired", log.root());
    RunError::permanent(Reason::TableMismatch, what)
}
