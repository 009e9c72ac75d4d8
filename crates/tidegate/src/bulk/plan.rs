//! What a backfill would do, for the eyes of whoever has to agree: neighbours with one fate are one line.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tidegate_transfer::decide::{BackfillPlan, Planned};

use crate::output::{count, grouped};

/// Lines of a plan at most; the rest is counted.
const LINES: usize = 60;

/// An edge of a stretch of time as a person writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// An instant.
    Instant(Timestamp),
    /// The beginning of a day, in whatever zone.
    Day(Date),
}

impl FromStr for Edge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(instant) = text.parse() {
            return Ok(Self::Instant(instant));
        }
        // A time of day without a zone would be read as its day.
        let day = (text.len() == "2026-06-01".len()).then(|| text.parse().ok()).flatten();
        day.map(Self::Day).ok_or_else(|| {
            format!("{text:?} is no time; write 2026-06-01T00:00:00Z, or a day such as 2026-06-01")
        })
    }
}

impl Edge {
    /// The instant that is meant.
    ///
    /// # Errors
    ///
    /// When the zone is not known.
    pub(crate) fn in_zone(self, zone: &str) -> Result<Timestamp, String> {
        match self {
            Self::Instant(instant) => Ok(instant),
            Self::Day(day) => {
                let zone = TimeZone::get(zone).map_err(|error| error.to_string())?;
                let start = zone.to_zoned(day.at(0, 0, 0, 0)).map_err(|error| error.to_string())?;
                Ok(start.timestamp())
            }
        }
    }
}

/// The plan, line by line.
pub(crate) fn told(pipeline: &str, plan: &BackfillPlan) -> Vec<String> {
    let groups: Vec<_> = plan.intervals.chunk_by(same_fate).collect();
    let mut lines: Vec<_> = groups.iter().take(LINES).map(|group| line(group)).collect();
    let hidden: usize = groups.iter().skip(LINES).map(|group| group.len()).sum();
    if hidden > 0 {
        lines.push(format!("  … and {}", count(hidden as u64, "more interval", "more intervals")));
    }
    let refused = plan.refused(false) + plan.refused(true);
    lines.push(format!(
        "{pipeline}: {} of {} to run{}",
        grouped(plan.runs().count() as u64),
        count(plan.intervals.len() as u64, "interval", "intervals"),
        if refused == 0 { String::new() } else { format!(", {} refused", grouped(refused as u64)) },
    ));
    lines
}

fn same_fate(one: &Planned, next: &Planned) -> bool {
    one.interval.end() == next.interval.start()
        && one.state == next.state
        && one.verdict == next.verdict
}

fn line(group: &[Planned]) -> String {
    let [first, ..] = group else { return String::new() };
    let end = group.last().unwrap_or(first).interval.end();
    let fate = &first.verdict;
    let number = count(group.len() as u64, "interval", "intervals");
    format!("  {}/{end}  {number:>13}  {:<14}  {fate}", first.interval.start(), first.state)
}

#[cfg(test)]
mod tests {
    use tidegate_transfer::decide::Verdict;
    use tidegate_types::DataInterval;

    use super::*;

    const RUN: Verdict = Verdict::Run { again: false };

    fn planned(hour: i64, state: &str, verdict: Verdict) -> Planned {
        let edge = |hours: i64| Timestamp::from_second(hours * 3_600).unwrap();
        let interval = DataInterval::new(edge(hour), edge(hour + 1)).unwrap();
        Planned { interval, state: state.into(), verdict }
    }

    #[test]
    fn neighbours_with_one_fate_are_one_line() {
        let skip = || Verdict::Skip("the table holds it".into());
        let plan = BackfillPlan {
            intervals: vec![
                planned(0, "missing", RUN),
                planned(1, "missing", RUN),
                planned(2, "done (g1)", skip()),
                planned(4, "done (g1)", skip()),
                planned(5, "failed (g2)", RUN),
                planned(6, "missing", Verdict::Refuse { why: "not yet".into(), later: true }),
            ],
        };
        assert_eq!(
            told("shop/orders", &plan),
            [
                "  1970-01-01T00:00:00Z/1970-01-01T02:00:00Z    2 intervals  missing         run",
                "  1970-01-01T02:00:00Z/1970-01-01T03:00:00Z     1 interval  done (g1)       \
                 skip: the table holds it",
                "  1970-01-01T04:00:00Z/1970-01-01T05:00:00Z     1 interval  done (g1)       \
                 skip: the table holds it",
                "  1970-01-01T05:00:00Z/1970-01-01T06:00:00Z     1 interval  failed (g2)     run",
                "  1970-01-01T06:00:00Z/1970-01-01T07:00:00Z     1 interval  missing         \
                 refused: not yet",
                "shop/orders: 3 of 6 intervals to run, 1 refused",
            ]
        );
    }

    #[test]
    fn a_long_plan_is_cut_and_counted() {
        let intervals = (0..200)
            .map(|hour| planned(hour, if hour % 2 == 0 { "missing" } else { "failed (g1)" }, RUN));
        let lines = told("p", &BackfillPlan { intervals: intervals.collect() });
        assert_eq!(lines.len(), LINES + 2);
        assert_eq!(lines[LINES], "  … and 140 more intervals");
    }

    #[test]
    fn an_edge_is_an_instant_or_the_midnight_of_the_schedules_zone() {
        let at = |text: &str, zone: &str| {
            text.parse::<Edge>().and_then(|edge| edge.in_zone(zone)).map(|at| at.to_string())
        };
        for (text, zone, instant) in [
            ("2026-06-01T00:00:00Z", "Asia/Seoul", "2026-06-01T00:00:00Z"),
            ("2026-06-01T00:00:00+09:00", "UTC", "2026-05-31T15:00:00Z"),
            ("2026-06-01", "Asia/Seoul", "2026-05-31T15:00:00Z"),
            ("2026-06-01", "UTC", "2026-06-01T00:00:00Z"),
            // Midnight does not exist there on this day.
            ("2026-09-06", "America/Santiago", "2026-09-06T04:00:00Z"),
        ] {
            assert_eq!(at(text, zone).as_deref(), Ok(instant), "{text} in {zone}");
        }
        for text in ["", "yesterday", "2026-13-01", "2026-06-01T00:00", "2026-06-01 00:00:00"] {
            let refused = at(text, "UTC").expect_err(text);
            assert!(refused.contains("is no time"), "{refused}");
        }
    }
}
