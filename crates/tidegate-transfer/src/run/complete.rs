//! A run that finds its interval done.

use tidegate_config::{BulkSource, RunReport, SourceSays, late_files_in_words};
use tidegate_runtime::RunError;
use tidegate_table::ledger::IntervalKey;
use tidegate_types::Reason;

use super::{Edges, Run};
use crate::recount::answer;
use crate::table::RunTable;

impl Run {
    /// There is nothing to do. Of files it is said when they are others by now (B8).
    pub(super) async fn already_complete(
        &self,
        table: &RunTable,
        generation: Option<u64>,
        what: &str,
    ) -> Result<RunReport, RunError> {
        self.progress.set(|report| report.generation = generation.unwrap_or(0));
        if let BulkSource::ObjectStore(_) = self.config().source
            && let Some(what) = self.stale(table).await
        {
            return Ok(self.progress.succeeded(Reason::IntervalStale, &what));
        }
        Ok(self.progress.succeeded(Reason::AlreadyComplete, what))
    }

    /// Best effort: a source that cannot be asked is no reason to fail what is done.
    pub(super) async fn stale(&self, table: &RunTable) -> Option<String> {
        let interval = self.options.interval?;
        let key = IntervalKey::Of(interval);
        let held = table.intervals().ok()?.get(key).filter(|held| held.fingerprint.is_some())?;
        let Edges { sources, secrets, .. } = &self.edges;
        let asked = answer(self.config(), secrets, sources.as_ref(), key, held);
        let says = self.until_told(asked).await.ok()?;
        let in_words = || late_files_in_words(&[interval], self.config().write_mode);
        (says == SourceSays::OtherFiles).then(in_words)
    }
}
