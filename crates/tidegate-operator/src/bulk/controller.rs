//! The controller of pipelines over bulk sources.

use kube::core::DynamicObject;
use tokio::time::Instant;

use super::ground::{Field, Stand};
use super::memory::BulkMemory;
use super::reconcile::Reconcile;
use super::report::report;
use super::scene::Done;
use super::work::work;
use crate::cluster::Owner;
use crate::context::Context;
use crate::key::Key;
use crate::queue::Again;
use crate::reconcile::{LONGEST, conclude, take_report, take_steps};
use crate::states::States;

/// What it remembers of its pipelines.
#[derive(Debug, Default)]
pub(crate) struct Controller {
    states: States<BulkMemory>,
}

impl Controller {
    /// Forgets what was seen in an earlier reign.
    pub(crate) fn begin_reign(&self) {
        self.states.forget_all();
    }

    /// Reconciles one pipeline and says when to look again.
    pub(crate) async fn reconcile(
        &self,
        context: &Context,
        key: &Key,
        object: &DynamicObject,
    ) -> Again {
        let Some(owner) = Owner::of(object) else { return Again::AfterFailure };
        let begun = Instant::now();
        let state = self.states.take(key, &owner.uid);
        let mut run = Reconcile::begin(context, object, owner, state);
        let result = take_steps(run.steps()).await;
        let result = take_report(report(&mut run, result)).await;
        let rejection = run.validated.outcome.rejection.as_ref().map(|rejection| rejection.reason);
        self.states.put_back(key, run.state);
        conclude(context, key, rejection, result, begun.elapsed())
    }

    /// Tells the runs of a pipeline that is not there, or has no runs, that it is so.
    pub(crate) async fn reconcile_strays(
        &self,
        context: &Context,
        key: &Key,
        exists: bool,
    ) -> Again {
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

    /// Forgets a pipeline that is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.states.forget(key);
    }
}
