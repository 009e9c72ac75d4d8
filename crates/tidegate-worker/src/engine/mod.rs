//! The streaming loop: chunks in, verdicts, rows into files, batches to the committer.
//!
//! The engine never writes to the log and never decides who owns a partition; it reads, judges and
//! gathers. While one batch is uploaded and committed it fills the next, whose verdicts already count
//! the rows of the one before (D1). When the committer reports a rewind, everything uncommitted is
//! dropped, the windows are loaded again and reading starts over at the floors (D3).
//!
//! `intake` takes what the source brings, `sealing` makes batches of it, `idle` looks at the stream
//! beside the readings, `turn` keeps an eye on the loop, `leaving` ends.

mod active;
mod idle;
mod intake;
mod leaving;
mod repairs;
mod sealing;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::PipelineConfig;
use tidegate_runtime::{Random, RunError};
use tidegate_source::{Connection, EmptyTo, KnownMessage, ReaderOptions};
use tidegate_table::files::system::SystemColumns;
use tidegate_telemetry::{PipelineMetrics, Throttle};
use tidegate_types::{Nonce, PartitionId, Position, Reason};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::batch::{FileSettings, OpenBatch};
use crate::claimed::ClaimedPartition;
use crate::committer::{Committed, Event, FloorMove, Request};
use crate::decide::{Breaker, batch_limit};
use crate::isolation::Isolation;
use crate::judge::Judge;
use crate::keeper::StreamNews;
use crate::options::Summary;
use crate::reading::{ByteBudget, Order, Read, Reading, ReadingOptions, read};
use crate::window::WindowStore;
use active::Active;
use turn::{Turn, showing_life};

/// Batches that may be sealed and not yet committed: one in the put, one behind it.
const IN_FLIGHT: usize = 2;
/// Orders that may wait for a reading: one a commit or advance, taken after each fetch.
const ORDERS: usize = 16;
/// How often the loop looks at clocks.
const TICK: Duration = Duration::from_millis(100);
/// Chunks that may wait for the engine, over all partitions; their bytes are in the byte budget.
pub(crate) const CHUNKS: usize = 8;

/// What the engine is made from.
pub(crate) struct EngineParts {
    pub(crate) config: Arc<PipelineConfig>,
    pub(crate) connection: Connection,
    /// Partition, filter and epoch are filled in for each reading.
    pub(crate) reader: ReaderOptions,
    pub(crate) filters: BTreeMap<PartitionId, Option<String>>,
    pub(crate) judge: Judge,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) files: FileSettings,
    pub(crate) system: SystemColumns,
    /// `_tg_src` of every row.
    pub(crate) source_column: String,
    pub(crate) windows: Arc<WindowStore>,
    pub(crate) budget: ByteBudget,
    /// Bytes in open files at which a batch is sealed.
    pub(crate) max_batch_bytes: usize,
    /// The last sequence that a finite run reads (E of S4).
    pub(crate) until: Option<u64>,
    pub(crate) channels: EngineChannels,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) random: Random,
}

/// How the engine talks with the committer and hears of the keeper.
pub(crate) struct EngineChannels {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) news: watch::Receiver<StreamNews>,
    /// What the keeper found that waiting does not mend.
    pub(crate) faults: mpsc::Receiver<RunError>,
}

/// Why the engine is on its way out.
enum Leaving {
    /// Asked to.
    Drained,
    /// A finite run has everything.
    CaughtUp,
    /// After the commit of what is good.
    Failed(RunError),
}

/// The loop and its state.
pub(crate) struct Engine {
    parts: EngineParts,
    active: BTreeMap<PartitionId, Active>,
    wanted: usize,
    batch: OpenBatch,
    in_flight: usize,
    advancing: usize,
    lineage: u64,
    readings: u64,
    /// The last repair record that the judge knows.
    record: Option<Nonce>,
    chunks: (mpsc::Sender<Reading>, mpsc::Receiver<Reading>),
    last_message: Instant,
    looked_idle: Instant,
    /// The look of an orderly end was made (S5).
    looked_before_release: bool,
    /// The number of reconnects after which the stream was last known to be the same (S6).
    vouched_reconnects: u64,
    breaker: Option<Breaker>,
    /// Since when the source fails in a way that may pass.
    trouble: Option<Instant>,
    leaving: Option<Leaving>,
    /// The release is on its way: with the last batch, or by itself.
    releasing: bool,
    summary: Summary,
}

impl Engine {
    /// An engine for `wanted` partitions.
    pub(crate) fn new(mut parts: EngineParts, wanted: usize) -> Self {
        let breaker = parts.config.dead_letter.breaker.as_ref();
        let breaker = breaker.map(|b| Breaker::new(b.max_percent, b.over.to_duration()));
        let batch = OpenBatch::new(&parts.files, &mut parts.random);
        Self {
            active: BTreeMap::new(),
            wanted,
            batch,
            in_flight: 0,
            advancing: 0,
            lineage: 0,
            readings: 0,
            record: None,
            chunks: mpsc::channel(CHUNKS),
            last_message: Instant::now(),
            looked_idle: Instant::now(),
            looked_before_release: false,
            vouched_reconnects: parts.connection.reconnects(),
            breaker,
            trouble: None,
            leaving: None,
            releasing: false,
            summary: Summary::default(),
            parts,
        }
    }

    /// Works until drained, caught up or failed; commits and gives back what it can before it leaves.
    pub(crate) async fn run(mut self, drain: CancellationToken) -> Result<Summary, RunError> {
        loop {
            self.parts.metrics.beat();
            let mut turn = Turn::begin(self.has_backlog());
            let accepting = self.leaving.is_none() && self.has_room() && !self.waits_for_proof();
            tokio::select! {
                biased;
                () = drain.cancelled(), if self.leaving.is_none() => {
                    info!("draining");
                    self.leave(Leaving::Drained);
                }
                event = self.parts.channels.events.recv() => match event {
                    Some(Event::Released) => return self.left(),
                    Some(event) => self.on_event(event).await?,
                    None => return self.left(),
                },
                Some(fault) = self.parts.channels.faults.recv(), if self.leaving.is_none() => {
                    self.leave(Leaving::Failed(fault));
                }
                Some(reading) = self.chunks.1.recv(), if accepting => {
                    turn.works_from_here(matches!(reading.what, Read::Chunk { .. }));
                    self.on_reading(reading).await?;
                }
                () = tokio::time::sleep(TICK) => {
                if self.leaving.is_none() && !accepting {
                    self.parts.metrics.throttled(Throttle::CommitPending, TICK.as_secs_f64());
                }
                }
            }
            self.report();
            self.look_for_the_end();
            self.advance_idle().await?;
            self.seal_when_due().await?;
            self.release_when_empty().await?;
            self.parts.metrics.busy(turn.busy().as_secs_f64());
        }
    }

    // --- what the committer says

    pub(super) async fn on_event(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            // What is claimed on the way out is given back with the rest.
            Event::Claimed(_) if self.leaving.is_some() => {}
            Event::Claimed(claimed) => {
                for partition in claimed {
                    self.begin(partition).await?;
                }
            }
            Event::Committed(committed) => self.on_committed(&committed),
            Event::GivenUp => self.in_flight -= 1,
            Event::Advanced(moves) => self.on_advanced(&moves),
            Event::Rewound { lineage, lost, again } => {
                self.discard(lineage);
                // What a finite run had read is void, so it has not caught up after all.
                if matches!(self.leaving, Some(Leaving::CaughtUp)) {
                    self.leaving = None;
                }
                if let Some(first) = lost.first().filter(|_| self.parts.until.is_some()) {
                    let what =
                        format!("partition {} was taken by another worker", first.partition());
                    self.leave(Leaving::Failed(RunError::transient(Reason::Fenced, what)));
                }
                if self.leaving.is_none() {
                    for partition in again {
                        self.begin(partition).await?;
                    }
                }
            }
            Event::Failed(error) => return Err(error),
            Event::Released => {}
        }
        Ok(())
    }

    /// Starts a reading at the cursor; its number, and where its orders go.
    pub(super) fn start_reading(
        &mut self,
        reader: ReaderOptions,
        cursor: Position,
        known: Option<KnownMessage>,
        stop: CancellationToken,
    ) -> (u64, mpsc::Sender<Order>) {
        self.readings += 1;
        let (number, (orders, orders_taken)) = (self.readings, mpsc::channel(ORDERS));
        let filter = self.parts.filters.get(&reader.partition).cloned().flatten();
        let options = ReadingOptions {
            connection: self.parts.connection.clone(),
            reader: ReaderOptions { filter, ..reader },
            cursor,
            known,
            number,
            budget: self.parts.budget.clone(),
            stop,
            orders: orders_taken,
        };
        tokio::spawn(read(options, self.chunks.0.clone()));
        (number, orders)
    }

    fn reader_of(&self, claimed: &ClaimedPartition) -> ReaderOptions {
        let (partition, epoch) = (claimed.partition, claimed.epoch);
        ReaderOptions { partition, epoch, ..self.parts.reader.clone() }
    }

    /// Loads the window and starts to read.
    pub(super) async fn begin(&mut self, claimed: ClaimedPartition) -> Result<(), RunError> {
        self.know_repairs(claimed.record).await?;
        // A long window that is read back from the table takes its time, and is no silence.
        let load = self.parts.windows.load(&claimed);
        let window = showing_life(&self.parts.metrics, load).await?;
        let state = &claimed.state;
        let base = state.floor.unwrap_or_default();
        let limit = batch_limit(state.stuck, self.parts.reader.batch_messages);
        let (stop, empty_to) = (CancellationToken::new(), EmptyTo::default());
        let reader = ReaderOptions {
            batch_messages: limit,
            empty_to: empty_to.clone(),
            ..self.reader_of(&claimed)
        };
        let known = known_message(base, state.fingerprint);
        let (number, orders) = self.start_reading(reader, base, known, stop.clone());
        let active = Active {
            epoch: claimed.epoch,
            base,
            cursor: base,
            time: state.time,
            window,
            number,
            stop,
            orders,
            empty_to,
            pending: 0,
            caught_up: false,
            complete: state.time,
            fresh: true,
            snapshot_at: Instant::now(),
            stuck: state.stuck,
            batch_limit: limit,
        };
        if let Some(old) = self.active.insert(claimed.partition, active) {
            old.stop.cancel();
        }
        self.parts.metrics.set_state(Reason::Ok);
        Ok(())
    }

    pub(super) fn on_committed(&mut self, committed: &Committed) {
        self.in_flight -= 1;
        self.parts.metrics.set_state(Reason::Ok);
        let summary = &mut self.summary;
        summary.counters += committed.counters;
        summary.files += committed.files;
        summary.bytes += committed.bytes;
        summary.commits += 1;
        summary.last_version = Some(committed.version);
        for (partition, receipt) in &committed.receipts {
            if let Some(active) = self.active.get_mut(partition) {
                active.ease(self.parts.reader.batch_messages);
                // A full channel means that older orders wait; the next commit brings a newer receipt,
                // which covers this one.
                let _ = active.orders.try_send(Order::Acknowledge(*receipt));
            }
        }
        debug!(
            version = committed.version,
            rows = committed.counters.rows,
            files = committed.files,
            "committed"
        );
    }

    pub(super) fn on_advanced(&mut self, moves: &[FloorMove]) {
        // Advances of an older lineage are not carried out, so each answer belongs to a question.
        self.advancing -= 1;
        for FloorMove { partition, to, .. } in moves.iter().copied() {
            let Some(active) = self.active.get_mut(&partition) else { continue };
            active.base = to;
            active.cursor = active.cursor.max(to);
            if let Err(TrySendError::Full(_)) = active.orders.try_send(Order::Advance(to)) {
                let partition = partition.0;
                warn!(partition, "the reading is behind, its next look may report a gap");
            }
            // What was read meanwhile lies beyond the new floor (S5) and rests on it now.
            if let Some(progress) = self.batch.progress.get_mut(&partition) {
                progress.base = to;
            }
        }
    }

    /// Drops everything uncommitted and stops every reading.
    pub(super) fn discard(&mut self, lineage: u64) {
        self.lineage = lineage;
        self.in_flight = 0;
        self.advancing = 0;
        self.releasing = false;
        for (_, active) in std::mem::take(&mut self.active) {
            active.stop.cancel();
        }
        self.batch = OpenBatch::new(&self.parts.files, &mut self.parts.random);
    }

    /// Takes `&mut self` because open files cannot be shared between threads while this waits.
    pub(super) async fn ask(&mut self, request: Request) -> Result<(), RunError> {
        let gone = |_| RunError::transient(Reason::Fenced, "the committer is gone");
        self.parts.channels.requests.send(request).await.map_err(gone)
    }
}

/// The message at the floor, by which the stream is known again; none where the log knows none.
fn known_message(floor: Position, fingerprint: i64) -> Option<KnownMessage> {
    (fingerprint != 0).then_some(KnownMessage { sequence: floor.0, fingerprint })
}
