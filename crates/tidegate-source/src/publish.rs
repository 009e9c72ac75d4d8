//! Publishing with a bounded number of messages on their way.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::backoff;
use crate::connection::Connection;
use crate::error::{Cause, SourceError};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How to publish.
#[derive(Debug, Clone, Copy)]
pub struct PublishOptions {
    /// Most messages that wait for their acknowledgement.
    pub window: usize,
    /// How long the broker may take for one acknowledgement.
    pub ack_timeout: Duration,
    /// How long one message is tried: while the stream is full (503) or the broker is away.
    pub give_up_after: Duration,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            window: 1_000,
            ack_timeout: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
        }
    }
}

/// What became of the published messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishReport {
    /// Messages that the broker stored.
    pub stored: u64,
    /// Messages that the broker knew already by their id.
    pub duplicates: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// The highest sequence that was acknowledged.
    pub last_sequence: u64,
}

type Attempt = Pin<Box<dyn Future<Output = Result<(PublishAck, u32), SourceError>> + Send>>;

/// Publishes messages and waits for their acknowledgements, many at a time.
///
/// **Guarantee**: a message that `finish` counts was stored. A message with an id is tried again under
/// the same id, so that the broker's duplicate window recognises it; one without an id may be stored
/// twice when an acknowledgement is lost. Order is kept only while nothing has to be tried again.
pub struct Publisher {
    context: Context,
    options: PublishOptions,
    outstanding: FuturesUnordered<Attempt>,
    report: PublishReport,
}

impl Publisher {
    /// A publisher on this connection.
    #[must_use]
    pub fn new(connection: &Connection, options: PublishOptions) -> Self {
        let context = jetstream::ContextBuilder::new()
            .ack_timeout(options.ack_timeout)
            .timeout(options.ack_timeout)
            // The window is kept here; the client's own must not be in the way of retries.
            .max_ack_inflight(options.window.max(1) * 2 + 16)
            .build(connection.client().clone());
        Self { context, options, outstanding: FuturesUnordered::new(), report: Default::default() }
    }

    /// Sends a message. Waits while the window is full, so that a slow or full broker slows the caller.
    ///
    /// # Errors
    ///
    /// [`SourceError::NotPublished`] for any message that was given up, this one or an earlier one.
    pub async fn publish(
        &mut self,
        subject: &str,
        payload: Bytes,
        id: Option<&str>,
    ) -> Result<(), SourceError> {
        while self.outstanding.len() >= self.options.window.max(1) {
            self.settle_one().await?;
        }
        let sending = Sending {
            context: self.context.clone(),
            subject: subject.to_owned(),
            payload,
            id: id.map(str::to_owned),
            give_up_after: self.options.give_up_after,
        };
        // The first sending happens here, in order; only its acknowledgement is waited for later.
        let first = sending.send().await;
        self.outstanding.push(Box::pin(sending.settle(first)));
        Ok(())
    }

    /// Waits for every acknowledgement.
    ///
    /// # Errors
    ///
    /// [`SourceError::NotPublished`] for the first message that was given up.
    pub async fn finish(mut self) -> Result<PublishReport, SourceError> {
        while !self.outstanding.is_empty() {
            self.settle_one().await?;
        }
        Ok(self.report)
    }

    /// What became of the messages that are settled so far.
    #[must_use]
    pub fn report(&self) -> PublishReport {
        self.report
    }

    async fn settle_one(&mut self) -> Result<(), SourceError> {
        let Some(settled) = self.outstanding.next().await else { return Ok(()) };
        let (ack, retries) = settled?;
        if ack.duplicate {
            self.report.duplicates += 1;
        } else {
            self.report.stored += 1;
        }
        self.report.retries += u64::from(retries);
        self.report.last_sequence = self.report.last_sequence.max(ack.sequence);
        Ok(())
    }
}

type Sent = Result<jetstream::context::PublishAckFuture, jetstream::context::PublishError>;

struct Sending {
    context: Context,
    subject: String,
    payload: Bytes,
    id: Option<String>,
    give_up_after: Duration,
}

impl Sending {
    async fn send(&self) -> Sent {
        let mut message = PublishMessage::build().payload(self.payload.clone());
        if let Some(id) = &self.id {
            message = message.message_id(id);
        }
        self.context.send_publish(self.subject.clone(), message).await
    }

    async fn settle(self, mut sent: Sent) -> Result<(PublishAck, u32), SourceError> {
        let give_up_at = Instant::now() + self.give_up_after;
        let mut retries = 0;
        loop {
            let failure = match sent {
                Ok(ack) => match ack.await {
                    Ok(ack) => return Ok((ack, retries)),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if is_final(&failure) || Instant::now() >= give_up_at {
                return Err(self.given_up(retries + 1, failure.into()));
            }
            let pause = backoff::pause(retries, FIRST_PAUSE, LONGEST_PAUSE, backoff::random());
            tokio::time::sleep(pause).await;
            retries += 1;
            sent = self.send().await;
        }
    }

    fn given_up(&self, attempts: u32, source: Cause) -> SourceError {
        SourceError::NotPublished { subject: self.subject.clone(), attempts, source }
    }
}

/// What trying again cannot change. A full stream, a message whose id is still being stored (10158), a
/// broker that is away or a stream that is just being made all pass.
fn is_final(error: &jetstream::context::PublishError) -> bool {
    matches!(
        error.kind(),
        PublishErrorKind::MaxPayloadExceeded
            | PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence
    )
}
