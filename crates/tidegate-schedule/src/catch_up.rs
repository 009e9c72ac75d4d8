//! Which intervals a schedule still owes.

use jiff::{SignedDuration, Timestamp};
use tidegate_types::DataInterval;

use crate::Grid;

/// What happens to ticks that went by unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// Every one is run.
    All,
    /// Only the newest is run.
    Latest,
    /// Only ticks from now on are run.
    None,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Intervals to run now, oldest first, at most `limit`.
    pub now: Vec<DataInterval>,
    /// When the next interval becomes due that is not due yet; none when the schedule has no further tick.
    pub next: Option<Timestamp>,
}

/// The intervals that are due at `now`.
///
/// - `start_at`: no interval begins before it; none: no interval ends before `created`.
/// - `created`: when the pipeline first was there; with [`CatchUp::None`] nothing that ended before.
/// - `delay`: how long after its tick an interval is due, in seconds.
/// - `done`: what the log holds, in any order. An interval is done when they cover it.
/// - `limit`: most intervals to answer.
///
/// However long nobody looked, the work is that of `done` and `limit`.
#[must_use]
#[expect(clippy::too_many_arguments, reason = "each is a fact of its own")]
pub fn due(
    grid: &Grid,
    policy: CatchUp,
    start_at: Option<Timestamp>,
    created: Timestamp,
    delay_seconds: i64,
    done: &[DataInterval],
    now: Timestamp,
    limit: usize,
) -> Due {
    let delay = SignedDuration::from_secs(delay_seconds);
    let Some((first, ready)) =
        first_start(grid, policy, start_at, created).zip(now.checked_sub(delay).ok())
    else {
        return Due { now: Vec::new(), next: None };
    };
    let done = DataInterval::merged(done.iter().copied());
    let owed = match policy {
        CatchUp::All | CatchUp::None => owed(grid, &done, first, ready, limit),
        CatchUp::Latest => newest(grid, &done, first, ready).into_iter().take(limit).collect(),
    };
    let next = grid.next_tick(ready.max(first));
    Due { now: owed, next: next.and_then(|tick| tick.checked_add(delay).ok()) }
}

/// The tick at which the first interval begins.
fn first_start(
    grid: &Grid,
    policy: CatchUp,
    start_at: Option<Timestamp>,
    created: Timestamp,
) -> Option<Timestamp> {
    let second = SignedDuration::from_secs(1);
    // The interval that ends then or next; where there is none yet, the first of all.
    let of_created = || {
        let end = grid.next_tick(created.checked_sub(second).ok()?)?;
        grid.tick_at_or_before(end.checked_sub(second).ok()?).or(Some(end))
    };
    let wanted = match start_at {
        None => return of_created(),
        Some(start) => grid.next_tick(start.checked_sub(second).ok()?)?,
    };
    match policy {
        CatchUp::None => Some(of_created()?.max(wanted)),
        CatchUp::All | CatchUp::Latest => Some(wanted),
    }
}

/// The oldest intervals that are not done, stepping over what is done at once.
fn owed(
    grid: &Grid,
    done: &[DataInterval],
    first: Timestamp,
    ready: Timestamp,
    limit: usize,
) -> Vec<DataInterval> {
    let mut found = Vec::new();
    let mut start = first;
    let mut done = done.iter().peekable();
    while found.len() < limit {
        let Some(end) = grid.next_tick(start).filter(|end| *end <= ready) else { break };
        while done.next_if(|one| one.end() <= start).is_some() {}
        if let Some(one) = done.peek().filter(|one| one.start() <= start && end <= one.end()) {
            start = grid.tick_at_or_before(one.end()).map_or(end, |tick| tick.max(end));
            continue;
        }
        // Nothing before 1970 is an interval.
        found.extend(DataInterval::new(start, end).ok());
        start = end;
    }
    found
}

/// The newest interval, unless it is done.
fn newest(
    grid: &Grid,
    done: &[DataInterval],
    first: Timestamp,
    ready: Timestamp,
) -> Option<DataInterval> {
    let tick = grid.tick_at_or_before(ready)?;
    let interval = grid.interval_ending(tick).ok().filter(|one| one.start() >= first)?;
    let is_done = done.iter().any(|one| one.contains(interval));
    (!is_done).then_some(interval)
}
