//! Which messages of a batch are rows and which are duplicates: facts in, decision out (D1).

use hashbrown::HashTable;
use tidegate_types::StreamTime;

use crate::clock::StreamClock;
use crate::key::Fingerprint;

/// A message that would become a row, as far as the window is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The key's fingerprint; none when the message carries no key.
    pub id: Option<Fingerprint>,
    /// When the broker stored it.
    pub time: StreamTime,
}

/// What a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A row; its id has entered the window.
    Row,
    /// A row without a key: never in the window, counted apart (D1).
    Unkeyed,
    /// Dropped: the window holds an accepted row with this id.
    Duplicate,
}

/// What to do with a batch, before anything was changed.
pub(crate) struct Decision {
    /// One for each candidate, in order.
    pub(crate) verdicts: Vec<Verdict>,
    /// The ids that enter the window, with the times of their rows.
    pub(crate) accepted: Vec<(Fingerprint, StreamTime)>,
    /// The clock after the batch.
    pub(crate) clock: StreamClock,
}

/// Judges `candidates` in stream order. `known` holds, for each of them, the latest time at which the
/// window accepted its id before this batch; ids accepted within the batch are found here.
pub(crate) fn decide(
    candidates: &[Candidate],
    known: &[Option<StreamTime>],
    mut clock: StreamClock,
) -> Decision {
    let mut fresh = Fresh::default();
    let mut accepted = Vec::new();
    let mut judge = |(candidate, known): (&Candidate, &Option<StreamTime>)| {
        clock.observe(candidate.time);
        let Some(id) = candidate.id else { return Verdict::Unkeyed };
        if fresh.latest(id).max(*known).is_some_and(|time| time > clock.horizon()) {
            return Verdict::Duplicate;
        }
        fresh.accept(id, candidate.time);
        accepted.push((id, candidate.time));
        Verdict::Row
    };
    let verdicts = candidates.iter().zip(known).map(&mut judge).collect();
    Decision { verdicts, accepted, clock }
}

/// The ids that this batch accepted so far.
#[derive(Default)]
struct Fresh(HashTable<(Fingerprint, StreamTime)>);

impl Fresh {
    fn latest(&self, id: Fingerprint) -> Option<StreamTime> {
        self.0.find(id.hash(), |(known, _)| *known == id).map(|(_, time)| *time)
    }

    fn accept(&mut self, id: Fingerprint, time: StreamTime) {
        self.0
            .entry(id.hash(), |(known, _)| *known == id, |(known, _)| known.hash())
            .and_modify(|(_, latest)| *latest = time.max(*latest))
            .or_insert((id, time));
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::Span;

    use super::*;
    use crate::key::KeyHasher;

    /// `(key, time, latest known time)`, with a window of 1000 µs.
    fn verdicts(rows: &[(&str, i64, Option<i64>)]) -> Vec<Verdict> {
        let hasher = KeyHasher::new(1);
        let id = |key: &str| (!key.is_empty()).then(|| hasher.fingerprint(key.as_bytes()));
        let candidates: Vec<_> = rows
            .iter()
            .map(|(key, time, _)| Candidate { id: id(key), time: StreamTime(*time) })
            .collect();
        let known: Vec<_> = rows.iter().map(|row| row.2.map(StreamTime)).collect();
        decide(&candidates, &known, StreamClock::new(Span::millis(1))).verdicts
    }

    #[test]
    fn d1_a_duplicate_has_an_accepted_row_later_than_stream_time_less_the_window() {
        use Verdict::{Duplicate, Row, Unkeyed};
        for (name, rows, expected) in [
            ("the first of its kind", &[("a", 5_000, None)][..], &[Row][..]),
            ("within the window", &[("a", 5_000, Some(4_001))], &[Duplicate]),
            ("exactly a window old", &[("a", 5_000, Some(4_000))], &[Row]),
            ("within the batch", &[("a", 5_000, None), ("a", 5_999, None)], &[Row, Duplicate]),
            ("a window later", &[("a", 5_000, None), ("a", 6_000, None)], &[Row, Row]),
            ("no key", &[("", 5_000, None), ("", 5_000, None)], &[Unkeyed, Unkeyed]),
            (
                "a duplicate does not prolong the window",
                &[("a", 5_000, None), ("a", 5_900, None), ("a", 6_000, None)],
                &[Row, Duplicate, Row],
            ),
            (
                "a message without a key moves stream time",
                &[("a", 5_000, None), ("", 6_000, None), ("a", 5_100, None)],
                &[Row, Unkeyed, Row],
            ),
            (
                "a row accepted with an old time is forgotten at once",
                &[("", 9_000, None), ("a", 5_000, None), ("a", 5_000, None)],
                &[Unkeyed, Row, Row],
            ),
        ] {
            assert_eq!(verdicts(rows), expected, "{name}");
        }
    }
}
