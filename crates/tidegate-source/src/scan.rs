//! Going over a range of the stream again, headers only, to count what should be in the table.

use std::time::Duration;

use bytes::Bytes;
use tidegate_types::{Position, StreamTime};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::consumer::{self, ConsumerSpec, DeliverFrom};
use crate::error::SourceError;
use crate::leader_samples::next_message;
use crate::pull::{Delivery, Event, PullLimits, PullSession};

/// How long silence lasts before the stream is asked.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often the consumer is made anew without a single message before that is an error.
const MOST_RECOVERIES: u32 = 5;
const LIMITS: PullLimits =
    PullLimits { batch_messages: 1_000, batch_bytes: 16 << 20, expiry: Duration::from_secs(10) };

/// A message that was seen again, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMessage {
    /// Its sequence.
    pub sequence: u64,
    /// When the broker stored it.
    pub time: StreamTime,
    /// The header that was asked for, if it is there and not empty.
    pub id: Option<Bytes>,
}

/// A walk over a range of the stream.
pub struct HeaderScan {
    connection: Connection,
    stream: String,
    filter: Option<String>,
    id_header: Option<String>,
    /// The last sequence that was seen.
    cursor: Position,
    /// The last sequence of the range.
    to: u64,
    session: Option<(PullSession, String)>,
    received: u64,
    recoveries: u32,
    /// What was seen and not returned yet: it outlives a failed or dropped call.
    seen: Vec<SeenMessage>,
}

/// Walks over the messages of `filter` from sequence `from` to sequence `to`, both inclusive.
#[must_use]
pub fn count_headers_only(
    connection: &Connection,
    stream: &str,
    filter: Option<&str>,
    (from, to): (u64, u64),
    id_header: Option<&str>,
) -> HeaderScan {
    HeaderScan {
        connection: connection.clone(),
        stream: stream.to_owned(),
        filter: filter.map(str::to_owned),
        id_header: id_header.map(str::to_owned),
        cursor: Position(from.saturating_sub(1)),
        to,
        session: None,
        received: 0,
        recoveries: 0,
        seen: Vec::new(),
    }
}

impl HeaderScan {
    /// The next messages, at most a thousand; none at the end of the range.
    ///
    /// # Errors
    ///
    /// What hindered the requests. The walk can go on after a transient one.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<SeenMessage>>, SourceError> {
        while self.cursor.0 < self.to && self.seen.len() < LIMITS.batch_messages {
            match self.step().await? {
                Step::Seen | Step::Again => {}
                Step::End => self.cursor = Position(self.to.max(self.cursor.0)),
            }
        }
        if self.seen.is_empty() {
            self.finish().await;
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.seen)))
    }

    async fn step(&mut self) -> Result<Step, SourceError> {
        let (mut session, name) = match self.session.take() {
            Some(session) => session,
            None => self.begin().await?,
        };
        match session.next(Instant::now() + PATIENCE).await? {
            Event::Delivery(delivery) => {
                let joins_on = delivery.at.consumer_sequence == self.received + 1;
                if !joins_on {
                    return self.recover("a delivery is missing");
                }
                self.session = Some((session, name));
                Ok(self.take(&delivery))
            }
            Event::Broken(detail) => self.recover(&detail),
            Event::Quiet => {
                let (stream, filter) = (&self.stream, self.filter.as_deref());
                let next =
                    next_message(&self.connection, stream, filter, self.cursor.next()).await?;
                if next.is_none_or(|sequence| sequence > self.to) {
                    self.session = Some((session, name));
                    return Ok(Step::End);
                }
                self.recover("the consumer does not deliver what the stream holds")
            }
        }
    }

    fn take(&mut self, delivery: &Delivery) -> Step {
        self.recoveries = 0;
        self.received = delivery.at.consumer_sequence;
        let sequence = delivery.at.stream_sequence;
        if sequence > self.to {
            return Step::End;
        }
        self.cursor = Position(sequence);
        let headers = delivery.message.headers.as_ref();
        let id = self.id_header.as_deref().and_then(|name| headers?.get(name));
        let id = id.map(|value| value.as_str()).filter(|value| !value.is_empty());
        self.seen.push(SeenMessage {
            sequence,
            time: StreamTime(delivery.at.stored_at_nanos.div_euclid(1_000)),
            id: id.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        });
        Step::Seen
    }

    async fn begin(&mut self) -> Result<(PullSession, String), SourceError> {
        let from = DeliverFrom::Sequence(self.cursor.next());
        let spec = ConsumerSpec::probe(from, self.filter.as_deref());
        consumer::create(&self.connection, &self.stream, &spec).await?;
        self.received = 0;
        let session = PullSession::open(&self.connection, &self.stream, &spec.name, LIMITS).await?;
        Ok((session, spec.name))
    }

    fn recover(&mut self, detail: &str) -> Result<Step, SourceError> {
        self.recoveries += 1;
        if self.recoveries < MOST_RECOVERIES {
            return Ok(Step::Again);
        }
        Err(SourceError::NoProgress {
            stream: self.stream.clone(),
            consumer: "of the recount".to_owned(),
            detail: detail.to_owned(),
        })
    }

    async fn finish(&mut self) {
        if let Some((_, name)) = self.session.take()
            && let Err(error) = consumer::delete(&self.connection, &self.stream, &name).await
        {
            tracing::debug!(consumer = name, %error, "probe is left to the broker");
        }
    }
}

enum Step {
    Seen,
    Again,
    End,
}
