//! From the source's snapshot to files that nobody sees yet, and the proof that they hold all of it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tidegate_config::Placement;
use tidegate_extract::{Plan, Snapshot};
use tidegate_runtime::RunError;
use tidegate_table::log::BootTime;
use tidegate_types::{Nonce, Reason};
use tracing::{info, warn};

use super::Run;
use crate::attempt::Attempt;
use crate::chunk_outcome::ChunkOutcome;
use crate::chunks::{PlannedChunks, Reading, read_all};
use crate::decide::{Counted, RunClaim, check_counts, named};
use crate::kept::{Kept, mark};
use crate::layout::Layout;
use crate::table::RunTable;

/// What was read and stands in files, before anybody sees it.
pub(super) struct Read {
    pub(super) plan: Plan,
    pub(super) chunks: ReadChunks,
    pub(super) counted: Counted,
}

/// Every chunk of a plan.
pub(super) struct ReadChunks {
    pub(super) outcomes: Vec<ChunkOutcome>,
    /// How many of them an earlier attempt read.
    pub(super) kept: usize,
    /// The generation that the rows carry; none: that of the claim.
    pub(super) origin: Option<u64>,
    /// When reading began.
    pub(super) begun: BootTime,
    /// How old the files of earlier attempts were then.
    pub(super) age: Duration,
}

impl ReadChunks {
    pub(super) fn none() -> Self {
        let (begun, age) = (BootTime::now(), Duration::ZERO);
        Self { outcomes: Vec::new(), kept: 0, origin: None, begun, age }
    }
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

    /// Reads the chunks, but for those of pinned files that an earlier attempt read (B5).
    pub(super) async fn read(
        &mut self,
        table: &RunTable,
        claim: &RunClaim,
        (snapshot, layout): (&Arc<Box<dyn Snapshot>>, &Layout),
        plan: &Plan,
    ) -> Result<ReadChunks, RunError> {
        let nonce = self.random.nonce();
        let (interval, generation) = (self.options.interval, claim.claim.generation);
        let (config, store) = (self.config(), &self.edges.store);
        let attempt = Attempt { config, store, layout, interval, generation, keeping: None };
        let kept = match mark(attempt, table.snapshot.metadata_id(), plan) {
            Some(mark) => {
                let held = claim.claim.newest_held(&table.intervals()?);
                let found = Kept::find(attempt, mark, held).map(Ok::<_, RunError>);
                self.until_told(found).await?
            }
            None => Kept::default(),
        };
        let attempt = Attempt { keeping: kept.keeping.as_ref(), ..attempt };
        let (begun, age, of_earlier) = (BootTime::now(), kept.age, kept.outcomes.len());
        let chunks = PlannedChunks { all: plan.chunks.clone(), kept: kept.outcomes };
        let outcomes = self.read_missing(attempt, snapshot, chunks, nonce).await?;
        let origin = Some(attempt.origin()).filter(|origin| *origin != generation);
        Ok(ReadChunks { outcomes, kept: of_earlier, origin, begun, age })
    }

    /// Reads the chunks here, or has others read them.
    async fn read_missing(
        &self,
        attempt: Attempt<'_>,
        snapshot: &Arc<Box<dyn Snapshot>>,
        chunks: PlannedChunks,
        nonce: Nonce,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        let progress = self.progress.clone();
        match &self.desk {
            Some(desk) if attempt.config.placement == Placement::Pods => {
                let gathered =
                    desk.gather(attempt, nonce, snapshot.as_ref().as_ref(), chunks, progress);
                self.until_told(gathered).await
            }
            _ => {
                let steps = self.edges.steps.clone();
                let reading = Reading::new(attempt, Arc::clone(snapshot), progress, steps);
                let parallelism = attempt.config.chunking.parallelism as usize;
                let read = read_all(Arc::new(reading), chunks, parallelism);
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
