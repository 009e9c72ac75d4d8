//! The streaming loop: chunks in, verdicts, rows into files, batches to the committer.
//!
//! The engine never writes to the log and never decides who owns a partition; it reads, judges and
//! gathers. While one batch is uploaded and committed it fills the next, whose verdicts already count
//! the rows of the one before (D1). When the committer reports a rewind, everything uncommitted is
//! dropped, the windows are loaded again and reading starts over at the floors (D3).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_batch::{FlushFacts, FlushPolicy, FlushReason, flush_due};
use tidegate_config::{OnGap, PipelineConfig};
use tidegate_dedup::{SnapshotHeader, Window};
use tidegate_source::{
    Connection, KnownMessage, ReaderOptions, Receipt, SourceError, idle_advance,
};
use tidegate_table::files::system::{RowCoordinates, SystemColumns};
use tidegate_telemetry::PipelineMetrics;
use tidegate_types::{
    Counters, Epoch, Message, Nonce, PartitionId, Position, Reason, Span, StreamTime,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::batch::{FileSettings, OpenBatch, PartitionProgress, WindowSnapshot};
use crate::committer::{ClaimedPartition, Committed, Event, Request};
use crate::dead_letters::DeadLetter;
use crate::decide::{Breaker, batch_limit};
use crate::error::WorkerError;
use crate::failpoint;
use crate::judge::{Dead, Judge, Judged};
use crate::keeper::StreamNews;
use crate::options::Summary;
use crate::random::Random;
use crate::reading::{ByteBudget, Order, Read, Reading, ReadingOptions, read};
use crate::window::WindowStore;

/// Batches that may be sealed and not yet committed: one in the put, one behind it.
const IN_FLIGHT: usize = 2;
/// Orders that may wait for a reading: one a commit or advance, taken after each fetch.
const ORDERS: usize = 16;
/// How often the loop looks at clocks.
const TICK: Duration = Duration::from_millis(100);
/// A window snapshot is cut at least this often (D3).
const SNAPSHOT_EACH: Duration = Duration::from_secs(300);
/// How long a finite run waits for a source that fails.
const FINITE_PATIENCE: Duration = Duration::from_secs(60);
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
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) news: watch::Receiver<StreamNews>,
    /// What the keeper found that waiting does not mend.
    pub(crate) faults: mpsc::Receiver<WorkerError>,
    pub(crate) started: Instant,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) random: Random,
}

/// A partition that this worker holds and reads.
struct Active {
    epoch: Epoch,
    /// The floor on which the next batch rests: committed, or of a batch in flight.
    base: Position,
    cursor: Position,
    time: StreamTime,
    window: Option<Window>,
    number: u64,
    stop: CancellationToken,
    orders: mpsc::Sender<Order>,
    pending: u64,
    caught_up: bool,
    /// The broker's time up to which nothing is missing.
    complete: StreamTime,
    /// No commit since the claim: the first one is made at once (P7).
    fresh: bool,
    snapshot_at: Instant,
    batch_limit: usize,
}

/// Why the engine is on its way out.
enum Leaving {
    /// Asked to.
    Drained,
    /// A finite run has everything.
    CaughtUp,
    /// After the commit of what is good.
    Failed(WorkerError),
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
    record: Option<Nonce>,
    chunks: (mpsc::Sender<Reading>, mpsc::Receiver<Reading>),
    last_message: Instant,
    looked_idle: Instant,
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
            breaker,
            trouble: None,
            leaving: None,
            releasing: false,
            summary: Summary::default(),
            parts,
        }
    }

    /// Works until drained, caught up or failed; commits and gives back what it can before it leaves.
    pub(crate) async fn run(mut self, drain: CancellationToken) -> Result<Summary, WorkerError> {
        loop {
            self.parts.metrics.beat();
            let accepting = self.leaving.is_none() && self.has_room();
            tokio::select! {
                biased;
                () = drain.cancelled(), if self.leaving.is_none() => {
                    info!("draining");
                    self.leave(Leaving::Drained);
                }
                event = self.parts.events.recv() => match event {
                    Some(Event::Released) => return self.left(),
                    Some(event) => self.on_event(event).await?,
                    None => return self.left(),
                },
                Some(fault) = self.parts.faults.recv(), if self.leaving.is_none() => {
                    self.leave(Leaving::Failed(fault));
                }
                Some(reading) = self.chunks.1.recv(), if accepting => self.on_reading(reading).await?,
                () = tokio::time::sleep(TICK) => {}
            }
            self.report();
            self.look_for_the_end();
            self.seal_when_due().await?;
            self.advance_idle().await?;
            self.release_when_empty().await?;
        }
    }

    fn has_room(&self) -> bool {
        self.in_flight < IN_FLIGHT || self.batch.buffered_bytes() < self.parts.max_batch_bytes
    }

    // --- what the committer says

    async fn on_event(&mut self, event: Event) -> Result<(), WorkerError> {
        match event {
            // What is claimed on the way out is given back with the rest.
            Event::Claimed(_) if self.leaving.is_some() => {}
            Event::Claimed(claimed) => {
                for partition in claimed {
                    self.begin(partition).await?;
                }
            }
            Event::Committed(committed) => self.on_committed(&committed),
            Event::Advanced { partition, to } => self.on_advanced(partition, to),
            Event::Rewound { lineage, lost, again } => {
                self.discard(lineage);
                // What a finite run had read is void, so it has not caught up after all.
                if matches!(self.leaving, Some(Leaving::CaughtUp)) {
                    self.leaving = None;
                }
                if let Some(first) = lost.first().filter(|_| self.parts.until.is_some()) {
                    let what = format!("partition {} was taken by another worker", first.partition());
                    self.leave(Leaving::Failed(WorkerError::transient(Reason::Fenced, what)));
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

    /// Loads the window and starts to read.
    async fn begin(&mut self, claimed: ClaimedPartition) -> Result<(), WorkerError> {
        let window = self.parts.windows.load(&claimed).await?;
        let partition = claimed.partition;
        let state = &claimed.state;
        let base = state.floor.unwrap_or_default();
        let limit = batch_limit(state.stuck, self.parts.reader.batch_messages);
        let known = KnownMessage { sequence: base.0, fingerprint: state.fingerprint };
        let (orders, orders_taken) = mpsc::channel(ORDERS);
        let stop = CancellationToken::new();
        self.readings += 1;
        let options = ReadingOptions {
            connection: self.parts.connection.clone(),
            reader: ReaderOptions {
                partition,
                filter: self.parts.filters.get(&partition).cloned().flatten(),
                epoch: claimed.epoch,
                batch_messages: limit,
                ..self.parts.reader.clone()
            },
            cursor: base,
            known: (state.fingerprint != 0).then_some(known),
            number: self.readings,
            budget: self.parts.budget.clone(),
            stop: stop.clone(),
            orders: orders_taken,
        };
        tokio::spawn(read(options, self.chunks.0.clone()));
        let active = Active {
            epoch: claimed.epoch,
            base,
            cursor: base,
            time: state.time,
            window,
            number: self.readings,
            stop,
            orders,
            pending: 0,
            caught_up: false,
            complete: state.time,
            fresh: true,
            snapshot_at: Instant::now(),
            batch_limit: limit,
        };
        if let Some(old) = self.active.insert(partition, active) {
            old.stop.cancel();
        }
        self.record = claimed.record;
        self.parts.metrics.set_ready(true);
        self.parts.metrics.set_state(Reason::Ok);
        Ok(())
    }

    fn on_committed(&mut self, committed: &Committed) {
        self.in_flight -= 1;
        self.record = committed.record;
        self.parts.metrics.set_state(Reason::Ok);
        let summary = &mut self.summary;
        summary.counters += committed.counters;
        summary.files += committed.files;
        summary.bytes += committed.bytes;
        summary.commits += 1;
        summary.last_version = Some(committed.version);
        for (partition, receipt) in &committed.receipts {
            if let Some(active) = self.active.get_mut(partition) {
                active.fresh = false;
                // A full channel means that older orders wait; the next commit brings a newer receipt,
                // which covers this one.
                let _ = active.orders.try_send(Order::Acknowledge(*receipt));
            }
        }
        debug!(version = committed.version, rows = committed.counters.rows, files = committed.files, "committed");
    }

    fn on_advanced(&mut self, partition: PartitionId, to: Position) {
        // Advances of an older lineage are not carried out, so each answer belongs to a question.
        self.advancing -= 1;
        let Some(active) = self.active.get_mut(&partition) else { return };
        active.base = to;
        active.cursor = active.cursor.max(to);
        if active.orders.try_send(Order::Advance(to)).is_err() {
            warn!(partition = partition.0, "the reading is behind, its next look may report a gap");
        }
        // What was read meanwhile lies beyond the new floor (S5) and rests on it now.
        if let Some(progress) = self.batch.progress.get_mut(&partition) {
            progress.base = to;
        }
    }

    /// Drops everything uncommitted and stops every reading.
    fn discard(&mut self, lineage: u64) {
        self.lineage = lineage;
        self.in_flight = 0;
        self.advancing = 0;
        self.releasing = false;
        for (_, active) in std::mem::take(&mut self.active) {
            active.stop.cancel();
        }
        self.batch = OpenBatch::new(&self.parts.files, &mut self.parts.random);
    }

    // --- what the source says

    async fn on_reading(&mut self, reading: Reading) -> Result<(), WorkerError> {
        let Some(active) = self.active.get_mut(&reading.partition) else { return Ok(()) };
        if active.number != reading.number {
            return Ok(());
        }
        if matches!(reading.what, Read::Chunk { .. } | Read::Idle { .. })
            && self.trouble.take().is_some()
        {
            self.parts.metrics.set_state(Reason::Ok);
        }
        match reading.what {
            Read::Idle { caught_up, as_of } => {
                active.caught_up = caught_up;
                if caught_up {
                    active.pending = 0;
                    active.complete = active.complete.max(as_of.unwrap_or_default());
                }
                Ok(())
            }
            Read::Stalled(reason) => {
                self.parts.metrics.set_state(reason);
                self.trouble.get_or_insert_with(Instant::now);
                Ok(())
            }
            Read::Chunk { messages, last, receipt, pending, room } => {
                active.pending = pending;
                active.caught_up = false;
                self.last_message = Instant::now();
                let done = self.take_in(reading.partition, &messages, (last, receipt)).await;
                drop(room);
                done
            }
            Read::Failed(error) => self.on_source_failure(reading.partition, error).await,
        }
    }

    async fn on_source_failure(
        &mut self,
        partition: PartitionId,
        error: SourceError,
    ) -> Result<(), WorkerError> {
        if let (SourceError::Gap { from, to, .. }, OnGap::RecordAndContinue) =
            (&error, self.parts.config.source.on_gap)
        {
            let (from, to) = (*from, *to);
            warn!(partition = partition.0, from, to, reason = %Reason::SourceGap, "messages are gone, going on behind them");
            return self.read_on_behind(partition, Position(to)).await;
        }
        let reason = error.reason();
        let failure = WorkerError::permanent(reason, format!("partition {partition} cannot be read"))
            .because(error);
        if reason == Reason::SourceIdentity {
            // What was read since the last check may come from another stream (S6).
            self.discard(self.lineage + 1);
            return Err(failure);
        }
        self.leave(Leaving::Failed(failure));
        Ok(())
    }

    /// Starts a new reading behind a gap without giving up what the window and the batch hold.
    async fn read_on_behind(
        &mut self,
        partition: PartitionId,
        cursor: Position,
    ) -> Result<(), WorkerError> {
        let Some(active) = self.active.get_mut(&partition) else { return Ok(()) };
        self.readings += 1;
        active.number = self.readings;
        active.cursor = cursor;
        let (orders, orders_taken) = mpsc::channel(ORDERS);
        active.orders = orders;
        let options = ReadingOptions {
            connection: self.parts.connection.clone(),
            reader: ReaderOptions {
                partition,
                filter: self.parts.filters.get(&partition).cloned().flatten(),
                epoch: active.epoch,
                batch_messages: active.batch_limit,
                ..self.parts.reader.clone()
            },
            cursor,
            known: None,
            number: active.number,
            budget: self.parts.budget.clone(),
            stop: active.stop.clone(),
            orders: orders_taken,
        };
        tokio::spawn(read(options, self.chunks.0.clone()));
        Ok(())
    }

    /// Judges a chunk and writes its rows.
    async fn take_in(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        last: (KnownMessage, Receipt),
    ) -> Result<(), WorkerError> {
        let Some(active) = self.active.get_mut(&partition) else { return Ok(()) };
        let judged = self.parts.judge.judge(messages, active.window.as_mut()).map_err(|source| {
            WorkerError::transient(Reason::ResourceExhausted, "messages could not be judged")
                .because(source)
        })?;
        failpoint::hit("batch.judged");
        if let Some(jump) = active.window.as_mut().and_then(Window::clock_jump) {
            warn!(partition = partition.0, ?jump, reason = %Reason::StreamClockJump, "the broker's clock jumped");
        }
        let judged_messages = &messages[..usize::try_from(judged.counters.read).unwrap_or(0)];
        self.note(partition, judged_messages, last, &judged);
        self.set_dead_aside(partition, judged_messages, &judged.dead);
        self.write_rows(partition, judged_messages, &judged).await?;
        if let Some(dead) = judged.halted_at {
            self.halt_on(partition, messages, &dead);
        } else {
            self.ask_the_breaker(&judged.counters);
        }
        Ok(())
    }

    /// Moves the cursor and counts.
    fn note(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        (last, receipt): (KnownMessage, Receipt),
        judged: &Judged,
    ) {
        let (Some(active), Some(newest)) = (self.active.get_mut(&partition), messages.last()) else {
            return;
        };
        let newest_time = messages.iter().map(|m| m.time).max().unwrap_or_default();
        active.time = active.time.max(newest_time);
        active.cursor = active.cursor.max(Position(newest.sequence));
        active.complete = active.complete.max(active.time);
        // After a halt the last message is not the reading's last, and after a redelivery not the
        // highest: then the fingerprint at the cursor is not known.
        let whole = last.sequence == newest.sequence;
        let at_cursor = whole && active.cursor.0 == newest.sequence;
        let fingerprint = if at_cursor { last.fingerprint } else { 0 };
        let progress = self.batch.progress.entry(partition).or_insert(PartitionProgress {
            epoch: active.epoch,
            base: active.base,
            cursor: active.base,
            fingerprint: 0,
            counters: Counters::default(),
            time: active.time,
            complete: active.complete,
            receipt,
        });
        progress.cursor = active.cursor;
        progress.fingerprint = fingerprint;
        progress.counters += judged.counters;
        progress.time = active.time;
        progress.complete = active.complete;
        if whole {
            progress.receipt = receipt;
        }
        self.batch.opened.get_or_insert_with(Instant::now);
        self.summary.unkeyed += judged.unkeyed;
        self.summary.unknown_fields += judged.unknown_fields;
        self.parts.metrics.unkeyed(judged.unkeyed);
        self.parts.metrics.unknown_fields(judged.unknown_fields);
    }

    fn set_dead_aside(&mut self, partition: PartitionId, messages: &[Message], dead: &[Dead]) {
        for each in dead {
            let message = &messages[each.index as usize];
            self.parts.metrics.dead_letter(each.reason, 1);
            self.batch.dead_bytes += message.footprint() + each.detail.len();
            self.batch.dead.push(DeadLetter {
                partition,
                sequence: message.sequence,
                subject: message.subject.clone(),
                time: message.time,
                reason: each.reason,
                detail: each.detail.clone(),
                payload: message.payload.clone(),
                id: message.id.clone(),
            });
        }
    }

    async fn write_rows(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        judged: &Judged,
    ) -> Result<(), WorkerError> {
        if judged.rows.num_rows() == 0 {
            return Ok(());
        }
        let Some(epoch) = self.active.get(&partition).map(|active| active.epoch) else {
            return Ok(());
        };
        let of = |index: &u32| &messages[*index as usize];
        let sequences: Vec<u64> = judged.source.iter().map(|index| of(index).sequence).collect();
        let times: Vec<StreamTime> = judged.source.iter().map(|index| of(index).time).collect();
        let coordinates = RowCoordinates {
            source: &self.parts.source_column,
            partition,
            sequences: &sequences,
            ordinals: None,
            ids: &judged.ids,
            times: &times,
        };
        let rows = self.parts.system.append(&judged.rows, &coordinates)?;
        self.batch.write(&rows, self.parts.judge.router(), epoch, &self.parts.files).await
    }

    fn halt_on(&mut self, partition: PartitionId, messages: &[Message], dead: &Dead) {
        let sequence = messages[dead.index as usize].sequence;
        let what = format!(
            "message {sequence} of partition {partition} is bad ({}: {}) and decode.onError is Halt; \
             correct the schema or set decode.onError: DeadLetter",
            dead.reason, dead.detail
        );
        self.leave(Leaving::Failed(WorkerError::permanent(dead.reason, what)));
    }

    fn ask_the_breaker(&mut self, counters: &Counters) {
        let Some(breaker) = &mut self.breaker else { return };
        let now = self.parts.started.elapsed();
        if let Some(percent) = breaker.record(now, counters.read, counters.dead) {
            let what = format!(
                "{percent} percent of the records were dead letters, more than deadLetter.breaker allows; \
                 nothing of the open batch was committed"
            );
            self.batch = OpenBatch::new(&self.parts.files, &mut self.parts.random);
            self.leave(Leaving::Failed(WorkerError::permanent(Reason::BreakerOpen, what)));
        }
    }

    // --- batches

    async fn seal_when_due(&mut self) -> Result<(), WorkerError> {
        if self.batch.is_empty() || self.advancing > 0 || self.in_flight >= IN_FLIGHT {
            return Ok(());
        }
        let flush = &self.parts.config.sink.flush;
        let policy = FlushPolicy {
            max_interval: flush.max_interval,
            max_rows: flush.max_rows,
            idle_after: flush.idle_after,
            max_bytes: self.parts.max_batch_bytes,
        };
        let fresh = |k: &PartitionId| self.active.get(k).is_some_and(|active| active.fresh);
        let facts = FlushFacts {
            oldest_record_age: self.batch.opened.map(|opened| span(opened.elapsed())),
            rows: self.batch.rows + self.batch.dead.len() as u64,
            buffered_bytes: self.batch.buffered_bytes(),
            source_idle_for: span(self.last_message.elapsed()),
            first_after_claim: self.in_flight == 0 && self.batch.progress.keys().any(fresh),
            draining: self.leaving.is_some(),
            caught_up: self.parts.until.is_some() && self.all_done(),
        };
        match flush_due(&policy, &facts) {
            Some(reason) => self.seal(reason).await,
            None => Ok(()),
        }
    }

    async fn seal(&mut self, reason: FlushReason) -> Result<(), WorkerError> {
        let release = self.leaving.is_some();
        self.releasing = release;
        let snapshots = self.window_snapshots(release)?;
        let empty = OpenBatch::new(&self.parts.files, &mut self.parts.random);
        let mut batch = std::mem::replace(&mut self.batch, empty);
        for (partition, progress) in &mut batch.progress {
            if let Some(active) = self.active.get_mut(partition) {
                active.base = progress.cursor;
                progress.complete = active.complete;
            }
        }
        debug!(?reason, rows = batch.rows, "batch sealed");
        let sealed = batch.seal(self.lineage, snapshots, self.record, release);
        failpoint::hit("batch.sealed");
        self.in_flight += 1;
        self.ask(Request::Commit(Box::new(sealed))).await
    }

    /// Cuts the windows of the batch's partitions where it is time, and all of them before a release.
    fn window_snapshots(&mut self, release: bool) -> Result<Vec<WindowSnapshot>, WorkerError> {
        let mut snapshots = Vec::new();
        for (partition, progress) in &self.batch.progress {
            let Some(active) = self.active.get_mut(partition) else { continue };
            let Some(window) = &active.window else { continue };
            if !release && active.snapshot_at.elapsed() < SNAPSHOT_EACH {
                continue;
            }
            let nonce = self.parts.random.nonce();
            let header = SnapshotHeader {
                floor: progress.cursor,
                config_hash: self.parts.windows.config_hash(),
                partition: *partition,
                nonce,
            };
            let bytes = window.snapshot(&header).map_err(|source| {
                WorkerError::transient(Reason::ResourceExhausted, "window could not be copied")
                    .because(source)
            })?;
            active.snapshot_at = Instant::now();
            snapshots.push(WindowSnapshot { partition: *partition, nonce, bytes: bytes.into() });
        }
        Ok(snapshots)
    }

    /// Takes `&mut self` because open files cannot be shared between threads while this waits.
    async fn ask(&mut self, request: Request) -> Result<(), WorkerError> {
        let gone = |_| WorkerError::transient(Reason::Fenced, "the committer is gone");
        self.parts.requests.send(request).await.map_err(gone)
    }

    // --- idle partitions (S5)

    async fn advance_idle(&mut self) -> Result<(), WorkerError> {
        let period = self.parts.config.sink.flush.max_interval.to_duration();
        let quiet = self.leaving.is_none() && self.in_flight == 0 && self.advancing == 0;
        if !quiet || self.looked_idle.elapsed() < period {
            return Ok(());
        }
        self.looked_idle = Instant::now();
        let aged = self.parts.news.borrow().aged_last_sequence;
        let idle: Vec<_> = self
            .active
            .iter()
            .filter(|(k, active)| active.cursor == active.base && !self.batch.progress.contains_key(k))
            .map(|(k, active)| (*k, active.base))
            .collect();
        for (partition, base) in idle {
            let stream = &self.parts.config.source.stream;
            let filter = self.parts.filters.get(&partition).cloned().flatten();
            let Some(aged) = aged else { break };
            let to = idle_advance(&self.parts.connection, stream, filter.as_deref(), base, aged);
            if let Some(to) = to.await? {
                self.advancing += 1;
                let lineage = self.lineage;
                self.ask(Request::Advance { lineage, partition, base, to }).await?;
                break; // one at a time keeps the request channel free for batches
            }
        }
        Ok(())
    }

    // --- the end

    /// In a finite run: whether the partition has everything up to E.
    fn done(&self, active: &Active) -> bool {
        active.caught_up || self.parts.until.is_some_and(|until| active.cursor.0 >= until)
    }

    fn all_done(&self) -> bool {
        self.active.len() == self.wanted && self.active.values().all(|active| self.done(active))
    }

    fn look_for_the_end(&mut self) {
        if self.parts.until.is_some() && self.leaving.is_none() && self.all_done() {
            info!("caught up");
            self.leave(Leaving::CaughtUp);
        }
        // A finite run is waited for by somebody; a worker without end goes on trying.
        let given_up = self.trouble.is_some_and(|since| since.elapsed() > FINITE_PATIENCE);
        if self.parts.until.is_some() && self.leaving.is_none() && given_up {
            let what = format!("the source could not be read for {} s", FINITE_PATIENCE.as_secs());
            let failure = WorkerError::transient(Reason::SourceUnreachable, what);
            self.leave(Leaving::Failed(failure));
        }
    }

    fn leave(&mut self, leaving: Leaving) {
        for active in self.active.values() {
            active.stop.cancel();
        }
        self.parts.metrics.set_ready(false);
        if let Leaving::Failed(error) = &leaving {
            self.parts.metrics.set_state(error.reason());
        }
        // The first reason stands.
        self.leaving.get_or_insert(leaving);
    }

    /// Once the last batch is sealed (it carries the release), or when there is none: give back.
    async fn release_when_empty(&mut self) -> Result<(), WorkerError> {
        let nothing_open = self.batch.is_empty() && self.in_flight == 0 && self.advancing == 0;
        if self.leaving.is_some() && nothing_open && !self.releasing {
            self.releasing = true;
            self.ask(Request::Release).await?;
        }
        Ok(())
    }

    fn left(mut self) -> Result<Summary, WorkerError> {
        self.parts.metrics.finish(!matches!(self.leaving, Some(Leaving::Failed(_)) | None));
        self.summary.lag = self.active.values().map(|active| active.pending).sum();
        match self.leaving {
            Some(Leaving::Failed(error)) => Err(error),
            Some(Leaving::Drained | Leaving::CaughtUp) => Ok(self.summary),
            None => Err(WorkerError::transient(Reason::Fenced, "the committer ended by itself")),
        }
    }

    fn report(&self) {
        let metrics = &self.parts.metrics;
        metrics.set_lag(self.active.values().map(|active| active.pending).sum());
        metrics.set_buffered(self.batch.buffered_bytes() as u64);
        let ids = self.active.values().filter_map(|a| a.window.as_ref()).map(Window::len);
        metrics.set_window_ids(ids.sum::<usize>() as u64);
    }
}

fn span(duration: Duration) -> Span {
    Span::millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
