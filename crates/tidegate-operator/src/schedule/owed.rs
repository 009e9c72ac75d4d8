//! Which scheduled runs are to be made now.
//!
//! The status remembers up to which tick the schedule was followed. A few ticks after that are simply
//! made: their names make them one, and a run whose interval the log holds ends at once. When many are
//! due, or nothing is remembered (a new pipeline that begins in the past, a restored cluster), the table's
//! log is asked first, because objects may long be gone. A pipeline that remembers nothing may be one that
//! was deleted and made anew: what the log holds says since when it is there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_api::CatchupPolicy;
use tidegate_schedule::{CatchUp, Grid, Since, missing_intervals};
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
    /// No interval begins before it; none: see [`origin`].
    pub(crate) start_at: Option<Timestamp>,
    /// When the pipeline was made, perhaps anew.
    pub(crate) created: Timestamp,
    /// How long after its tick an interval is due.
    pub(crate) delay: Duration,
    /// Where the first interval was found to begin.
    pub(crate) begin: Option<Timestamp>,
    /// The tick up to which the schedule was followed.
    pub(crate) last: Option<Timestamp>,
    /// How many runs may be made.
    pub(crate) room: usize,
    /// What the log was found to hold.
    pub(crate) book: Option<&'a Book>,
    /// The time.
    pub(crate) now: Timestamp,
}

impl ScheduleFacts<'_> {
    fn asks_the_log(&self) -> bool {
        may_be_older(self.policy, self.start_at.is_some())
    }
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
    let next = next_due(facts);
    if let Some(ask) = beginning(facts) {
        return Owed { ask: Some(ask), next, ..Owed::default() };
    }
    let Some(begun) = begun(facts) else {
        return Owed { next, last: facts.last, ..Owed::default() };
    };
    let Some(through) = newest_due(facts).filter(|tick| *tick > begun) else {
        return Owed { last: Some(begun), next, ..Owed::default() };
    };
    let owed = match facts.policy {
        CatchupPolicy::All => each(facts, begun, through),
        CatchupPolicy::Latest => newest(facts, begun, through, true),
        CatchupPolicy::None => newest(facts, begun, through, is_on_time(facts, through)),
    };
    Owed { next, ..owed }
}

/// What the log has to be asked before it is known where the schedule begins: everything that is due.
fn beginning(facts: &ScheduleFacts<'_>) -> Option<DataInterval> {
    if facts.last.is_some() || !facts.asks_the_log() {
        return None;
    }
    let told = facts.book.is_some_and(Book::begins_at_first);
    let all = DataInterval::new(Timestamp::UNIX_EPOCH, newest_due(facts)?).ok();
    all.filter(|_| !told)
}

/// Whether the log may know intervals of a time before the pipeline was made that are owed.
pub(crate) fn may_be_older(policy: CatchupPolicy, start_is_written: bool) -> bool {
    policy == CatchupPolicy::All && !start_is_written
}

/// The tick after which the schedule is to be followed: the beginning of the first interval.
fn begun(facts: &ScheduleFacts<'_>) -> Option<Timestamp> {
    let first = origin(facts);
    match facts.last {
        // A later `startAt` leaves out; an earlier one is what backfills are for. When an object was made
        // says nothing about one that was made anew with what it remembered.
        Some(last) => {
            Some(first.filter(|_| facts.start_at.is_some()).map_or(last, |it| it.max(last)))
        }
        None => first,
    }
}

/// The beginning of the first interval that the schedule asks for, as far as that is known.
pub(crate) fn origin(facts: &ScheduleFacts<'_>) -> Option<Timestamp> {
    let since = Since {
        policy: match facts.policy {
            CatchupPolicy::All => CatchUp::All,
            CatchupPolicy::Latest => CatchUp::Latest,
            CatchupPolicy::None => CatchUp::None,
        },
        start_at: facts.start_at,
        created: facts.created,
        oldest: None,
    };
    let first = tidegate_schedule::origin(facts.grid, &since);
    let book = facts.book.filter(|book| book.begins_at_first());
    let since = Since { oldest: book.and_then(|book| book.known_since(first)), ..since };
    // The log is asked once. What it said then is remembered.
    let remembered = facts.begin.filter(|_| facts.asks_the_log());
    tidegate_schedule::origin(facts.grid, &since).into_iter().chain(remembered).min()
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
    let mut owed = Owed::default();
    // Where the grid was changed the first interval may begin before.
    let first = intervals(facts.grid, begun, through).next().map_or(begun, DataInterval::start);
    let done = facts.book.map_or(&[][..], Book::done);
    let mut stays = None;
    for interval in missing_intervals(facts.grid, first, through, done) {
        let start = interval.start().max(begun);
        let known = facts.book.is_some_and(|book| book.holds(interval).is_some());
        let has_room = owed.make.len() < facts.room;
        // What the log holds now may be different when there is room.
        if has_room && !known && must_ask(facts, start, through) {
            owed.ask = DataInterval::new(start, through).ok();
        }
        if owed.ask.is_some() || !has_room {
            stays = Some(start);
            break;
        }
        owed.make.push(interval);
    }
    owed.waiting = stays.map_or(0, |start| count(facts.grid, start, through));
    owed.last = stays.or(Some(through));
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
