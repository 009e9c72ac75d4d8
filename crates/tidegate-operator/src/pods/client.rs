//! Asking pods, by HTTP, and telling workers what they should read.
//!
//! A pod is a stranger: it may hang, answer something else or never stop. So every question has a
//! time limit, every answer a size limit, and only so many are under way.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_config::{Assignment, GivenUp};
use tokio::sync::Semaphore;

use super::address::base_url;
use crate::metrics::Metrics;

/// How long a pod may take, from the connection to the last byte.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);
/// A report of 256 partitions has some 20 KiB.
const LARGEST_ANSWER: usize = 256 << 10;
/// Questions under way, of all pipelines: with pods that all hang, 16 a second.
const MOST_AT_A_TIME: usize = 32;

/// The client for pods.
#[derive(Debug)]
pub(crate) struct PodClient {
    http: reqwest::Client,
    permits: Semaphore,
    metrics: Metrics,
}

impl PodClient {
    /// # Errors
    ///
    /// When the library cannot set itself up.
    pub(crate) fn new(metrics: Metrics) -> Result<Self, reqwest::Error> {
        // Pods are in the cluster, where no proxy stands between.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(LONGEST_ANSWER)
            .pool_max_idle_per_host(1)
            .build()?;
        Ok(Self { http, permits: Semaphore::new(MOST_AT_A_TIME), metrics })
    }

    /// What the pod at `address` says about itself; none when it says nothing that can be read.
    pub(crate) async fn report<R: DeserializeOwned>(&self, address: &str) -> Option<R> {
        let _permit = self.permits.acquire().await.ok()?;
        let answer = match self.read(&url(address, "/status")).await {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) => {
                tracing::debug!(address, %error, "a pod does not answer");
                None
            }
        };
        self.metrics.polled(if answer.is_some() { "answered" } else { "silent" });
        answer
    }

    /// Hands a worker its assignment. The mounted file says the same a little later, so that a failure
    /// does not matter.
    pub(crate) async fn assign(&self, address: &str, assignment: &Assignment) {
        self.post(address, "/assignment", assignment).await;
    }

    /// Tells the coordinator of an attempt that its readers were given up. It is told again with the next
    /// look, until its pod has ended.
    pub(crate) async fn give_up_chunks(&self, address: &str, told: &GivenUp) {
        self.post(address, GivenUp::PAGE, told).await;
    }

    async fn post(&self, address: &str, page: &str, body: &impl Serialize) {
        let Ok(_permit) = self.permits.acquire().await else { return };
        let sent = self.http.post(url(address, page)).json(body).send().await;
        match sent.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => {}
            Ok(status) => {
                tracing::debug!(address, page, %status, "a pod does not take what it is told")
            }
            Err(error) => tracing::debug!(address, page, %error, "a pod does not hear"),
        }
    }

    async fn read(&self, url: &str) -> Result<Vec<u8>, reqwest::Error> {
        let mut answer = self.http.get(url).send().await?.error_for_status()?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if bytes.len() + chunk.len() > LARGEST_ANSWER {
                // Cut short it is no JSON, which is as good as no answer.
                break;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

fn url(address: &str, page: &str) -> String {
    format!("{}{page}", base_url(address))
}
