//! The run, step by step.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use tidegate_config::{
    BulkSource, Placement, RunPhase, RunReport, SourceSays, TransferConfig, late_files_in_words,
};
use tidegate_extract::{Plan, Snapshot};
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, failpoint, open_store};
use tidegate_table::files::system::run_source_name;
use tidegate_table::ledger::IntervalKey;
use tidegate_table::log::{BootTime, CommitLog, TableSnapshot};
use tidegate_table::replace::{Naming, Replacer, Selection};
use tidegate_table::store::TableStore;
use tidegate_types::Reason;
use tokio::sync::watch;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use crate::chunk_writer::{ChunkIdentity, FileSettings, write_options};
use crate::chunks::{ChunkOutcome, Reading, read_all};
use crate::dead_letters::DeadLetters;
use crate::decide::{Counted, RunClaim, check_counts, named};
use crate::desk::{ChunkDesk, Expected, Opening, Pass, columns_mark, confirm};
use crate::layout::Layout;
use crate::options::TransferOptions;
use crate::progress::Progress;
use crate::recount::answer;
use crate::repair::{Repair, check_trigger, nothing_to_repair};
use crate::schedule::grid;
use crate::source::{RealSources, Sources, check_ended, check_ticks, request};
use crate::table::{Claimed, RunResult, RunTable};

/// How long giving back the source's snapshot may take; it ends with the connection anyway.
const CLOSING: Duration = Duration::from_secs(5);
/// Between two looks whether stopped readers have let go of the snapshot.
const LETTING_GO: Duration = Duration::from_millis(5);

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

/// The named steps at which tests end a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    /// Goes no further than this step, and says so.
    #[cfg(test)]
    pub(crate) halt: Option<(&'static str, Arc<tokio::sync::Notify>)>,
    /// Is told to stop at this step, and goes on to where it looks.
    #[cfg(test)]
    pub(crate) stop: Option<(&'static str, tokio_util::sync::CancellationToken)>,
    /// Waits at this step, the first time that it comes there, until told to go on.
    #[cfg(test)]
    pub(crate) pause: Option<Arc<crate::tests::Pause>>,
}

impl Steps {
    /// A step is reached.
    pub(crate) async fn reach(&self, step: &'static str) {
        failpoint::hit(step);
        #[cfg(test)]
        if let Some((at, stop)) = &self.stop
            && *at == step
        {
            stop.cancel();
        }
        #[cfg(test)]
        if let Some((at, reached)) = &self.halt
            && *at == step
        {
            reached.notify_one();
            std::future::pending::<()>().await;
        }
        #[cfg(test)]
        if let Some(pause) = &self.pause {
            pause.reach(step).await;
        }
    }
}

/// What was read and stands in files, before anybody sees it.
struct Read {
    plan: Plan,
    outcomes: Vec<ChunkOutcome>,
    counted: Counted,
    begun: BootTime,
}

/// One attempt.
pub(crate) struct Run {
    options: TransferOptions,
    edges: Edges,
    progress: Progress,
    random: Random,
    /// Where others may fetch chunks; none: they are read here.
    desk: Option<Arc<ChunkDesk>>,
}

impl Run {
    pub(crate) fn new(options: TransferOptions, edges: Edges, progress: Progress) -> Self {
        Self { options, edges, progress, random: Random::from_system(), desk: None }
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
        let repair = Repair::of(self.config(), self.options.interval);
        if let Some(repair) = &repair {
            repair.check(&table).await?;
        }
        let mut dead_letters = DeadLetters::new(&self.edges.store, &self.config().ledger);
        let claimed = table.claim(&self.options).await?;
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

    /// What cannot be right, whatever the table and the source hold.
    fn check_options(&self) -> Result<(), RunError> {
        let config = self.config();
        check_trigger(config, self.options.trigger)?;
        match self.options.interval {
            Some(interval) => {
                check_ended(interval, jiff::Timestamp::now())?;
                if let Some(grid) = grid(config)? {
                    grid.check_aligned(interval).map_err(|error| {
                        RunError::permanent(Reason::IntervalNotAligned, error.to_string())
                    })?;
                    check_ticks(config, &grid, interval)?;
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
    async fn open_table(&self) -> Result<RunTable, RunError> {
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
        let shared = self.config().sink.delta.shared;
        let mut state = table.ledger_state()?;
        if let Some(repairs) = &self.config().repairs {
            // Beside whom a repair writes is its purpose.
            state.other_ledgers.remove(&repairs.ledger);
        }
        state.check_shared(&self.config().ledger, shared)?;
        Ok(table)
    }

    /// The table with every column of the layout; made when it is not there. A store that refuses is asked
    /// until the run is told to stop: a table that appears afterwards is found by the next attempt.
    async fn fit_table(&self, log: &CommitLog, layout: &Layout) -> Result<TableSnapshot, RunError> {
        let (config, mut random) = (self.config(), Random::from_system());
        let (spec, evolution) = (&layout.spec, config.evolution);
        let fitted =
            tidegate_runtime::table::open(log, spec, evolution, &config.ledger, &mut random);
        self.until_told(fitted).await
    }

    /// The columns of a source whose rows nobody wants yet: nothing is waited for.
    async fn look_at_columns(&self) -> Result<SchemaRef, RunError> {
        let mut request = request(self.config(), &self.edges.secrets, self.options.interval);
        request.incremental = None;
        let snapshot = self.until_told(self.edges.sources.open(request)).await?;
        let columns = snapshot.columns();
        close(Arc::new(snapshot)).await;
        Ok(columns)
    }

    async fn open_source(&self) -> Result<Box<dyn Snapshot>, RunError> {
        let request = request(self.config(), &self.edges.secrets, self.options.interval);
        self.until_told(self.edges.sources.open(request)).await
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
        let begun = BootTime::now();
        let layout = Layout::new(self.config(), &snapshot.columns())?;
        if let Some(repair) = Repair::of(self.config(), self.options.interval) {
            repair.check_columns(table.snapshot.schema(), &layout.spec.schema)?;
        }
        table.snapshot = self.fit_table(&table.log, &layout).await?;
        let plan = self.until_told(snapshot.plan()).await?;
        self.say_plan(claim, &plan);
        self.edges.steps.reach("run.planned").await;
        self.progress.enter(RunPhase::Running);
        let outcomes = match self.desk.clone() {
            Some(desk) if self.config().placement == Placement::Pods => {
                self.gather(&desk, claim, snapshot, &layout, &plan).await?
            }
            _ => self.read(claim, snapshot, &layout, &plan).await?,
        };
        self.edges.steps.reach("run.files_finished").await;
        self.progress.enter(RunPhase::Committing);
        self.edges.steps.reach("run.before_verify").await;
        let counted = self.verify(snapshot, &plan, &outcomes).await?;
        let read = Read { plan, outcomes, counted, begun };
        self.commit(table, claim, read, dead_letters).await
    }

    fn say_plan(&self, claim: &RunClaim, plan: &Plan) {
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

    async fn read(
        &mut self,
        claim: &RunClaim,
        snapshot: &Arc<Box<dyn Snapshot>>,
        layout: &Layout,
        plan: &Plan,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        let generation = claim.claim.generation;
        let identity = ChunkIdentity {
            source: run_source_name(&self.config().ledger, generation),
            interval: self.options.interval.map(|interval| interval.start()),
            generation,
            chunk: 0,
            nonce: self.random.nonce(),
        };
        let reading = Arc::new(Reading {
            snapshot: Arc::clone(snapshot),
            files: Arc::new(FileSettings::of(
                self.config(),
                &self.edges.store,
                layout,
                self.options.interval,
            )),
            identity,
            progress: self.progress.clone(),
            dead_bytes: AtomicU64::new(0),
            steps: self.edges.steps.clone(),
        });
        let parallelism = self.config().chunking.parallelism as usize;
        self.until_told(read_all(reading, plan.chunks.clone(), parallelism)).await
    }

    /// Others read the chunks; what they say they wrote is looked for.
    async fn gather(
        &mut self,
        desk: &ChunkDesk,
        claim: &RunClaim,
        snapshot: &Arc<Box<dyn Snapshot>>,
        layout: &Layout,
        plan: &Plan,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        let Some(ticket) = snapshot.ticket() else {
            let what = "the source's snapshot belongs to one connection, so that no other pod can read \
                        it: set bulk.chunking.placement to InProcess";
            return Err(RunError::permanent(Reason::InvalidConfiguration, what));
        };
        let opening = Opening {
            pass: Pass {
                generation: claim.claim.generation,
                snapshot: snapshot.id().to_owned(),
                nonce: self.random.nonce().to_string(),
            },
            ticket,
            interval: self.options.interval,
            columns: columns_mark(&snapshot.columns()),
            chunks: plan.chunks.clone(),
            parallelism: self.config().chunking.parallelism,
            progress: self.progress.clone(),
        };
        let outcomes = self.until_told(desk.gather(opening, snapshot.as_ref().as_ref())).await?;
        let (ledger, generation) = (&self.config().ledger, claim.claim.generation);
        let expected = Expected { ledger, generation, layout };
        self.until_told(confirm(&self.edges.store, expected, outcomes)).await
    }

    /// Nothing is missing, nothing is doubled, and all of it was read under one snapshot (B5).
    async fn verify(
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

    async fn commit(
        &mut self,
        table: &mut RunTable,
        claim: &RunClaim,
        read: Read,
        mut dead_letters: DeadLetters,
    ) -> Result<RunReport, RunError> {
        let Read { plan, outcomes, counted, begun } = read;
        let nonce = if counted.dead > 0 || table.replaces_dead_letters(&claim.claim)? {
            Some(dead_letters.write(claim, &outcomes).await?)
        } else {
            None
        };
        let replacer = self.replacer(table, claim);
        let result = RunResult {
            claim,
            files: outcomes.into_iter().flat_map(|chunk| chunk.files).collect(),
            rows: counted.written,
            dead_letters: nonce,
            fingerprint: plan.fingerprint.as_deref().map(fingerprint_bits),
            allow_shrink: self.config().allow_shrink,
            begun,
        };
        let repair = Repair::of(self.config(), self.options.interval);
        let committed = table.commit(&result, replacer, repair.as_ref(), &self.edges.steps).await?;
        self.progress.set(|report| {
            report.version = Some(committed.version);
            report.rows_replaced = committed.replaced;
            report.rows_read = counted.read;
            report.rows_committed = counted.written;
            report.dead_letters = counted.dead;
        });
        self.show_dead_letters(table, dead_letters, nonce.is_some()).await?;
        info!(
            what = named(claim.claim.key),
            generation = claim.claim.generation,
            version = committed.version,
            rows = counted.written,
            replaced = committed.replaced,
            dead = counted.dead,
            "committed"
        );
        Ok(self.progress.succeeded(Reason::Ok, &remark(&plan)))
    }

    /// Makes the dead letters of the commit visible, unless told to stop: then whoever runs next does.
    /// `own`: whether the commit has any; without, other runs' may still be there to be brought in.
    async fn show_dead_letters(
        &self,
        table: &RunTable,
        mut dead_letters: DeadLetters,
        own: bool,
    ) -> Result<(), RunError> {
        tokio::select! {
            // A stop that came during the commit does not make pending what is there already.
            biased;
            shown = dead_letters.roll_forward(table, &self.edges.steps) => shown,
            () = self.options.cancel.cancelled() => {
                if !own {
                    return Ok(());
                }
                let what = "the rows are committed, and the run was told to stop before its dead \
                            letters were in their table; the next attempt brings them in";
                Err(RunError::transient(Reason::DeadLetterCommitPending, what))
            }
        }
    }

    fn replacer(&mut self, table: &RunTable, claim: &RunClaim) -> Option<Replacer> {
        let (ledger, held) = (&table.ledger, claim.claim);
        let own = Selection::of_run(ledger, held.key, held.effect)?;
        let selection = match Repair::of(self.config(), self.options.interval) {
            Some(repair) => repair.select(own),
            None => own,
        };
        let naming = Naming {
            ledger: ledger.clone(),
            generation: held.generation,
            nonce: self.random.nonce(),
        };
        Some(Replacer::new(table.log.clone(), selection, naming, write_options(self.config())))
    }

    /// There is nothing to do. Of files it is said when they are others by now (B8).
    async fn already_complete(
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
    async fn stale(&self, table: &RunTable) -> Option<String> {
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

/// A fingerprint as it stands in the log: 63 bits.
pub(crate) fn fingerprint_bits(text: &str) -> u64 {
    xxh3_64(text.as_bytes()) >> 1
}

fn remark(plan: &Plan) -> String {
    match plan.null_cursors {
        0 => String::new(),
        rows => format!("{rows} rows without a cursor were left out"),
    }
}

/// Gives the source's snapshot back, once readers that were stopped have let go of it.
pub(crate) async fn close(snapshot: Arc<Box<dyn Snapshot>>) {
    let giving_back = async {
        let mut held = snapshot;
        loop {
            match Arc::try_unwrap(held) {
                Ok(snapshot) => return snapshot.close().await,
                Err(shared) => held = shared,
            }
            tokio::time::sleep(LETTING_GO).await;
        }
    };
    if tokio::time::timeout(CLOSING, giving_back).await.is_err() {
        warn!("the source took too long to give its snapshot back");
    }
}
