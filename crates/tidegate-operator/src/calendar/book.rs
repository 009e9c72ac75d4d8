//! What the log was found to hold of one stretch of time.

use jiff::{SignedDuration, Timestamp};
use tidegate_config::Calendar;
use tidegate_types::DataInterval;

/// How long it counts that an interval was not done. That it was done counts for ever.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// The most stretches that are remembered; what is older is asked for again.
const MOST: usize = 10_000;

/// A stretch of time, and what of it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Book {
    covered: DataInterval,
    done: Vec<DataInterval>,
    tried: Vec<DataInterval>,
    taken: Timestamp,
}

impl Book {
    /// Takes an answer to the question about `asked`; none when it says nothing about its beginning.
    pub(crate) fn of(answer: &Calendar, asked: DataInterval, now: Timestamp) -> Option<Self> {
        let end = match &answer.cut_at {
            Some(cut) => cut.parse::<Timestamp>().ok()?.min(asked.end()),
            None => asked.end(),
        };
        let covered = DataInterval::new(asked.start(), end).ok()?;
        let tried = answer.tried.clone();
        let done = DataInterval::merged(answer.done.iter().copied());
        Some(Self { covered, done, tried, taken: now })
    }

    /// Puts another answer behind this one, if it goes on where this one ends.
    pub(crate) fn extended(self, next: Self) -> Self {
        let follows = self.covered.start() <= next.covered.start()
            && next.covered.start() <= self.covered.end()
            && self.done.len() + self.tried.len() < MOST;
        if !follows {
            return next;
        }
        let end = self.covered.end().max(next.covered.end());
        let Ok(covered) = DataInterval::new(self.covered.start(), end) else { return next };
        let tried = self.tried.into_iter().chain(next.tried).collect();
        let done = DataInterval::merged(self.done.into_iter().chain(next.done));
        Self { covered, done, tried, taken: self.taken }
    }

    /// What is known to be done, oldest first, merged where it touches.
    pub(crate) fn done(&self) -> &[DataInterval] {
        &self.done
    }

    /// Since when the log knows the pipeline, which by itself would begin at `first`.
    pub(crate) fn known_since(&self, first: Option<Timestamp>) -> Option<Timestamp> {
        tidegate_schedule::known_since(&self.done, &self.tried, first)
    }

    /// Whether the log holds the interval; none when that was not asked.
    pub(crate) fn holds(&self, interval: DataInterval) -> Option<bool> {
        if self.done.iter().any(|done| done.contains(interval)) {
            return Some(true);
        }
        self.covered.contains(interval).then_some(false)
    }

    /// Whether the last run of just this interval was begun and did not end well.
    pub(crate) fn has_tried(&self, interval: DataInterval) -> bool {
        self.tried.contains(&interval)
    }

    /// Whether the last run of something of the interval was begun and did not end well, whatever the table
    /// holds of it by a run before.
    pub(crate) fn was_tried(&self, interval: DataInterval) -> bool {
        self.tried.iter().any(|tried| tried.overlaps(interval))
    }

    /// Whether it says something of all that ever was, up to its end.
    pub(crate) fn begins_at_first(&self) -> bool {
        self.covered.start() == Timestamp::UNIX_EPOCH
    }

    /// Whether it says something from this instant on, or from before it.
    pub(crate) fn begins_by(&self, at: Timestamp) -> bool {
        self.covered.start() <= at && at <= self.covered.end()
    }

    /// Up to where it says something.
    pub(crate) fn end(&self) -> Timestamp {
        self.covered.end()
    }

    /// When the log said so.
    pub(crate) fn taken(&self) -> Timestamp {
        self.taken
    }

    /// Whether it may still be believed that something is not done.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.taken) < FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::fixtures::{at, hours};

    fn now() -> Timestamp {
        at(100)
    }

    #[test]
    fn a_book_knows_what_is_done_what_is_not_and_what_it_was_not_asked() {
        let answer = Calendar { done: vec![hours(0, 2), hours(3, 4)], ..Calendar::default() };
        let book = Book::of(&answer, hours(1, 6), now()).unwrap();
        for (interval, wanted) in [
            (hours(0, 1), Some(true)),
            (hours(1, 2), Some(true)),
            (hours(2, 3), Some(false)),
            (hours(3, 5), Some(false)),
            (hours(5, 6), Some(false)),
            (hours(6, 7), None),
            (hours(5, 7), None),
        ] {
            assert_eq!(book.holds(interval), wanted, "{interval}");
        }
    }

    #[test]
    fn an_answer_that_was_cut_counts_up_to_there_and_the_next_one_is_put_behind_it() {
        let cut_at = Some(hours(4, 5).start().to_string());
        let first =
            Calendar { done: vec![hours(0, 1), hours(3, 4)], tried: vec![hours(2, 3)], cut_at };
        let first = Book::of(&first, hours(0, 9), now()).unwrap();
        assert_eq!((first.holds(hours(5, 6)), first.end()), (None, hours(4, 5).start()));
        let second = Calendar { done: vec![hours(4, 6)], ..Calendar::default() };
        let second = Book::of(&second, hours(4, 9), now()).unwrap();
        let both = first.clone().extended(second.clone());
        assert_eq!(both.done, [hours(0, 1), hours(3, 6)]);
        assert_eq!(both.holds(hours(1, 2)), Some(false));
        assert_eq!(both.end(), hours(8, 9).end());
        assert!(both.was_tried(hours(2, 3)) && !both.was_tried(hours(1, 2)));
        let elsewhere = Book::of(&Calendar::default(), hours(20, 21), now()).unwrap();
        assert_eq!(first.extended(elsewhere.clone()), elsewhere);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_none() {
        let unreadable = Calendar { cut_at: Some("then".to_owned()), ..Calendar::default() };
        assert_eq!(Book::of(&unreadable, hours(0, 9), now()), None);
        let cut_at = Some(hours(0, 1).start().to_string());
        let empty = Calendar { cut_at, ..Calendar::default() };
        assert_eq!(Book::of(&empty, hours(0, 9), now()), None);
    }
}
