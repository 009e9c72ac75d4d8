//! One bulk pipeline, reconciled: validate → build → apply → its runs → status.
//!
//! Such a pipeline has no pods of its own. What its pods need is kept ready, its schedule makes runs, and
//! each run makes a Job an attempt; see [`crate::runs`] and [`crate::schedule`].

mod calendars;
mod chunks;
mod conditions;
mod ground;
mod keep_ready;
mod memory;
mod parents;
mod report;
mod scheduling;
mod status;
mod validate;
mod work;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::DynamicObject;
use tidegate_api::{IngestionPipelineStatus, SourceType};
use tidegate_types::Reason;
use tokio::time::Instant;

use self::ground::{Field, Stand};
use self::keep_ready::keep_ready;
use self::report::report;
use self::validate::{Validation, validate_once};
use self::work::{Done, work};
use crate::context::Context;
use crate::key::Key;
use crate::pipeline::{
    Applier, Failure, Owner, PipelineState, conclude, dereference, has_finalizer, status_of,
    take_finalizer,
};
use crate::queue::{Again, GATHER};

pub(crate) use self::memory::BulkMemory;
#[cfg(test)]
pub(crate) use self::validate::tests::{accepted, resource};

/// The longest reconcile: pods are asked for seconds, the API server for less.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest writing of status and Events.
const LONGEST_REPORT: Duration = Duration::from_secs(20);
/// An idle schedule is looked at so many poll intervals apart, should the clock have been set.
const IDLE_INTERVALS: u32 = 6;

/// Whether a pipeline is made of runs.
pub(crate) fn is_bulk(object: &DynamicObject) -> bool {
    let written = object.data.pointer("/spec/source/type").cloned().unwrap_or_default();
    serde_json::from_value::<SourceType>(written).is_ok_and(SourceType::is_bulk)
}

/// Reconciles one bulk pipeline and says when to look again.
pub(crate) async fn reconcile(context: &Context, key: &Key, object: &DynamicObject) -> Again {
    let Some(owner) = Owner::of(object) else { return Again::AfterFailure };
    let begun = Instant::now();
    let mut run = Reconcile {
        context,
        object,
        now: context.clock.now(),
        previous: status_of(object),
        state: context.states.take(key, &owner.uid),
        owner,
        validation: Arc::default(),
        done: Done::default(),
    };
    let result = match tokio::time::timeout(LONGEST, run.steps()).await {
        Ok(result) => result,
        Err(_) => Err(Failure::transient(Reason::ApiUnavailable, "it took too long")),
    };
    let result = match tokio::time::timeout(LONGEST_REPORT, report(&mut run, result)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::transient(Reason::ApiUnavailable, "the status took too long")),
    };
    run.end(result, begun.elapsed())
}

/// Tells the runs of a pipeline that is not there, or has no runs, that it is so.
pub(crate) async fn reconcile_strays(context: &Context, key: &Key, exists: bool) -> Again {
    if context.caches.runs.of(key).is_empty() {
        return Again::OnChange;
    }
    let mut memory = BulkMemory::default();
    let stand = if exists { Stand::Streams } else { Stand::Missing };
    let field = Field { context, key, owner: None, stand, now: context.clock.now() };
    match tokio::time::timeout(LONGEST, work(&field, None, &mut memory)).await {
        Ok(Done { failure: None, .. }) => Again::OnChange,
        _ => Again::AfterFailure,
    }
}

/// One reconcile, and what it has found so far.
struct Reconcile<'a> {
    context: &'a Context,
    object: &'a DynamicObject,
    owner: Owner,
    now: Timestamp,
    /// The status as it was before.
    previous: Option<IngestionPipelineStatus>,
    state: PipelineState,
    validation: Arc<Validation>,
    done: Done,
}

impl Reconcile<'_> {
    /// From the resource to what runs; the status comes after, whatever happened here.
    async fn steps(&mut self) -> Result<Again, Failure> {
        let (context, owner) = (self.context, &self.owner);
        let resource = self.state.read(self.object);
        let references = dereference(&context.caches, owner, &resource);
        let generation = self.object.metadata.generation;
        let local = context.options.allow_local_tables;
        let known = &mut self.state.bulk.validated;
        self.validation = validate_once(known, generation, owner, &resource, references, local);
        if self.object.metadata.deletion_timestamp.is_some() {
            return self.let_go().await;
        }
        let validation = Arc::clone(&self.validation);
        let stand = match (&validation.pipeline, &validation.rejection) {
            (Some(pipeline), _) if !validation.withheld => {
                Stand::There(pipeline, validation.grid.as_ref())
            }
            (_, Some(rejection)) => Stand::Unusable(rejection),
            (_, None) => return Ok(Again::OnChange),
        };
        if let Stand::There(pipeline, _) = stand {
            // What somebody always writes otherwise is not sent again and again.
            let known = std::mem::take(&mut self.state.memory.rewrites);
            let mut applier = Applier::new(context, owner).knowing(known);
            let ready = keep_ready(&mut applier, context, owner, pipeline).await;
            self.state.memory.rewrites = applier.into_changes().rewrites;
            ready?;
        }
        let key = &owner.key;
        let field = Field { context, key, owner: Some(owner), stand, now: self.now };
        let schedule = self.previous.as_ref().and_then(|status| status.schedule.as_ref());
        self.done = work(&field, schedule, &mut self.state.bulk).await;
        match self.done.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(self.next_look()),
        }
    }

    /// Nothing of a bulk pipeline lies outside the cluster that would go with it.
    async fn let_go(&self) -> Result<Again, Failure> {
        if has_finalizer(self.object) {
            take_finalizer(self.context, &self.owner).await?;
        }
        Ok(Again::OnChange)
    }

    fn next_look(&self) -> Again {
        let interval = self.context.options.poll_interval;
        if self.done.reads_on {
            return Again::After(GATHER);
        }
        if self.done.is_busy {
            return Again::After(interval);
        }
        let longest = interval.saturating_mul(IDLE_INTERVALS);
        let Some(next) = self.done.next else {
            return match (self.repairs(), self.validation.rejection.is_some()) {
                (false, _) => Again::OnChange,
                (true, false) => Again::After(longest),
                // What is waited for may be accepted at any moment.
                (true, true) => Again::After(interval),
            };
        };
        let left = Duration::try_from(next.duration_since(self.context.clock.now()));
        let left = left.unwrap_or_default();
        Again::After(left.min(longest))
    }

    /// Whether another pipeline matters, of whose changes nobody tells this one.
    fn repairs(&self) -> bool {
        let runs_by = self.validation.pipeline.as_ref();
        self.object.data.pointer("/spec/bulk/repairs").is_some()
            || runs_by.is_some_and(|pipeline| pipeline.config.repairs.is_some())
    }

    fn end(self, result: Result<Again, Failure>, took: Duration) -> Again {
        self.context.states.put_back(&self.owner.key, self.state);
        let rejection = self.validation.rejection.as_ref().map(|rejection| rejection.reason);
        conclude(self.context, &self.owner.key, rejection, result, took)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipeline_is_told_by_its_source() {
        for (source, bulk) in [
            (json!("Postgres"), true),
            (json!("MySQL"), true),
            (json!("ObjectStore"), true),
            (json!("JetStream"), false),
            (json!("Kafka"), false),
            (json!(7), false),
        ] {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
                "metadata": {"name": "p"}, "spec": {"source": {"type": source}},
            }))
            .unwrap();
            assert_eq!(is_bulk(&object), bulk, "{source}");
        }
    }
}
