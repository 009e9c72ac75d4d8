//! Hours to try schedules and runs on, counted from one in the year 2027.

use jiff::Timestamp;
use tidegate_types::DataInterval;

const FIRST: i64 = 1_800_000_000 / 3600;

pub(crate) fn at(hour: i64) -> Timestamp {
    Timestamp::from_second((FIRST + hour) * 3600).expect("near the first one")
}

pub(crate) fn hours(start: i64, end: i64) -> DataInterval {
    DataInterval::new(at(start), at(end)).expect("it ends after it starts")
}

pub(crate) fn hour(start: i64) -> DataInterval {
    hours(start, start + 1)
}
