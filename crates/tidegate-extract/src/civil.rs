//! The edges of an interval on a clock on the wall: for cursors without a time zone.
//!
//! Every time on the wall belongs to exactly one instant, and later ones to no earlier instant, so that
//! intervals that touch share no row and leave none out:
//!
//! - an hour that comes twice (clocks go back) counts as its second pass. The first would belong to an
//!   interval that may have been read before the second pass began;
//! - an hour that never comes (clocks go forward) counts as the instant at which it is left out.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// How far ahead clocks that go back are looked for: the largest shift there ever was is a day.
const REACH: SignedDuration = SignedDuration::from_hours(26);

/// The first time on the wall that belongs to `at` or later.
pub(crate) fn edge(at: Timestamp, zone: &TimeZone) -> DateTime {
    let here = zone.to_offset(at);
    let wall = here.to_datetime(at);
    let before = at.checked_sub(SignedDuration::from_secs(1)).map(|at| zone.to_offset(at));
    if let Ok(before) = before
        && before < here
    {
        return before.to_datetime(at);
    }
    let mut offset = here;
    for transition in zone.following(at) {
        if transition.timestamp().duration_since(at) > REACH {
            break;
        }
        let doubled_from = transition.offset().to_datetime(transition.timestamp());
        if transition.offset() < offset && doubled_from <= wall {
            return doubled_from;
        }
        offset = transition.offset();
    }
    wall
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edge_of(at: &str, zone: &str) -> String {
        edge(at.parse().expect(at), &TimeZone::get(zone).expect(zone)).to_string()
    }

    #[test]
    fn an_hour_that_comes_twice_belongs_to_its_second_pass() {
        for (at, wall) in [
            ("2026-10-24T23:30:00Z", "2026-10-25T01:30:00"),
            ("2026-10-25T00:00:00Z", "2026-10-25T02:00:00"),
            ("2026-10-25T00:30:00Z", "2026-10-25T02:00:00"),
            ("2026-10-25T01:00:00Z", "2026-10-25T02:00:00"),
            ("2026-10-25T01:30:00Z", "2026-10-25T02:30:00"),
            ("2026-10-25T02:00:00Z", "2026-10-25T03:00:00"),
        ] {
            assert_eq!(edge_of(at, "Europe/Berlin"), wall, "{at}");
        }
    }

    #[test]
    fn an_hour_that_never_comes_belongs_to_the_instant_it_is_left_out_at() {
        for (at, wall) in [
            ("2026-03-29T00:59:59Z", "2026-03-29T01:59:59"),
            ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00"),
            ("2026-03-29T01:00:01Z", "2026-03-29T03:00:01"),
        ] {
            assert_eq!(edge_of(at, "Europe/Berlin"), wall, "{at}");
        }
        assert_eq!(edge_of("2026-06-01T00:00:00Z", "UTC"), "2026-06-01T00:00:00");
        assert_eq!(edge_of("2026-06-01T00:00:00Z", "Asia/Seoul"), "2026-06-01T09:00:00");
    }

    proptest! {
        #[test]
        fn a_later_instant_has_no_earlier_edge(
            zone in prop::sample::select(vec![
                "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia",
                "America/Sao_Paulo", "Asia/Kathmandu", "Africa/Casablanca", "Europe/Dublin",
            ]),
            start in 0_i64..2_500_000_000,
            step in 1_i64..7200,
        ) {
            let zone = TimeZone::get(zone).expect("a zone");
            let (first, second) = (start, start + step);
            let edges = [first, second]
                .map(|second| edge(Timestamp::from_second(second).expect("a time"), &zone));
            prop_assert!(edges[0] <= edges[1], "{edges:?}");
        }
    }
}
