//! The grid: ticks, and the intervals between them.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tidegate_types::DataInterval;

use crate::ScheduleError;
use crate::ticks::Ticks;

/// The shortest interval (B1).
const SHORTEST: SignedDuration = SignedDuration::from_mins(5);
/// How far back a tick is looked for: a leap day that falls on a named weekday comes every 28 years, and
/// after 40 around a century without one.
const FARTHEST_BACK: i64 = 41 * 366 * DAY;
const DAY: i64 = 86_400;
/// Ticks of a year, five minutes apart.
const MOST_A_YEAR: usize = 366 * 24 * 12 + 1;
/// Zones change their clocks two times a year, those of Ramadan four times.
const MOST_CHANGES_A_YEAR: usize = 16;
/// Where the distances of ticks are looked at: the beginning of a leap year.
const SAMPLE: i64 = 1_704_067_200;

/// A cron expression in a time zone.
#[derive(Clone)]
pub struct Grid {
    ticks: Ticks,
    /// The expression and the zone's name, for people.
    name: (String, String),
}

impl Grid {
    /// Reads a schedule.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] when the expression or the zone cannot be read, when it never ticks, or when ticks
    /// are too close.
    pub fn new(cron: &str, time_zone: &str) -> Result<Self, ScheduleError> {
        let zone =
            TimeZone::get(time_zone).map_err(|_| ScheduleError::Zone(time_zone.to_owned()))?;
        let wrong = |problem| ScheduleError::Cron { cron: cron.to_owned(), problem };
        let ticks = Ticks::new(cron, zone).map_err(wrong)?;
        let grid = Self { ticks, name: (cron.to_owned(), time_zone.to_owned()) };
        let sample = Timestamp::from_second(SAMPLE).unwrap_or(Timestamp::UNIX_EPOCH);
        let Some(first) = grid.next_tick(sample) else {
            return Err(wrong("no day is like that".to_owned()));
        };
        grid.check_distances(first)?;
        Ok(grid)
    }

    /// The newest tick at or before `now`; none before the first of all.
    #[must_use]
    pub fn tick_at_or_before(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.as_second();
        if self.ticks_within(now.saturating_sub(1), now) {
            return Timestamp::from_second(now).ok();
        }
        let mut back = DAY;
        let mut low = loop {
            let from = now.saturating_sub(back);
            if self.ticks_within(from, now) {
                break from;
            }
            if back >= FARTHEST_BACK {
                return None;
            }
            back *= 8;
        };
        // The last second after which a tick still comes is the one before the newest tick.
        let mut high = now;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.ticks_within(middle, now) {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.next_tick(Timestamp::from_second(low).ok()?)
    }

    /// The first tick after `now`; none when there will be no other.
    #[must_use]
    pub fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        self.ticks.after(now)
    }

    /// The interval that ends at a tick.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotAligned`] when it is no tick.
    pub fn interval_ending(&self, tick: Timestamp) -> Result<DataInterval, ScheduleError> {
        let before = second_before(tick);
        let start = before.and_then(|before| self.tick_at_or_before(before));
        let interval = start
            .and_then(|start| DataInterval::new(start, tick).ok())
            .ok_or(ScheduleError::NoInterval(tick))?;
        self.check_aligned(interval)?;
        Ok(interval)
    }

    /// The intervals of single ticks that make up `range`, oldest first, lazily.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotAligned`] when its edges are not ticks.
    pub fn split(
        &self,
        range: DataInterval,
    ) -> Result<impl Iterator<Item = DataInterval> + use<>, ScheduleError> {
        self.check_aligned(range)?;
        Ok(self.intervals_from(range.start()).take_while(move |one| one.end() <= range.end()))
    }

    /// Whether an interval is a union of whole ticks.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::NotAligned`].
    pub fn check_aligned(&self, interval: DataInterval) -> Result<(), ScheduleError> {
        let nearest = self.around(interval).ok_or(ScheduleError::NoInterval(interval.start()))?;
        if nearest == interval {
            return Ok(());
        }
        Err(ScheduleError::NotAligned { interval, nearest })
    }

    /// The smallest union of ticks that contains an interval.
    #[must_use]
    pub fn around(&self, interval: DataInterval) -> Option<DataInterval> {
        let start = self.tick_at_or_before(interval.start())?;
        let end = self.next_tick(second_before(interval.end())?)?;
        DataInterval::new(start, end).ok()
    }

    /// The intervals from a tick on, oldest first, lazily.
    pub(crate) fn intervals_from(
        &self,
        tick: Timestamp,
    ) -> impl Iterator<Item = DataInterval> + use<> {
        let grid = self.clone();
        let mut start = tick;
        std::iter::from_fn(move || {
            let end = grid.next_tick(start)?;
            let interval = DataInterval::new(start, end).ok()?;
            start = end;
            Some(interval)
        })
    }

    /// The zone of the wall clock.
    pub(crate) fn time_zone(&self) -> &TimeZone {
        self.ticks.zone()
    }

    /// When the clock is changed, from an instant on.
    pub(crate) fn changes_after(&self, instant: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.ticks.changes_after(instant)
    }

    /// Whether there is a tick behind one second and not behind the other.
    fn ticks_within(&self, from: i64, to: i64) -> bool {
        let tick = Timestamp::from_second(from).ok().and_then(|from| self.next_tick(from));
        tick.is_some_and(|tick| tick.as_second() <= to)
    }

    /// Ticks lie far enough apart for a year. Every day that has ticks has the same ones, so that one day
    /// tells most of it; a change of the clock moves some closer.
    fn check_distances(&self, first: Timestamp) -> Result<(), ScheduleError> {
        let year = SignedDuration::from_secs(366 * DAY);
        if self.ticks.closest_of_days().is_none_or(|closest| closest < SHORTEST) {
            // Perhaps over midnight, and perhaps no two days follow each other.
            return self.check_stretch(first, year);
        }
        let around = SignedDuration::from_hours(2);
        let changes = self.ticks.changes_after(first).take_while(|change| *change < first + year);
        for change in changes.take(MOST_CHANGES_A_YEAR) {
            self.check_stretch(change - around, around * 2)?;
        }
        Ok(())
    }

    fn check_stretch(&self, from: Timestamp, length: SignedDuration) -> Result<(), ScheduleError> {
        let end = from + length;
        let Some(mut last) = self.next_tick(from - SignedDuration::from_secs(1)) else {
            return Ok(());
        };
        for _ in 0..MOST_A_YEAR {
            let Some(tick) = self.next_tick(last).filter(|tick| *tick <= end) else { break };
            if tick.duration_since(last) < SHORTEST {
                let cron = self.name.0.clone();
                return Err(ScheduleError::TooOften { cron, first: last, second: tick });
            }
            last = tick;
        }
        Ok(())
    }
}

impl fmt::Debug for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grid({:?} in {})", self.name.0, self.name.1)
    }
}

pub(crate) fn second_before(instant: Timestamp) -> Option<Timestamp> {
    instant.checked_sub(SignedDuration::from_secs(1)).ok()
}
