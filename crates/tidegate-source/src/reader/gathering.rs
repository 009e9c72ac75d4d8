//! Deliveries on their way to becoming a batch.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use tidegate_types::{Message, Position, StreamTime};
use tokio::time::Instant;

use crate::ack_subject::Coordinates;
use crate::identity::{KnownMessage, fingerprint};
use crate::pull::Delivery;
use crate::stored::MESSAGE_ID;

/// How long a batch that is not full waits for messages that the broker says are pending.
const LINGER: Duration = Duration::from_millis(20);

/// A batch that was not handed on yet.
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// Reply subjects, where they are needed for acknowledging.
    pub(crate) replies: Vec<Subject>,
    /// The last message.
    pub(crate) last: KnownMessage,
    /// How many the consumer still has.
    pub(crate) pending: u64,
}

/// Deliveries that came so far.
pub(crate) struct Gathering {
    keep_replies: bool,
    messages: Vec<Message>,
    replies: Vec<Subject>,
    bytes: usize,
    /// The consumer sequence up to which everything was received.
    received: u64,
    last: Option<Last>,
    /// How long the batch may stay open.
    open_until: Option<Instant>,
}

struct Last {
    at: Coordinates,
    headers: Option<HeaderMap>,
    payload_length: usize,
}

impl Gathering {
    pub(crate) fn new(received: u64, keep_replies: bool) -> Self {
        Self {
            keep_replies,
            messages: Vec::new(),
            replies: Vec::new(),
            bytes: 0,
            received,
            last: None,
            open_until: None,
        }
    }

    /// The consumer sequence up to which everything was received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether a delivery follows the last one without a gap, and lies behind what was read (S4).
    pub(crate) fn joins_on(&self, at: Coordinates, cursor: Position) -> bool {
        let read = self.last.as_ref().map_or(cursor.0, |last| last.at.stream_sequence);
        at.consumer_sequence == self.received + 1 && at.stream_sequence > read
    }

    pub(crate) fn take(&mut self, delivery: Delivery, id_header: Option<&HeaderName>) {
        let Delivery { message, at } = delivery;
        let id = id_header.and_then(|name| header(message.headers.as_ref(), name));
        let taken = Message {
            sequence: at.stream_sequence,
            time: StreamTime(at.stored_at_nanos.div_euclid(1_000)),
            subject: message.subject.as_str().into(),
            payload: message.payload,
            id,
        };
        if self.keep_replies {
            self.replies.extend(message.reply);
        }
        self.bytes += taken.footprint();
        self.received = at.consumer_sequence;
        let payload_length = taken.payload.len();
        self.last = Some(Last { at, headers: message.headers, payload_length });
        self.open_until.get_or_insert_with(|| Instant::now() + LINGER);
        self.messages.push(taken);
    }

    pub(crate) fn is_full(&self, most_messages: usize, most_bytes: usize) -> bool {
        self.messages.len() >= most_messages || self.bytes >= most_bytes
    }

    /// Until when to wait for the next delivery: for the first as long as the caller says, then only
    /// while the broker has more.
    pub(crate) fn patience(&self, deadline: Instant) -> Instant {
        match (&self.last, self.open_until) {
            (Some(last), Some(until)) if last.at.pending > 0 => until,
            // Whatever is here already is still taken.
            (Some(_), Some(until)) => until - LINGER,
            _ => deadline,
        }
    }

    /// The batch; none when nothing came.
    pub(crate) fn into_batch(self) -> Option<Batch> {
        let Last { at, headers, payload_length } = self.last?;
        let id = headers.as_ref().and_then(|headers| headers.get(MESSAGE_ID));
        let id = id.map(|id| id.as_str().as_bytes());
        let sequence = at.stream_sequence;
        let fingerprint = fingerprint(sequence, at.stored_at_nanos, id, payload_length);
        Some(Batch {
            messages: self.messages,
            replies: self.replies,
            last: KnownMessage { sequence, fingerprint },
            pending: at.pending,
        })
    }
}

fn header(headers: Option<&HeaderMap>, name: &HeaderName) -> Option<Bytes> {
    let value = headers?.get(name.clone())?.as_str();
    (!value.is_empty()).then(|| Bytes::copy_from_slice(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(consumer_sequence: u64, stream_sequence: u64, pending: u64) -> Delivery {
        Delivery {
            message: async_nats::Message {
                subject: "s.a".into(),
                reply: Some("$JS.ACK.x".into()),
                payload: Bytes::from_static(b"payload"),
                headers: None,
                status: None,
                description: None,
                length: 0,
            },
            at: Coordinates { stream_sequence, consumer_sequence, stored_at_nanos: 1_999, pending },
        }
    }

    #[test]
    fn s4_a_jump_of_the_consumer_sequence_does_not_join_on() {
        let mut gathering = Gathering::new(4, false);
        let joins = |gathering: &Gathering, delivery: Delivery| {
            gathering.joins_on(delivery.at, Position(10))
        };
        assert!(joins(&gathering, delivery(5, 11, 0)));
        assert!(!joins(&gathering, delivery(6, 11, 0)), "a delivery is missing");
        assert!(!joins(&gathering, delivery(1, 11, 0)), "another consumer of the same name");
        assert!(!joins(&gathering, delivery(5, 10, 0)), "already read");
        gathering.take(delivery(5, 20, 0), None);
        assert!(joins(&gathering, delivery(6, 25, 0)), "stream sequences have gaps under a filter");
        assert!(!joins(&gathering, delivery(6, 20, 0)));
    }

    #[test]
    fn a_batch_stays_open_only_while_more_is_pending() {
        let far = Instant::now() + Duration::from_secs(60);
        let mut gathering = Gathering::new(0, true);
        assert_eq!(gathering.patience(far), far);
        gathering.take(delivery(1, 1, 5), None);
        assert!(gathering.patience(far) > Instant::now());
        gathering.take(delivery(2, 2, 0), None);
        assert!(gathering.patience(far) <= Instant::now());
        assert!(gathering.is_full(2, usize::MAX) && gathering.is_full(99, 1));
        assert!(!gathering.is_full(3, usize::MAX));
        let batch = gathering.into_batch().expect("two messages");
        assert_eq!((batch.messages.len(), batch.replies.len()), (2, 2));
        assert_eq!(batch.messages[0].time, StreamTime(1));
        assert_eq!(batch.last.fingerprint, fingerprint(2, 1_999, None, 7));
    }
}
