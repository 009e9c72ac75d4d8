//! Letting an idle partition advance (S5).
//!
//! A partition without messages must still move its floor, or it stops trimming and raises a false gap
//! after others are trimmed. The broker's counts cannot be trusted for that (a lagging leader once
//! showed nothing pending with 212 k undelivered), so an *aged* sample of the leader's last sequence
//! is combined with a look at the stream itself.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use tidegate_types::{Position, StreamTime};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::{SourceError, code};
use crate::stored::GetAnswer;
use crate::stream_facts::parse_time;

/// Samples of the leader's last sequence, with the age that makes them usable.
#[derive(Debug, Clone)]
pub struct LeaderSamples {
    age: Duration,
    samples: VecDeque<(Instant, u64)>,
}

impl LeaderSamples {
    /// Samples are used once they are `age` old. The protocol says 60 s, and one each 10 s.
    #[must_use]
    pub fn new(age: Duration) -> Self {
        Self { age, samples: VecDeque::new() }
    }

    /// Notes a sample. Only the newest aged sample and younger ones are kept: at most
    /// two more than are taken while one ages.
    pub fn record(&mut self, now: Instant, last_sequence: u64) {
        self.samples.push_back((now, last_sequence));
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.age) {
            self.samples.pop_front();
        }
    }

    /// The newest sample that is old enough.
    #[must_use]
    pub fn aged(&self, now: Instant) -> Option<u64> {
        let old = |(at, _): &&(Instant, u64)| now.duration_since(*at) >= self.age;
        self.samples.iter().rev().find(old).map(|(_, sequence)| *sequence)
    }
}

/// The first message at or after `from_sequence` that matches `filter`, as the stream's leader sees it.
///
/// # Errors
///
/// What hindered the request.
pub async fn next_message(
    connection: &Connection,
    stream: &str,
    filter: Option<&str>,
    from_sequence: u64,
) -> Result<Option<u64>, SourceError> {
    let request = json!({"seq": from_sequence, "next_by_subj": filter.unwrap_or(">")});
    match connection.ask::<GetAnswer>(&format!("STREAM.MSG.GET.{stream}"), &request).await {
        Ok(answer) => Ok(Some(answer.message.seq)),
        Err(error) if error.has_code(code::NO_MESSAGE_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same with the time at which the broker stored it. The answer carries the message.
///
/// # Errors
///
/// What hindered the request.
pub async fn next_message_time(
    connection: &Connection,
    stream: &str,
    filter: Option<&str>,
    from_sequence: u64,
) -> Result<Option<(u64, StreamTime)>, SourceError> {
    let subject = format!("STREAM.MSG.GET.{stream}");
    let request = json!({"seq": from_sequence, "next_by_subj": filter.unwrap_or(">")});
    match connection.ask::<GetAnswer>(&subject, &request).await {
        Ok(GetAnswer { message }) => {
            let time = parse_time(&message.time).ok_or_else(|| SourceError::Protocol {
                operation: subject,
                source: "the message has no time".into(),
            })?;
            Ok(Some((message.seq, time)))
        }
        Err(error) if error.has_code(code::NO_MESSAGE_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where the floor of an idle partition may go (S5): to `aged_last` when no message of the partition
/// stands between the floor and it. None: nowhere.
///
/// # Errors
///
/// What hindered the request.
pub async fn idle_advance(
    connection: &Connection,
    stream: &str,
    filter: Option<&str>,
    floor: Position,
    aged_last: u64,
) -> Result<Option<Position>, SourceError> {
    if aged_last <= floor.0 {
        return Ok(None);
    }
    let next = next_message(connection, stream, filter, floor.next()).await?;
    Ok(next.is_none_or(|sequence| sequence > aged_last).then_some(Position(aged_last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_only_an_aged_sample_is_used_and_few_are_kept() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut samples = LeaderSamples::new(Duration::from_secs(60));
        for step in 0..100 {
            samples.record(at(step * 10), step * 7);
        }
        assert_eq!(samples.aged(at(990)), Some(93 * 7));
        assert_eq!(samples.aged(at(999)), Some(93 * 7));
        assert_eq!(samples.aged(at(1_000)), Some(94 * 7));
        assert!(samples.samples.len() <= 8, "{}", samples.samples.len());
    }

    #[test]
    fn s5_a_young_sample_moves_nothing() {
        let start = Instant::now();
        let mut samples = LeaderSamples::new(Duration::from_secs(60));
        samples.record(start, 5);
        assert_eq!(samples.aged(start + Duration::from_secs(59)), None);
        assert_eq!(samples.aged(start + Duration::from_secs(60)), Some(5));
    }
}
