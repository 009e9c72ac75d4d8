//! One task per partition that reads the stream and hands chunks to the engine.
//!
//! A reading ends with its token; a rewind starts another with a new number, so that what an older
//! one still had on the way is told apart and dropped.

use std::sync::Arc;
use std::time::Duration;

use tidegate_runtime::{Random, in_words};
use tidegate_source::{
    Connection, Fetched, KnownMessage, PartitionReader, ReaderOptions, Receipt, SourceError,
};
use tidegate_types::{Message, PartitionId, Position, Reason, StreamTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long one look at an empty stream lasts.
const LOOK: Duration = Duration::from_millis(500);
/// First and longest pause after a transient fault.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// One permit of the byte budget.
const PERMIT_BYTES: usize = 1024;

/// Bytes that may be on the way from the source to the files, shared by all readings of a worker.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget {
    permits: Arc<Semaphore>,
    all: u32,
}

impl ByteBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes / PERMIT_BYTES).unwrap_or(u32::MAX >> 4).max(1);
        Self { permits: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Waits for room; more than the whole budget counts as the whole budget, so that one large message
    /// can always pass alone.
    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let wanted = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let permits = Arc::clone(&self.permits).acquire_many_owned(wanted.clamp(1, self.all));
        permits.await.expect("the semaphore is never closed")
    }
}

/// What a reading hands on.
pub(crate) struct Reading {
    pub(crate) partition: PartitionId,
    pub(crate) number: u64,
    pub(crate) what: Read,
}

/// One step of a reading.
pub(crate) enum Read {
    /// Messages that follow one another, and the room they take.
    Chunk {
        messages: Vec<Message>,
        last: KnownMessage,
        receipt: Receipt,
        pending: u64,
        room: OwnedSemaphorePermit,
    },
    /// Nothing came; `caught_up` only when the stream's leader confirmed it (S4), at the broker's time
    /// `as_of`.
    Idle { caught_up: bool, as_of: Option<StreamTime> },
    /// The source failed; the reading tries again.
    Stalled(Reason, String),
    /// The reading ended for good.
    Failed(SourceError),
}

/// What the engine tells a reading.
pub(crate) enum Order {
    /// This much is committed: tell the broker.
    Acknowledge(Receipt),
    /// The floor moved over sequences that are not the partition's (S5).
    Advance(Position),
    /// The most messages of a chunk from now on (S8).
    Limit(usize),
}

/// What one reading needs.
pub(crate) struct ReadingOptions {
    pub(crate) connection: Connection,
    pub(crate) reader: ReaderOptions,
    pub(crate) cursor: Position,
    pub(crate) known: Option<KnownMessage>,
    pub(crate) number: u64,
    pub(crate) budget: ByteBudget,
    pub(crate) stop: CancellationToken,
    pub(crate) orders: mpsc::Receiver<Order>,
}

/// Reads until stopped or until a fault that waiting does not mend.
pub(crate) async fn read(mut options: ReadingOptions, out: mpsc::Sender<Reading>) {
    let partition = options.reader.partition;
    let number = options.number;
    let stop = options.stop.clone();
    let ended = tokio::select! {
        ended = read_through_faults(&mut options, &out) => ended,
        () = stop.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        let failed = Reading { partition, number, what: Read::Failed(error) };
        // The engine may be gone already.
        let _ = out.send(failed).await;
    }
}

async fn read_through_faults(
    options: &mut ReadingOptions,
    out: &mpsc::Sender<Reading>,
) -> Result<(), SourceError> {
    let mut random = Random::from_system();
    let mut pause = PAUSE.0;
    // It outlives faults that pass: receipts that the engine holds count in it.
    let mut reader = None;
    loop {
        let before = options.cursor;
        let error = match read_on(options, &mut reader, out).await {
            Ok(()) => return Ok(()),
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => error,
        };
        let partition = options.reader.partition;
        warn!(partition = partition.0, reason = %error.reason(), error = %error, "reading failed, will retry");
        let stalled = Read::Stalled(error.reason(), in_words(&error));
        if out.send(Reading { partition, number: options.number, what: stalled }).await.is_err() {
            return Ok(());
        }
        pause = if options.cursor > before { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        tokio::time::sleep(pause / 2 + pause * random.up_to(500) / 1_000).await;
    }
}

/// Opens a reader at the cursor, unless there is one, and hands on what it brings; `Ok` when the engine is gone.
async fn read_on(
    options: &mut ReadingOptions,
    reader: &mut Option<PartitionReader>,
    out: &mpsc::Sender<Reading>,
) -> Result<(), SourceError> {
    let partition = options.reader.partition;
    let number = options.number;
    let reader = match reader {
        Some(reader) => reader,
        None => {
            let (connection, settings) = (&options.connection, options.reader.clone());
            let opened =
                PartitionReader::open(connection, settings, options.cursor, options.known).await?;
            reader.insert(opened)
        }
    };
    loop {
        let room = options.budget.take(options.reader.batch_bytes).await;
        let fetched = reader.next(LOOK).await?;
        while let Ok(order) = options.orders.try_recv() {
            match order {
                Order::Acknowledge(receipt) => reader.acknowledge(receipt).await?,
                Order::Advance(to) => {
                    reader.advance(to);
                    options.cursor = reader.cursor();
                }
                Order::Limit(messages) => reader.limit_batches(messages),
            }
        }
        let what = match fetched {
            Fetched::Messages { messages, pending, last, receipt } => {
                options.cursor = reader.cursor();
                options.known = Some(last);
                Read::Chunk { room: shrink(room, &messages), messages, last, receipt, pending }
            }
            Fetched::Idle { caught_up, as_of } => Read::Idle { caught_up, as_of },
        };
        if out.send(Reading { partition, number, what }).await.is_err() {
            return Ok(());
        }
    }
}

/// Gives back the room that the messages do not take.
fn shrink(mut room: OwnedSemaphorePermit, messages: &[Message]) -> OwnedSemaphorePermit {
    let bytes: usize = messages.iter().map(Message::footprint).sum();
    let surplus = room.num_permits().saturating_sub(bytes.div_ceil(PERMIT_BYTES));
    drop(room.split(surplus));
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_budget_stops_fetching_until_room_is_given_back() {
        let budget = ByteBudget::new(10 * PERMIT_BYTES);
        let first = budget.take(8 * PERMIT_BYTES).await;
        let second = budget.take(4 * PERMIT_BYTES);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert_eq!(second.await.num_permits(), 4);
    }

    #[tokio::test]
    async fn a_message_larger_than_the_budget_passes_alone() {
        let budget = ByteBudget::new(2 * PERMIT_BYTES);
        assert_eq!(budget.take(100 * PERMIT_BYTES).await.num_permits(), 2);
    }
}
