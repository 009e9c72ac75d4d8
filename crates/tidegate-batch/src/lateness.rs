//! Whether an event time lies too far from the publish time (S7).

use tidegate_types::{Span, StreamTime};

/// The verdict on one record's event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timeliness {
    /// Near enough to the publish time, or without an event time.
    OnTime,
    /// Published more than the allowed lateness after it happened.
    TooLate,
    /// Claims to happen more than the allowed lateness after it was published.
    TooFarAhead,
}

/// Judges an event time by the message alone: neither the wall clock nor other messages matter, so a
/// replay judges the same (S7). Exactly `allowed` apart is on time.
#[must_use]
pub fn lateness(
    event_time: Option<StreamTime>,
    publish_time: StreamTime,
    allowed: Span,
) -> Timeliness {
    let Some(event_time) = event_time else { return Timeliness::OnTime };
    let behind = i128::from(publish_time.0) - i128::from(event_time.0);
    let allowed = i128::from(allowed.as_micros());
    if behind > allowed {
        Timeliness::TooLate
    } else if -behind > allowed {
        Timeliness::TooFarAhead
    } else {
        Timeliness::OnTime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_lateness_is_the_distance_between_publish_time_and_event_time() {
        let hour = 3_600_000_000;
        for (event, publish, expected) in [
            (None, 0, Timeliness::OnTime),
            (Some(10 * hour), 10 * hour, Timeliness::OnTime),
            (Some(8 * hour), 10 * hour, Timeliness::OnTime),
            (Some(8 * hour - 1), 10 * hour, Timeliness::TooLate),
            (Some(12 * hour), 10 * hour, Timeliness::OnTime),
            (Some(12 * hour + 1), 10 * hour, Timeliness::TooFarAhead),
            (Some(i64::MIN), i64::MAX, Timeliness::TooLate),
            (Some(i64::MAX), i64::MIN, Timeliness::TooFarAhead),
        ] {
            let judged = lateness(event.map(StreamTime), StreamTime(publish), Span::seconds(7_200));
            assert_eq!(judged, expected, "{event:?} published at {publish}");
        }
    }
}
