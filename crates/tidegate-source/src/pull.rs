//! Deliveries of one consumer, pulled under a bounded credit.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::Instant;

use crate::ack_subject::{self, Coordinates};
use crate::connection::Connection;
use crate::credit::{Credit, PULLS_ALIVE, Pull};
use crate::error::SourceError;
use crate::stream_facts::nanos;

/// How long a pull's closing status may be late.
const STATUS_GRACE: Duration = Duration::from_secs(2);

/// Limits of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PullLimits {
    /// Messages of one pull.
    pub(crate) batch_messages: usize,
    /// Bytes on their way, over all pulls.
    pub(crate) batch_bytes: usize,
    /// How long a pull waits at the broker.
    pub(crate) expiry: Duration,
}

/// A delivered message and where it stands.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: async_nats::Message,
    pub(crate) at: Coordinates,
}

/// What waiting brought.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message.
    Delivery(Delivery),
    /// Nothing in time.
    Quiet,
    /// The consumer cannot go on; why.
    Broken(String),
}

/// Pulls from one consumer into an inbox of its own, so that nothing of an earlier consumer of the same
/// name can arrive here.
pub(crate) struct PullSession {
    connection: Connection,
    subject: String,
    inbox: String,
    pulls_sent: u64,
    subscriber: Subscriber,
    credit: Credit,
    limits: PullLimits,
}

impl PullSession {
    pub(crate) async fn open(
        connection: &Connection,
        stream: &str,
        consumer: &str,
        limits: PullLimits,
    ) -> Result<Self, SourceError> {
        let inbox = connection.client().new_inbox();
        let subscriber =
            connection.client().subscribe(format!("{inbox}.*")).await.map_err(|source| {
                SourceError::Unreachable { operation: "subscribing".into(), source: source.into() }
            })?;
        Ok(Self {
            connection: connection.clone(),
            subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"),
            inbox,
            pulls_sent: 0,
            subscriber,
            credit: Credit::new(limits.batch_messages),
            limits,
        })
    }

    /// The next event, waiting until `deadline` for it.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Result<Event, SourceError> {
        loop {
            self.fill().await?;
            let received = match self.subscriber.next().now_or_never() {
                Some(received) => received,
                None => match self.wait(deadline).await {
                    Waited::Received(received) => received,
                    Waited::CreditExpired => continue,
                    Waited::Deadline => return Ok(Event::Quiet),
                },
            };
            let Some(message) = received else {
                return Ok(Event::Broken("the subscription ended".to_owned()));
            };
            if let Some(event) = self.take(message) {
                return Ok(event);
            }
        }
    }

    /// The most messages of a pull from now on.
    pub(crate) fn limit_batches(&mut self, messages: usize) {
        self.limits.batch_messages = messages;
        self.credit.resize(messages);
    }

    async fn wait(&mut self, deadline: Instant) -> Waited {
        if self.credit.expire(Instant::now()) {
            return Waited::CreditExpired;
        }
        let expiry = self.credit.expires_at();
        let until = expiry.map_or(deadline, |at| at.min(deadline));
        match tokio::time::timeout_at(until, self.subscriber.next()).await {
            Ok(received) => Waited::Received(received),
            Err(_) if until < deadline => Waited::CreditExpired,
            Err(_) => Waited::Deadline,
        }
    }

    fn take(&mut self, message: async_nats::Message) -> Option<Event> {
        if let Some(status) = message.status {
            return self.take_status(status, &message);
        }
        self.credit.delivered();
        match message.reply.as_ref().and_then(|reply| ack_subject::parse(reply)) {
            Some(at) => Some(Event::Delivery(Delivery { message, at })),
            None => Some(Event::Broken("a delivery has no coordinates".to_owned())),
        }
    }

    fn take_status(&mut self, status: StatusCode, message: &async_nats::Message) -> Option<Event> {
        let description = message.description.as_deref().unwrap_or_default();
        let number = |header: &str| -> Option<usize> {
            message.headers.as_ref()?.get(header)?.as_str().parse().ok()
        };
        match judge_status(status.as_u16(), description) {
            StatusMeaning::Nothing => None,
            StatusMeaning::PullEnded => {
                self.credit.ended(number("Nats-Pending-Messages").unwrap_or(0));
                None
            }
            StatusMeaning::BytesUsedUp => {
                self.credit.ended(number("Nats-Pending-Messages").unwrap_or(0));
                // Nothing of the budget was used: the next message alone exceeds it.
                if number("Nats-Pending-Bytes").is_none_or(|left| left >= self.bytes_per_pull()) {
                    self.credit.next_is_oversized();
                }
                None
            }
            StatusMeaning::Broken => Some(Event::Broken(format!("{status} {description}"))),
        }
    }

    fn bytes_per_pull(&self) -> usize {
        (self.limits.batch_bytes / PULLS_ALIVE).max(1)
    }

    async fn fill(&mut self) -> Result<(), SourceError> {
        while let Some(pull) = self.credit.wanted() {
            self.send(pull).await?;
        }
        Ok(())
    }

    async fn send(&mut self, pull: Pull) -> Result<(), SourceError> {
        let expires = nanos(self.limits.expiry);
        let mut request = json!({"batch": pull.messages, "expires": expires});
        if pull.limited {
            request["max_bytes"] = json!(self.bytes_per_pull());
        }
        self.pulls_sent += 1;
        let reply = format!("{}.{}", self.inbox, self.pulls_sent);
        let body = request.to_string().into();
        let client = self.connection.client();
        client.publish_with_reply(self.subject.clone(), reply, body).await.map_err(|source| {
            SourceError::Unreachable { operation: "pulling".to_owned(), source: source.into() }
        })?;
        self.credit.sent(pull, Instant::now(), self.limits.expiry + STATUS_GRACE);
        Ok(())
    }
}

enum Waited {
    Received(Option<async_nats::Message>),
    CreditExpired,
    Deadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusMeaning {
    Nothing,
    PullEnded,
    BytesUsedUp,
    Broken,
}

/// What a status in the inbox means. A pull that ended normally says so with 408 or with one of two
/// kinds of 409; everything else (consumer deleted, leader changed, server going, no responders) ends
/// the session, because whether deliveries were lost with it cannot be known.
fn judge_status(status: u16, description: &str) -> StatusMeaning {
    match status {
        100 => StatusMeaning::Nothing,
        404 | 408 => StatusMeaning::PullEnded,
        409 if description.eq_ignore_ascii_case("Message Size Exceeds MaxBytes") => {
            StatusMeaning::BytesUsedUp
        }
        409 if description.eq_ignore_ascii_case("Batch Completed") => StatusMeaning::PullEnded,
        _ => StatusMeaning::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pull_that_ended_normally_lets_the_session_go_on() {
        let cases = [
            (100, "Idle Heartbeat", StatusMeaning::Nothing),
            (404, "No Messages", StatusMeaning::PullEnded),
            (408, "Request Timeout", StatusMeaning::PullEnded),
            (409, "Batch Completed", StatusMeaning::PullEnded),
            (409, "Message Size Exceeds MaxBytes", StatusMeaning::BytesUsedUp),
            (409, "Consumer Deleted", StatusMeaning::Broken),
            (409, "Leadership Change", StatusMeaning::Broken),
            (409, "Server Shutdown", StatusMeaning::Broken),
            (409, "Exceeded MaxWaiting", StatusMeaning::Broken),
            (503, "", StatusMeaning::Broken),
        ];
        for (status, description, meaning) in cases {
            assert_eq!(judge_status(status, description), meaning, "{status} {description}");
        }
    }
}
