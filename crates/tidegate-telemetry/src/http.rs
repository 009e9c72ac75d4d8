//! `/metrics`, `/livez`, `/readyz`, and what a process adds to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Health, Pages};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The endpoint could not be opened.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("unable to listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A running endpoint; it ends with its token.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<std::io::Result<()>>,
}

#[derive(Clone)]
struct Shared {
    registry: Arc<Registry>,
    health: Health,
}

impl Server {
    /// Where it listens, with the port that the system chose when none was named.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has ended.
    pub async fn stopped(self) {
        match self.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the metrics endpoint failed"),
            Err(error) => tracing::warn!(%error, "the metrics endpoint's task failed"),
        }
    }
}

/// Opens the endpoint. Port 0 lets the system choose one.
///
/// # Errors
///
/// [`ServeError::Listen`] when the address cannot be had.
pub async fn serve(
    address: SocketAddr,
    registry: Arc<Registry>,
    health: Health,
    stop: CancellationToken,
) -> Result<Server, ServeError> {
    serve_with(address, registry, health, Pages::default(), stop).await
}

/// The same with further pages.
///
/// # Errors
///
/// As [`serve`].
pub async fn serve_with(
    address: SocketAddr,
    registry: Arc<Registry>,
    health: Health,
    pages: Pages,
    stop: CancellationToken,
) -> Result<Server, ServeError> {
    let refuse = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Shared { registry, health })
        .merge(pages.into_router());
    let task = tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    });
    Ok(Server { address: bound, task })
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &shared.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn livez(State(shared): State<Shared>) -> Response {
    verdict(&shared.health.report(Instant::now()).silent, "silent for too long")
}

async fn readyz(State(shared): State<Shared>) -> Response {
    verdict(&shared.health.report(Instant::now()).unready, "not ready")
}

fn verdict(failing: &[String], how: &str) -> Response {
    if failing.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let lines: String = failing.iter().map(|name| format!("{name}: {how}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::PipelineMetrics;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[tokio::test]
    async fn the_endpoint_answers_honestly_and_ends_with_its_token() {
        let mut registry = Registry::default();
        let metrics = Arc::new(PipelineMetrics::new(&mut registry, "default/clicks"));
        let health = Health::new(std::time::Duration::from_secs(60));
        health.watch(metrics.clone());
        let stop = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = serve(any, Arc::new(registry), health, stop.clone()).await.expect("port 0");

        let unready = ask(server.address(), "/readyz").await;
        assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
        assert!(unready.contains("default/clicks worker 0: not ready"), "{unready}");
        metrics.set_ready(true);
        assert!(ask(server.address(), "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(server.address(), "/livez").await.starts_with("HTTP/1.1 200"));
        let page = ask(server.address(), "/metrics").await;
        assert!(page.contains("application/openmetrics-text") && page.contains("# EOF"), "{page}");

        stop.cancel();
        server.stopped().await;
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("port 0");
        let address = taken.local_addr().expect("bound");
        let health = Health::new(std::time::Duration::from_secs(60));
        let error = serve(address, Arc::default(), health, CancellationToken::new())
            .await
            .expect_err("it is taken");
        assert_eq!(error.to_string(), format!("unable to listen on {address}"));
    }
}
