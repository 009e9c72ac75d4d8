//! The steps of a reconcile, in their order.

use std::sync::Arc;
use std::time::Duration;

use super::keep_ready::keep_ready;
use super::reconcile::Reconcile;
use super::terms::{Field, Stand};
use super::validate::validate_once;
use super::work::work;
use crate::apply::Applier;
use crate::failure::Failure;
use crate::queue::{Again, GATHER};
use crate::status::{has_finalizer, take_finalizer};
use crate::validation::circumstances;

/// An idle schedule is looked at so many poll intervals apart, should the clock have been set.
const IDLE_INTERVALS: u32 = 6;

impl Reconcile<'_> {
    /// From the resource to what runs; the status comes after, whatever happened here.
    pub(super) async fn steps(&mut self) -> Result<Again, Failure> {
        let (context, owner) = (self.context, &self.owner);
        let resource = self.state.read(self.object);
        let circumstances = circumstances(context, owner, &resource);
        let generation = self.object.metadata.generation;
        let known = &mut self.state.memory.known;
        self.validated = validate_once(known, generation, &resource, circumstances);
        if self.object.metadata.deletion_timestamp.is_some() {
            return self.let_go().await;
        }
        let validated = Arc::clone(&self.validated);
        let stand = match (&validated.outcome.pipeline, &validated.outcome.rejection) {
            (Some(pipeline), _) if !validated.outcome.withheld => {
                Stand::There(pipeline, validated.grid.as_ref())
            }
            (_, Some(rejection)) => Stand::Unusable(rejection),
            (_, None) => return Ok(Again::OnChange),
        };
        if let Stand::There(pipeline, _) = stand {
            // What somebody always writes otherwise is not sent again and again.
            let known = std::mem::take(&mut self.state.rewrites);
            let mut applier = Applier::new(context, owner).knowing(known);
            let ready = keep_ready(&mut applier, context, owner, pipeline).await;
            self.changes = applier.into_changes();
            self.state.rewrites = std::mem::take(&mut self.changes.rewrites);
            ready?;
        }
        let key = &owner.key;
        let field = Field { context, key, owner: Some(owner), stand, now: self.now };
        let schedule = self.previous.as_ref().and_then(|status| status.schedule.as_ref());
        self.done = work(&field, schedule, &mut self.state.memory).await;
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
            return match (self.repairs(), self.validated.outcome.rejection.is_some()) {
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
        let runs_by = self.validated.outcome.pipeline.as_ref();
        self.object.data.pointer("/spec/bulk/repairs").is_some()
            || runs_by.is_some_and(|pipeline| pipeline.config.repairs.is_some())
    }
}
