//! The steps of a reconcile, in their order.

use std::time::Duration;

use jiff::Timestamp;

use super::apply::apply;
use super::decide::{DecisionFacts, decide};
use super::delete::{Deletion, delete, time_left, wants_cleanup};
use super::facts::Decisions;
use super::observe::{agent_facts, hand_out, observe, worker_facts};
use super::reconcile::{Attempt, Reconcile};
use super::resources::{Applied, Prepared, Resources, build};
use super::rollout::{RolloutFacts, Turn, progress};
use super::templates::{
    hold_templates, is_edited, live_templates, mark_spec, replaces_pods, spec_mark,
};
use super::validate::validate;
use crate::apply::Applier;
use crate::failure::Failure;
use crate::queue::{Again, spread};
use crate::status::{has_finalizer, set_finalizer};
use crate::validation::{ValidatedPipeline, circumstances};

/// A suspended pipeline is looked at so many poll intervals apart.
const SUSPENDED_INTERVALS: u32 = 10;
/// How often a deletion is looked at; most steps are told by a watch.
const DELETION_INTERVAL: Duration = Duration::from_secs(5);

impl Reconcile<'_> {
    /// From the resource to what runs; the status comes after, whatever happened here.
    pub(super) async fn steps(&mut self) -> Result<Again, Failure> {
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
        let resources = self.build(&pipeline);
        // Only what differs is sent.
        let applied = self.apply(resources).await?;
        self.observed.agent = agent_facts(Some(&applied.agent));
        self.observed.workers = worker_facts(Some(&applied.workers));
        Ok(self.next_look(&pipeline))
    }

    /// Decides and makes every object. New pods because of a new release take their turn.
    fn build(&mut self, pipeline: &ValidatedPipeline) -> Resources<Prepared> {
        let mut decisions = self.decide(pipeline);
        let mut resources = build(pipeline, &decisions, &self.context.options.pods);
        let generation = self.object.metadata.generation.unwrap_or_default();
        mark_spec(&mut resources, &spec_mark(generation, &pipeline.spec));
        decisions.hold_templates = self.turn(&resources) == Turn::Wait;
        if decisions.hold_templates {
            hold_templates(&mut resources, &self.context.caches, &self.owner);
        }
        self.decisions = Some(decisions);
        resources
    }

    async fn apply(
        &mut self,
        resources: Resources<Prepared>,
    ) -> Result<Resources<Applied>, Failure> {
        let known = std::mem::take(&mut self.state.rewrites);
        let mut applier = Applier::new(self.context, &self.owner).knowing(known);
        // Who reads what comes first: whatever else is refused, a dead worker's partitions are read.
        let assigned = applier.ensure(resources.assignment.clone()).await;
        let applied = match assigned {
            Ok(_) => {
                self.hand_out().await;
                let (caches, key) = (&self.context.caches, &self.owner.key);
                apply(&mut applier, caches, key, resources).await
            }
            Err(failure) => Err(failure),
        };
        self.changes = applier.into_changes();
        self.state.rewrites = std::mem::take(&mut self.changes.rewrites);
        applied
    }

    fn validate(&mut self) {
        let resource = self.state.read(self.object);
        let circumstances = circumstances(self.context, &self.owner, &resource);
        self.validation = validate(&resource, &circumstances);
    }

    async fn observe(&mut self) {
        self.observed = observe(self.context, &self.owner.key).await;
        self.now = Timestamp::now();
        let (name, previous) = (&self.owner.key.name, self.previous.as_ref());
        self.state.memory.observe(name, &self.observed, previous, self.now);
    }

    async fn delete(&mut self) -> Result<Again, Failure> {
        self.rollouts().forget(&self.owner.key);
        let step = match has_finalizer(self.object) {
            true => {
                let left = time_left(self.context, self.object, self.now);
                delete(self.context, &self.owner, &self.validation, left).await?
            }
            false => Deletion::Done,
        };
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
        let (observed, status) = (&self.observed, self.previous.as_ref());
        let facts = DecisionFacts { pipeline, observed, status, now: self.now };
        decide(facts, &mut self.state.memory)
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
    pub(super) fn give_back(&self) {
        let Some(attempt) = &self.attempt else { return };
        if live_templates(&self.context.caches, &self.owner) == attempt.live {
            self.rollouts().not_sent(&self.owner.key, attempt.fresh, attempt.progress);
        }
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
}
