//! Data intervals: what one run moves.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a stretch of time is no data interval.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntervalError {
    /// It ends where it begins, or before.
    #[error("an interval's end, {end}, must lie behind its start, {start}")]
    Empty {
        /// The start.
        start: Timestamp,
        /// The end.
        end: Timestamp,
    },
    /// An edge has parts of a second, or lies before 1970.
    #[error("{0} cannot be the edge of an interval: write whole seconds from 1970 on")]
    Edge(Timestamp),
    /// The text is not `<start>/<end>`.
    #[error(
        "{0:?} is no interval; write <start>/<end>, such as 2026-06-01T00:00:00Z/2026-06-01T01:00:00Z"
    )]
    Text(String),
}

/// A half-open stretch of time `[start, end)`, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DataInterval {
    start: i64,
    end: i64,
}

impl DataInterval {
    /// The interval between two instants.
    ///
    /// # Errors
    ///
    /// [`IntervalError`] when it is empty, or an edge is no whole second since 1970.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, IntervalError> {
        let edge = |at: Timestamp| {
            let whole = at.subsec_nanosecond() == 0 && at.as_second() >= 0;
            if whole { Ok(at.as_second()) } else { Err(IntervalError::Edge(at)) }
        };
        let interval = Self { start: edge(start)?, end: edge(end)? };
        if interval.start >= interval.end {
            return Err(IntervalError::Empty { start, end });
        }
        Ok(interval)
    }

    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.start).unwrap_or(Timestamp::MAX)
    }

    /// The first instant behind it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp::from_second(self.end).unwrap_or(Timestamp::MAX)
    }

    /// Its first instant, in seconds since 1970.
    #[must_use]
    pub fn start_second(self) -> i64 {
        self.start
    }

    /// The first instant behind it, in seconds since 1970.
    #[must_use]
    pub fn end_second(self) -> i64 {
        self.end
    }

    /// Intervals in order, joined where they touch.
    #[must_use]
    pub fn merged(intervals: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut sorted: Vec<_> = intervals.into_iter().collect();
        sorted.sort_unstable();
        let mut joined: Vec<Self> = Vec::with_capacity(sorted.len());
        for next in sorted {
            match joined.last_mut() {
                Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
                _ => joined.push(next),
            }
        }
        joined
    }

    /// Whether all of `other` lies within.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether they share an instant.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

impl fmt::Display for DataInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start(), self.end())
    }
}

impl FromStr for DataInterval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let wrong = || IntervalError::Text(text.to_owned());
        let (start, end) = text.split_once('/').ok_or_else(wrong)?;
        Self::new(start.parse().map_err(|_| wrong())?, end.parse().map_err(|_| wrong())?)
    }
}

impl TryFrom<String> for DataInterval {
    type Error = IntervalError;

    fn try_from(text: String) -> Result<Self, IntervalError> {
        text.parse()
    }
}

impl From<DataInterval> for String {
    fn from(interval: DataInterval) -> Self {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> DataInterval {
        text.parse().unwrap()
    }

    #[test]
    fn an_interval_is_read_as_it_is_printed() {
        let hour = of("2026-06-01T00:00:00Z/2026-06-01T01:00:00Z");
        assert_eq!(of(&hour.to_string()), hour);
        assert_eq!(of("2026-06-01T09:00:00+09:00/2026-06-01T01:00:00Z"), hour);
        assert_eq!(hour.end_second() - hour.start_second(), 3600);
    }

    #[test]
    fn what_is_empty_or_finer_than_a_second_or_too_old_is_refused() {
        for text in [
            "2026-06-01T01:00:00Z/2026-06-01T01:00:00Z",
            "2026-06-01T01:00:00.5Z/2026-06-01T02:00:00Z",
            "1969-06-01T01:00:00Z/2026-06-01T02:00:00Z",
            "2026-06-01T01:00:00Z",
            "a/b",
        ] {
            assert!(text.parse::<DataInterval>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_touches_or_overlaps_is_joined_in_whatever_order_it_comes() {
        let hour = |start: i64, end: i64| DataInterval { start: start * 3600, end: end * 3600 };
        let given = [hour(4, 5), hour(0, 1), hour(1, 3), hour(2, 3), hour(0, 2), hour(7, 8)];
        assert_eq!(DataInterval::merged(given), [hour(0, 3), hour(4, 5), hour(7, 8)]);
        assert_eq!(DataInterval::merged([]), []);
    }

    #[test]
    fn the_end_belongs_to_the_next_one() {
        let (first, second) = (
            of("2026-06-01T00:00:00Z/2026-06-01T01:00:00Z"),
            of("2026-06-01T01:00:00Z/2026-06-01T02:00:00Z"),
        );
        assert!(!first.overlaps(second));
        let both = of("2026-06-01T00:00:00Z/2026-06-01T02:00:00Z");
        assert!(both.overlaps(first) && both.contains(second) && !first.contains(both));
    }
}
