//! The desk as a reader sees it: at the coordinator's address, or beside it in tests.

use std::time::Duration;

use futures::future::BoxFuture;
use tidegate_runtime::{RunError, in_words};
use tidegate_types::Reason;

use super::reply::Reply;

/// A question is small; its answer may name thousands of files.
const QUESTION_LIMIT: Duration = Duration::from_secs(20);
/// An outcome may carry megabytes of dead letters.
const OUTCOME_LIMIT: Duration = Duration::from_secs(120);
/// The largest answer: a chunk of 5000 files has a tenth of it.
const LARGEST_ANSWER: usize = 16 << 20;

/// Nobody answered, and why.
pub(crate) type Silence = String;

/// Where chunks are fetched and outcomes brought.
pub(crate) trait Desk: Send + Sync {
    /// Asks for `<nonce>/<chunk>` and what may lie below.
    fn ask<'a>(&'a self, what: &'a str) -> BoxFuture<'a, Result<Reply, Silence>>;

    /// Brings an outcome.
    fn bring<'a>(&'a self, outcome: &'a [u8]) -> BoxFuture<'a, Result<Reply, Silence>>;
}

/// The desk of a coordinator in another pod.
#[derive(Debug, Clone)]
pub(crate) struct HttpDesk {
    http: reqwest::Client,
    /// `http://<address>:<port>/chunks`
    url: String,
}

impl HttpDesk {
    /// The desk at `http://<address>:<port>`.
    ///
    /// # Errors
    ///
    /// When the library cannot set itself up.
    pub(crate) fn new(coordinator: &str) -> Result<Self, RunError> {
        // Pods are in the cluster, where no proxy stands between.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(QUESTION_LIMIT)
            .build()
            .map_err(|error| {
                let what = "no client for the coordinator could be made";
                RunError::transient(Reason::ResourceExhausted, what).because(error)
            })?;
        Ok(Self { http, url: format!("{}/chunks", coordinator.trim_end_matches('/')) })
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Reply, Silence> {
        // Its address names what only readers know.
        let silence = |error: reqwest::Error| in_words(&error.without_url());
        let mut answer = request.send().await.map_err(silence)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await.map_err(silence)? {
            if body.len() + bytes.len() > LARGEST_ANSWER {
                return Err("its answer has no end".to_owned());
            }
            body.extend_from_slice(&bytes);
        }
        Ok(Reply { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl Desk for HttpDesk {
    fn ask<'a>(&'a self, what: &'a str) -> BoxFuture<'a, Result<Reply, Silence>> {
        Box::pin(self.answer(self.http.get(format!("{}/{what}", self.url))))
    }

    fn bring<'a>(&'a self, outcome: &'a [u8]) -> BoxFuture<'a, Result<Reply, Silence>> {
        let request = self.http.post(&self.url).timeout(OUTCOME_LIMIT).body(outcome.to_vec());
        Box::pin(self.answer(request))
    }
}
