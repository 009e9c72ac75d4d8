//! When an event happened, and what that means for its record.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use tidegate_batch::{Timeliness, lateness};
use tidegate_types::{AfterRepairPolicy, DataInterval, LatePolicy, Reason, Span, StreamTime};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// When an event's time is too far from its publish time.
#[derive(Debug, Clone)]
pub(crate) struct EventTimeRule {
    /// The column's index in the decoder's schema.
    pub(crate) column: usize,
    /// How far it may be.
    pub(crate) allowed: Span,
    /// What happens beyond.
    pub(crate) policy: LatePolicy,
    /// What happens in intervals that were repaired.
    pub(crate) after_repair: AfterRepairPolicy,
}

impl EventTimeRule {
    /// What is wrong with an event's time by the message alone.
    pub(crate) fn untimely(
        &self,
        event: Option<StreamTime>,
        published: StreamTime,
    ) -> Option<(Reason, String)> {
        if self.policy == LatePolicy::Append {
            return None;
        }
        let (reason, what) = match lateness(event, published, self.allowed) {
            Timeliness::OnTime => return None,
            Timeliness::TooLate => (Reason::TooLate, "older"),
            Timeliness::TooFarAhead => (Reason::TooFarAhead, "newer"),
        };
        let allowed = self.allowed;
        let detail = format!("event time is {what} than the publish time by more than {allowed}");
        Some((reason, detail))
    }
}

/// Which of the intervals, in order and apart, the instant lies in.
pub(crate) fn within(intervals: &[DataInterval], at: Option<StreamTime>) -> Option<DataInterval> {
    let second = at?.0.div_euclid(SECOND);
    let begun = intervals.partition_point(|interval| interval.start_second() <= second);
    let last = intervals[..begun].last()?;
    (second < last.end_second()).then_some(*last)
}

/// The event time of a row in microseconds; a date counts as its midnight.
pub(crate) fn event_time(column: &ArrayRef, row: usize) -> Option<StreamTime> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Some(StreamTime(column.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        DataType::Date32 => {
            Some(StreamTime(i64::from(column.as_primitive::<Date32Type>().value(row)) * DAY))
        }
        _ => None,
    }
}
