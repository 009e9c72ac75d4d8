//! One pipeline, reconciled: dereference → validate → observe → decide → build → apply → status.

mod apply;
mod assignment;
mod build;
mod compare;
mod conditions;
mod decide;
mod delete;
mod dereference;
mod events;
mod facts;
mod failure;
#[cfg(test)]
mod fixtures;
mod kind;
pub(crate) mod labels;
mod memory;
mod message;
mod meter;
mod names;
mod observe;
mod outlook;
mod owner;
mod poll;
mod problems;
mod report;
mod rewritten;
mod rollout;
mod scaling;
mod stamp;
mod state;
mod status;
mod status_facts;
mod validate;
mod workers;

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::core::DynamicObject;
use tidegate_api::IngestionPipelineStatus;
use tidegate_types::Reason;
use tokio::time::Instant;

use self::apply::Changes;
use self::build::{Prepared, Resources, build};
use self::decide::decide;
use self::delete::{Deletion, delete, set_finalizer, wants_cleanup};
use self::facts::{Decisions, Observed};
use self::observe::{agent_facts, hand_out, observe, worker_facts};
use self::report::report;
use self::rollout::{Progress, RolloutFacts, Turn, progress};
use self::stamp::{hold_templates, is_edited, live_templates, mark_spec, replaces_pods, spec_mark};
use self::validate::{Rules, Validation, validate};
use crate::bulk;
use crate::context::Context;
use crate::key::Key;
use crate::metrics::Outcome;
use crate::queue::{Again, spread};

pub(crate) use self::apply::{Applier, maps_of};
pub(crate) use self::build::{
    BulkResources, ChunkWork, PERMANENT, build_bulk, calendar_job, chunk_job, transfer_job,
};
pub(crate) use self::conditions::{
    CAUGHT_UP, INTERVALS_CURRENT, READY, RECONCILING, SPEC_ACCEPTED, STALLED, Verdict, condition,
    find, whole_seconds,
};
pub(crate) use self::delete::{has_finalizer, take_finalizer};
pub(crate) use self::dereference::dereference;
pub(crate) use self::events::{columns, event, transitions};
pub(crate) use self::facts::{PodFacts, References, Rejection, Trouble, ValidatedPipeline};
pub(crate) use self::failure::Failure;
pub(crate) use self::message::count;
pub(crate) use self::names::{FIELD_MANAGER, is_config};
pub(crate) use self::observe::{address, pod_facts, trouble_to_begin};
pub(crate) use self::outlook::{Outlook, outlook};
pub(crate) use self::owner::Owner;
pub(crate) use self::poll::PodClient;
pub(crate) use self::report::{is_all_that_can_be_written, publish, write};
pub(crate) use self::rollout::Rollouts;
pub(crate) use self::state::{PipelineState, States, status_of};
#[cfg(test)]
pub(crate) use self::validate::read;
pub(crate) use self::validate::{accept, check_account, check_change, follow, invalid, refused};
pub(crate) use self::workers::is_over;

/// The longest reconcile: pods are asked for seconds, the API server for less.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest writing of status and Events.
const LONGEST_REPORT: Duration = Duration::from_secs(20);
/// A suspended pipeline is looked at so many poll intervals apart.
const SUSPENDED_INTERVALS: u32 = 10;
/// How often a deletion is looked at; most steps are told by a watch.
const DELETION_INTERVAL: Duration = Duration::from_secs(5);

/// Forgets what was seen in an earlier reign, and counts the rollouts that an operator before this one
/// began.
pub(crate) fn begin_reign(context: &Context) {
    context.states.forget_all();
    let mut rollouts = Rollouts::new(context.options.max_concurrent_rollouts);
    for key in context.caches.pipelines.owners() {
        let agent = context.caches.deployments.get(&key, &names::agent(&key.name));
        let workers = context.caches.stateful_sets.get(&key, &names::workers(&key.name));
        let agent = observe::agent_facts(agent.as_deref());
        let workers = observe::worker_facts(workers.as_deref());
        rollouts.recover(&key, rollout::progress_of(agent, workers));
    }
    *context.rollouts.lock().unwrap_or_else(PoisonError::into_inner) = rollouts;
}

/// Reconciles one pipeline and says when to look again.
pub(crate) async fn reconcile(context: &Context, key: &Key) -> Again {
    let Some(object) = context.caches.pipelines.get(key, &key.name) else {
        forget(context, key);
        return bulk::reconcile_strays(context, key, false).await;
    };
    if bulk::is_bulk(&object) {
        return bulk::reconcile(context, key, &object).await;
    }
    let strays = bulk::reconcile_strays(context, key, true).await;
    sooner(strays, reconcile_stream(context, &object).await)
}

/// The earlier of both; a failure comes first, because it is tried again with growing pauses.
fn sooner(one: Again, other: Again) -> Again {
    match (one, other) {
        (Again::AfterFailure, _) | (_, Again::AfterFailure) => Again::AfterFailure,
        (Again::After(one), Again::After(other)) => Again::After(one.min(other)),
        (Again::OnChange, other) => other,
        (one, Again::OnChange) => one,
    }
}

async fn reconcile_stream(context: &Context, object: &DynamicObject) -> Again {
    let Some(owner) = Owner::of(object) else { return Again::AfterFailure };
    let begun = Instant::now();
    let mut run = Reconcile::begin(context, object, owner);
    let result = match tokio::time::timeout(LONGEST, run.steps()).await {
        Ok(result) => result,
        Err(_) => Err(Failure::transient(Reason::ApiUnavailable, "it took too long")),
    };
    if result.is_err() {
        run.give_back();
    }
    let result = match tokio::time::timeout(LONGEST_REPORT, report(&mut run, result)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::transient(Reason::ApiUnavailable, "the status took too long")),
    };
    run.end(result, begun.elapsed())
}

fn forget(context: &Context, key: &Key) {
    context.metrics.forget(key);
    context.states.forget(key);
    context.rollouts.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
}

/// One reconcile, and what it has found so far; all of that goes into the status however far it came.
struct Reconcile<'a> {
    context: &'a Context,
    object: &'a DynamicObject,
    owner: Owner,
    now: Timestamp,
    /// The status as it was before.
    previous: Option<IngestionPipelineStatus>,
    state: PipelineState,
    validation: Validation,
    observed: Observed,
    decisions: Option<Decisions>,
    changes: Changes,
    deletion: Option<Deletion>,
    attempt: Option<Attempt>,
}

/// The sending of pod templates, before it began.
struct Attempt {
    /// A permit was taken for it.
    fresh: bool,
    /// See [`live_templates`].
    live: [Option<String>; 2],
    progress: Progress,
}

impl<'a> Reconcile<'a> {
    fn begin(context: &'a Context, object: &'a DynamicObject, owner: Owner) -> Self {
        Self {
            context,
            object,
            previous: status_of(object),
            state: context.states.take(&owner.key, &owner.uid),
            owner,
            now: Timestamp::now(),
            validation: Validation::default(),
            observed: Observed::default(),
            decisions: None,
            changes: Changes::default(),
            deletion: None,
            attempt: None,
        }
    }

    /// From the resource to what runs; the status comes after, whatever happened here.
    async fn steps(&mut self) -> Result<Again, Failure> {
        // Read and checked once a generation; nothing here needs a client.
        self.validate();
        // What runs now, and what the pods say themselves.
        self.observe().await;
        if self.object.metadata.deletion_timestamp.is_some() {
            return self.delete().await;
        }
        let Some(pipeline) = self.validation.pipeline.clone() else {
            // Nothing was ever accepted. What runs of it, if anything, is left alone.
            self.rollouts().forget(&self.owner.key);
            return Ok(Again::OnChange);
        };
        // Before anything is made outside the cluster there is somebody to delete it.
        self.keep_finalizer(&pipeline).await?;
        // Pure: how many workers, who reads what, and every object.
        let mut decisions = self.decide(&pipeline);
        let mut resources = build(&pipeline, &decisions, &self.context.options.pods);
        let generation = self.object.metadata.generation.unwrap_or_default();
        mark_spec(&mut resources, &spec_mark(generation, &pipeline.spec));
        // New pods because of a new release take their turn.
        decisions.hold_templates = self.turn(&resources) == Turn::Wait;
        if decisions.hold_templates {
            hold_templates(&mut resources, &self.context.caches, &self.owner);
        }
        self.decisions = Some(decisions);
        // Only what differs is sent.
        let known = std::mem::take(&mut self.state.memory.rewrites);
        let mut applier = Applier::new(self.context, &self.owner).knowing(known);
        // Who reads what comes first: whatever else is refused, a dead worker's partitions are read.
        let assigned = applier.ensure(resources.assignment.clone()).await;
        if assigned.is_ok() {
            self.hand_out().await;
        }
        let applied = match assigned {
            Ok(_) => applier.apply(resources).await,
            Err(failure) => Err(failure),
        };
        self.changes = applier.into_changes();
        self.state.memory.rewrites = std::mem::take(&mut self.changes.rewrites);
        let applied = applied?;
        self.observed.agent = agent_facts(Some(&applied.agent));
        self.observed.workers = worker_facts(Some(&applied.workers));
        Ok(self.next_look(&pipeline))
    }

    fn validate(&mut self) {
        let resource = self.state.read(self.object);
        let references = dereference(&self.context.caches, &self.owner, &resource);
        let rules = Rules { allow_local_tables: self.context.options.allow_local_tables };
        self.validation = validate(&self.owner, &resource, &references, rules);
    }

    async fn observe(&mut self) {
        self.observed = observe(self.context, &self.owner.key).await;
        self.now = Timestamp::now();
        let (name, previous) = (&self.owner.key.name, self.previous.as_ref());
        self.state.memory.observe(name, &self.observed, previous, self.now);
    }

    async fn delete(&mut self) -> Result<Again, Failure> {
        self.rollouts().forget(&self.owner.key);
        let (validation, now) = (&self.validation, self.now);
        let step = delete(self.context, &self.owner, self.object, validation, now).await?;
        let again = match &step {
            Deletion::Done | Deletion::Incomplete(_) => Again::OnChange,
            Deletion::Draining | Deletion::Cleaning => Again::After(DELETION_INTERVAL),
        };
        self.deletion = Some(step);
        Ok(again)
    }

    async fn keep_finalizer(&self, pipeline: &ValidatedPipeline) -> Result<(), Failure> {
        let wanted = wants_cleanup(pipeline);
        if wanted == has_finalizer(self.object) {
            return Ok(());
        }
        set_finalizer(self.context, &self.owner, wanted).await
    }

    fn decide(&mut self, pipeline: &ValidatedPipeline) -> Decisions {
        let (previous, memory) = (self.previous.as_ref(), &mut self.state.memory);
        decide(pipeline, &self.observed, previous, memory, self.now)
    }

    /// Whether the new pod templates may be sent; takes a permit where one is needed.
    fn turn(&mut self, resources: &Resources<Prepared>) -> Turn {
        let (context, owner) = (self.context, &self.owner);
        let facts = RolloutFacts {
            replaces_pods: replaces_pods(resources, &context.caches, owner),
            edited: is_edited(resources, &context.caches, owner),
            progress: progress(&self.observed),
        };
        let live = live_templates(&context.caches, owner);
        let mut rollouts = self.rollouts();
        let held = rollouts.holds(&owner.key);
        let turn = rollouts.turn(&owner.key, facts);
        let fresh = !held && rollouts.holds(&owner.key);
        drop(rollouts);
        self.attempt = Some(Attempt { fresh, live, progress: facts.progress });
        self.state.memory.rolling |= facts.replaces_pods && turn == Turn::Go;
        turn
    }

    /// After a failure: a permit for templates that were not sent is free for others.
    fn give_back(&self) {
        let Some(attempt) = &self.attempt else { return };
        if live_templates(&self.context.caches, &self.owner) == attempt.live {
            self.rollouts().not_sent(&self.owner.key, attempt.fresh, attempt.progress);
        }
    }

    fn rollouts(&self) -> MutexGuard<'a, Rollouts> {
        self.context.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Best effort: the mounted file says the same a little later.
    async fn hand_out(&self) {
        if let Some(decisions) = &self.decisions {
            let assignment = &decisions.assignment;
            hand_out(self.context, &self.owner.key, assignment, &self.observed).await;
        }
    }

    fn next_look(&self, pipeline: &ValidatedPipeline) -> Again {
        let interval = self.context.options.poll_interval;
        let interval = match pipeline.spec.suspend {
            true => interval.saturating_mul(SUSPENDED_INTERVALS),
            false => interval,
        };
        Again::After(spread(interval, &self.owner.key, 0))
    }

    fn end(self, result: Result<Again, Failure>, took: Duration) -> Again {
        self.context.states.put_back(&self.owner.key, self.state);
        let rejection = self.validation.rejection.as_ref().map(|rejection| rejection.reason);
        conclude(self.context, &self.owner.key, rejection, result, took)
    }
}

/// Counts how a reconcile ended, and says when to look again.
pub(crate) fn conclude(
    context: &Context,
    key: &Key,
    rejection: Option<Reason>,
    result: Result<Again, Failure>,
    took: Duration,
) -> Again {
    match result {
        Ok(again) => {
            let outcome = match rejection.map(outlook) {
                None => Outcome::Done,
                Some(Outlook::Stalled) => Outcome::Stalled,
                Some(_) => Outcome::Waiting,
            };
            context.metrics.reconciled(outcome, rejection, took);
            again
        }
        Err(failure) => {
            tracing::info!(
                pipeline = %key,
                reason = failure.reason.as_str(),
                message = failure.message,
                "a reconcile did not get through"
            );
            context.metrics.reconciled(failure.outcome(), Some(failure.reason), took);
            failure.again()
        }
    }
}
