//! Which controller a pipeline belongs to.

use crate::context::Context;
use crate::key::Key;
use crate::queue::Again;
use crate::validation::is_bulk;
use crate::{bulk, streaming};

/// The controllers of both kinds of pipelines.
#[derive(Debug)]
pub(crate) struct Controllers {
    streaming: streaming::Controller,
    bulk: bulk::Controller,
}

impl Controllers {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            streaming: streaming::Controller::new(context.options.max_concurrent_rollouts),
            bulk: bulk::Controller::default(),
        }
    }

    /// Forgets what was seen in an earlier reign.
    pub(crate) fn begin_reign(&self, context: &Context) {
        self.streaming.begin_reign(context);
        self.bulk.begin_reign();
    }

    /// Reconciles one pipeline and says when to look again.
    pub(crate) async fn reconcile(&self, context: &Context, key: &Key) -> Again {
        let Some(object) = context.caches.pipelines.get(key, &key.name) else {
            self.forget(context, key);
            return self.bulk.reconcile_strays(context, key, false).await;
        };
        if is_bulk(&object) {
            return self.bulk.reconcile(context, key, &object).await;
        }
        let strays = self.bulk.reconcile_strays(context, key, true).await;
        strays.sooner(self.streaming.reconcile(context, &object).await)
    }

    fn forget(&self, context: &Context, key: &Key) {
        context.metrics.forget(key);
        self.streaming.forget(key);
        self.bulk.forget(key);
    }
}
