//! The records of repairs against the log and the table (B10): every row that the counters know and the
//! table lacks was taken out by one of them, and what they took out is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use tidegate_config::PipelineConfig;
use tidegate_runtime::RunError;
use tidegate_table::files::system::source_name;
use tidegate_table::ledger::{Cut, LedgerState, RepairRecord};
use tidegate_table::log::{LiveFile, TableSnapshot};
use tidegate_table::replace::{RemovedRows, Selection, find_streamed};
use tidegate_types::{Incarnation, PartitionId};

use super::contents::Contents;
use super::report::VerifyReport;

/// What a verification looks at here.
pub(super) struct RepairCheck<'a> {
    pub(super) config: &'a PipelineConfig,
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) snapshot: &'a TableSnapshot,
    pub(super) files: &'a [LiveFile],
    pub(super) rows: &'a Contents,
}

impl RepairCheck<'_> {
    /// Follows the chain of records from the one that the log names.
    pub(super) async fn check(
        &self,
        known: &LedgerState,
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let ledger = &self.config.ledger;
        let (records, broken) =
            RepairRecord::chain(self.store.as_ref(), ledger, known.record).await;
        match broken {
            Some(error) if !error.is_damage() => return Err(error.into()),
            Some(error) => report.damaged("repairs", format!("a record cannot be used: {error}")),
            None => self.check_sums(known, &records, report)?,
        }
        self.check_records(&records, report).await?;
        if !records.is_empty() {
            let rows: u64 = records.iter().map(RepairRecord::removed_rows).sum();
            report.checked(format!(
                "{} repairs: {rows} streamed rows taken out, as each partition counts them",
                records.len()
            ));
        }
        Ok(())
    }

    /// Each partition counts as many rows as superseded as the records took out of it.
    fn check_sums(
        &self,
        known: &LedgerState,
        records: &[RepairRecord],
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let mut sums: BTreeMap<(Incarnation, PartitionId), u64> = BTreeMap::new();
        for cut in records.iter().flat_map(|record| &record.cuts) {
            let rows = cut.removed.iter().map(|range| range.rows).sum::<u64>();
            *sums.entry((cut.incarnation, cut.partition)).or_default() += rows;
        }
        for life in known.incarnations.keys().copied() {
            let state = LedgerState::read(self.snapshot.txns(), &self.config.ledger, life)?;
            for (partition, now) in &state.partitions {
                let recorded = sums.get(&(life, *partition)).copied().unwrap_or(0);
                if recorded != now.superseded {
                    let detail = format!(
                        "partition {partition} counts {} rows as superseded, the records took out {recorded}",
                        now.superseded
                    );
                    report.damaged("repairs", detail);
                }
            }
        }
        Ok(())
    }

    /// What each of them took out is gone.
    async fn check_records(
        &self,
        records: &[RepairRecord],
        report: &mut VerifyReport,
    ) -> Result<(), RunError> {
        let ledger = &self.config.ledger;
        let select = |record: &RepairRecord| {
            Selection::streamed(ledger, &record.event_time, record.interval)
        };
        let selections: Vec<_> = records.iter().map(select).collect();
        let found = find_streamed(self.store, self.files, &selections).await?;
        for (record, there) in records.iter().zip(&found) {
            for cut in &record.cuts {
                self.check_ranges(record, cut, report);
            }
            self.check_gone(record, there, report);
        }
        Ok(())
    }

    /// `there` are the streamed rows of the record's interval.
    fn check_gone(&self, record: &RepairRecord, there: &RemovedRows, report: &mut VerifyReport) {
        for cut in &record.cuts {
            let lowest = there.ranges_of((cut.incarnation, cut.partition)).next();
            if let Some(lowest) = lowest.filter(|lowest| lowest.from <= cut.floor.0) {
                let detail = format!(
                    "{} was repaired when partition {} stood at {}, and a row from {} is still there",
                    record.interval, cut.partition, cut.floor, lowest.from
                );
                // What is delivered again may be filed again, below the floor too (P3).
                match self.rows.redelivery {
                    true => report.not_provable("repairs", detail),
                    false => report.damaged("repairs", detail),
                }
            }
        }
    }

    /// What was taken out and what is there are not more than there were messages.
    fn check_ranges(&self, record: &RepairRecord, cut: &Cut, report: &mut VerifyReport) {
        let rows = self.rows.of(&source_name(&self.config.ledger, cut.incarnation), cut.partition);
        for range in &cut.removed {
            let there = rows.within(range.from, range.to);
            let messages = (range.to - range.from.min(range.to)).saturating_add(1);
            if there + range.rows > messages && !self.rows.redelivery {
                let detail = format!(
                    "the repair of {} took {} rows of partition {} from {} to {} out, of which {there} rows are there",
                    record.interval, range.rows, cut.partition, range.from, range.to
                );
                report.damaged("repairs", detail);
            }
        }
    }
}
