//! A run over many intervals makes a run for each, a few at a time. Pure.
//!
//! `madeThrough` in its status is how far it is: everything before is counted, and the objects of those
//! runs may go. What comes after is looked at by its objects and by what the log was found to hold.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tidegate_api::{ChildrenStatus, IntervalSpec, MOST_PLANNED_INTERVALS, Reprocess};
use tidegate_schedule::{Grid, MOST_FAILED_RUNS, MOST_INTERVALS};
use tidegate_types::{DataInterval, Reason};

use super::facts::{Outcome, Run, Waiting};
use crate::calendar::Book;

/// How far ahead of the first run that is not over others are made.
const AHEAD: usize = 64;

/// How a run of the range stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildState {
    Open,
    Succeeded,
    Failed,
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParentFacts<'a> {
    pub(crate) range: DataInterval,
    pub(crate) reprocess: Reprocess,
    pub(crate) dry_run: bool,
    pub(crate) grid: &'a Grid,
    /// Whether rows are only added, so that no interval may be done twice.
    pub(crate) append: bool,
    /// What was said last.
    pub(crate) previous: Option<&'a ChildrenStatus>,
    /// The runs that are there.
    pub(crate) children: &'a BTreeMap<DataInterval, ChildState>,
    /// Intervals on which others work, or that others did since the log was asked.
    pub(crate) elsewhere: &'a BTreeSet<DataInterval>,
    /// What the log was found to hold.
    pub(crate) book: Option<&'a Book>,
    /// How many runs may be made now.
    pub(crate) room: usize,
    pub(crate) now: Timestamp,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ParentStep {
    /// Intervals whose runs are to be made.
    pub(crate) make: Vec<DataInterval>,
    /// The stretch for which the log has to be asked first.
    pub(crate) ask: Option<DataInterval>,
    /// The new counts; none while nothing is known.
    pub(crate) children: Option<ChildrenStatus>,
    /// The end.
    pub(crate) end: Option<Outcome>,
    /// Why nothing happens.
    pub(crate) waits: Option<Waiting>,
}

/// Decides.
pub(crate) fn parent(facts: &ParentFacts<'_>) -> ParentStep {
    let ticks: Vec<DataInterval> = match facts.grid.split(facts.range) {
        Ok(ticks) => ticks.take(MOST_INTERVALS + 1).collect(),
        Err(error) => {
            return refuse(facts, Reason::IntervalNotAligned, &format!("spec.range: {error}"));
        }
    };
    if ticks.len() > MOST_INTERVALS {
        let what = format!(
            "spec.range: has more than {MOST_INTERVALS} intervals; fill it in several parts"
        );
        return refuse(facts, Reason::InvalidConfiguration, &what);
    }
    if let Some(ask) = must_ask(facts) {
        let waits = Waiting::new(Reason::Progressing, "the table's log is being asked");
        let children = facts.previous.cloned();
        return ParentStep { ask: Some(ask), waits: Some(waits), children, ..Default::default() };
    }
    if facts.dry_run { plan(facts, &ticks) } else { go_on(facts, &ticks) }
}

fn refuse(facts: &ParentFacts<'_>, reason: Reason, message: &str) -> ParentStep {
    let end = Outcome::refused(reason, message, facts.now);
    let children = facts.previous.cloned();
    ParentStep { end: Some(end), children, ..ParentStep::default() }
}

/// What of the range nobody has told yet and somebody has to know.
fn must_ask(facts: &ParentFacts<'_>) -> Option<DataInterval> {
    if facts.reprocess == Reprocess::All && !facts.append {
        return None;
    }
    let made = made_through(facts);
    let told = facts.book.filter(|book| book.begins_by(made)).map_or(made, Book::end);
    DataInterval::new(told.max(made), facts.range.end()).ok()
}

fn made_through(facts: &ParentFacts<'_>) -> Timestamp {
    let made = facts.previous.and_then(|children| children.made_through.as_ref());
    made.map_or(facts.range.start(), |time| time.0)
}

/// Whether an interval is to be run, by what the log holds.
fn is_wanted(facts: &ParentFacts<'_>, interval: DataInterval) -> bool {
    let done = || facts.book.and_then(|book| book.holds(interval)) == Some(true);
    match facts.reprocess {
        Reprocess::All => !facts.append || !done(),
        Reprocess::Missing => !done(),
        // To the log what is under way looks like what failed.
        Reprocess::Failed if facts.elsewhere.iter().any(|one| one.overlaps(interval)) => false,
        Reprocess::Failed if done() => {
            // It failed when it was done again. A longer one that failed says nothing of it.
            !facts.append && facts.book.is_some_and(|book| book.has_tried(interval))
        }
        Reprocess::Failed => facts.book.is_some_and(|book| book.was_tried(interval)),
    }
}

/// Whether the run of an interval is to do it again where it is done by now.
pub(crate) fn does_again(
    reprocess: Reprocess,
    book: Option<&Book>,
    interval: DataInterval,
) -> bool {
    match reprocess {
        Reprocess::All => true,
        Reprocess::Missing => false,
        // It was done before it failed.
        Reprocess::Failed => book.and_then(|book| book.holds(interval)) == Some(true),
    }
}

/// The intervals on which others work, or that others did since the log was asked.
pub(crate) fn elsewhere(runs: &[Run], parent: &Run, book: Option<&Book>) -> BTreeSet<DataInterval> {
    let is_newer = |run: &Run| {
        let end = run.status.completion_time.as_ref().map(|time| time.0);
        // A status knows whole seconds.
        let asked = book.map(|book| book.taken().as_second());
        end.zip(asked).is_some_and(|(end, asked)| end.as_second() >= asked)
    };
    let others = runs.iter().filter(|run| run.maker.as_deref() != Some(&parent.uid));
    let busy = others.filter(|run| match run.succeeded() {
        None => true,
        Some(succeeded) => succeeded && is_newer(run),
    });
    busy.filter_map(Run::interval).collect()
}

/// A dry run says what would be done, and is done.
fn plan(facts: &ParentFacts<'_>, ticks: &[DataInterval]) -> ParentStep {
    let wanted: Vec<&DataInterval> =
        ticks.iter().filter(|interval| is_wanted(facts, **interval)).collect();
    let planned = wanted.iter().take(MOST_PLANNED_INTERVALS);
    let planned = planned.map(|interval| IntervalSpec {
        start: interval.start().to_string(),
        end: interval.end().to_string(),
    });
    let children = ChildrenStatus {
        total: number(wanted.len()),
        skipped: number(ticks.len() - wanted.len()),
        planned: planned.collect(),
        ..ChildrenStatus::default()
    };
    let message = format!("{} of {} intervals would be run", wanted.len(), ticks.len());
    let end = Outcome { succeeded: true, reason: Reason::Ok, message, report: None, at: facts.now };
    ParentStep { children: Some(children), end: Some(end), ..ParentStep::default() }
}

/// Counts what is over, and makes what there is room for.
fn go_on(facts: &ParentFacts<'_>, ticks: &[DataInterval]) -> ParentStep {
    let mut counts = facts.previous.cloned().unwrap_or_else(|| first_counts(facts, ticks));
    let made = made_through(facts);
    let rest = ticks.iter().copied().filter(|interval| interval.start() >= made);
    let mut make = Vec::new();
    let mut ahead = 0;
    // Behind one that is not over nothing is counted yet, but a common cause shows there too.
    let mut failed = counts.failed;
    for interval in rest {
        let child = facts.children.get(&interval).copied();
        if ahead == 0 && count(facts, &mut counts, interval, child) {
            failed = counts.failed;
            continue;
        }
        ahead += 1;
        failed += u32::from(child == Some(ChildState::Failed));
        let wanted = child.is_none() && is_wanted(facts, interval);
        if wanted && make.len() < facts.room {
            make.push(interval);
        }
        if ahead >= AHEAD {
            break;
        }
    }
    let gave_up = failed >= MOST_FAILED_RUNS;
    if gave_up {
        make.clear();
    }
    let open = facts.children.values().filter(|child| **child == ChildState::Open).count();
    counts.active = number(open + make.len());
    if gave_up && open == 0 {
        counts.failed = failed;
    }
    let end = end(facts, &counts, (ahead > 0).then_some(gave_up), open + make.len());
    ParentStep { make, children: Some(counts), end, ..ParentStep::default() }
}

fn first_counts(facts: &ParentFacts<'_>, ticks: &[DataInterval]) -> ChildrenStatus {
    let wanted = ticks.iter().filter(|interval| is_wanted(facts, **interval)).count();
    ChildrenStatus {
        total: number(wanted),
        made_through: Some(Time(facts.range.start())),
        ..ChildrenStatus::default()
    }
}

/// Counts an interval that needs nothing more; false when it does.
fn count(
    facts: &ParentFacts<'_>,
    counts: &mut ChildrenStatus,
    interval: DataInterval,
    child: Option<ChildState>,
) -> bool {
    match child {
        Some(ChildState::Succeeded) => counts.succeeded += 1,
        Some(ChildState::Failed) => counts.failed += 1,
        None if !is_wanted(facts, interval) => counts.skipped += 1,
        Some(ChildState::Open) | None => return false,
    }
    counts.made_through = Some(Time(interval.end()));
    true
}

/// The end, once no run is open: when nothing is left, or what is left was given up. `left`: whether that
/// was; none: nothing is left.
fn end(
    facts: &ParentFacts<'_>,
    counts: &ChildrenStatus,
    left: Option<bool>,
    active: usize,
) -> Option<Outcome> {
    if active > 0 || left == Some(false) {
        return None;
    }
    let runs = counts.succeeded + counts.failed;
    let message = match (counts.failed, left) {
        (0, _) => format!("all {} intervals that were to be run are done", counts.succeeded),
        (failed, None) => format!("{failed} of {runs} runs failed"),
        (failed, Some(_)) => format!("{failed} of {runs} runs failed, no more are made"),
    };
    let succeeded = counts.failed == 0;
    let reason = if succeeded { Reason::Ok } else { Reason::RunFailed };
    Some(Outcome { succeeded, reason, message, report: None, at: facts.now })
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "parent_tests.rs"]
mod tests;
