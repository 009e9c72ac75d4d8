//! Which Events to publish: one for each transition, none for what lasts.

use kube::runtime::events::Event;
use tidegate_api::IngestionPipelineStatus;
use tidegate_types::Reason;

use super::status_facts::StatusFacts;
use crate::status::{columns, drift, normal, transitions, warning};

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

/// Inputs and answer, in the reconcile that changes the number.
fn scaled(facts: &StatusFacts<'_>) -> Option<Event> {
    let scaling = &facts.decisions?.scaling;
    scaling.is_step().then(|| normal(scaling.reason, "Scale", &scaling.message))
}

fn fenced(facts: &StatusFacts<'_>) -> Option<Event> {
    let workers = facts.memory.newly_fenced();
    let note = format!(
        "another worker took partitions away from {}; what it had not committed is read again",
        workers.join(", ")
    );
    (!workers.is_empty()).then(|| warning(Reason::Fenced, "Fence", &note))
}

fn left_behind(left: &[String]) -> Option<Event> {
    let note = format!("deleted, but this is left: {}", left.join("; "));
    (!left.is_empty()).then(|| warning(Reason::DeletionIncomplete, "Delete", &note))
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
