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
        // Another one of that name may have been of the other kind a moment ago.
        if is_bulk(&object) {
            self.streaming.forget(key);
            return self.bulk.reconcile(context, key, &object).await;
        }
        self.bulk.forget(key);
        context.metrics.forget_runs(key);
        let strays = self.bulk.reconcile_strays(context, key, true).await;
        strays.sooner(self.streaming.reconcile(context, &object).await)
    }

    fn forget(&self, context: &Context, key: &Key) {
        context.metrics.forget(key);
        self.streaming.forget(key);
        self.bulk.forget(key);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;
    use kube::core::DynamicObject;
    use prometheus_client::encoding::text::encode;
    use serde_json::json;
    use tidegate_telemetry::Registry;

    use super::*;
    use crate::cluster::{labels, names};
    use crate::context::fixtures::silent;
    use crate::metrics::{BulkGauges, Metrics};

    const STREAM: &str = "JetStream";
    const TABLE: &str = "Postgres";

    /// The so many-th of its name.
    fn pipeline(source: &str, number: u32) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
            "metadata": {
                "name": "p", "namespace": "ns", "uid": format!("u{number}"), "generation": 1,
                "resourceVersion": number.to_string(),
            },
            "spec": {"source": {"type": source}},
        }))
        .expect("an object")
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipeline_that_is_made_anew_of_another_kind_is_remembered_as_that_alone() {
        for (before, after) in [(STREAM, TABLE), (TABLE, STREAM), (STREAM, STREAM), (TABLE, TABLE)]
        {
            let mut registry = Registry::default();
            let context = silent(Metrics::new(&mut registry));
            let (controllers, key) = (Controllers::new(&context), Key::new("ns", "p"));
            let known =
                || (controllers.streaming.remembers(&key), controllers.bulk.remembers(&key));
            for (number, source) in [(1, before), (2, after)] {
                context.caches.pipelines.put(pipeline(source, number));
                controllers.reconcile(&context, &key).await;
                assert_eq!(known(), (source == STREAM, source == TABLE), "{before}, then {after}");
                if number == 1 && source == TABLE {
                    context.metrics.show_runs(&key, &BulkGauges::default());
                }
            }
            let mut page = String::new();
            encode(&mut page, &registry).expect("text");
            let shown = page.contains("tidegate_pipeline_runs_due{");
            assert_eq!(shown, (before, after) == (TABLE, TABLE), "{before}, then {after}: {page}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_for_new_pods_is_given_back_when_no_stream_is_read_any_more() {
        let context = silent(Metrics::new(&mut Registry::default()));
        let (controllers, key) = (Controllers::new(&context), Key::new("ns", "p"));
        let replaced: StatefulSet = serde_json::from_value(json!({
            "metadata": {
                "name": names::workers("p"), "namespace": "ns", "labels": labels::common("p"),
            },
            "status": {"replicas": 2, "updatedReplicas": 1},
        }))
        .expect("an object");
        context.caches.stateful_sets.put(replaced);
        context.caches.pipelines.put(pipeline(STREAM, 1));
        controllers.begin_reign(&context);
        assert!(controllers.streaming.holds_permit(&key));
        context.caches.pipelines.put(pipeline(TABLE, 2));
        controllers.reconcile(&context, &key).await;
        assert!(!controllers.streaming.holds_permit(&key));
    }
}
