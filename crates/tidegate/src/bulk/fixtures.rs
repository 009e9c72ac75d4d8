//! Intervals to try runs on.

use jiff::Timestamp;
use tidegate_types::DataInterval;

/// The hour of this number since 1970.
pub(crate) fn hour(number: i64) -> DataInterval {
    let edge = |hours: i64| Timestamp::from_second(hours * 3_600).expect("near 1970");
    DataInterval::new(edge(number), edge(number + 1)).expect("it ends after it starts")
}
