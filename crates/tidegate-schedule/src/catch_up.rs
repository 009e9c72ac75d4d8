//! Which intervals a schedule still owes.

use jiff::{SignedDuration, Timestamp};
use tidegate_types::DataInterval;

use crate::Grid;
use crate::grid::second_before;

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

/// Since when a schedule is followed.
#[derive(Debug, Clone, Copy)]
pub struct Since {
    /// What happens to ticks that went by unseen.
    pub policy: CatchUp,
    /// No interval begins before it; none: it is not written.
    pub start_at: Option<Timestamp>,
    /// When the pipeline was made. Of one that was made anew that is not when it began.
    pub created: Timestamp,
    /// Since when the log knows the pipeline: see [`known_since`].
    pub oldest: Option<Timestamp>,
}

/// So long nothing of a schedule may have been done for what is older to be a part of it.
const LONGEST_GAP: SignedDuration = SignedDuration::from_hours(366 * 24);

/// What the answer of [`due`] rests on.
#[derive(Debug, Clone, Copy)]
pub struct DueFacts<'a> {
    /// The ticks.
    pub grid: &'a Grid,
    /// Since when they count.
    pub since: Since,
    /// How long after its tick an interval is due, in seconds.
    pub delay_seconds: i64,
    /// What the log holds, in any order. An interval is done when they cover it.
    pub done: &'a [DataInterval],
    /// The moment.
    pub now: Timestamp,
    /// Most intervals to answer.
    pub limit: usize,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Intervals to run now, oldest first, at most `limit`.
    pub now: Vec<DataInterval>,
    /// When the next interval becomes due that is not due yet; none when the schedule has no further tick.
    pub next: Option<Timestamp>,
}

/// The intervals that are due. However long nobody looked, the work is that of `done` and `limit`.
#[must_use]
pub fn due(facts: &DueFacts<'_>) -> Due {
    let &DueFacts { grid, since, done, limit, .. } = facts;
    let delay = SignedDuration::from_secs(facts.delay_seconds);
    let ready = facts.now.checked_sub(delay).ok();
    let Some((first, ready)) = origin(grid, &since).zip(ready) else {
        return Due { now: Vec::new(), next: None };
    };
    let done = DataInterval::merged(done.iter().copied());
    let owed = match since.policy {
        CatchUp::All | CatchUp::None => {
            missing_intervals(grid, first, ready, &done).take(limit).collect()
        }
        CatchUp::Latest => newest(grid, &done, first, ready).into_iter().take(limit).collect(),
    };
    let next = grid.next_tick(ready.max(first));
    Due { now: owed, next: next.and_then(|tick| tick.checked_add(delay).ok()) }
}

/// The tick at which the first interval begins; none when no tick comes any more.
///
/// Without `start_at` that is the interval in which the pipeline was made, or, where every interval is
/// asked for, what the log knows it since if that is older: a pipeline that is made anew goes on where it
/// was (B1).
#[must_use]
pub fn origin(grid: &Grid, since: &Since) -> Option<Timestamp> {
    let made = around(grid, since.created);
    let asked = since.start_at.map(|start| tick_from(grid, start));
    match (asked, since.policy) {
        (Some(asked), CatchUp::None) => Some(made?.max(asked?)),
        (Some(asked), CatchUp::All | CatchUp::Latest) => asked,
        (None, CatchUp::All) => {
            let oldest = since.oldest.and_then(|oldest| tick_from(grid, oldest));
            made.into_iter().chain(oldest).min()
        }
        (None, CatchUp::Latest | CatchUp::None) => made,
    }
}

/// Since when a log knows a pipeline, by the intervals that are done and those that were begun; none when
/// nothing is done and nobody knows where it would begin by itself, `first`.
///
/// That is where the newest stretch begins, over gaps of at most a year: somebody may once have run one of
/// long ago, or mistyped it. What was begun and not done is a part of it where it touches it. Before anything
/// is done it touches the first interval: once that one is done the answer would be the same.
#[must_use]
pub fn known_since(
    done: &[DataInterval],
    begun: &[DataInterval],
    first: Option<Timestamp>,
) -> Option<Timestamp> {
    let newest = newest_stretch(done).or(first);
    let is_short = |one: &&DataInterval| is_near(one.start(), one.end());
    let mut begun: Vec<_> = begun.iter().filter(is_short).collect();
    begun.sort_by_key(|one| std::cmp::Reverse(one.end()));
    begun.into_iter().fold(newest, |first, one| {
        first.map(|first| if one.end() >= first { first.min(one.start()) } else { first })
    })
}

/// Where the newest stretch of intervals that are done begins.
fn newest_stretch(done: &[DataInterval]) -> Option<Timestamp> {
    let mut first: Option<Timestamp> = None;
    for one in DataInterval::merged(done.iter().copied()).iter().rev() {
        if first.is_some_and(|first| !is_near(one.end(), first)) {
            break;
        }
        first = Some(one.start());
    }
    first
}

fn is_near(from: Timestamp, to: Timestamp) -> bool {
    to.duration_since(from) <= LONGEST_GAP
}

/// The intervals that begin at a tick or later, end by an instant and are not done, oldest first, lazily.
///
/// `done` is sorted, and merged where intervals touch. What it covers is stepped over at once.
pub fn missing_intervals<'a>(
    grid: &'a Grid,
    first: Timestamp,
    through: Timestamp,
    done: &'a [DataInterval],
) -> impl Iterator<Item = DataInterval> + 'a {
    let mut start = first;
    let mut done = done.iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let end = grid.next_tick(start).filter(|end| *end <= through)?;
            while done.next_if(|one| one.end() <= start).is_some() {}
            let covers = |one: &&&DataInterval| one.start() <= start && end <= one.end();
            if let Some(one) = done.peek().filter(covers) {
                start = grid.tick_at_or_before(one.end()).map_or(end, |tick| tick.max(end));
                continue;
            }
            let interval = DataInterval::new(start, end);
            start = end;
            // Nothing before 1970 is an interval.
            if let Ok(interval) = interval {
                return Some(interval);
            }
        }
    })
}

/// The beginning of the interval that ends then or next; where there is none yet, the first tick of all.
fn around(grid: &Grid, at: Timestamp) -> Option<Timestamp> {
    let end = tick_from(grid, at)?;
    grid.tick_at_or_before(second_before(end)?).or(Some(end))
}

/// The first tick that is not before an instant.
fn tick_from(grid: &Grid, at: Timestamp) -> Option<Timestamp> {
    grid.next_tick(second_before(at)?)
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
