//! The rows of an interval, by a column that says when they came (B7).

use jiff::civil::Time;
use jiff::tz::TimeZone;
use tidegate_config::Incremental;
use tidegate_types::{DataInterval, Reason};
use tokio_postgres::types::{Kind, Type};

use super::relation::qualified;
use super::types::Described;
use crate::ExtractError;
use crate::civil;
use crate::sql::literal;

/// How the interval's rows are told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The column's name at the source.
    pub(super) column: String,
    /// Holds for the interval's rows, each half-open edge once.
    pub(super) predicate: String,
    /// Holds for rows that no interval has: without a cursor, or with an infinite one. Written so that an
    /// index finds them.
    pub(super) none: String,
}

impl Cursor {
    /// Of `interval`, by the column that `incremental` names.
    pub(super) fn new(
        incremental: &Incremental,
        interval: DataInterval,
        described: &[Described],
        label: &str,
    ) -> Result<Self, ExtractError> {
        let name = &incremental.cursor_field;
        let refused = |problem: &str| {
            let what = format!("the cursor {name:?} of {label} {problem}");
            Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
        };
        let Some(column) = described.iter().find(|column| column.name == *name) else {
            return refused("does not exist: set bulk.incremental.cursorField to a column");
        };
        let edges = match *base(&column.type_) {
            Type::TIMESTAMPTZ => [interval.start(), interval.end()]
                .map(|edge| format!("{}::timestamptz", literal(&edge.to_string()))),
            ref local @ (Type::TIMESTAMP | Type::DATE) => {
                let Some(zone) = &incremental.time_zone else {
                    return refused(
                        "has no time zone: set bulk.incremental.timeZone to the one it is written in",
                    );
                };
                let Ok(zone) = TimeZone::get(zone) else {
                    return refused(&format!(
                        "is in a time zone that does not exist, {zone:?}: set bulk.incremental.timeZone to one such as Europe/Berlin"
                    ));
                };
                let edges = [interval.start(), interval.end()].map(|at| civil::edge(at, &zone));
                // A day counts as its midnight: rows of its later hours would belong to an interval
                // that is done.
                let whole_days = edges.iter().all(|edge| edge.time() == Time::midnight());
                if *local == Type::DATE && !whole_days {
                    return refused(&format!(
                        "is a date, and {interval} is no whole days in bulk.incremental.timeZone: let \
                         the schedule tick at midnight"
                    ));
                }
                edges.map(|edge| format!("{}::timestamp", literal(&edge.to_string())))
            }
            ref other => {
                return refused(&format!(
                    "is of the type {}: a cursor is a timestamp or a date",
                    other.name()
                ));
            }
        };
        let cursor = qualified(name);
        let [start, end] = edges;
        let predicate = format!("{cursor} >= {start} AND {cursor} < {end}");
        let none = format!("({cursor} IS NULL OR {cursor} IN ('-infinity', 'infinity'))");
        Ok(Self { column: name.clone(), predicate, none })
    }
}

fn base(type_: &Type) -> &Type {
    match type_.kind() {
        Kind::Domain(of) => base(of),
        _ => type_,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::incremental;

    fn of(type_: Type, zone: Option<&str>, interval: &str) -> Result<String, ExtractError> {
        let described =
            [Described { name: "made".to_owned(), type_, modifier: -1, stands_for: None }];
        let interval = interval.parse().unwrap();
        Cursor::new(&incremental(zone), interval, &described, "t").map(|cursor| cursor.predicate)
    }

    #[test]
    fn the_start_belongs_to_the_interval_and_the_end_does_not() {
        let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
        assert_eq!(
            of(Type::TIMESTAMPTZ, None, hour).unwrap(),
            r#""tg"."made" >= '2026-06-01T00:00:00Z'::timestamptz AND "tg"."made" < '2026-06-01T01:00:00Z'::timestamptz"#
        );
        assert_eq!(
            of(Type::TIMESTAMP, Some("Asia/Seoul"), hour).unwrap(),
            r#""tg"."made" >= '2026-06-01T09:00:00'::timestamp AND "tg"."made" < '2026-06-01T10:00:00'::timestamp"#
        );
    }

    /// Ticks may lie within the hour that passes twice.
    #[test]
    fn intervals_that_touch_share_no_local_time_when_clocks_are_turned_back() {
        let zone = Some("America/New_York");
        for (interval, start, end) in [
            ("2026-11-01T04:30:00Z/2026-11-01T05:30:00Z", "00:30", "01:00"),
            ("2026-11-01T05:30:00Z/2026-11-01T06:00:00Z", "01:00", "01:00"),
            ("2026-11-01T06:00:00Z/2026-11-01T06:30:00Z", "01:00", "01:30"),
            ("2026-11-01T06:30:00Z/2026-11-01T07:00:00Z", "01:30", "02:00"),
        ] {
            let at = |time: &str| format!("'2026-11-01T{time}:00'::timestamp");
            let expected = format!(r#""tg"."made" >= {} AND "tg"."made" < {}"#, at(start), at(end));
            assert_eq!(of(Type::TIMESTAMP, zone, interval).unwrap(), expected, "{interval}");
        }
    }

    #[test]
    fn a_cursor_that_says_no_instant_is_refused() {
        let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
        for (type_, zone, says) in [
            (Type::TIMESTAMP, None, "timeZone"),
            (Type::DATE, None, "timeZone"),
            (Type::DATE, Some("Mars/Olympus"), "Mars/Olympus"),
            (Type::DATE, Some("UTC"), "midnight"),
            (Type::INT8, None, "int8"),
        ] {
            let error = of(type_, zone, hour).expect_err(says);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.reason_word(), "InvalidConfiguration");
        }
    }

    impl ExtractError {
        fn reason_word(&self) -> String {
            use tidegate_types::Explained as _;
            self.reason().to_string()
        }
    }
}
