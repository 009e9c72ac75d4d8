//! From an interval to the cursor's half-open range (B7).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use mysql_async::Value;
use tidegate_config::Incremental;
use tidegate_types::{DataInterval, Reason};

use super::quote::quoted;
use super::select::Condition;
use super::source_type::SourceType;
use crate::{ExtractError, civil};

/// The rows of an interval: `cursor >= start AND cursor < end`, the edges as parameters.
///
/// A cursor of type `timestamp` is an instant. `datetime` and `date` are read in the zone that
/// `incremental.timeZone` names.
pub(super) fn rows_of(
    interval: DataInterval,
    incremental: &Incremental,
    cursor: &SourceType,
) -> Result<Condition, ExtractError> {
    let name = &incremental.cursor_field;
    let (start, end) = match cursor {
        SourceType::Timestamp { .. } => {
            let utc = |at: Timestamp| TimeZone::UTC.to_datetime(at);
            (utc(interval.start()), utc(interval.end()))
        }
        SourceType::DateTime { .. } | SourceType::Date => {
            let zone = zone(incremental)?;
            (civil::edge(interval.start(), &zone), civil::edge(interval.end(), &zone))
        }
        other => {
            return Err(refuse(format!(
                "incremental.cursorField {name:?} is {other}; a cursor is a timestamp, datetime or date"
            )));
        }
    };
    let midnight = |at: DateTime| at.time() == jiff::civil::Time::midnight();
    if matches!(cursor, SourceType::Date) && !(midnight(start) && midnight(end)) {
        return Err(refuse(format!(
            "incremental.cursorField {name:?} is a date, and {interval} is no whole days in \
             incremental.timeZone; let the schedule tick at midnight"
        )));
    }
    let column = quoted(name);
    Ok(Condition {
        sql: format!("{column} >= ? AND {column} < ?"),
        values: vec![parameter(start), parameter(end)],
    })
}

/// Rows that are in no interval: their cursor is null or a zero date.
pub(super) fn rows_of_none(incremental: &Incremental) -> Condition {
    let column = quoted(&incremental.cursor_field);
    Condition {
        sql: format!("({column} IS NULL OR {column} < ?)"),
        values: vec![Value::Date(1, 1, 1, 0, 0, 0, 0)],
    }
}

fn zone(incremental: &Incremental) -> Result<TimeZone, ExtractError> {
    let name = &incremental.cursor_field;
    let Some(zone) = &incremental.time_zone else {
        return Err(refuse(format!(
            "incremental.cursorField {name:?} has no time zone; say in incremental.timeZone in which it was written"
        )));
    };
    TimeZone::get(zone).map_err(|error| {
        refuse(format!("incremental.timeZone {zone:?} is not known")).because(error)
    })
}

fn parameter(at: DateTime) -> Value {
    let small = |number: i8| u8::try_from(number).unwrap_or(0);
    Value::Date(
        u16::try_from(at.year()).unwrap_or(0),
        small(at.month()),
        small(at.day()),
        small(at.hour()),
        small(at.minute()),
        small(at.second()),
        0,
    )
}

fn refuse(what: String) -> ExtractError {
    ExtractError::permanent(Reason::InvalidConfiguration, what)
}

#[cfg(test)]
mod tests {
    use tidegate_types::Explained;

    use super::*;
    use crate::testing::incremental;

    fn shown(interval: &str, zone: &str, cursor: &SourceType) -> String {
        let condition =
            rows_of(interval.parse().expect("an interval"), &incremental(Some(zone)), cursor);
        let condition = condition.expect("a condition");
        let edges: Vec<_> = condition.values.iter().map(|edge| edge.as_sql(false)).collect();
        edges.join(" ")
    }

    const LOCAL: SourceType = SourceType::DateTime { decimals: 0 };

    #[test]
    fn an_instant_is_compared_in_utc_and_a_local_time_in_its_zone() {
        let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
        let instant = SourceType::Timestamp { decimals: 6 };
        let utc = "'2026-06-01' '2026-06-01 01:00:00'";
        assert_eq!(shown(hour, "Asia/Seoul", &instant), utc);
        let seoul = "'2026-06-01 09:00:00' '2026-06-01 10:00:00'";
        assert_eq!(shown(hour, "Asia/Seoul", &LOCAL), seoul);
    }

    #[test]
    fn the_hour_that_passes_twice_is_read_once_when_both_are_over() {
        let zone = "America/New_York";
        let nothing = shown("2026-11-01T05:00:00Z/2026-11-01T06:00:00Z", zone, &LOCAL);
        assert_eq!(nothing, "'2026-11-01 01:00:00' '2026-11-01 01:00:00'");
        let both = shown("2026-11-01T06:00:00Z/2026-11-01T07:00:00Z", zone, &LOCAL);
        assert_eq!(both, "'2026-11-01 01:00:00' '2026-11-01 02:00:00'");
    }

    /// Ticks may lie within the hour that passes twice.
    #[test]
    fn intervals_that_touch_share_no_local_time_when_clocks_are_turned_back() {
        for (interval, start, end) in [
            ("2026-11-01T04:30:00Z/2026-11-01T05:30:00Z", "00:30", "01:00"),
            ("2026-11-01T05:30:00Z/2026-11-01T06:00:00Z", "01:00", "01:00"),
            ("2026-11-01T06:00:00Z/2026-11-01T06:30:00Z", "01:00", "01:30"),
            ("2026-11-01T06:30:00Z/2026-11-01T07:00:00Z", "01:30", "02:00"),
        ] {
            let expected = format!("'2026-11-01 {start}:00' '2026-11-01 {end}:00'");
            assert_eq!(shown(interval, "America/New_York", &LOCAL), expected, "{interval}");
        }
    }

    #[test]
    fn a_day_is_a_day_in_its_zone_also_when_it_has_23_hours() {
        let days = [
            ("2026-03-29T00:00:00+01:00/2026-03-30T00:00:00+02:00", "'2026-03-29' '2026-03-30'"),
            ("2026-10-25T00:00:00+02:00/2026-10-26T00:00:00+01:00", "'2026-10-25' '2026-10-26'"),
        ];
        for (day, expected) in days {
            assert_eq!(shown(day, "Europe/Berlin", &SourceType::Date), expected);
        }
        let part = "2026-06-01T00:00:00Z/2026-06-01T12:00:00Z".parse().expect("an interval");
        let error =
            rows_of(part, &incremental(Some("UTC")), &SourceType::Date).expect_err("no whole day");
        assert!(error.to_string().contains("midnight"), "{error}");
    }

    #[test]
    fn a_cursor_that_says_no_instant_is_refused() {
        let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().expect("an interval");
        for (by, cursor) in [
            (incremental(None), LOCAL),
            (incremental(Some("Mars/Olympus")), LOCAL),
            (incremental(Some("UTC")), SourceType::Text),
        ] {
            let error = rows_of(hour, &by, &cursor).expect_err("refused");
            assert_eq!(error.reason(), Reason::InvalidConfiguration);
            assert!(!error.is_transient());
        }
    }
}
