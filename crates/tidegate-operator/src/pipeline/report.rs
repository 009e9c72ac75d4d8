//! The last step: status, Events and gauges, whatever happened before; then the end of a deletion.
//!
//! The status is applied with our field manager, so that what is no longer said goes. It carries the
//! pipeline's uid, so that a successor of the same name never gets it, and no resource version: nobody
//! else writes it, and an edit meanwhile shows in `observedGeneration`.

use kube::api::{Api, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::events::Event;
use kube::{Resource, ResourceExt};
use serde_json::json;
use tidegate_api::{GROUP, IngestionPipelineStatus, KIND, VERSION};
use tidegate_types::Reason;

use super::Reconcile;
use super::conditions::{READY, STALLED, find};
use super::delete::{Deletion, gone, has_finalizer, take_finalizer};
use super::events::{Happenings, events};
use super::failure::Failure;
use super::names;
use super::owner::Owner;
use super::status::next_status;
use super::status_facts::StatusFacts;
use crate::context::{Context, pipeline_resource};
use crate::metrics::PipelineGauges;
use crate::queue::Again;
use crate::watch::take_in;

/// Reports what was found and done. A failure of an earlier step stays the outcome.
pub(super) async fn report(
    run: &mut Reconcile<'_>,
    result: Result<Again, Failure>,
) -> Result<Again, Failure> {
    if run.object.metadata.deletion_timestamp.is_some() && !has_finalizer(run.object) {
        // It is the garbage collector's, and may be gone any moment.
        return result;
    }
    let next = next_status(&facts(run, result.as_ref().err()), run.previous.as_ref(), run.now);
    let written = match &next {
        Some(status) => write(run.context, &run.owner, run.object, status).await,
        None => Ok(()),
    };
    // What could not be written is a transition once more the next time.
    let told = next.as_ref().filter(|_| is_all_that_can_be_written(&written));
    let events = happened(run, result.as_ref().err(), told);
    publish(run.context, run.object, &pipeline_resource(), &events).await;
    if told.is_some() {
        run.state.memory.status_written = Some(run.now);
    }
    show(run, next.as_ref());
    let again = result?;
    if is_all_that_can_be_written(&written) {
        end_deletion(run).await?;
    }
    written?;
    Ok(again)
}

/// A status that is refused will be refused again (the object does not fit its definition), and an Event
/// is all there is: nothing waits for it.
pub(crate) fn is_all_that_can_be_written(written: &Result<(), Failure>) -> bool {
    written.as_ref().err().is_none_or(|failure| failure.reason == Reason::ApiRefused)
}

fn facts<'a>(run: &'a Reconcile<'_>, failure: Option<&'a Failure>) -> StatusFacts<'a> {
    let asked = run.object.metadata.deletion_timestamp.is_some();
    StatusFacts {
        name: &run.owner.key.name,
        generation: run.object.metadata.generation.unwrap_or_default(),
        deleting: asked.then(|| run.deletion.as_ref().map_or("it is being deleted", told)),
        rejection: run.validation.rejection.as_ref(),
        withheld: run.validation.withheld,
        pipeline: run.validation.pipeline.as_ref(),
        decisions: run.decisions.as_ref(),
        observed: &run.observed,
        failure,
        memory: &run.state.memory,
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
    run: &Reconcile<'_>,
    failure: Option<&Failure>,
    written: Option<&IngestionPipelineStatus>,
) -> Vec<Event> {
    let left_behind = match &run.deletion {
        Some(Deletion::Incomplete(left)) => left.as_slice(),
        _ => &[],
    };
    let happenings = Happenings {
        added_columns: &run.validation.added_columns,
        repaired: &run.changes.repaired,
        left_behind,
    };
    events(&facts(run, failure), run.previous.as_ref(), written, happenings)
}

/// Writes the status of a pipeline.
pub(crate) async fn write(
    context: &Context,
    owner: &Owner,
    pipeline: &DynamicObject,
    status: &IngestionPipelineStatus,
) -> Result<(), Failure> {
    let key = &owner.key;
    let document = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": key.name, "uid": owner.uid},
        "status": status,
    });
    let client = context.client.clone();
    let api: Api<DynamicObject> =
        Api::namespaced_with(client, &key.namespace, &pipeline_resource());
    let how = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&key.name, &how, &Patch::Apply(document)).await {
        Ok(object) => {
            take_in(context, object);
            Ok(())
        }
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
            gone(context, pipeline, &refusal);
            Ok(())
        }
        Err(error) => {
            Err(Failure::of_request(&format!("the status of {KIND} {}", key.name), &error))
        }
    }
}

/// An Event that cannot be published is lost: the status says the same.
pub(crate) async fn publish(
    context: &Context,
    about: &DynamicObject,
    resource: &ApiResource,
    events: &[Event],
) {
    let mut reference = about.object_ref(resource);
    // Of which state of the object it speaks is told by its time.
    reference.resource_version = None;
    for event in events {
        if let Err(error) = context.recorder.publish(event, &reference).await {
            let object = about.name_any();
            tracing::warn!(object, reason = event.reason, %error, "an Event is lost");
        }
    }
}

fn show(run: &Reconcile<'_>, next: Option<&IngestionPipelineStatus>) {
    let status = next.or(run.previous.as_ref());
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let is = |kind| find(conditions, kind).is_some_and(|condition| condition.status == "True");
    let pipeline = run.validation.pipeline.as_ref();
    let agent = run.observed.agent_report();
    let lag = status.and_then(|status| status.lag.as_ref());
    // The age of what was known last tells the alert that nothing is known since.
    let written = status.and_then(|status| status.complete_through.as_ref());
    let through = agent.and_then(|agent| agent.complete_through);
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    run.context.metrics.show(
        &run.owner.key,
        &PipelineGauges {
            ready: is(READY),
            stalled: is(STALLED),
            suspended: pipeline.is_some_and(|pipeline| pipeline.spec.suspend),
            lag: agent.and_then(|agent| agent.lag).or(lag.map(|lag| lag.messages)),
            lag_seconds: agent.and_then(|agent| agent.lag_seconds).or(lag.map(|lag| lag.seconds)),
            freshness_objective: objective.map(tidegate_types::Span::to_duration),
            complete_through: through.or(written.map(|time| time.0.as_microsecond())),
            workers: run.decisions.as_ref().map_or(run.observed.workers.wanted, |d| d.replicas),
            workers_ready: run.observed.workers.ready,
        },
    );
}

/// Lets the pipeline go.
async fn end_deletion(run: &Reconcile<'_>) -> Result<(), Failure> {
    match &run.deletion {
        Some(Deletion::Done | Deletion::Incomplete(_)) if has_finalizer(run.object) => {
            take_finalizer(run.context, &run.owner).await
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_refused_holds_nothing_up_and_one_that_did_not_arrive_does() {
        let failed = |reason| Err(Failure::transient(reason, "no"));
        for (written, wanted) in [
            (Ok(()), true),
            (failed(Reason::ApiRefused), true),
            (failed(Reason::ApiUnavailable), false),
        ] {
            assert_eq!(is_all_that_can_be_written(&written), wanted, "{written:?}");
        }
    }
}
