//! Events that every pipeline may have: one for each transition of its conditions, none for what lasts.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};
use tidegate_types::Reason;

use super::conditions::{
    CAUGHT_UP, DEAD_LETTERING, INTERVALS_CURRENT, READY, RECONCILING, SOURCE_DURABLE,
    SPEC_ACCEPTED, STALLED, find,
};
use super::outlook::{Outlook, outlook};
use crate::text::{count, cut};

/// The longest note that Kubernetes takes.
const LONGEST_NOTE: usize = 1_024;

/// One Event; the note is cut to what Kubernetes takes.
pub(crate) fn event(type_: EventType, reason: Reason, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.as_str().to_owned(),
        note: Some(cut(note, LONGEST_NOTE)),
        action: action.to_owned(),
        secondary: None,
    }
}

/// In the ordinary course of things.
pub(crate) fn normal(reason: Reason, action: &str, note: &str) -> Event {
    event(EventType::Normal, reason, action, note)
}

/// Somebody should know.
pub(crate) fn warning(reason: Reason, action: &str, note: &str) -> Event {
    event(EventType::Warning, reason, action, note)
}

/// Of columns that an accepted edit added.
pub(crate) fn columns(added: &[String]) -> Option<Event> {
    let note =
        format!("the table gets {}: {}", count(added.len() as u64, "column"), added.join(", "));
    (!added.is_empty()).then(|| normal(Reason::SchemaChanged, "AddColumns", &note))
}

/// Of objects that somebody had changed and that were put back, such as `Service clicks-worker`.
pub(crate) fn drift(repaired: &[String]) -> Option<Event> {
    let note = format!("somebody changed {}; it was put back", repaired.join(", "));
    (!repaired.is_empty()).then(|| warning(Reason::DriftRepaired, "Repair", &note))
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
