//! Up to which instant everything that the schedule asks for is done.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tidegate_api::CatchupPolicy;
use tidegate_schedule::{Grid, missing_intervals};
use tidegate_types::DataInterval;

use super::owed::intervals;
use crate::calendar::Book;

/// Ticks looked at in one go, beside those that the log is known to hold; the rest follows in the next
/// reconcile.
const STEPS: usize = 1000;

/// What the answer is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThroughFacts<'a> {
    /// The ticks.
    pub(crate) grid: &'a Grid,
    /// What happens to ticks that went by: those that it leaves out hold nothing up.
    pub(crate) policy: CatchupPolicy,
    /// Whether each run reads everything, so that the newest one stands for all.
    pub(crate) whole: bool,
    /// The answer before, or where the log says that the schedule began.
    pub(crate) previous: Option<Timestamp>,
    /// The beginning of the first interval.
    pub(crate) origin: Option<Timestamp>,
    /// The tick up to which the schedule was followed.
    pub(crate) last: Option<Timestamp>,
    /// Intervals of runs that succeeded.
    pub(crate) succeeded: &'a BTreeSet<DataInterval>,
    /// Intervals of runs that are there and did not.
    pub(crate) open: &'a BTreeSet<DataInterval>,
    /// What the log was found to hold.
    pub(crate) book: Option<&'a Book>,
}

/// The answer, and the stretch for which the log has to be asked to know better.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Through {
    /// Everything before this instant is done.
    pub(crate) at: Option<Timestamp>,
    /// Where neither run nor book says anything.
    pub(crate) ask: Option<DataInterval>,
}

/// Finds out.
pub(crate) fn through(facts: &ThroughFacts<'_>) -> Through {
    let begin = facts.previous.or(facts.origin);
    let (Some(begin), Some(last)) = (begin, facts.last) else { return Through::default() };
    if facts.whole {
        let newest = facts.succeeded.iter().map(|interval| interval.end()).max();
        let known = facts.previous.into_iter().chain(newest).max();
        return Through { at: known, ask: None };
    }
    let grid = facts.grid;
    let first = intervals(grid, begin, last).next().map_or(begin, DataInterval::start);
    let done = facts.book.map_or(&[][..], Book::done);
    let mut looked = missing_intervals(grid, first, last, done);
    let mut at = begin;
    for _ in 0..STEPS {
        let Some(interval) = looked.next() else {
            at = grid.tick_at_or_before(last).map_or(at, |tick| tick.max(at));
            break;
        };
        at = at.max(interval.start());
        match standing(facts, interval) {
            Standing::Done => at = at.max(interval.end()),
            Standing::Open => break,
            Standing::Unknown => {
                let ask = DataInterval::new(interval.start(), last).ok();
                return Through { at: answer(facts, at), ask };
            }
        }
    }
    Through { at: answer(facts, at), ask: None }
}

/// An instant before anything was done is no answer.
fn answer(facts: &ThroughFacts<'_>, at: Timestamp) -> Option<Timestamp> {
    (facts.previous.is_some() || Some(at) > facts.origin).then_some(at)
}

enum Standing {
    Done,
    Open,
    Unknown,
}

fn standing(facts: &ThroughFacts<'_>, interval: DataInterval) -> Standing {
    if facts.succeeded.iter().any(|done| done.contains(interval)) {
        return Standing::Done;
    }
    if facts.open.iter().any(|open| open.overlaps(interval)) {
        return Standing::Open;
    }
    match facts.book.and_then(|book| book.holds(interval)) {
        // It was begun, so that the policy did not leave it out.
        _ if facts.book.is_some_and(|book| book.was_tried(interval)) => Standing::Open,
        // Nobody will run it unasked.
        _ if facts.policy != CatchupPolicy::All => Standing::Done,
        Some(_) => Standing::Open,
        None => Standing::Unknown,
    }
}

#[cfg(test)]
#[path = "through_tests.rs"]
mod tests;
