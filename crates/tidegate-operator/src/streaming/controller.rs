//! The controller of pipelines over streams.

use std::sync::{Mutex, PoisonError};

use kube::core::DynamicObject;
use tokio::time::Instant;

use super::memory::Memory;
use super::observe::{agent_facts, worker_facts};
use super::reconcile::Reconcile;
use super::report::report;
use super::rollout::{Rollouts, progress_of};
use crate::cluster::{Owner, names};
use crate::context::Context;
use crate::key::Key;
use crate::queue::Again;
use crate::reconcile::{Conclusion, conclude, take_report, take_steps};
use crate::states::States;

/// What it remembers of its pipelines.
#[derive(Debug)]
pub(crate) struct Controller {
    states: States<Memory>,
    /// Whose pods are being replaced because of a new release.
    rollouts: Mutex<Rollouts>,
}

impl Controller {
    /// At most so many pipelines get the pods of a new release at a time.
    pub(crate) fn new(max_concurrent_rollouts: usize) -> Self {
        let rollouts = Mutex::new(Rollouts::new(max_concurrent_rollouts));
        Self { states: States::default(), rollouts }
    }

    /// Forgets what was seen in an earlier reign, and counts the rollouts that an operator before this one
    /// began.
    pub(crate) fn begin_reign(&self, context: &Context) {
        self.states.forget_all();
        let mut rollouts = Rollouts::new(context.options.max_concurrent_rollouts);
        for key in context.caches.pipelines.owners() {
            let agent = context.caches.deployments.get(&key, &names::agent(&key.name));
            let workers = context.caches.stateful_sets.get(&key, &names::workers(&key.name));
            let agent = agent_facts(agent.as_deref());
            let workers = worker_facts(workers.as_deref());
            rollouts.recover(&key, progress_of(agent, workers));
        }
        *self.rollouts.lock().unwrap_or_else(PoisonError::into_inner) = rollouts;
    }

    /// Reconciles one pipeline and says when to look again.
    pub(crate) async fn reconcile(&self, context: &Context, object: &DynamicObject) -> Again {
        let Some(owner) = Owner::of(object) else { return Again::AfterFailure };
        let begun = Instant::now();
        let state = self.states.take(&owner.key, &owner.uid);
        let mut reconcile = Reconcile::begin(context, &self.rollouts, object, owner, state);
        let result = take_steps(reconcile.steps()).await;
        if result.is_err() {
            reconcile.give_back();
        }
        let result = take_report(report(&mut reconcile, result)).await;
        let rejection = reconcile.validation.rejection.as_ref().map(|rejection| rejection.reason);
        self.states.put_back(&reconcile.owner.key, reconcile.state);
        let conclusion = Conclusion { rejection, result, took: begun.elapsed() };
        conclude(context, &reconcile.owner.key, conclusion)
    }

    #[cfg(test)]
    pub(crate) fn remembers(&self, key: &Key) -> bool {
        self.states.has(key)
    }

    #[cfg(test)]
    pub(crate) fn holds_permit(&self, key: &Key) -> bool {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner).holds(key)
    }

    /// Forgets a pipeline that is gone, or of another kind.
    pub(crate) fn forget(&self, key: &Key) {
        self.states.forget(key);
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner).forget(key);
    }
}
