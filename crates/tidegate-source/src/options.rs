//! How a partition is read, and what reading returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_types::{Epoch, Ledger, Message, PartitionId, Position, StreamTime};

use crate::identity::KnownMessage;

/// What the broker is told about messages that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMode {
    /// Nothing: the floor in the table's log is the position. For Limits streams; the consumer lives
    /// as long as one epoch.
    FromFloor,
    /// Each message is acknowledged after its commit. For WorkQueue and Interest streams; the consumer
    /// outlives the worker. What was not acknowledged comes again, possibly after newer messages, so
    /// nothing may be dropped by position (P3).
    AckAfterCommit,
    /// A batch is acknowledged before it is handed on, and never delivered twice: AtMostOnce (X5). The
    /// consumer outlives the worker and holds the position.
    AckOnReceipt,
}

/// How often things are looked at. Tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct CheckPeriods {
    /// The stream's settings and identity while nothing is read (S1).
    pub recheck: Duration,
    /// How long "caught up" counts before it is asked again (S4).
    pub caught_up: Duration,
    /// How long a pull may wait at the broker.
    pub pull_expiry: Duration,
    /// How long deliveries that are still on their way may take before they count as lost.
    pub delivery_grace: Duration,
}

impl Default for CheckPeriods {
    fn default() -> Self {
        Self {
            recheck: Duration::from_secs(60),
            caught_up: Duration::from_millis(500),
            pull_expiry: Duration::from_secs(10),
            delivery_grace: Duration::from_millis(250),
        }
    }
}

/// Up to where a partition is known to have no message behind its cursor (S5). Shared with whoever moves
/// its floor: the stream may be trimmed to a floor as soon as it stands in the log, so the reader has to
/// know before.
#[derive(Debug, Clone, Default)]
pub struct EmptyTo(Arc<AtomicU64>);

impl EmptyTo {
    /// There is nothing up to `position`.
    pub fn note(&self, position: Position) {
        self.0.fetch_max(position.0, Ordering::Relaxed);
    }

    pub(crate) fn position(&self) -> Position {
        Position(self.0.load(Ordering::Relaxed))
    }
}

/// How to read one partition.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// The stream.
    pub stream: String,
    /// Whose reading this is; stands in the consumer's metadata (S10).
    pub ledger: Ledger,
    /// The table whose log holds the floors; stands in the consumer's metadata (S10).
    pub table_url: String,
    /// The partition.
    pub partition: PartitionId,
    /// The partition's filter; none: the whole stream.
    pub filter: Option<String>,
    /// The epoch under which the partition was claimed.
    pub epoch: Epoch,
    /// The stream's creation time that the floor belongs to; none: what is found at the start.
    pub created: Option<String>,
    /// What the broker is told.
    pub mode: ReadMode,
    /// Whether settings that can lose messages are refused (S1).
    pub exactly_once: bool,
    /// Holes up to this sequence were reported before and are no news.
    pub known_holes_to: Position,
    /// What is gone from the stream up to here was not the partition's.
    pub empty_to: EmptyTo,
    /// The header that becomes [`Message::id`].
    pub id_header: Option<String>,
    /// Most messages of one batch; also half of the credit given to the broker. At most 16,384.
    pub batch_messages: usize,
    /// Most bytes on their way from the broker, and about the most of one batch (a message that is
    /// larger comes alone).
    pub batch_bytes: usize,
    /// With [`ReadMode::AckAfterCommit`]: how long a message may wait for its commit before it comes
    /// again.
    pub ack_wait: Duration,
    /// With acknowledgements: how many messages may wait for them.
    pub max_unacknowledged: usize,
    /// How often things are looked at.
    pub periods: CheckPeriods,
}

impl ReaderOptions {
    /// Options for reading `stream` for `ledger`, with the defaults for everything else.
    #[must_use]
    pub fn new(stream: impl Into<String>, ledger: Ledger, table_url: impl Into<String>) -> Self {
        Self {
            stream: stream.into(),
            ledger,
            table_url: table_url.into(),
            partition: PartitionId(0),
            filter: None,
            epoch: Epoch::default(),
            created: None,
            mode: ReadMode::FromFloor,
            exactly_once: true,
            known_holes_to: Position::default(),
            empty_to: EmptyTo::default(),
            id_header: None,
            batch_messages: 1_000,
            batch_bytes: 8 << 20,
            ack_wait: Duration::from_secs(300),
            max_unacknowledged: 200_000,
            periods: CheckPeriods::default(),
        }
    }
}

/// Which deliveries an acknowledgement covers: everything handed on up to here. Not a position, because
/// with redelivery an older message may come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Receipt(pub(crate) u64);

/// What one call of `next` brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Messages, in the order of delivery; never empty.
    Messages {
        /// The messages.
        messages: Vec<Message>,
        /// How many the consumer still has.
        pending: u64,
        /// The last of them, for the floor's `fp` (S6).
        last: KnownMessage,
        /// What to acknowledge once they are committed.
        receipt: Receipt,
    },
    /// Nothing came in time.
    Idle {
        /// Whether everything that the partition holds was handed on (S4).
        caught_up: bool,
        /// The broker's time of that answer: what is stored later is not covered by it.
        as_of: Option<StreamTime>,
    },
}
