//! The last step: status, Events and gauges, whatever happened before.

use tidegate_api::IngestionPipelineStatus;
use tidegate_config::BulkSource;

use super::conditions::BulkFacts;
use super::reconcile::Reconcile;
use super::status::next_status;
use crate::cluster::pipeline_resource;
use crate::failure::Failure;
use crate::metrics::{BulkGauges, PipelineGauges};
use crate::queue::Again;
use crate::status::{
    INTERVALS_CURRENT, READY, STALLED, Verdict, columns, holds, is_all_that_can_be_written,
    is_left_to_others, publish, transitions, write,
};

/// Reports what was found and done. A failure of an earlier step stays the outcome.
pub(super) async fn report(
    run: &mut Reconcile<'_>,
    result: Result<Again, Failure>,
) -> Result<Again, Failure> {
    if is_left_to_others(run.object) {
        return result;
    }
    let facts = facts(run, result.as_ref().err());
    let pipeline = run.validated.outcome.pipeline.as_ref();
    let guarantee = pipeline.map(|pipeline| pipeline.config.guarantee);
    let next = next_status(&facts, guarantee, run.previous.as_ref(), run.now);
    let written = write(run.context, &run.owner, run.object, next.as_ref()).await;
    if let Some(next) = next.as_ref().filter(|_| is_all_that_can_be_written(&written)) {
        tell(run, next).await;
    }
    show(run, next.as_ref());
    let again = result?;
    written?;
    Ok(again)
}

fn facts<'a>(run: &'a Reconcile<'_>, failure: Option<&'a Failure>) -> BulkFacts<'a> {
    let pipeline = run.validated.outcome.pipeline.as_ref();
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    // What was said last stands while nobody could look.
    let before = run.previous.as_ref().and_then(|status| status.schedule.as_ref());
    BulkFacts {
        generation: run.object.metadata.generation.unwrap_or_default(),
        deleting: run.object.metadata.deletion_timestamp.is_some(),
        rejection: run.validated.outcome.rejection.as_ref(),
        withheld: run.validated.outcome.withheld,
        accepted: pipeline.is_some(),
        suspended: pipeline.is_some_and(|pipeline| pipeline.spec.suspend),
        scheduled: run.validated.grid.is_some(),
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
        events.extend(columns(&run.validated.outcome.added_columns));
    }
    publish(run.context, run.object, &pipeline_resource(), &events).await;
}

fn show(run: &Reconcile<'_>, next: Option<&IngestionPipelineStatus>) {
    let status = next.or(run.previous.as_ref());
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let is = |kind| holds(conditions, kind, Verdict::True);
    let pipeline = run.validated.outcome.pipeline.as_ref();
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
            stale: holds(conditions, INTERVALS_CURRENT, Verdict::False),
        },
    );
}
