//! The status of a bulk pipeline. It moves with its runs alone, so that whatever differs is written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidegate_api::{GuaranteeStatus, IngestionPipelineStatus, Phase, ScheduleStatus};
use tidegate_types::Guarantee;

use super::conditions::{BulkFacts, conditions};
use crate::status::{READY, STALLED, find};

/// The status to be written; none when it stands there already.
pub(super) fn next_status(
    facts: &BulkFacts<'_>,
    guarantee: Option<Guarantee>,
    previous: Option<&IngestionPipelineStatus>,
    now: Timestamp,
) -> Option<IngestionPipelineStatus> {
    let before = previous.map_or(&[][..], |status| &status.conditions);
    let conditions = conditions(facts, before, now);
    let fresh = IngestionPipelineStatus {
        observed_generation: Some(facts.generation),
        phase: Some(phase(facts, &conditions)),
        // What the path does not give was refused with the spec.
        guarantee: guarantee.map(|given| GuaranteeStatus {
            requested: given,
            effective: given,
            weakest_hop: None,
        }),
        schedule: facts.schedule.cloned(),
        conditions,
        ..IngestionPipelineStatus::default()
    };
    (previous != Some(&fresh)).then_some(fresh)
}

fn phase(facts: &BulkFacts<'_>, conditions: &[Condition]) -> Phase {
    let ready = find(conditions, READY).map(|ready| ready.status.as_str());
    let active = |schedule: &ScheduleStatus| schedule.active > 0;
    if facts.deleting {
        Phase::Deleting
    } else if facts.suspended {
        Phase::Suspended
    } else if find(conditions, STALLED).is_some() {
        Phase::Stalled
    } else {
        match ready {
            Some("True") if facts.schedule.is_some_and(active) => Phase::Running,
            Some("True") => Phase::Idle,
            Some("False") => Phase::Degraded,
            _ => Phase::Pending,
        }
    }
}
