//! Which Events to publish: one for each transition, none for what lasts.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};
use tidegate_api::IngestionPipelineStatus;
use tidegate_types::Reason;

use super::conditions::{
    CAUGHT_UP, DEAD_LETTERING, INTERVALS_CURRENT, READY, RECONCILING, SOURCE_DURABLE,
    SPEC_ACCEPTED, STALLED, find,
};
use super::message::{count, cut};
use super::outlook::{Outlook, outlook};
use super::scaling::is_step;
use super::status_facts::StatusFacts;

/// The longest note that Kubernetes takes.
const LONGEST_NOTE: usize = 1_024;

/// What happened in this reconcile that no condition tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Happenings<'a> {
    /// Columns that an accepted edit added.
    pub(crate) added_columns: &'a [String],
    /// Objects that somebody had changed and that were put back, such as `Service clicks-worker`.
    pub(crate) repaired: &'a [String],
    /// What the deletion could not delete outside the cluster; empty when nothing is left.
    pub(crate) left_behind: &'a [String],
}

/// The Events of this reconcile. `next` is the status that is written; none when none is.
pub(crate) fn events(
    facts: &StatusFacts<'_>,
    previous: Option<&IngestionPipelineStatus>,
    next: Option<&IngestionPipelineStatus>,
    happenings: Happenings<'_>,
) -> Vec<Event> {
    let mut events = Vec::new();
    events.extend(scaled(facts));
    events.extend(fenced(facts));
    events.extend(columns(happenings.added_columns));
    events.extend(drift(happenings.repaired));
    events.extend(left_behind(happenings.left_behind));
    if let Some(next) = next {
        let before = previous.map_or(&[][..], |previous| &previous.conditions);
        events.extend(transitions(before, &next.conditions));
    }
    events
}

pub(crate) fn event(type_: EventType, reason: Reason, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.as_str().to_owned(),
        note: Some(cut(note, LONGEST_NOTE)),
        action: action.to_owned(),
        secondary: None,
    }
}

fn normal(reason: Reason, action: &str, note: &str) -> Event {
    event(EventType::Normal, reason, action, note)
}

fn warning(reason: Reason, action: &str, note: &str) -> Event {
    event(EventType::Warning, reason, action, note)
}

/// Inputs and answer, in the reconcile that changes the number.
fn scaled(facts: &StatusFacts<'_>) -> Option<Event> {
    let scaling = &facts.decisions?.scaling;
    is_step(scaling.reason).then(|| normal(scaling.reason, "Scale", &scaling.message))
}

fn fenced(facts: &StatusFacts<'_>) -> Option<Event> {
    let workers = facts.memory.newly_fenced();
    let note = format!(
        "another worker took partitions away from {}; what it had not committed is read again",
        workers.join(", ")
    );
    (!workers.is_empty()).then(|| warning(Reason::Fenced, "Fence", &note))
}

pub(crate) fn columns(added: &[String]) -> Option<Event> {
    let note =
        format!("the table gets {}: {}", count(added.len() as u64, "column"), added.join(", "));
    (!added.is_empty()).then(|| normal(Reason::SchemaChanged, "AddColumns", &note))
}

fn drift(repaired: &[String]) -> Option<Event> {
    let note = format!("somebody changed {}; it was put back", repaired.join(", "));
    (!repaired.is_empty()).then(|| warning(Reason::DriftRepaired, "Repair", &note))
}

fn left_behind(left: &[String]) -> Option<Event> {
    let note = format!("deleted, but this is left: {}", left.join("; "));
    (!left.is_empty()).then(|| warning(Reason::DeletionIncomplete, "Delete", &note))
}

/// What the conditions tell by changing. A reason is told once, by the condition that says most.
pub(crate) fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Event> {
    let change = Change { before, after };
    let told = [
        change.refused(),
        change.stalled(),
        change.ready(),
        change.becomes(SOURCE_DURABLE, "False", "Check"),
        change.becomes(DEAD_LETTERING, "True", "SetAside"),
        change.becomes(INTERVALS_CURRENT, "False", "LookBack"),
        change.late(),
        change.rolling_out(),
    ];
    let mut reasons = BTreeSet::new();
    told.into_iter().flatten().filter(|event| reasons.insert(event.reason.clone())).collect()
}

struct Change<'a> {
    before: &'a [Condition],
    after: &'a [Condition],
}

impl Change<'_> {
    /// The condition, when it did not say the same before.
    fn changed(&self, kind: &str) -> Option<&Condition> {
        let after = find(self.after, kind)?;
        let same = find(self.before, kind)
            .is_some_and(|before| before.status == after.status && before.reason == after.reason);
        (!same).then_some(after)
    }

    fn becomes(&self, kind: &str, status: &str, action: &str) -> Option<Event> {
        let after = self.changed(kind).filter(|after| after.status == status)?;
        Some(warning(Reason::from_word(&after.reason)?, action, &after.message))
    }

    /// Each edit that is refused, though it be for the same reason.
    fn refused(&self) -> Option<Event> {
        let after = find(self.after, SPEC_ACCEPTED).filter(|after| after.status == "False")?;
        let same = find(self.before, SPEC_ACCEPTED).is_some_and(|before| {
            before.status == after.status
                && before.reason == after.reason
                && before.observed_generation == after.observed_generation
        });
        (!same).then(|| {
            Reason::from_word(&after.reason).map(|r| warning(r, "Refuse", &after.message))
        })?
    }

    fn stalled(&self) -> Option<Event> {
        let after = self.changed(STALLED)?;
        // The refusal is an Event already, or was one.
        let refused = find(self.after, SPEC_ACCEPTED)
            .is_some_and(|spec| spec.status == "False" && spec.reason == after.reason);
        (!refused).then(|| {
            Reason::from_word(&after.reason).map(|r| warning(r, "Stall", &after.message))
        })?
    }

    fn ready(&self) -> Option<Event> {
        let after = self.changed(READY)?;
        let reason = Reason::from_word(&after.reason)?;
        if reason == Reason::Suspended {
            return Some(normal(reason, "Suspend", &after.message));
        }
        if after.status == "True" {
            let was = find(self.before, READY).map_or("", |before| before.status.as_str());
            return (was != "True").then(|| normal(reason, "Run", &after.message));
        }
        let in_the_course_of_things =
            matches!(reason, Reason::Progressing | Reason::RollingOut | Reason::Deleting);
        let is_told_by_stalled = outlook(reason) == Outlook::Stalled;
        (!in_the_course_of_things && !is_told_by_stalled)
            .then(|| warning(reason, "Run", &after.message))
    }

    fn late(&self) -> Option<Event> {
        let after =
            self.changed(CAUGHT_UP).filter(|after| after.reason == Reason::Late.as_str())?;
        Some(warning(Reason::Late, "Read", &after.message))
    }

    fn rolling_out(&self) -> Option<Event> {
        let after = self
            .changed(RECONCILING)
            .filter(|after| after.reason == Reason::RollingOut.as_str())?;
        Some(normal(Reason::RollingOut, "RollOut", &after.message))
    }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
