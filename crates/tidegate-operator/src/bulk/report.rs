//! The last step: status, Events and gauges, whatever happened before.

use tidegate_api::IngestionPipelineStatus;
use tidegate_config::BulkSource;

use super::conditions::BulkFacts;
use super::events::{Happenings, events};
use super::reconcile::Reconcile;
use super::status::next_status;
use crate::cluster::pipeline_resource;
use crate::failure::Failure;
use crate::metrics::{BulkGauges, PipelineGauges};
use crate::queue::Again;
use crate::status::{
    INTERVALS_CURRENT, READY, STALLED, Verdict, holds, is_all_that_can_be_written,
    is_left_to_others, publish, write,
};

/// Reports what was found and done. A failure of an earlier step stays the outcome.
pub(super) async fn report(
    reconcile: &mut Reconcile<'_>,
    result: Result<Again, Failure>,
) -> Result<Again, Failure> {
    if is_left_to_others(reconcile.object) {
        return result;
    }
    let facts = facts(reconcile, result.as_ref().err());
    let pipeline = reconcile.validated.outcome.pipeline.as_ref();
    let guarantee = pipeline.map(|pipeline| pipeline.config.guarantee);
    let next = next_status(&facts, guarantee, reconcile.previous.as_ref(), reconcile.now);
    let written = write(reconcile.context, &reconcile.owner, reconcile.object, next.as_ref()).await;
    // What could not be written is a transition once more the next time.
    let told = next.as_ref().filter(|_| is_all_that_can_be_written(&written));
    let outcome = &reconcile.validated.outcome;
    let happenings =
        Happenings { added_columns: &outcome.added_columns, repaired: &reconcile.changes.repaired };
    let events = events(reconcile.previous.as_ref(), told, happenings);
    publish(reconcile.context, reconcile.object, &pipeline_resource(), &events).await;
    show(reconcile, next.as_ref());
    let again = result?;
    written?;
    Ok(again)
}

fn facts<'a>(reconcile: &'a Reconcile<'_>, failure: Option<&'a Failure>) -> BulkFacts<'a> {
    let pipeline = reconcile.validated.outcome.pipeline.as_ref();
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    // What was said last stands while nobody could look.
    let before = reconcile.previous.as_ref().and_then(|status| status.schedule.as_ref());
    BulkFacts {
        generation: reconcile.object.metadata.generation.unwrap_or_default(),
        deleting: reconcile.object.metadata.deletion_timestamp.is_some(),
        rejection: reconcile.validated.outcome.rejection.as_ref(),
        withheld: reconcile.validated.outcome.withheld,
        accepted: pipeline.is_some(),
        suspended: pipeline.is_some_and(|pipeline| pipeline.spec.suspend),
        scheduled: reconcile.validated.grid.is_some(),
        freshness: objective.map(tidegate_types::Span::to_duration),
        failure,
        newest: reconcile.done.newest.as_ref(),
        calendar_trouble: reconcile.done.calendar_trouble.as_ref(),
        of_files: pipeline.is_some_and(|pipeline| is_of_files(&pipeline.config.source)),
        looked: reconcile.done.looked.as_ref(),
        schedule: reconcile.done.schedule.as_ref().or(before),
    }
}

fn is_of_files(source: &BulkSource) -> bool {
    matches!(source, BulkSource::ObjectStore(_))
}

fn show(reconcile: &Reconcile<'_>, next: Option<&IngestionPipelineStatus>) {
    let status = next.or(reconcile.previous.as_ref());
    let conditions = status.map_or(&[][..], |status| &status.conditions);
    let is = |kind| holds(conditions, kind, Verdict::True);
    let pipeline = reconcile.validated.outcome.pipeline.as_ref();
    let schedule = status.and_then(|status| status.schedule.as_ref());
    let through = schedule.and_then(|it| it.complete_through.as_ref()).map(|time| time.0);
    let age = through.map(|through| reconcile.now.duration_since(through).as_secs());
    let objective = pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
    let metrics = &reconcile.context.metrics;
    metrics.show(
        &reconcile.owner.key,
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
    let Some(tally) = reconcile.done.tally else { return };
    metrics.show_runs(
        &reconcile.owner.key,
        &BulkGauges {
            tally,
            due: schedule.map_or(0, |schedule| u64::from(schedule.missed)),
            failed: reconcile.done.newest.as_ref().is_some_and(|newest| !newest.succeeded),
            stale: holds(conditions, INTERVALS_CURRENT, Verdict::False),
        },
    );
}
