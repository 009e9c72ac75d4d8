//! The last step: status, Events and gauges, whatever happened before; then the end of a deletion.

use kube::runtime::events::Event;
use tidegate_api::IngestionPipelineStatus;

use super::delete::Deletion;
use super::events::{Happenings, events};
use super::reconcile::Reconcile;
use super::status::next_status;
use super::status_facts::StatusFacts;
use crate::cluster::pipeline_resource;
use crate::failure::Failure;
use crate::metrics::PipelineGauges;
use crate::queue::Again;
use crate::status::{
    READY, STALLED, Verdict, has_finalizer, holds, is_all_that_can_be_written, is_left_to_others,
    publish, take_finalizer, write,
};

/// Reports what was found and done. A failure of an earlier step stays the outcome.
pub(super) async fn report(
    reconcile: &mut Reconcile<'_>,
    result: Result<Again, Failure>,
) -> Result<Again, Failure> {
    if is_left_to_others(reconcile.object) {
        return result;
    }
    let next = next_status(
        &facts(reconcile, result.as_ref().err()),
        reconcile.previous.as_ref(),
        reconcile.now,
    );
    let written = write(reconcile.context, &reconcile.owner, reconcile.object, next.as_ref()).await;
    // What could not be written is a transition once more the next time.
    let told = next.as_ref().filter(|_| is_all_that_can_be_written(&written));
    let events = happened(reconcile, result.as_ref().err(), told);
    publish(reconcile.context, reconcile.object, &pipeline_resource(), &events).await;
    if told.is_some() {
        reconcile.state.memory.status_written = Some(reconcile.now);
    }
    show(reconcile, next.as_ref());
    let again = result?;
    if is_all_that_can_be_written(&written) {
        end_deletion(reconcile).await?;
    }
    written?;
    Ok(again)
}

fn facts<'a>(reconcile: &'a Reconcile<'_>, failure: Option<&'a Failure>) -> StatusFacts<'a> {
    let asked = reconcile.object.metadata.deletion_timestamp.is_some();
    StatusFacts {
        name: &reconcile.owner.key.name,
        generation: reconcile.object.metadata.generation.unwrap_or_default(),
        deleting: asked.then(|| reconcile.deletion.as_ref().map_or("it is being deleted", told)),
        rejection: reconcile.validation.rejection.as_ref(),
        withheld: reconcile.validation.withheld,
        pipeline: reconcile.validation.pipeline.as_ref(),
        decisions: reconcile.decisions.as_ref(),
        observed: &reconcile.observed,
        failure,
        memory: &reconcile.state.memory,
    }
}

fn told(deletion: &Deletion) -> &'static str {
    match deletion {
        Deletion::Done => "everything outside the cluster that was to go is deleted",
        Deletion::Draining => "workers and agent are leaving",
        Deletion::Cleaning => "what lies outside the cluster is being deleted",
        Deletion::Incomplete(_) => "something outside the cluster could not be deleted",
    }
}

fn happened(
    reconcile: &Reconcile<'_>,
    failure: Option<&Failure>,
    written: Option<&IngestionPipelineStatus>,
) -> Vec<Event> {
    let left_behind = match &reconcile.deletion {
        Some(Deletion::Incomplete(left)) => left.as_slice(),
        _ => &[],
    };
    let happenings = Happenings {
        added_columns: &reconcile.validation.added_columns,
        repaired: &reconcile.changes.repaired,
        left_behind,
    };
    events(&facts(reconcile, failure), reconcile.previous.as_ref(), written, happenings)
}

fn show(reconcile: &Reconcile<'_>, next: Option<&IngestionPipelineStatus>) {
    let status = next.or(reconcile.previous.as_ref());
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let is = |kind| holds(conditions, kind, Verdict::True);
    let pipeline = reconcile.validation.pipeline.as_ref();
    let agent = reconcile.observed.agent_report();
    let lag = status.and_then(|status| status.lag.as_ref());
    // The age of what was known last tells the alert that nothing is known since.
    let written = status.and_then(|status| status.complete_through.as_ref());
    let through = agent.and_then(|agent| agent.complete_through);
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    reconcile.context.metrics.show(
        &reconcile.owner.key,
        &PipelineGauges {
            ready: is(READY),
            stalled: is(STALLED),
            suspended: pipeline.is_some_and(|pipeline| pipeline.spec.suspend),
            lag: agent.and_then(|agent| agent.lag).or(lag.map(|lag| lag.messages)),
            lag_seconds: agent.and_then(|agent| agent.lag_seconds).or(lag.map(|lag| lag.seconds)),
            freshness_objective: objective.map(tidegate_types::Span::to_duration),
            complete_through: through.or(written.map(|time| time.0.as_microsecond())),
            workers: reconcile
                .decisions
                .as_ref()
                .map_or(reconcile.observed.workers.wanted, |d| d.replicas),
            workers_ready: reconcile.observed.workers.ready,
        },
    );
}

/// Lets the pipeline go.
async fn end_deletion(reconcile: &Reconcile<'_>) -> Result<(), Failure> {
    match &reconcile.deletion {
        Some(Deletion::Done | Deletion::Incomplete(_)) if has_finalizer(reconcile.object) => {
            take_finalizer(reconcile.context, &reconcile.owner).await
        }
        _ => Ok(()),
    }
}
