//! What a run begins with: its options, its table, its source.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use tidegate_extract::Snapshot;
use tidegate_runtime::{Random, RunError};
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_types::{Reason, first_names};

use super::Run;
use crate::fit::{check_ledger, null_columns};
use crate::layout::Layout;
use crate::repair::{check_trigger, nothing_to_repair};
use crate::schedule::grid;
use crate::source::{check_ended, check_names, close, request};
use crate::table::RunTable;

/// Columns that are named; the rest is counted.
const NAMED: usize = 12;

impl Run {
    /// What cannot be right, whatever the table and the source hold.
    pub(super) fn check_options(&self) -> Result<(), RunError> {
        let config = self.config();
        check_trigger(config, self.options.trigger)?;
        match self.options.interval {
            Some(interval) => {
                check_ended(interval, jiff::Timestamp::now())?;
                if let Some(grid) = grid(config)? {
                    grid.check_aligned(interval).map_err(|error| {
                        RunError::permanent(Reason::IntervalNotAligned, error.to_string())
                    })?;
                    check_names(config, &grid, interval)?;
                }
                Ok(())
            }
            None if config.incremental.is_some() => {
                let what = "a pipeline with bulk.incremental is run by intervals; name one";
                Err(RunError::permanent(Reason::InvalidConfiguration, what))
            }
            None => Ok(()),
        }
    }

    /// The table; made when it is not there, for which the source tells its columns.
    pub(super) async fn open_table(&self) -> Result<RunTable, RunError> {
        let log = CommitLog::open(&self.edges.store);
        let ledger = self.config().ledger.clone();
        let snapshot = match self.until_told(log.load()).await? {
            Some(snapshot) => snapshot,
            None if self.config().repairs.is_some() => return Err(nothing_to_repair(&log)),
            None => {
                let columns = self.look_at_columns().await?;
                let layout = Layout::new(self.config(), &columns)?;
                self.fit_table(&log, &layout).await?
            }
        };
        snapshot.check_usable(log.root().as_str())?;
        let table = RunTable::new(log, snapshot, ledger, self.options.cancel.clone());
        check_ledger(self.config(), &table.snapshot)?;
        Ok(table)
    }

    /// Lays out the source's columns, and gives the table those that it lacks. None where the source has no
    /// columns, as files that say theirs themselves while there are none: the table stays as it is.
    pub(super) async fn lay_out(
        &self,
        table: &mut RunTable,
        columns: &Schema,
    ) -> Result<Option<Layout>, RunError> {
        if columns.fields().is_empty() {
            return Ok(None);
        }
        let layout = Layout::new(self.config(), columns)?;
        if let Some(repair) = &self.repair {
            repair.check_columns(table.snapshot.schema(), &layout.spec.schema)?;
        }
        table.snapshot = self.fit_table(&table.log, &layout).await?;
        tell_null_columns(&null_columns(table.snapshot.schema(), &layout));
        Ok(Some(layout))
    }

    /// The table with every column of the layout; made when it is not there. A store that refuses is asked
    /// until the run is told to stop: a table that appears afterwards is found by the next attempt.
    pub(super) async fn fit_table(
        &self,
        log: &CommitLog,
        layout: &Layout,
    ) -> Result<TableSnapshot, RunError> {
        let (config, mut random) = (self.config(), Random::from_system());
        let (spec, evolution) = (&layout.spec, config.evolution);
        let fitted =
            tidegate_runtime::table::open(log, spec, evolution, &config.ledger, &mut random);
        self.until_told(fitted).await
    }

    /// The columns of a source whose rows nobody wants yet: nothing is waited for.
    pub(super) async fn look_at_columns(&self) -> Result<SchemaRef, RunError> {
        let mut request = request(self.config(), &self.edges.secrets, self.options.interval);
        request.incremental = None;
        let snapshot = self.until_told(self.edges.sources.open(request)).await?;
        let columns = snapshot.columns();
        close(Arc::new(snapshot)).await;
        Ok(columns)
    }

    pub(super) async fn open_source(&self) -> Result<Box<dyn Snapshot>, RunError> {
        let request = request(self.config(), &self.edges.secrets, self.options.interval);
        self.until_told(self.edges.sources.open(request)).await
    }
}

/// A column that was renamed or dropped at the source is not missed by any count.
fn tell_null_columns(columns: &[String]) {
    if !columns.is_empty() {
        let columns = first_names(columns.iter().cloned(), NAMED);
        tracing::warn!(
            columns,
            "columns of the table are not at the source; they are null in these rows"
        );
    }
}
