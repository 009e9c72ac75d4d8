//! From the times of a cron expression to instants: what summer time does to them.
//!
//! The expression speaks of wall clocks, so that it is searched on one that never jumps, and every match
//! is then looked up in the zone. How a jump is taken depends on the hours:
//!
//! - **Every hour** (`*`, `*/2`): whatever the wall clock shows is a tick. An hour that is repeated ticks
//!   twice, and one that is skipped does not tick, so that intervals are as long as they say.
//! - **Named hours** (`2`, `1,13`, `8-18`): each match is one tick. One that the clock skips comes at the
//!   first instant after; one that it repeats comes the first time only.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, errors::CronError};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

/// The fields of an expression.
const FIELDS: usize = 5;
/// Changes of the clock that a search passes at most: two a year for longer than a calendar repeats.
const MOST_CHANGES: usize = 200;
/// Matches of a wall clock that are over already are at most those of a day.
const MINUTES_A_DAY: usize = 24 * 60;

/// A cron expression in a zone.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    cron: Cron,
    /// The same on every day.
    daily: Cron,
    zone: TimeZone,
    every_hour: bool,
}

impl Ticks {
    /// Reads an expression of five fields; the error says what is wrong with it.
    pub(crate) fn new(text: &str, zone: TimeZone) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS {
            return Err(format!(
                "it has {} fields; write five, minute, hour, day of month, month and day of week",
                fields.len()
            ));
        }
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let read = |text: &str| parser.parse(text).map_err(|error: CronError| error.to_string());
        let cron = read(&fields.join(" "))?;
        let daily = read(&format!("{} {} * * *", fields[0], fields[1]))?;
        Ok(Self { cron, daily, zone, every_hour: fields[1].starts_with('*') })
    }

    /// How close the ticks of one day and the first of the next are on the wall clock; none when that
    /// cannot be told.
    pub(crate) fn closest_of_days(&self) -> Option<SignedDuration> {
        let find = |from: &Zoned, inclusive| self.daily.find_next_occurrence(from, inclusive).ok();
        let midnight = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let mut last = find(&midnight, true)?;
        let mut closest: Option<SignedDuration> = None;
        for _ in 0..MINUTES_A_DAY {
            let tick = find(&last, false)?;
            let distance = tick.duration_since(&last);
            closest = Some(closest.map_or(distance, |closest| closest.min(distance)));
            if tick.date() > midnight.date() {
                return closest;
            }
            last = tick;
        }
        closest
    }

    /// The zone of the wall clock.
    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// When the clock is changed, from an instant on.
    pub(crate) fn changes_after(&self, instant: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.zone.following(instant).map(|change| change.timestamp())
    }

    /// The first tick after an instant; none when there is no other.
    pub(crate) fn after(&self, instant: Timestamp) -> Option<Timestamp> {
        if self.every_hour { self.shown_after(instant) } else { self.named_after(instant) }
    }

    /// The first instant whose wall clock matches: a search between each two changes of the clock.
    fn shown_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut from = whole_second(instant)?.checked_add(SignedDuration::from_secs(1)).ok()?;
        for _ in 0..MOST_CHANGES {
            let offset = self.zone.to_offset(from);
            let found = self.wall_clock_from(offset.to_datetime(from))?;
            let tick = offset.to_timestamp(found).ok()?;
            match self.changes_after(from).next() {
                Some(change) if change <= tick => from = change,
                _ => return Some(tick),
            }
        }
        None
    }

    /// The first match whose one instant lies behind.
    fn named_after(&self, instant: Timestamp) -> Option<Timestamp> {
        let mut from = whole_second(instant)?.to_zoned(self.zone.clone()).datetime();
        for _ in 0..MINUTES_A_DAY {
            let found = self.wall_clock_from(from)?;
            let tick = self.instant_of(found)?;
            if tick > instant {
                return Some(tick);
            }
            from = found.checked_add(SignedDuration::from_secs(1)).ok()?;
        }
        None
    }

    /// The first match at or after a time of the wall clock.
    fn wall_clock_from(&self, from: DateTime) -> Option<DateTime> {
        let from = from.to_zoned(TimeZone::UTC).ok()?;
        self.cron.find_next_occurrence(&from, true).ok().map(|found| found.datetime())
    }

    /// When the wall clock shows a time first; of a time that it skips, the first instant after.
    fn instant_of(&self, time: DateTime) -> Option<Timestamp> {
        let found = self.zone.to_ambiguous_timestamp(time);
        if let AmbiguousOffset::Gap { before, .. } = found.offset() {
            // As the clock before would have shown it, which is after the change.
            let after = before.to_timestamp(time).ok()?;
            let beyond = after.checked_add(SignedDuration::from_secs(1)).ok()?;
            return self.zone.preceding(beyond).next().map(|change| change.timestamp());
        }
        found.earlier().ok()
    }
}

/// The second that an instant lies in.
fn whole_second(instant: Timestamp) -> Option<Timestamp> {
    let second = instant.as_second() - i64::from(instant.subsec_nanosecond() < 0);
    Timestamp::from_second(second).ok()
}
