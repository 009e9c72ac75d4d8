//! The last step: status, Events and gauges, whatever happened before.

use std::time::Duration;

use kube::runtime::events::EventType;
use tidegate_api::{IngestionPipelineStatus, IngestionRunStatus};
use tidegate_config::{BulkSource, RunReport};

use super::Reconcile;
use super::conditions::BulkFacts;
use super::status::next_status;
use super::work::{Scene, Turn};
use crate::context::{Context, pipeline_resource, run_resource};
use crate::key::Key;
use crate::metrics::{BulkGauges, PipelineGauges, RunEnd};
use crate::pipeline::{
    Failure, INTERVALS_CURRENT, READY, STALLED, columns, event, find, has_finalizer,
    is_all_that_can_be_written, publish, transitions, write,
};
use crate::queue::Again;
use crate::runs::{Outcome, Run, Step};

/// Reports what was found and done. A failure of an earlier step stays the outcome.
pub(super) async fn report(
    run: &mut Reconcile<'_>,
    result: Result<Again, Failure>,
) -> Result<Again, Failure> {
    if run.object.metadata.deletion_timestamp.is_some() && !has_finalizer(run.object) {
        // It is the garbage collector's, and may be gone any moment.
        return result;
    }
    let facts = facts(run, result.as_ref().err());
    let guarantee = run.validation.pipeline.as_ref().map(|pipeline| pipeline.config.guarantee);
    let next = next_status(&facts, guarantee, run.previous.as_ref(), run.now);
    let written = match &next {
        Some(status) => write(run.context, &run.owner, run.object, status).await,
        None => Ok(()),
    };
    if let Some(next) = next.as_ref().filter(|_| is_all_that_can_be_written(&written)) {
        tell(run, next).await;
    }
    show(run, next.as_ref());
    let again = result?;
    written?;
    Ok(again)
}

fn facts<'a>(run: &'a Reconcile<'_>, failure: Option<&'a Failure>) -> BulkFacts<'a> {
    let pipeline = run.validation.pipeline.as_ref();
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    // What was said last stands while nobody could look.
    let before = run.previous.as_ref().and_then(|status| status.schedule.as_ref());
    BulkFacts {
        generation: run.object.metadata.generation.unwrap_or_default(),
        deleting: run.object.metadata.deletion_timestamp.is_some(),
        rejection: run.validation.rejection.as_ref(),
        withheld: run.validation.withheld,
        accepted: pipeline.is_some(),
        suspended: pipeline.is_some_and(|pipeline| pipeline.spec.suspend),
        scheduled: run.validation.grid.is_some(),
        freshness: objective.map(tidegate_types::Span::to_duration),
        failure,
        newest: run.done.newest.as_ref(),
        calendar_trouble: run.done.calendar_trouble.as_ref(),
        of_files: pipeline.is_some_and(|pipeline| is_of_files(&pipeline.config.source)),
        looked: run.done.looked.as_ref(),
        schedule: run.done.schedule.as_ref().or(before),
    }
}

fn is_of_files(source: &BulkSource) -> bool {
    matches!(source, BulkSource::ObjectStore(_))
}

/// What changed, as Events.
async fn tell(run: &Reconcile<'_>, next: &IngestionPipelineStatus) {
    let before = run.previous.as_ref().map_or(&[][..], |status| &status.conditions);
    let mut events = transitions(before, &next.conditions);
    let observed = run.previous.as_ref().and_then(|status| status.observed_generation);
    if observed != next.observed_generation {
        events.extend(columns(&run.validation.added_columns));
    }
    publish(run.context, run.object, &pipeline_resource(), &events).await;
}

/// The end of a run is an Event and a number.
pub(super) async fn announce(scene: &Scene<'_>, turn: &Turn, status: &IngestionRunStatus) {
    let Step::Finish(outcome) = &turn.step else { return };
    let Outcome { succeeded, reason, message, .. } = outcome;
    let (context, key, run) = (scene.field.context, scene.field.key, &scene.runs[turn.run]);
    context.metrics.run_ended(key, &counted(run, turn, outcome, status));
    tracing::info!(pipeline = %key, run = run.name, succeeded, reason = reason.as_str(), message, "a run is over");
    publish_end(context, key, run, outcome).await;
}

/// The end in numbers.
fn counted(run: &Run, turn: &Turn, outcome: &Outcome, status: &IngestionRunStatus) -> RunEnd {
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
        took: took.filter(|_| turn.children.is_none()),
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

fn show(run: &Reconcile<'_>, next: Option<&IngestionPipelineStatus>) {
    let status = next.or(run.previous.as_ref());
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let is = |kind| find(conditions, kind).is_some_and(|condition| condition.status == "True");
    let pipeline = run.validation.pipeline.as_ref();
    let schedule = status.and_then(|status| status.schedule.as_ref());
    let through = schedule.and_then(|it| it.complete_through.as_ref()).map(|time| time.0);
    let age = through.map(|through| run.now.duration_since(through).as_secs());
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    let metrics = &run.context.metrics;
    metrics.show(
        &run.owner.key,
        &PipelineGauges {
            ready: is(READY),
            stalled: is(STALLED),
            suspended: pipeline.is_some_and(|pipeline| pipeline.spec.suspend),
            lag: None,
            lag_seconds: age.and_then(|age| u64::try_from(age).ok()),
            freshness_objective: objective.map(tidegate_types::Span::to_duration),
            complete_through: through.map(jiff::Timestamp::as_microsecond),
            workers: 0,
            workers_ready: 0,
        },
    );
    let Some(tally) = run.done.tally else { return };
    metrics.show_runs(
        &run.owner.key,
        &BulkGauges {
            tally,
            due: schedule.map_or(0, |schedule| u64::from(schedule.missed)),
            failed: run.done.newest.as_ref().is_some_and(|newest| !newest.succeeded),
            stale: find(conditions, INTERVALS_CURRENT).is_some_and(|it| it.status == "False"),
        },
    );
}
