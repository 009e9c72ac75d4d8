//! An edit that meets a write of the operator.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::client::{Body, ClientBuilder};
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::support::{Document, Stage, options};

/// Edits a pipeline right before its status is written for the first time.
#[derive(Debug, Clone)]
struct Meddler {
    pipelines: Api<IngestionPipeline>,
    change: Value,
    done: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
struct Meddled<S> {
    inner: S,
    meddler: Meddler,
}

impl<S> Layer<S> for Meddler {
    type Service = Meddled<S>;

    fn layer(&self, inner: S) -> Meddled<S> {
        Meddled { inner, meddler: self.clone() }
    }
}

impl<S, B> Service<Request<Body>> for Meddled<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let is_first = request.method() == Method::PATCH
            && request.uri().path().ends_with("/status")
            && !self.meddler.done.swap(true, Ordering::Relaxed);
        let meddler = self.meddler.clone();
        // Nothing is sent before it is waited for.
        let answer = self.inner.call(request);
        Box::pin(async move {
            if is_first {
                let (how, change) = (PatchParams::default(), Patch::Merge(&meddler.change));
                meddler.pipelines.patch("clicks", &how, &change).await.unwrap();
            }
            answer.await
        })
    }
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_edit_that_meets_the_writing_of_the_status_is_heard() {
    let stage = Stage::of_stand_ins("meeting").await;
    let good = Document::of_stand_ins("clicks");
    let servers = good.field("source.jetStream.servers").clone();
    let meddler = Meddler {
        pipelines: stage.namespace.api(),
        change: json!({"spec": {"source": {"jetStream": {"servers": servers}}}}),
        done: Arc::default(),
    };
    let builder = ClientBuilder::try_from(stage.access.config().await.unwrap()).unwrap();
    let client = builder.with_layer(&meddler).build();
    let mut told = options(&stage.namespace);
    // Nobody looks again by chance.
    told.poll_interval = Duration::from_secs(3600);
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let operator = tokio::spawn(tidegate_operator::run(told, client, stop));
    // It runs nowhere, so that nothing but an edit wakes the operator.
    stage.apply(&good.set("source.jetStream.servers", Value::Null)).await;
    stage.until_condition("clicks", "SpecAccepted", "True", "Ok").await;
    assert!(meddler.done.load(Ordering::Relaxed) && !operator.is_finished());
}
