//! Where a ledger that was never here begins (P6).

use tidegate_types::{Position, StreamTime};

use crate::connection::Connection;
use crate::consumer::{DeliverFrom, probe};
use crate::error::SourceError;
use crate::stream_facts::{StreamFacts, stream_facts};

/// Where reading begins when the log knows no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest message that the stream holds.
    All,
    /// After the newest.
    New,
    /// At this sequence.
    Sequence(u64),
    /// At the first message stored at or after this instant.
    Time(StreamTime),
}

/// Turns a start into the floor that the first claim commits before anything is read (P6).
///
/// # Errors
///
/// [`SourceError::StartBeyondEnd`] for a sequence that the stream does not have yet, or what hindered
/// the request.
pub async fn resolve_start(
    connection: &Connection,
    stream: &str,
    start: StartAt,
) -> Result<Position, SourceError> {
    let facts = stream_facts(connection, stream).await?;
    match start {
        StartAt::Time(time) => {
            let first = sequence_at_time(connection, stream, time).await?;
            Ok(Position(first.saturating_sub(1)))
        }
        other => resolve(&facts, other),
    }
}

/// The sequence of the first message stored at or after `time`; one beyond the last when there is none.
///
/// # Errors
///
/// What hindered the request.
pub async fn sequence_at_time(
    connection: &Connection,
    stream: &str,
    time: StreamTime,
) -> Result<u64, SourceError> {
    let Ok(instant) = jiff::Timestamp::from_microsecond(time.0) else {
        return Ok(stream_facts(connection, stream).await?.last_sequence + 1);
    };
    let from = DeliverFrom::Time(instant.to_string());
    Ok(probe(connection, stream, from, None).await?.delivered.stream_seq + 1)
}

fn resolve(facts: &StreamFacts, start: StartAt) -> Result<Position, SourceError> {
    let before_first = facts.first_sequence.saturating_sub(1);
    match start {
        // Messages that were gone before the ledger began are not lost by it.
        StartAt::Sequence(sequence) if sequence <= facts.last_sequence + 1 => {
            Ok(Position(sequence.saturating_sub(1).max(before_first)))
        }
        StartAt::Sequence(sequence) => Err(SourceError::StartBeyondEnd {
            stream: facts.name.clone(),
            sequence,
            last: facts.last_sequence,
        }),
        StartAt::New => Ok(Position(facts.last_sequence)),
        StartAt::All | StartAt::Time(_) => Ok(Position(before_first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_facts::tests::safe_facts;

    #[test]
    fn p6_every_start_becomes_a_sequence() {
        let mut facts = safe_facts();
        (facts.first_sequence, facts.last_sequence) = (5, 10);
        let cases = [
            (StartAt::All, 4),
            (StartAt::New, 10),
            (StartAt::Sequence(7), 6),
            (StartAt::Sequence(0), 4),
            (StartAt::Sequence(2), 4),
            (StartAt::Sequence(11), 10),
        ];
        for (start, floor) in cases {
            assert_eq!(resolve(&facts, start).ok(), Some(Position(floor)), "{start:?}");
        }
        assert!(matches!(
            resolve(&facts, StartAt::Sequence(12)),
            Err(SourceError::StartBeyondEnd { sequence: 12, last: 10, .. })
        ));
    }
}
