//! The stretch of time that the finest field of a template tells.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::{DateTime, Time};

/// From the coarsest to the finest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

impl Unit {
    pub(super) const ALL: [Self; 5] =
        [Self::Year, Self::Month, Self::Day, Self::Hour, Self::Minute];

    /// What a field tells. Ticks lie on whole minutes, so that seconds tell no more than minutes.
    pub(super) fn of_field(letter: char) -> Option<Self> {
        match letter {
            'Y' => Some(Self::Year),
            'm' => Some(Self::Month),
            'd' => Some(Self::Day),
            'H' => Some(Self::Hour),
            'M' | 'S' => Some(Self::Minute),
            _ => None,
        }
    }

    /// The field that tells it.
    pub(super) fn field(self) -> char {
        match self {
            Self::Year => 'Y',
            Self::Month => 'm',
            Self::Day => 'd',
            Self::Hour => 'H',
            Self::Minute => 'M',
        }
    }

    /// The beginning of the unit that a time lies in.
    pub(super) fn floor(self, at: DateTime) -> DateTime {
        let date = at.date();
        let hour = at.hour();
        match self {
            Self::Year => date.first_of_year().to_datetime(Time::midnight()),
            Self::Month => date.first_of_month().to_datetime(Time::midnight()),
            Self::Day => date.to_datetime(Time::midnight()),
            Self::Hour => date.at(hour, 0, 0, 0),
            Self::Minute => date.at(hour, at.minute(), 0, 0),
        }
    }

    /// The beginning of the next one; none at the end of time.
    pub(super) fn next(self, at: DateTime) -> Option<DateTime> {
        let one = match self {
            Self::Year => 1.year(),
            Self::Month => 1.month(),
            Self::Day => 1.day(),
            Self::Hour => 1.hour(),
            Self::Minute => 1.minute(),
        };
        at.checked_add(one).ok()
    }

    /// How many lie between the beginnings of two.
    pub(super) fn count(self, from: DateTime, to: DateTime) -> i64 {
        let months = |at: DateTime| i64::from(at.year()) * 12 + i64::from(at.month());
        let elapsed = to.duration_since(from);
        match self {
            Self::Year => i64::from(to.year()) - i64::from(from.year()),
            Self::Month => months(to) - months(from),
            Self::Day => elapsed.as_hours() / 24,
            Self::Hour => elapsed.as_hours(),
            Self::Minute => elapsed.as_mins(),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
        })
    }
}
