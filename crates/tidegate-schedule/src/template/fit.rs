//! Whether a template goes with a schedule: every interval has names of its own, and all its names are over
//! when it ends.
//!
//! Three things can be in the way. Ticks may lie in the same unit, which the first ones show. Between months
//! of ticks an interval may be long. And a clock that is turned back shows times again that an earlier
//! interval has had.

use jiff::{SignedDuration, Timestamp};
use tidegate_types::DataInterval;

use super::unit::Unit;
use super::{Template, TemplateError};
use crate::Grid;

/// Intervals that are looked at: two days of the closest, and two years of days. Every day that has ticks
/// has the same ones.
const MOST_LOOKED_AT: usize = 800;
const FAR: SignedDuration = SignedDuration::from_hours(2 * 366 * 24);
/// Changes of the clock that are looked at: those of about four years.
const MOST_CHANGES: usize = 8;
/// Ticks around one of them: the largest change there ever was is a day.
const MOST_AROUND: usize = 1_000;
const HALF_DAY: SignedDuration = SignedDuration::from_hours(12);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// A change of the clock that lies farther from an interval's edge does not concern it.
const REACH: SignedDuration = SignedDuration::from_hours(52);

/// A change of the clock.
struct Change {
    at: Timestamp,
    /// How far the clock is turned, forward or back.
    by: SignedDuration,
}

impl Template {
    /// Whether the intervals to come divide the names among them; looked at are a bounded number of them and
    /// those around the next changes of the clock.
    ///
    /// # Errors
    ///
    /// The first interval that has no names of its own or too many, or whose names come again.
    pub fn check(&self, grid: &Grid, now: Timestamp) -> Result<(), TemplateError> {
        let Some(unit) = self.unit else { return Ok(()) };
        let first = grid.tick_at_or_before(now).or_else(|| grid.next_tick(now));
        let far = now.saturating_add(FAR).unwrap_or(Timestamp::MAX);
        let coming = first.into_iter().flat_map(|tick| grid.intervals_from(tick));
        let mut seen = now;
        for interval in coming.take_while(|one| one.start() < far).take(MOST_LOOKED_AT) {
            self.units(unit, interval, grid.time_zone())?;
            seen = interval.end();
        }
        for interval in long_intervals(grid, seen, far) {
            self.units(unit, interval, grid.time_zone())?;
        }
        for at in grid.changes_after(now).take(MOST_CHANGES) {
            self.check_change(unit, grid, &Change::of(grid, at))?;
        }
        Ok(())
    }

    /// Whether an interval, which may be several ticks, has names that no other one has. What no tick of
    /// the next years shows may be so on a day long ago.
    ///
    /// # Errors
    ///
    /// When it has no names or too many, or shares some.
    pub fn check_interval(&self, grid: &Grid, interval: DataInterval) -> Result<(), TemplateError> {
        let Some(unit) = self.unit else { return Ok(()) };
        let zone = grid.time_zone();
        let (first, end) = self.units(unit, interval, zone)?;
        for edge in [interval.start(), interval.end()] {
            for tick in near_changes(grid, edge) {
                let shown = unit.floor(zone.to_datetime(tick));
                let before = tick < interval.start() && shown > first;
                let after = tick > interval.end() && shown < end;
                if before || after {
                    return Err(TemplateError::comes_again(&self.text, unit, edge.min(tick)));
                }
            }
        }
        Ok(())
    }

    fn check_change(&self, unit: Unit, grid: &Grid, change: &Change) -> Result<(), TemplateError> {
        let zone = grid.time_zone();
        // From then on the clock shows all times from this one on.
        let again = unit.floor(zone.to_datetime(change.at));
        for interval in change.intervals_around(grid) {
            self.units(unit, interval, zone)?;
            let tick = interval.end();
            if tick < change.at && unit.floor(zone.to_datetime(tick)) > again {
                return Err(TemplateError::comes_again(&self.text, unit, tick));
            }
        }
        Ok(())
    }
}

impl Change {
    fn of(grid: &Grid, at: Timestamp) -> Self {
        let offset = |at: Timestamp| i64::from(grid.time_zone().to_offset(at).seconds());
        let before = at.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(at);
        Self { at, by: SignedDuration::from_secs(offset(at) - offset(before)) }
    }

    /// Those that begin or end where times of the clock come twice or never, and one on either side.
    fn intervals_around(&self, grid: &Grid) -> impl Iterator<Item = DataInterval> + use<> {
        let width = self.by.abs() + HOUR;
        let from = self.at.saturating_sub(width).unwrap_or(self.at);
        let to = self.at.saturating_add(width).unwrap_or(self.at);
        let first = grid.tick_at_or_before(from).or_else(|| grid.next_tick(from));
        let all = first.map(|tick| grid.intervals_from(tick)).into_iter().flatten();
        all.take_while(move |one| one.start() <= to).take(MOST_AROUND)
    }
}

/// Those of a stretch of time that are longer than a day, and some shorter ones.
fn long_intervals(
    grid: &Grid,
    from: Timestamp,
    to: Timestamp,
) -> impl Iterator<Item = DataInterval> {
    let mut at = from;
    std::iter::from_fn(move || {
        while at < to {
            let next = grid.next_tick(at)?;
            let step = at.saturating_add(HALF_DAY).unwrap_or(next);
            at = next.max(step);
            if next > step {
                return grid.interval_ending(next).ok();
            }
        }
        None
    })
}

/// The ticks around changes of the clock that lie near an instant.
fn near_changes(grid: &Grid, edge: Timestamp) -> impl Iterator<Item = Timestamp> {
    let from = edge.saturating_sub(REACH).unwrap_or(edge);
    let to = edge.saturating_add(REACH).unwrap_or(edge);
    let near = grid.changes_after(from).take_while(move |at| *at <= to).take(MOST_CHANGES);
    near.flat_map(|at| Change::of(grid, at).intervals_around(grid))
        .flat_map(|interval| [interval.start(), interval.end()])
}
