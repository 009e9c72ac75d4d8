//! Telling that a run is over.

use std::time::Duration;

use kube::runtime::events::EventType;
use tidegate_api::IngestionRunStatus;
use tidegate_config::RunReport;

use super::runs_seen::{RunDecision, RunsSeen};
use crate::cluster::run_resource;
use crate::context::Context;
use crate::key::Key;
use crate::metrics::RunEnd;
use crate::runs::{Outcome, Run, Step};
use crate::status::{event, publish};

/// The end of a run is an Event and a number.
pub(super) async fn announce(
    seen: &RunsSeen<'_>,
    decision: &RunDecision,
    status: &IngestionRunStatus,
) {
    let Step::Finish(outcome) = &decision.step else { return };
    let Outcome { succeeded, reason, message, .. } = outcome;
    let (context, key, run) = (seen.field.context, seen.field.key, &seen.runs[decision.run]);
    context.metrics.run_ended(key, &counted(run, decision, outcome, status));
    tracing::info!(pipeline = %key, run = run.name, succeeded, reason = reason.as_str(), message, "a run is over");
    publish_end(context, key, run, outcome).await;
}

/// The end in numbers.
fn counted(
    run: &Run,
    decision: &RunDecision,
    outcome: &Outcome,
    status: &IngestionRunStatus,
) -> RunEnd {
    let times = status.start_time.as_ref().zip(status.completion_time.as_ref());
    let took =
        times.and_then(|(start, end)| Duration::try_from(end.0.duration_since(start.0)).ok());
    let rows = |report: &RunReport| {
        [report.rows_read, report.rows_committed, report.rows_replaced, report.dead_letters]
    };
    RunEnd {
        trigger: run.trigger(),
        succeeded: outcome.succeeded,
        reason: outcome.reason,
        took: took.filter(|_| decision.children.is_none()),
        // What an attempt that failed had written is not in the table.
        rows: outcome.report.as_ref().filter(|_| outcome.succeeded).map(rows).unwrap_or_default(),
    }
}

/// The end of a run as an Event of the run.
async fn publish_end(context: &Context, key: &Key, run: &Run, outcome: &Outcome) {
    let runs = context.caches.runs.of(key);
    let object = runs.iter().find(|object| object.metadata.uid.as_ref() == Some(&run.uid));
    let Some(object) = object else { return };
    let kind = if outcome.succeeded { EventType::Normal } else { EventType::Warning };
    let event = event(kind, outcome.reason, "Run", &outcome.message);
    publish(context, object, &run_resource(), &[event]).await;
}
