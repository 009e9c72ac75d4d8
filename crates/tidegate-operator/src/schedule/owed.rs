//! Which scheduled runs are to be made now.
//!
//! The status remembers up to which tick the schedule was followed. A few ticks after that are simply
//! made: their names make them one, and a run whose interval the log holds ends at once. When many are
//! due, or nothing is remembered (a new pipeline that begins in the past, a restored cluster), the table's
//! log is asked first, because objects may long be gone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_api::CatchupPolicy;
use tidegate_schedule::Grid;
use tidegate_types::DataInterval;

use crate::calendar::Book;

/// So many ticks may be due at once without the log being asked.
pub(crate) const FEW: usize = 3;
/// How late a tick may be seen and still count as seen: as long as two ticks are apart at least.
const ON_TIME: SignedDuration = SignedDuration::from_mins(5);

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScheduleFacts<'a> {
    /// The ticks.
    pub(crate) grid: &'a Grid,
    /// What happens to ticks that went by.
    pub(crate) policy: CatchupPolicy,
    /// No interval begins before it; none: no interval ends before `created`.
    pub(crate) start_at: Option<Timestamp>,
    /// When the pipeline was made.
    pub(crate) created: Timestamp,
    /// How long after its tick an interval is due.
    pub(crate) delay: Duration,
    /// The tick up to which the schedule was followed.
    pub(crate) last: Option<Timestamp>,
    /// How many runs may be made.
    pub(crate) room: usize,
    /// What the log was found to hold.
    pub(crate) book: Option<&'a Book>,
    /// The time.
    pub(crate) now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Owed {
    /// Intervals whose runs are to be made, oldest first.
    pub(crate) make: Vec<DataInterval>,
    /// The tick up to which the schedule has been followed when that is done.
    pub(crate) last: Option<Timestamp>,
    /// The stretch for which the log has to be asked first.
    pub(crate) ask: Option<DataInterval>,
    /// Intervals that the policy leaves out.
    pub(crate) left_out: u64,
    /// Ticks that are due and have no run yet, at most some.
    pub(crate) waiting: usize,
    /// When the next tick is due that is not due yet.
    pub(crate) next: Option<Timestamp>,
}

/// Finds out.
pub(crate) fn owed(facts: &ScheduleFacts<'_>) -> Owed {
    let Some(begun) = begun(facts) else {
        return Owed { next: next_due(facts), last: facts.last, ..Owed::default() };
    };
    let Some(through) = newest_due(facts).filter(|tick| *tick > begun) else {
        return Owed { last: Some(begun), next: next_due(facts), ..Owed::default() };
    };
    let mut owed = match facts.policy {
        CatchupPolicy::All => each(facts, begun, through),
        CatchupPolicy::Latest => newest(facts, begun, through, true),
        CatchupPolicy::None => newest(facts, begun, through, is_on_time(facts, through)),
    };
    owed.next = next_due(facts);
    owed
}

/// The tick after which the schedule is to be followed: the beginning of the first interval.
pub(crate) fn begun(facts: &ScheduleFacts<'_>) -> Option<Timestamp> {
    let first = origin(facts.grid, facts.start_at, facts.created);
    match (facts.last, first) {
        // A later `startAt` leaves out; an earlier one is what backfills are for.
        (Some(last), Some(first)) => Some(last.max(first)),
        (last, first) => last.or(first),
    }
}

/// The beginning of the first interval that the schedule asks for.
pub(crate) fn origin(
    grid: &Grid,
    start_at: Option<Timestamp>,
    created: Timestamp,
) -> Option<Timestamp> {
    let Some(start) = start_at else {
        return grid.tick_at_or_before(created).or_else(|| grid.next_tick(created));
    };
    match grid.tick_at_or_before(start) {
        Some(tick) if tick == start => Some(tick),
        _ => grid.next_tick(start),
    }
}

fn newest_due(facts: &ScheduleFacts<'_>) -> Option<Timestamp> {
    let delay = SignedDuration::try_from(facts.delay).ok()?;
    facts.grid.tick_at_or_before(facts.now.checked_sub(delay).ok()?)
}

/// When the first tick that is not due yet will be.
fn next_due(facts: &ScheduleFacts<'_>) -> Option<Timestamp> {
    let delay = SignedDuration::try_from(facts.delay).ok()?;
    let tick = facts.grid.next_tick(facts.now.checked_sub(delay).ok()?)?;
    tick.checked_add(delay).ok()
}

fn is_on_time(facts: &ScheduleFacts<'_>, tick: Timestamp) -> bool {
    let late = facts.now.duration_since(tick);
    let delay = SignedDuration::try_from(facts.delay).unwrap_or(SignedDuration::MAX);
    late <= delay.saturating_add(ON_TIME)
}

/// Every tick after `begun`, as far as there is room and the log is known where it has to be.
fn each(facts: &ScheduleFacts<'_>, begun: Timestamp, through: Timestamp) -> Owed {
    let mut owed = Owed { last: Some(begun), ..Owed::default() };
    let mut cursor = begun;
    for interval in intervals(facts.grid, begun, through) {
        let known = facts.book.and_then(|book| book.holds(interval));
        if known.is_none() && must_ask(facts, cursor, through) {
            owed.ask = DataInterval::new(interval.start().max(begun), through).ok();
            break;
        }
        if known != Some(true) {
            if owed.make.len() >= facts.room {
                break;
            }
            owed.make.push(interval);
        }
        cursor = interval.end();
        owed.last = Some(cursor);
    }
    owed.waiting = count(facts.grid, cursor, through);
    owed
}

/// The newest tick alone, if it is `wanted`.
fn newest(facts: &ScheduleFacts<'_>, begun: Timestamp, through: Timestamp, wanted: bool) -> Owed {
    let due = count(facts.grid, begun, through);
    let left_out = u64::try_from(due).unwrap_or(u64::MAX);
    let all = Owed { last: Some(through), ..Owed::default() };
    let Ok(interval) = facts.grid.interval_ending(through) else { return all };
    if !wanted {
        return Owed { left_out, ..all };
    }
    let left_out = left_out.saturating_sub(1);
    let stays = Owed { last: Some(begun), waiting: 1, ..Owed::default() };
    match facts.book.and_then(|book| book.holds(interval)) {
        Some(true) => Owed { left_out, ..all },
        None if must_ask(facts, begun, through) => Owed { ask: Some(interval), ..stays },
        _ if facts.room == 0 => stays,
        _ => Owed { make: vec![interval], left_out, ..all },
    }
}

/// Whether what is due after `cursor` is too much, or too uncertain, to be made without looking.
fn must_ask(facts: &ScheduleFacts<'_>, cursor: Timestamp, through: Timestamp) -> bool {
    facts.last.is_none() || count(facts.grid, cursor, through) > FEW
}

/// The intervals whose ticks lie after one instant and not after another, oldest first. Where the grid was
/// changed the first one may begin before `after`.
pub(super) fn intervals(
    grid: &Grid,
    after: Timestamp,
    through: Timestamp,
) -> impl Iterator<Item = DataInterval> + '_ {
    let first = grid.next_tick(after).and_then(|tick| grid.interval_ending(tick).ok());
    let next = |one: &DataInterval| DataInterval::new(one.end(), grid.next_tick(one.end())?).ok();
    std::iter::successors(first, next).take_while(move |one| one.end() <= through)
}

/// How many ticks there are after one up to another, as far as somebody cares.
fn count(grid: &Grid, after: Timestamp, through: Timestamp) -> usize {
    const ENOUGH: usize = 100;
    let next = |tick: &Timestamp| grid.next_tick(*tick);
    let ticks = std::iter::successors(grid.next_tick(after), next);
    ticks.take_while(|tick| *tick <= through).take(ENOUGH).count()
}

#[cfg(test)]
#[path = "owed_tests.rs"]
mod tests;
