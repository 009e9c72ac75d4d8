//! The controller of pipelines over bulk sources.

use kube::core::DynamicObject;
use tokio::time::Instant;

use super::memory::BulkMemory;
use super::reconcile::Reconcile;
use super::report::report;
use super::terms::{Field, Stand};
use super::work::work;
use crate::cluster::Owner;
use crate::context::Context;
use crate::key::Key;
use crate::queue::Again;
use crate::reconcile::{Conclusion, conclude, take_report, take_steps};
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
        let mut reconcile = Reconcile::begin(context, object, owner, state);
        let result = take_steps(reconcile.steps()).await;
        let result = take_report(report(&mut reconcile, result)).await;
        let rejection =
            reconcile.validated.outcome.rejection.as_ref().map(|rejection| rejection.reason);
        self.states.put_back(key, reconcile.state);
        conclude(context, key, Conclusion { rejection, result, took: begun.elapsed() })
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
        let tell = async { work(&field, None, &mut memory).await.failure.map_or(Ok(()), Err) };
        match take_steps(tell).await {
            Ok(()) => Again::OnChange,
            Err(failure) => {
                tracing::info!(
                    pipeline = %key,
                    reason = failure.reason.as_str(),
                    message = failure.message,
                    "runs without a bulk pipeline could not be told so"
                );
                failure.again()
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn remembers(&self, key: &Key) -> bool {
        self.states.has(key)
    }

    /// Forgets a pipeline that is gone, or of another kind.
    pub(crate) fn forget(&self, key: &Key) {
        self.states.forget(key);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tidegate_telemetry::Registry;
    use tower::service_fn;

    use super::*;
    use crate::context::fixtures;
    use crate::metrics::Metrics;

    type Writes = Arc<Mutex<Vec<(String, Value)>>>;

    /// An API server that takes whatever is written, and lists nothing. What was written, with its path.
    fn server() -> (Client, Writes) {
        let writes = Writes::default();
        let shared = Arc::clone(&writes);
        let service = service_fn(move |request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move {
                let path = request.uri().path().to_owned();
                let is_read = request.method() == Method::GET;
                let body = request.into_body().collect_bytes().await.expect("a body");
                let answer = if is_read {
                    json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": []})
                } else {
                    let mut object: Value = serde_json::from_slice(&body).expect("an object");
                    let mut writes = shared.lock().expect("what was written");
                    writes.push((path, object.clone()));
                    object["metadata"]["resourceVersion"] = writes.len().to_string().into();
                    object
                };
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::new(answer))
            }
        });
        (Client::new(service, "shop"), writes)
    }

    fn orders(status: Option<&Value>) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {
                "source": {"type": "Postgres", "postgres": {
                    "connection": {"secretRef": {"name": "orders-db"}}, "table": "public.orders",
                }},
                "sink": {"storage": {"url": "s3://lake/orders"}},
            },
            "status": status,
        }))
        .expect("an object")
    }

    /// Takes what was written: the status, and of the Events their notes by reason.
    fn taken(writes: &Writes) -> (Option<Value>, Vec<(Value, Value)>) {
        let written = std::mem::take(&mut *writes.lock().expect("what was written"));
        let of = |end: &'static str| written.iter().filter(move |(path, _)| path.ends_with(end));
        let status = of("/ingestionpipelines/orders/status").next_back();
        let events = of("/events").map(|(_, it)| (it["reason"].clone(), it["note"].clone()));
        (status.map(|(_, it)| it["status"].clone()), events.collect())
    }

    #[tokio::test]
    async fn what_somebody_changed_is_put_back_and_told_though_the_status_stays() {
        let (client, writes) = server();
        let context = fixtures::of(&client, Metrics::new(&mut Registry::default()));
        let (controller, key) = (Controller::default(), Key::new("shop", "orders"));
        controller.reconcile(&context, &key, &orders(None)).await;
        let (status, _) = taken(&writes);
        let status = status.expect("the first status");
        let again = orders(Some(&status));
        controller.reconcile(&context, &key, &again).await;
        assert_eq!(taken(&writes), (None, vec![]), "nothing has changed: {status}");

        let policies = &context.caches.network_policies;
        let mut changed = policies.of(&key).pop().expect("a policy").as_ref().clone();
        changed.metadata.resource_version = Some("1000".to_owned());
        changed.spec = None;
        let name = changed.metadata.name.clone().expect("a name");
        policies.put(changed);
        controller.reconcile(&context, &key, &again).await;
        let note = format!("somebody changed NetworkPolicy {name}; it was put back");
        let told = (json!("DriftRepaired"), json!(note));
        assert_eq!(taken(&writes), (None, vec![told]));
    }
}
