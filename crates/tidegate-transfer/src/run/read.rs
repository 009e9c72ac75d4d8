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

#[cfg(test)]
mod tests {
    use tidegate_config::{RunReport, Trigger, WriteMode};
    use tidegate_extract::ChunkCounts;
    use tidegate_runtime::secrets::Secrets;
    use tokio::sync::watch;

    use super::*;
    use crate::decide::testing::hours;
    use crate::progress::Progress;
    use crate::run::Edges;
    use crate::source::{Sources, request};
    use crate::steps::Steps;
    use crate::tests::lake::Lake;
    use crate::tests::source::MemorySources;

    /// Of files nobody but the chunks themselves says how many rows there are.
    #[tokio::test]
    async fn a_chunk_that_is_missing_is_noticed_though_the_source_counts_nothing() {
        let lake = Lake::new(WriteMode::ReplaceInterval);
        let sources = Arc::new(MemorySources(Arc::clone(&lake.database)));
        let asked = request(&lake.config(), &Secrets::new(None), Some(hours(0, 1)));
        let snapshot = Arc::new(sources.open(asked).await.expect("opened"));
        let plan = Plan { rows: None, ..snapshot.plan().await.expect("planned") };
        let edges = Edges {
            store: lake.store.clone(),
            sources,
            secrets: Secrets::new(None),
            steps: Steps::default(),
        };
        let options = lake.options(Trigger::Scheduled, Some(hours(0, 1)));
        let progress = Progress::new(watch::Sender::new(RunReport::default()));
        let run = Run::new(options, edges, progress);
        let outcome = |number| ChunkOutcome {
            number,
            files: Vec::new(),
            counts: ChunkCounts::default(),
            written: 0,
            dead: Vec::new(),
        };
        let all: Vec<_> = (0..3).map(outcome).collect();
        assert!(run.verify(&snapshot, &plan, &all).await.is_ok());
        let error = run.verify(&snapshot, &plan, &all[..2]).await.expect_err("one is missing");
        assert_eq!(error.reason(), Reason::CountMismatch);
        assert!(error.to_string().contains("2 of 3 chunks"), "{error}");
    }
}
