//! Reading one partition without losing or doubling a message.
//!
//! What can go wrong, and who notices:
//!
//! * a delivery is lost on the wire → the consumer sequence jumps, or at the end the broker has
//!   delivered more than was received (S4) → the consumer is deleted and made anew at cursor + 1;
//! * the connection was cut → the stream is checked (S1, S2, S6), then the consumer is made anew;
//! * messages were removed before they were read → [`SourceError::Gap`] (S1, S2);
//! * the stream is another one → [`SourceError::Identity`] (S6).
//!
//! The cursor moves only when a batch is handed on, after the look at the stream that vouches for it.
//! After an error it stands where it stood, and the next call begins at cursor + 1.

mod checks;
mod gathering;
mod own_consumer;
mod silence;

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use async_nats::HeaderName;
use bytes::Bytes;
use tidegate_types::{Position, StreamTime};
use tokio::time::Instant;

use self::gathering::{Batch, Gathering};
use self::own_consumer::{consumer_name, delete_older, fresh, kept};
use crate::caught_up::Strikes;
use crate::connection::Connection;
use crate::consumer;
use crate::error::{Cause, SourceError};
use crate::identity::KnownMessage;
use crate::options::{Fetched, ReadMode, ReaderOptions, Receipt};
use crate::pull::{Event, PullLimits, PullSession};
use crate::stream_facts::{RetentionKind, stream_facts};

/// How often the consumer is made anew without a single message before that is an error.
const MOST_RECOVERIES: u32 = 5;

/// Reads one partition. See the module's words on what it guards against.
pub struct PartitionReader {
    connection: Connection,
    options: ReaderOptions,
    id_header: Option<HeaderName>,
    name: String,
    /// None: the consumer has to be made anew before the next message.
    session: Option<Box<PullSession>>,
    /// The consumer sequence of the last delivery that was received.
    received: u64,
    cursor: Position,
    created: String,
    floor_message: Option<KnownMessage>,
    last: Option<KnownMessage>,
    reconnects_seen: u64,
    checked_at: Instant,
    holes_seen: u64,
    /// Whether the stream copies others, so that silence says nothing of what was published (S4).
    copies: bool,
    recoveries: u32,
    strikes: Strikes,
    caught_up: Option<(Instant, Option<StreamTime>)>,
    /// Reply subjects that wait for their acknowledgement, and how many were handed on before them.
    held: VecDeque<async_nats::Subject>,
    acknowledged: u64,
}

impl PartitionReader {
    /// Checks the stream and begins at cursor + 1. `identity` is the message at the floor, as the log
    /// remembers it. Consumers of older epochs of the same partition are deleted, so that a worker that
    /// was fenced stops receiving.
    ///
    /// # Errors
    ///
    /// [`SourceError::Identity`], [`SourceError::Unsafe`], [`SourceError::Gap`], or what hindered the
    /// requests.
    pub async fn open(
        connection: &Connection,
        options: ReaderOptions,
        cursor: Position,
        identity: Option<KnownMessage>,
    ) -> Result<Self, SourceError> {
        let id_header = options.id_header.as_deref().map(HeaderName::from_str).transpose();
        let id_header = id_header.map_err(|source| SourceError::Settings {
            what: "the deduplication header",
            source: source.into(),
        })?;
        let created = match &options.created {
            Some(created) => created.clone(),
            None => stream_facts(connection, &options.stream).await?.created,
        };
        let mut reader = Self {
            name: consumer_name(&options),
            connection: connection.clone(),
            id_header,
            session: None,
            received: 0,
            cursor,
            created,
            floor_message: identity,
            last: None,
            reconnects_seen: connection.reconnects(),
            checked_at: Instant::now(),
            holes_seen: 0,
            copies: false,
            recoveries: 0,
            strikes: Strikes::default(),
            caught_up: None,
            held: VecDeque::new(),
            acknowledged: 0,
            options,
        };
        reader.check_source().await?;
        delete_older(connection, &reader.options).await;
        reader.forget_deliveries().await?;
        reader.begin().await?;
        Ok(reader)
    }

    /// The next batch, or what silence means. Waits at most about `wait` for the first message.
    ///
    /// Dropping the future loses nothing, but the consumer is made anew then: a short `wait` is
    /// cheaper than a `select!`.
    ///
    /// # Errors
    ///
    /// [`SourceError::Gap`], [`SourceError::Identity`] and [`SourceError::Unsafe`] as the checks find
    /// them; a transient error when the broker is away. The cursor has not moved then.
    pub async fn next(&mut self, wait: Duration) -> Result<Fetched, SourceError> {
        let mut deadline = Instant::now() + wait;
        loop {
            self.prepare().await?;
            match self.collect(deadline).await? {
                Collected::Batch(batch, session) => return self.hand_on(batch, session).await,
                Collected::Quiet => match self.judge_quiet().await? {
                    Some(idle) => return Ok(idle),
                    None => {
                        deadline = Instant::now() + wait.max(self.options.periods.delivery_grace)
                    }
                },
                Collected::Broken(detail) => self.recover(&detail)?,
            }
        }
    }

    /// Goes back (or forth) to `cursor`: the next message is the first one after it.
    ///
    /// # Errors
    ///
    /// What hindered the requests.
    pub async fn seek(&mut self, cursor: Position) -> Result<(), SourceError> {
        self.cursor = cursor;
        self.last = None;
        self.session = None;
        self.prepare().await
    }

    /// Notes that the partition has no message up to `position` (S5). Nothing is fetched anew.
    pub fn advance(&mut self, position: Position) {
        self.cursor = self.cursor.max(position);
    }

    /// Sets [`ReaderOptions::batch_messages`] for what is fetched from now on.
    pub fn limit_batches(&mut self, messages: usize) {
        self.options.batch_messages = messages;
        if let Some(session) = &mut self.session {
            session.limit_batches(messages);
        }
    }

    /// Everything up to here was handed on.
    #[must_use]
    pub fn cursor(&self) -> Position {
        self.cursor
    }

    /// The last message that was handed on since the reader was opened or moved.
    #[must_use]
    pub fn last_message(&self) -> Option<KnownMessage> {
        self.last
    }

    /// The creation time of the stream that is read.
    #[must_use]
    pub fn created(&self) -> &str {
        &self.created
    }

    /// Acknowledges everything handed on up to `receipt`. Only [`ReadMode::AckAfterCommit`] has
    /// something to acknowledge. A lost acknowledgement costs a redelivery.
    ///
    /// # Errors
    ///
    /// What hindered the sending.
    pub async fn acknowledge(&mut self, receipt: Receipt) -> Result<(), SourceError> {
        let client = self.connection.client().clone();
        let unreachable = |source: Cause| SourceError::Unreachable {
            operation: "acknowledging".to_owned(),
            source,
        };
        while self.acknowledged < receipt.0
            && let Some(reply) = self.held.front().cloned()
        {
            client
                .publish(reply, Bytes::from_static(b"+ACK"))
                .await
                .map_err(|error| unreachable(error.into()))?;
            self.held.pop_front();
            self.acknowledged += 1;
        }
        client.flush().await.map_err(|error| unreachable(error.into()))
    }

    /// Stops reading. A consumer that lives only as long as its epoch is removed.
    pub async fn close(mut self) {
        self.session = None;
        if self.options.mode == ReadMode::FromFloor {
            let deleted =
                consumer::delete(&self.connection, &self.options.stream, &self.name).await;
            if let Err(error) = deleted {
                tracing::debug!(consumer = self.name, %error, "consumer is left to the broker");
            }
        }
    }

    /// Makes the consumer ready: after a reconnect or a loss the stream is checked before anything of
    /// it is read again, and now and then while nothing is read.
    async fn prepare(&mut self) -> Result<(), SourceError> {
        if self.needs_check() {
            self.session = None;
        }
        if self.session.is_none() || self.checked_at.elapsed() >= self.options.periods.recheck {
            self.check_source().await?;
        }
        if self.session.is_none() { self.begin().await } else { Ok(()) }
    }

    /// What another worker read of a WorkQueue stream and did not acknowledge would come again only
    /// after `ack_wait`: a new consumer brings all of it at once. An Interest stream drops messages while
    /// there is no consumer, so there it stays.
    async fn forget_deliveries(&self) -> Result<(), SourceError> {
        let (connection, stream) = (&self.connection, &self.options.stream);
        if self.options.mode != ReadMode::AckAfterCommit
            || stream_facts(connection, stream).await?.retention != RetentionKind::WorkQueue
        {
            return Ok(());
        }
        consumer::delete(connection, stream, &self.name).await
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        let (connection, options) = (&self.connection, &self.options);
        match options.mode {
            ReadMode::FromFloor => fresh(connection, options, &self.name, self.cursor).await?,
            ReadMode::AckAfterCommit | ReadMode::AckOnReceipt => {
                kept(connection, options, &self.name, self.cursor).await?;
            }
        }
        let limits = PullLimits {
            batch_messages: options.batch_messages,
            batch_bytes: options.batch_bytes,
            expiry: options.periods.pull_expiry,
        };
        let session = PullSession::open(connection, &options.stream, &self.name, limits).await?;
        self.session = Some(Box::new(session));
        self.received = 0;
        self.caught_up = None;
        Ok(())
    }

    fn recover(&mut self, detail: &str) -> Result<(), SourceError> {
        self.session = None;
        self.recoveries += 1;
        tracing::info!(
            stream = self.options.stream,
            consumer = self.name,
            cursor = self.cursor.0,
            detail,
            "deliveries were interrupted, reading again from the cursor"
        );
        if self.recoveries < MOST_RECOVERIES {
            return Ok(());
        }
        self.recoveries = 0;
        Err(SourceError::NoProgress {
            stream: self.options.stream.clone(),
            consumer: self.name.clone(),
            detail: detail.to_owned(),
        })
    }

    /// Gathers what is there, up to one batch. What was received before an interruption is whole.
    async fn collect(&mut self, deadline: Instant) -> Result<Collected, SourceError> {
        let Some(mut session) = self.session.take() else {
            return Ok(Collected::Broken("no consumer".to_owned()));
        };
        let from_floor = self.options.mode == ReadMode::FromFloor;
        let mut gathering = Gathering::new(self.received, !from_floor);
        let broken = loop {
            match session.next(gathering.patience(deadline)).await? {
                Event::Quiet => break None,
                Event::Broken(detail) => break Some(detail),
                Event::Delivery(delivery) => {
                    if from_floor && !gathering.joins_on(delivery.at, self.cursor) {
                        break Some("a delivery is missing".to_owned());
                    }
                    gathering.take(delivery, self.id_header.as_ref());
                }
            }
            if gathering.is_full(self.options.batch_messages, self.options.batch_bytes) {
                break None;
            }
        };
        self.received = gathering.received();
        let session = broken.is_none().then_some(session);
        Ok(match (gathering.into_batch(), broken) {
            (Some(batch), _) => Collected::Batch(batch, session),
            (None, Some(detail)) => Collected::Broken(detail),
            (None, None) => {
                self.session = session;
                Collected::Quiet
            }
        })
    }

    /// Vouches for the batch and moves the cursor over it.
    ///
    /// Until then the reader is without a session: when the check fails, or the caller drops this
    /// future while it is made, the batch is gone, and only a new consumer brings it again.
    async fn hand_on(
        &mut self,
        batch: Batch,
        session: Option<Box<PullSession>>,
    ) -> Result<Fetched, SourceError> {
        let reconnected = self.needs_check();
        self.vouch(&batch).await?;
        self.session = session.filter(|_| !reconnected);
        self.recoveries = 0;
        self.strikes.clear();
        self.caught_up = None;
        self.cursor = self.cursor.max(Position(batch.last.sequence));
        self.last = Some(batch.last);
        if self.options.mode == ReadMode::AckAfterCommit {
            self.held.extend(batch.replies);
        }
        Ok(Fetched::Messages {
            messages: batch.messages,
            pending: batch.pending,
            last: batch.last,
            receipt: Receipt(self.acknowledged + self.held.len() as u64),
        })
    }
}

enum Collected {
    /// And the session to go on with, unless it ended.
    Batch(Batch, Option<Box<PullSession>>),
    Quiet,
    Broken(String),
}
