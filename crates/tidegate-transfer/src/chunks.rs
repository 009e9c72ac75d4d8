//! Reading all chunks of a plan side by side, each into files of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tidegate_extract::{Chunk, ChunkCounts, DeadRecord, Piece, Snapshot};
use tidegate_runtime::{Random, RunError};
use tidegate_table::files::DataFile;
use tidegate_table::files::system::run_source_name;
use tidegate_table::log::RetryPolicy;
use tidegate_types::Reason;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::attempt::Attempt;
use crate::chunk_outcome::ChunkOutcome;
use crate::chunk_writer::{ChunkIdentity, ChunkWriter, FileSettings};
use crate::decide::{CHANNEL, check_outcome};
use crate::kept::ChunkKeeper;
use crate::progress::Progress;
use crate::steps::Steps;

/// How often a chunk is read before the attempt is given up.
const ATTEMPTS: u32 = 5;
/// Waits between readings of a chunk.
const WAITS: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(500), longest: Duration::from_secs(10) };
/// Dead letters are held until the commit: so many bytes of them at most, their places and reasons
/// included.
pub(crate) const DEAD_BYTES: u64 = 16 << 20;
/// About what a dead letter takes beside its payload.
const DEAD_OVERHEAD: u64 = 256;

/// The chunks of a plan, and what an earlier attempt read of them.
pub(crate) struct PlannedChunks {
    pub(crate) all: Vec<Chunk>,
    pub(crate) kept: Vec<ChunkOutcome>,
}

/// Everything that the readers share.
pub(crate) struct Reading {
    snapshot: Arc<Box<dyn Snapshot>>,
    files: Arc<FileSettings>,
    /// What `_tg_src` says.
    source: String,
    /// The interval's start.
    interval: Option<Timestamp>,
    generation: u64,
    progress: Progress,
    dead_bytes: AtomicU64,
    keeper: Option<ChunkKeeper>,
    steps: Steps,
}

/// Reads the chunks that are missing, at most `parallelism` at a time; the first that cannot be read ends all.
pub(crate) async fn read_all(
    reading: Arc<Reading>,
    chunks: PlannedChunks,
    parallelism: usize,
) -> Result<Vec<ChunkOutcome>, RunError> {
    let PlannedChunks { all, kept: mut outcomes } = chunks;
    let kept: BTreeSet<u32> = outcomes.iter().map(|outcome| outcome.number).collect();
    for outcome in &outcomes {
        reading.progress.brought(outcome);
        reading.dead_bytes.fetch_add(outcome.dead.iter().map(dead_bytes).sum(), Ordering::Relaxed);
    }
    let mut waiting = all.into_iter().filter(|chunk| !kept.contains(&chunk.number));
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < parallelism.max(1)
            && let Some(chunk) = waiting.next()
        {
            let reading = Arc::clone(&reading);
            under_way.spawn(async move { reading.read(&chunk).await });
        }
        let Some(joined) = under_way.join_next().await else { break };
        match joined.map_err(panicked).flatten() {
            Ok(outcome) => {
                reading.progress.set(|report| report.chunks_done += 1);
                outcomes.push(outcome);
            }
            Err(error) => {
                under_way.shutdown().await;
                return Err(error);
            }
        }
    }
    outcomes.sort_unstable_by_key(|outcome| outcome.number);
    Ok(outcomes)
}

fn panicked(source: tokio::task::JoinError) -> RunError {
    RunError::permanent(Reason::RunFailed, "a chunk's reader broke off").because(source)
}

impl Reading {
    /// For readers of one attempt under its snapshot.
    pub(crate) fn new(
        attempt: Attempt<'_>,
        snapshot: Arc<Box<dyn Snapshot>>,
        progress: Progress,
        steps: Steps,
    ) -> Self {
        let Attempt { config, interval, generation, .. } = attempt;
        Self {
            snapshot,
            files: Arc::new(FileSettings::of(attempt)),
            source: run_source_name(&config.ledger, attempt.origin()),
            interval: interval.map(|interval| interval.start()),
            generation,
            progress,
            dead_bytes: AtomicU64::new(0),
            keeper: ChunkKeeper::of(attempt),
            steps,
        }
    }

    /// Reads a chunk; again, alone and under the same snapshot, when that may help. What an earlier
    /// reading wrote is never named (B6).
    pub(crate) async fn read(&self, chunk: &Chunk) -> Result<ChunkOutcome, RunError> {
        let mut random = Random::from_system();
        for attempt in 1.. {
            let identity = ChunkIdentity {
                source: self.source.clone(),
                interval: self.interval,
                generation: self.generation,
                chunk: chunk.number,
                nonce: random.nonce(),
            };
            let mut tally = Tally { reading: self, rows: 0, dead: 0, dead_bytes: 0 };
            let error = match self.read_once(chunk, identity, &mut tally).await {
                Ok(outcome) => {
                    if let Some(keeper) = &self.keeper {
                        keeper.keep(&outcome).await;
                    }
                    self.steps.reach("run.chunk_written").await;
                    return Ok(outcome);
                }
                Err(error) => error,
            };
            tally.take_back();
            if attempt == ATTEMPTS || !helps_to_repeat(&error) {
                return Err(error);
            }
            // Under another snapshot it would be another table.
            self.snapshot.check().await?;
            let wait = WAITS.wait(attempt, random.bits());
            warn!(
                chunk = chunk.number,
                what = chunk.what,
                attempt,
                reason = %error.reason(),
                error = &error as &dyn std::error::Error,
                "the chunk is read again"
            );
            tokio::time::sleep(wait).await;
        }
        unreachable!("the last attempt returns")
    }

    async fn read_once(
        &self,
        chunk: &Chunk,
        identity: ChunkIdentity,
        tally: &mut Tally<'_>,
    ) -> Result<ChunkOutcome, RunError> {
        let (sender, mut pieces) = mpsc::channel(CHANNEL);
        let (snapshot, reads) = (Arc::clone(&self.snapshot), chunk.clone());
        // Beside the encoding, so that both have a processor.
        let reader = tokio::spawn(async move { snapshot.read(&reads, sender).await });
        let reader = AbortOnDropHandle::new(reader);
        let mut writer = ChunkWriter::new(&self.files, identity);
        let mut dead = Vec::new();
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Rows(rows) => {
                    writer.write(&rows).await?;
                    tally.rows(rows.num_rows() as u64);
                }
                Piece::Dead(record) => {
                    tally.dead(&record)?;
                    dead.push(record);
                }
            }
        }
        let counts = reader.await.map_err(panicked)??;
        self.steps.reach("run.chunk_read").await;
        let written = writer.rows();
        let files = writer.end().await?;
        check_chunk(chunk, counts, written, &files, dead.len() as u64)?;
        info!(
            chunk = chunk.number,
            what = chunk.what,
            rows = written,
            files = files.len(),
            "chunk read"
        );
        Ok(ChunkOutcome { number: chunk.number, files, counts, written, dead })
    }
}

/// Whether reading a chunk again under the same snapshot may end better.
pub(crate) fn helps_to_repeat(error: &RunError) -> bool {
    let of_the_snapshot = matches!(error.reason(), Reason::SourceChanged | Reason::SnapshotLost);
    error.is_transient() && !of_the_snapshot
}

/// What the reader says it handed over must have arrived, and stand in the files.
fn check_chunk(
    chunk: &Chunk,
    counts: ChunkCounts,
    written: u64,
    files: &[DataFile],
    dead: u64,
) -> Result<(), RunError> {
    let in_files = files.iter().map(|file| file.rows).sum();
    check_outcome(&label(chunk), (counts.rows, counts.dead), (written, in_files, dead))
        .map_err(|(reason, what)| RunError::transient(reason, what))
}

/// `chunk 3 (id from 1 to 5000000)`
pub(crate) fn label(chunk: &Chunk) -> String {
    format!("chunk {} ({})", chunk.number, chunk.what)
}

/// About what a dead letter takes until the commit.
pub(crate) fn dead_bytes(record: &DeadRecord) -> u64 {
    DEAD_OVERHEAD + (record.payload.len() + record.place.len() + record.detail.len()) as u64
}

/// More dead letters than are held until the commit. `last`: where the limit was passed.
pub(crate) fn too_many_dead(last: &str) -> RunError {
    let what = format!(
        "more than {} MiB of records cannot be rows, the last of them in {last}; correct the source or the \
         declared columns",
        DEAD_BYTES >> 20
    );
    RunError::permanent(Reason::TooManyDeadLetters, what)
}

/// What one reading of a chunk added to the run's sums.
struct Tally<'a> {
    reading: &'a Reading,
    rows: u64,
    dead: u64,
    dead_bytes: u64,
}

impl Tally<'_> {
    fn rows(&mut self, rows: u64) {
        self.rows += rows;
        self.reading.progress.set(|report| {
            report.rows_read += rows;
            report.rows_committed += rows;
        });
    }

    fn dead(&mut self, record: &DeadRecord) -> Result<(), RunError> {
        let bytes = dead_bytes(record);
        self.dead += 1;
        self.dead_bytes += bytes;
        self.reading.progress.set(|report| {
            report.rows_read += 1;
            report.dead_letters += 1;
        });
        if self.reading.dead_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= DEAD_BYTES {
            return Ok(());
        }
        Err(too_many_dead(&format!("{}: {}", record.place, record.detail)))
    }

    fn take_back(self) {
        self.reading.dead_bytes.fetch_sub(self.dead_bytes, Ordering::Relaxed);
        self.reading.progress.set(|report| {
            report.rows_read = report.rows_read.saturating_sub(self.rows + self.dead);
            report.rows_committed = report.rows_committed.saturating_sub(self.rows);
            report.dead_letters = report.dead_letters.saturating_sub(self.dead);
        });
    }
}
