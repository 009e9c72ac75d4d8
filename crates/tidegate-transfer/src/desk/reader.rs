//! One chunk, read by a process of its own: in a pod beside the coordinator's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{RunPhase, RunReport, TransferConfig};
use tidegate_extract::Snapshot;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, open_store};
use tidegate_table::log::RetryPolicy;
use tidegate_table::store::TableStore;
use tidegate_types::Reason;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::{Desk, HttpDesk, Silence};
use super::messages::{
    ChunkFailure, ChunkOrder, ChunkResult, DeskAnswer, LARGEST_OUTCOME, columns_mark,
};
use super::reply::Reply;
use super::token::DeskToken;
use crate::attempt::Attempt;
use crate::chunk_outcome::ChunkOutcome;
use crate::chunks::{Reading, helps_to_repeat, label};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::source::{RealSources, Sources, close, request};
use crate::steps::Steps;

/// How often the coordinator is told that the reader lives, and asked the same.
const BEAT: Duration = Duration::from_secs(10);
/// How long the coordinator may be silent.
const LOST_AFTER: Duration = Duration::from_secs(120);
/// How long a coordinator that answers may have no time.
const BUSY_FOR: Duration = Duration::from_secs(600);
/// Between two questions that were not answered.
const WAITS: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(250), longest: Duration::from_secs(5) };

/// What the reader of a chunk is asked to do.
#[derive(Debug, Clone)]
pub struct ChunkOptions {
    /// The pipeline, as the coordinator has it.
    pub config: TransferConfig,
    /// Where the coordinator is: `http://<address>:<port>`.
    pub coordinator: String,
    /// What tells the coordinator from others.
    pub nonce: String,
    /// What its readers know and others do not.
    pub token: DeskToken,
    /// The chunk's number in the plan.
    pub chunk: u32,
    /// The folder in which secrets are mounted.
    pub secrets_dir: Option<PathBuf>,
    /// Asks the reader to stop. The chunk is read again by another one.
    pub cancel: CancellationToken,
}

/// Reads one chunk under the coordinator's snapshot, writes it, and tells the coordinator.
///
/// # Errors
///
/// [`RunError`] with a reason, and whether another reader may do. What was written is named by nobody.
pub async fn transfer_chunk(
    options: ChunkOptions,
    progress: watch::Sender<RunReport>,
) -> Result<RunReport, RunError> {
    let progress = Progress::new(progress);
    let secrets = Secrets::new(options.secrets_dir.clone());
    let opened = open_store(&options.config.sink, &secrets);
    let outcome = match (opened, HttpDesk::new(&options.coordinator)) {
        (Ok(store), Ok(desk)) => {
            let edges = ReaderEdges {
                store,
                sources: Arc::new(RealSources),
                secrets,
                desk: Arc::new(desk),
                steps: Steps::default(),
            };
            ChunkReader::new(options, edges, progress.clone()).run().await
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    if let Err(error) = &outcome {
        progress.failed(error);
    }
    outcome
}

/// What lies outside.
pub(crate) struct ReaderEdges {
    pub(crate) store: TableStore,
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) secrets: Secrets,
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) steps: Steps,
}

/// The reader of a chunk.
pub(crate) struct ChunkReader {
    config: TransferConfig,
    nonce: String,
    chunk: u32,
    cancel: CancellationToken,
    edges: ReaderEdges,
    progress: Progress,
    /// How long the coordinator may be silent.
    patience: Duration,
    /// How long one that answers may have no time.
    busy_for: Duration,
    /// The largest outcome that it takes, in bytes.
    largest: usize,
}

impl ChunkReader {
    pub(crate) fn new(options: ChunkOptions, edges: ReaderEdges, progress: Progress) -> Self {
        let ChunkOptions { mut config, nonce, token, chunk, cancel, .. } = options;
        let nonce = token.key(&nonce);
        // The memory is not shared with other readers.
        config.chunking.parallelism = 1;
        let (patience, busy_for, largest) = (LOST_AFTER, BUSY_FOR, LARGEST_OUTCOME);
        Self { config, nonce, chunk, cancel, edges, progress, patience, busy_for, largest }
    }

    #[cfg(test)]
    pub(crate) fn patient_for(mut self, patience: Duration) -> Self {
        (self.patience, self.busy_for) = (patience, patience);
        self
    }

    #[cfg(test)]
    pub(crate) fn bringing_at_most(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    #[cfg(test)]
    pub(crate) fn writes_to(&mut self, store: TableStore) {
        self.edges.store = store;
    }

    pub(crate) async fn run(self) -> Result<RunReport, RunError> {
        self.progress.enter(RunPhase::Planning);
        let cancel = self.cancel.clone();
        tokio::select! {
            outcome = self.work() => outcome,
            () = cancel.cancelled() => {
                let what = "the reader was told to stop; another one reads the chunk again";
                Err(RunError::transient(Reason::Interrupted, what))
            }
        }
    }

    async fn work(&self) -> Result<RunReport, RunError> {
        let what = format!("{}/{}", self.nonce, self.chunk);
        let order = match self.answered(|| self.edges.desk.ask(&what)).await? {
            DeskAnswer::Order(order) => order,
            DeskAnswer::AlreadyThere | DeskAnswer::Taken | DeskAnswer::Refused(_) => {
                return Ok(self.too_late());
            }
        };
        self.progress.set(|report| {
            report.generation = order.terms.pass.generation;
            report.chunks = 1;
        });
        self.progress.enter(RunPhase::Running);
        let read = tokio::select! {
            read = self.read(&order) => read,
            ended = self.beat() => return ended.map(|()| self.too_late()),
        };
        self.bring(&order, read).await
    }

    /// Tells the coordinator that the reader lives, until there is no sense in reading any further.
    async fn beat(&self) -> Result<(), RunError> {
        let what = format!("{}/{}/alive", self.nonce, self.chunk);
        loop {
            tokio::time::sleep(BEAT).await;
            if self.answered(|| self.edges.desk.ask(&what)).await? == DeskAnswer::AlreadyThere {
                return Ok(());
            }
        }
    }

    async fn read(&self, order: &ChunkOrder) -> Result<ChunkOutcome, RunError> {
        let request = request(&self.config, &self.edges.secrets, order.terms.interval);
        let snapshot = self.edges.sources.join(request, order.terms.ticket.clone()).await?;
        let snapshot = Arc::new(snapshot);
        let outcome = self.read_under(order, &snapshot).await;
        close(snapshot).await;
        outcome
    }

    async fn read_under(
        &self,
        order: &ChunkOrder,
        snapshot: &Arc<Box<dyn Snapshot>>,
    ) -> Result<ChunkOutcome, RunError> {
        if columns_mark(&snapshot.columns()) != order.terms.columns {
            let what = "the source's columns are others than those that the coordinator saw";
            return Err(RunError::transient(Reason::SourceChanged, what));
        }
        let attempt = Attempt {
            config: &self.config,
            store: &self.edges.store,
            layout: &Layout::new(&self.config, &snapshot.columns())?,
            interval: order.terms.interval,
            generation: order.terms.pass.generation,
            keeping: order.terms.keeping.as_ref(),
        };
        let (progress, steps) = (self.progress.clone(), self.edges.steps.clone());
        let reading = Reading::new(attempt, Arc::clone(snapshot), progress, steps);
        reading.read(&order.chunk).await
    }

    /// Tells the coordinator how it ended; of failures those that no other reader could mend.
    async fn bring(
        &self,
        order: &ChunkOrder,
        read: Result<ChunkOutcome, RunError>,
    ) -> Result<RunReport, RunError> {
        let packed = match read {
            Ok(outcome) => {
                self.edges.steps.reach("run.files_finished").await;
                self.packed(order, outcome)
            }
            Err(error) => Err(error),
        };
        let outcome = match packed {
            Ok(outcome) => outcome,
            Err(error) if helps_to_repeat(&error) => return Err(error),
            Err(error) => return self.bring_failure(order, error).await,
        };
        match self.answered(|| self.edges.desk.bring(&outcome)).await? {
            DeskAnswer::Taken => {
                info!(chunk = self.chunk, what = order.chunk.what, "chunk brought");
                self.progress.set(|report| report.chunks_done = 1);
                Ok(self.progress.succeeded(Reason::Ok, "the chunk is read"))
            }
            _ => Ok(self.too_late()),
        }
    }

    /// The failure, unless another reader of the chunk had none.
    async fn bring_failure(
        &self,
        order: &ChunkOrder,
        error: RunError,
    ) -> Result<RunReport, RunError> {
        let (pass, chunk) = (order.terms.pass.clone(), order.chunk.number);
        let told = ChunkResult { pass, chunk, result: Err(ChunkFailure::of(&error)) }.to_bytes()?;
        match self.answered(|| self.edges.desk.bring(&told)).await {
            Ok(DeskAnswer::AlreadyThere) => return Ok(self.too_late()),
            Ok(_) => {}
            Err(silence) => {
                let silence = &silence as &dyn std::error::Error;
                warn!(error = silence, "the coordinator was not told");
            }
        }
        Err(error)
    }

    fn packed(&self, order: &ChunkOrder, outcome: ChunkOutcome) -> Result<Vec<u8>, RunError> {
        let (pass, chunk) = (order.terms.pass.clone(), order.chunk.number);
        let bytes = ChunkResult { pass, chunk, result: Ok(outcome) }.to_bytes()?;
        match bytes.len() > self.largest {
            true => Err(too_large(&label(&order.chunk), bytes.len())),
            false => Ok(bytes),
        }
    }

    fn too_late(&self) -> RunReport {
        info!(chunk = self.chunk, "another reader of the chunk was first");
        self.progress.succeeded(Reason::AlreadyComplete, "another reader of the chunk was first")
    }

    /// What the desk answers; asked again while it is silent or has no time, but not for ever.
    async fn answered<'a>(
        &'a self,
        ask: impl Fn() -> futures::future::BoxFuture<'a, Result<Reply, Silence>>,
    ) -> Result<DeskAnswer, RunError> {
        let (begun, mut random) = (Instant::now(), Random::from_system());
        let mut heard = begun;
        for attempt in 1.. {
            let trouble = match ask().await {
                Ok(reply) if reply.status >= 500 || reply.status == 408 => {
                    heard = Instant::now();
                    format!("it answers {}: {}", reply.status, reply.body)
                }
                Ok(reply) => return understood(&reply),
                Err(silence) => silence,
            };
            if heard.elapsed() >= self.patience {
                return Err(lost("was not heard", heard.elapsed(), &trouble));
            }
            if begun.elapsed() >= self.busy_for {
                return Err(lost("had no time", begun.elapsed(), &trouble));
            }
            tokio::time::sleep(WAITS.wait(attempt, random.bits())).await;
        }
        unreachable!("the loop has no end but by an answer")
    }
}

/// What an answer means. Without one of them there is nobody to read for.
fn understood(reply: &Reply) -> Result<DeskAnswer, RunError> {
    let said = serde_json::from_str(&reply.body);
    match (reply.status, said) {
        (200, Ok(said @ (DeskAnswer::Order(_) | DeskAnswer::Taken | DeskAnswer::AlreadyThere))) => {
            Ok(said)
        }
        (409, Ok(DeskAnswer::Refused(what))) => Err(RunError::permanent(
            Reason::GenerationLost,
            format!("the coordinator says: {what}"),
        )),
        (400 | 422, Ok(DeskAnswer::Refused(what))) => {
            Err(RunError::transient(Reason::CountMismatch, format!("the coordinator says: {what}")))
        }
        (status, _) => {
            let what = format!(
                "the coordinator answers {status}, which a coordinator of this release does not: see \
                 that both run the same image"
            );
            Err(RunError::permanent(Reason::RunFailed, what))
        }
    }
}

fn lost(how: &str, so_long: Duration, trouble: &str) -> RunError {
    let what = format!("the coordinator {how} for {} seconds: {trouble}", so_long.as_secs());
    RunError::transient(Reason::ChunksFailed, what)
}

fn too_large(label: &str, bytes: usize) -> RunError {
    let what = format!(
        "the outcome of {label} has {} MiB, more than the {} that the coordinator takes: lower \
         bulk.chunking.targetRows, or mend the records that cannot be rows",
        bytes >> 20,
        LARGEST_OUTCOME >> 20
    );
    RunError::permanent(Reason::ResourceExhausted, what)
}
