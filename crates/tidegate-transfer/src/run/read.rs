//! From the source's snapshot to files that nobody sees yet, and the proof that they hold all of it.

use std::sync::Arc;

use tidegate_config::Placement;
use tidegate_extract::{Plan, Snapshot};
use tidegate_runtime::RunError;
use tidegate_table::log::BootTime;
use tidegate_types::Reason;
use tracing::{info, warn};

use super::Run;
use crate::attempt::Attempt;
use crate::chunks::{ChunkOutcome, Reading, read_all};
use crate::decide::{Counted, RunClaim, check_counts, named};
use crate::layout::Layout;

/// What was read and stands in files, before anybody sees it.
pub(super) struct Read {
    pub(super) plan: Plan,
    pub(super) outcomes: Vec<ChunkOutcome>,
    pub(super) counted: Counted,
    pub(super) begun: BootTime,
}

impl Run {
    pub(super) fn say_plan(&self, claim: &RunClaim, plan: &Plan) {
        let chunks = u32::try_from(plan.chunks.len()).unwrap_or(u32::MAX);
        self.progress.set(|report| report.chunks = chunks);
        info!(
            what = named(claim.claim.key),
            generation = claim.claim.generation,
            chunks,
            rows = plan.rows,
            "planned"
        );
        if plan.null_cursors > 0 {
            warn!(rows = plan.null_cursors, reason = %Reason::NullCursor, "rows without a cursor are left out");
        }
    }

    /// Reads the chunks here, or has others read them.
    pub(super) async fn read(
        &mut self,
        claim: &RunClaim,
        snapshot: &Arc<Box<dyn Snapshot>>,
        layout: &Layout,
        plan: &Plan,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        let nonce = self.random.nonce();
        let (interval, generation) = (self.options.interval, claim.claim.generation);
        let (config, store) = (self.config(), &self.edges.store);
        let attempt = Attempt { config, store, layout, interval, generation };
        let progress = self.progress.clone();
        match &self.desk {
            Some(desk) if config.placement == Placement::Pods => {
                let gathered =
                    desk.gather(attempt, nonce, snapshot.as_ref().as_ref(), plan, progress);
                self.until_told(gathered).await
            }
            _ => {
                let steps = self.edges.steps.clone();
                let reading = Reading::new(attempt, Arc::clone(snapshot), progress, steps);
                let parallelism = config.chunking.parallelism as usize;
                let read = read_all(Arc::new(reading), plan.chunks.clone(), parallelism);
                self.until_told(read).await
            }
        }
    }

    /// Nothing is missing, nothing is doubled, and all of it was read under one snapshot (B5).
    pub(super) async fn verify(
        &self,
        snapshot: &Arc<Box<dyn Snapshot>>,
        plan: &Plan,
        outcomes: &[ChunkOutcome],
    ) -> Result<Counted, RunError> {
        if outcomes.len() != plan.chunks.len() {
            let what = format!("{} of {} chunks were read", outcomes.len(), plan.chunks.len());
            return Err(RunError::transient(Reason::CountMismatch, what));
        }
        let counted = Counted {
            source: plan.rows,
            read: outcomes.iter().map(|chunk| chunk.counts.rows + chunk.counts.dead).sum(),
            written: outcomes.iter().map(|chunk| chunk.written).sum(),
            dead: outcomes.iter().map(|chunk| chunk.dead.len() as u64).sum(),
        };
        check_counts(&counted).map_err(|(reason, what)| RunError::transient(reason, what))?;
        self.until_told(snapshot.check()).await?;
        Ok(counted)
    }
}
