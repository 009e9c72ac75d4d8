//! The conditions of a bulk pipeline: one pure function from facts.
//!
//! | type | True | False |
//! |---|---|---|
//! | `Ready` | runs are made as this generation asks, or as the last good one asked when this was refused | it is suspended, or the newest interval's last run was given up (`RunFailed`), or its table's log cannot be read |
//! | `Reconciling` | it waits for something that this generation names, or is being deleted | (absent) |
//! | `Stalled` | this generation was refused | (absent) |
//! | `SpecAccepted` | this generation is what runs | it was refused; what was accepted last goes on |
//! | `CaughtUp` | every interval that is due is in the table. Only with a schedule | `Behind`, or `Late` against `objectives.freshness` |
//! | `IntervalsCurrent` | the files of the newest intervals were those that were loaded when a run last looked. Only of files, with a schedule, once one has looked | `IntervalStale` |

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidegate_api::ScheduleStatus;
use tidegate_types::Reason;

use super::runs_seen::Newest;
use crate::clock::is_over;
use crate::failure::Failure;
use crate::status::{
    Answer, CAUGHT_UP, INTERVALS_CURRENT, Outlook, READY, RECONCILING, SPEC_ACCEPTED, STALLED,
    Verdict, answer, conditions_of, outlook, said_before,
};
use crate::validation::Rejection;

/// What the conditions are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct BulkFacts<'a> {
    pub(super) generation: i64,
    pub(super) deleting: bool,
    pub(super) rejection: Option<&'a Rejection>,
    /// Nothing runs, because the service account does not offer itself.
    pub(super) withheld: bool,
    /// Whether a spec is accepted.
    pub(super) accepted: bool,
    pub(super) suspended: bool,
    /// Whether it has a schedule.
    pub(super) scheduled: bool,
    pub(super) freshness: Option<Duration>,
    pub(super) failure: Option<&'a Failure>,
    pub(super) newest: Option<&'a Newest>,
    pub(super) calendar_trouble: Option<&'a (Reason, String)>,
    /// Whether its intervals are made of files.
    pub(super) of_files: bool,
    /// What a run saw of them last.
    pub(super) looked: Option<&'a Condition>,
    /// The schedule as it is written beside.
    pub(super) schedule: Option<&'a ScheduleStatus>,
}

/// All conditions.
pub(super) fn conditions(
    facts: &BulkFacts<'_>,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let stalled = stalled(facts);
    let found = [
        (READY, Some(ready(facts, previous))),
        (RECONCILING, if stalled.is_none() { reconciling(facts) } else { None }),
        (STALLED, stalled),
        (SPEC_ACCEPTED, Some(spec_accepted(facts))),
        (CAUGHT_UP, facts.scheduled.then(|| caught_up(facts, now))),
        (INTERVALS_CURRENT, intervals_current(facts, previous)),
    ];
    conditions_of(found, facts.generation, previous, now)
}

fn no(reason: Reason, message: impl Into<String>) -> Answer {
    answer(Verdict::False, reason, message)
}

fn ready(facts: &BulkFacts<'_>, previous: &[Condition]) -> Answer {
    if facts.deleting {
        return no(Reason::Deleting, "it is being deleted");
    }
    if let Some(failure) = facts.failure {
        return before_failure(failure, previous)
            .unwrap_or_else(|| no(failure.reason, &*failure.message));
    }
    match facts.rejection {
        Some(rejection) if facts.withheld || !facts.accepted => {
            return no(rejection.reason, &*rejection.message);
        }
        None if !facts.accepted => {
            return answer(Verdict::Unknown, Reason::Progressing, "not looked at yet");
        }
        _ => {}
    }
    if facts.suspended {
        return no(Reason::Suspended, "suspended by spec.suspend: no run begins");
    }
    if let Some(newest) = facts.newest.filter(|newest| !newest.succeeded) {
        let Newest { run, reason, message, .. } = newest;
        return no(Reason::RunFailed, format!("run {run} failed: {reason}: {message}"));
    }
    if let Some((reason, why)) = facts.calendar_trouble {
        return no(*reason, format!("the table's log cannot be read: {why}"));
    }
    runs_are_made(facts)
}

fn runs_are_made(facts: &BulkFacts<'_>) -> Answer {
    let words = match facts.scheduled {
        true => "runs are made by the schedule",
        false => "runs are made when somebody asks for one",
    };
    match facts.rejection {
        Some(rejection) => {
            let message = format!(
                "goes on as accepted before; the last edit was refused: {}",
                rejection.message
            );
            answer(Verdict::True, rejection.reason, message)
        }
        None => answer(Verdict::True, Reason::Ok, words),
    }
}

/// While the API server is out of reach nothing is known to have changed.
fn before_failure(failure: &Failure, previous: &[Condition]) -> Option<Answer> {
    said_before(previous, READY).filter(|_| failure.reason == Reason::ApiUnavailable)
}

fn reconciling(facts: &BulkFacts<'_>) -> Option<Answer> {
    if facts.deleting {
        return Some(answer(Verdict::True, Reason::Deleting, "it is being deleted"));
    }
    let waits = facts.rejection.filter(|it| outlook(it.reason) != Outlook::Stalled)?;
    Some(answer(Verdict::True, waits.reason, &*waits.message))
}

fn stalled(facts: &BulkFacts<'_>) -> Option<Answer> {
    let refused = facts.rejection.filter(|it| outlook(it.reason) == Outlook::Stalled)?;
    (!facts.deleting).then(|| answer(Verdict::True, refused.reason, &*refused.message))
}

fn spec_accepted(facts: &BulkFacts<'_>) -> Answer {
    match facts.rejection {
        Some(rejection) => no(rejection.reason, &*rejection.message),
        None if facts.accepted => answer(Verdict::True, Reason::Ok, "this generation is what runs"),
        None => answer(Verdict::Unknown, Reason::Progressing, "not looked at yet"),
    }
}

fn caught_up(facts: &BulkFacts<'_>, now: Timestamp) -> Answer {
    let unknown = |reason: Reason, words: &str| answer(Verdict::Unknown, reason, words);
    if facts.suspended {
        return unknown(Reason::Suspended, "the schedule is not followed while suspended");
    }
    let Some(schedule) = facts.schedule else {
        return unknown(Reason::Progressing, "not looked at yet");
    };
    let at = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let through = at(&schedule.complete_through);
    let late = facts.freshness.zip(through).is_some_and(|(most, at)| is_over(at, most, now));
    if late {
        return no(Reason::Late, "what the table is complete up to is older than promised");
    }
    let behind = schedule.missed > 0
        || at(&schedule.last_scheduled_tick).is_some_and(|tick| through.is_none_or(|at| at < tick));
    // With nothing scheduled yet there is nothing to be behind with.
    match behind {
        true if through.is_none() && schedule.active == 0 && schedule.missed == 0 => {
            answer(Verdict::True, Reason::Ok, "no interval is due yet")
        }
        true => no(Reason::Behind, "intervals that are due are not in the table yet"),
        false => answer(Verdict::True, Reason::Ok, "every interval that is due is in the table"),
    }
}

/// What was seen last stands until somebody looks again, though the run that saw it is gone.
fn intervals_current(facts: &BulkFacts<'_>, previous: &[Condition]) -> Option<Answer> {
    let seen = facts.looked.map_or(previous, std::slice::from_ref);
    said_before(seen, INTERVALS_CURRENT).filter(|_| facts.of_files && facts.scheduled)
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
