//! The run, step by step.

mod commit;
mod complete;
mod open;
mod read;

use std::sync::Arc;

use tidegate_config::{RunPhase, RunReport, TransferConfig};
use tidegate_extract::Snapshot;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, open_store};
use tidegate_table::store::TableStore;
use tidegate_types::Reason;
use tokio::sync::watch;

pub(crate) use self::commit::fingerprint_bits;
use self::read::{Read, ReadChunks};
use crate::dead_letters::DeadLetters;
use crate::decide::RunClaim;
use crate::desk::ChunkDesk;
use crate::layout::no_columns;
use crate::options::TransferOptions;
use crate::progress::Progress;
use crate::repair::Repair;
use crate::source::{RealSources, Sources, close};
use crate::steps::Steps;
use crate::table::{Claimed, RunTable};

/// Moves one data interval from the source to the table.
///
/// The report is kept up to date in `progress`, and answered at the end. An interval that the log holds
/// ends at once, with the reason `AlreadyComplete`, unless it was asked for again.
///
/// # Errors
///
/// [`RunError`] with a reason, and whether another attempt may do. The table is as it was before, the
/// number of the attempt aside, unless the reason is `CommitInDoubt` or `DeadLetterCommitPending`: then
/// the next attempt of the run finds out or goes on.
pub async fn transfer(
    options: TransferOptions,
    progress: watch::Sender<RunReport>,
) -> Result<RunReport, RunError> {
    transfer_with(options, progress, None).await
}

/// The same; where the pipeline asks for it the chunks are read by others, who fetch them at the desk.
///
/// # Errors
///
/// As [`transfer`], and when the readers fail or nobody is heard of them.
pub async fn transfer_with(
    options: TransferOptions,
    progress: watch::Sender<RunReport>,
    desk: Option<Arc<ChunkDesk>>,
) -> Result<RunReport, RunError> {
    let progress = Progress::new(progress);
    let secrets = Secrets::new(options.secrets_dir.clone());
    let outcome = match open_store(&options.config.sink, &secrets) {
        Ok(store) => {
            let edges =
                Edges { store, sources: Arc::new(RealSources), secrets, steps: Steps::default() };
            Run::new(options, edges, progress.clone()).at(desk).run().await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        progress.failed(error);
    }
    outcome
}

/// What lies outside.
pub(crate) struct Edges {
    pub(crate) store: TableStore,
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) secrets: Secrets,
    pub(crate) steps: Steps,
}

/// One attempt.
pub(crate) struct Run {
    options: TransferOptions,
    edges: Edges,
    progress: Progress,
    random: Random,
    /// Of a pipeline that repairs.
    repair: Option<Repair>,
    /// Where others may fetch chunks; none: they are read here.
    desk: Option<Arc<ChunkDesk>>,
}

impl Run {
    pub(crate) fn new(options: TransferOptions, edges: Edges, progress: Progress) -> Self {
        let repair = Repair::of(&options.config, options.interval);
        Self { options, edges, progress, random: Random::from_system(), repair, desk: None }
    }

    /// Others may fetch chunks at the desk.
    pub(crate) fn at(mut self, desk: Option<Arc<ChunkDesk>>) -> Self {
        self.desk = desk;
        self
    }

    pub(crate) async fn run(mut self) -> Result<RunReport, RunError> {
        self.progress.enter(RunPhase::Planning);
        self.check_options()?;
        let mut table = self.open_table().await?;
        if let Some(repair) = &self.repair {
            let checked = repair.check(&table.log, &table.snapshot, &table.ledger);
            self.until_told(checked).await?;
        }
        let mut dead_letters = DeadLetters::new(&self.edges.store, &self.config().ledger);
        let (sources, secrets) = (Arc::clone(&self.edges.sources), self.edges.secrets.clone());
        let source = self.config().source.clone();
        let may_begin = move || Ok(sources.check_secret(&source, &secrets)?);
        let claimed = table.claim(&self.options, may_begin).await?;
        // Those of an earlier attempt that died behind its commit: this one's take their place.
        self.until_told(dead_letters.catch_up(&table)).await?;
        let claim = match claimed {
            Claimed::Yes(claim) => claim,
            Claimed::AlreadyComplete { generation, what } => {
                return self.already_complete(&table, generation, &what).await;
            }
        };
        self.progress.set(|report| report.generation = claim.claim.generation);
        self.edges.steps.reach("run.claimed").await;
        // Only now (B2): what a later generation reads is never older.
        let snapshot = Arc::new(self.open_source().await?);
        self.edges.steps.reach("run.snapshot_opened").await;
        let outcome = self.read_and_commit(&mut table, &claim, &snapshot, dead_letters).await;
        close(snapshot).await;
        outcome
    }

    fn config(&self) -> &TransferConfig {
        &self.options.config
    }

    /// The answer, unless the run is told to stop before it comes.
    async fn until_told<T, E: Into<RunError>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RunError> {
        tokio::select! {
            answer = work => answer.map_err(Into::into),
            () = self.options.cancel.cancelled() => {
                let what = "the run was told to stop; nothing was committed, the next attempt begins anew";
                Err(RunError::transient(Reason::Interrupted, what))
            }
        }
    }

    async fn read_and_commit(
        &mut self,
        table: &mut RunTable,
        claim: &RunClaim,
        snapshot: &Arc<Box<dyn Snapshot>>,
        dead_letters: DeadLetters,
    ) -> Result<RunReport, RunError> {
        let layout = self.lay_out(table, &snapshot.columns()).await?;
        let plan = self.until_told(snapshot.plan()).await?;
        self.say_plan(claim, &plan);
        self.edges.steps.reach("run.planned").await;
        self.progress.enter(RunPhase::Running);
        let chunks = match &layout {
            Some(layout) => self.read(table, claim, (snapshot, layout), &plan).await?,
            None if plan.chunks.is_empty() => ReadChunks::none(),
            None => return Err(no_columns()),
        };
        self.edges.steps.reach("run.files_finished").await;
        self.progress.enter(RunPhase::Committing);
        self.edges.steps.reach("run.before_verify").await;
        let counted = self.verify(snapshot, &plan, &chunks.outcomes).await?;
        let read = Read { plan, chunks, counted };
        self.commit(table, claim, read, dead_letters).await
    }
}
