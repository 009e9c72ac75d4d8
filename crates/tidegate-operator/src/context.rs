//! What every reconcile shares: the ways to the API server and to pods, and what was seen.

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use crate::client;
use crate::clock::Clock;
use crate::cluster::Caches;
use crate::error::OperatorError;
use crate::metrics::Metrics;
use crate::options::OperatorOptions;
use crate::pods::PodClient;
use crate::queue::Queue;

/// The controller's name in Events.
const CONTROLLER: &str = "tidegate-operator";

/// The operator's means and what it has seen. What a controller remembers of its pipelines is its own.
pub(crate) struct Context {
    pub(crate) options: OperatorOptions,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) pods: PodClient,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) queue: Queue,
    pub(crate) caches: Caches,
}

impl Context {
    pub(crate) fn new(
        options: OperatorOptions,
        client: &Client,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OperatorError> {
        let pods = PodClient::new(metrics.clone())
            .map_err(|source| OperatorError::PodClient { source })?;
        let client = client::counted(client, &metrics);
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(options.identity.clone()),
        };
        Ok(Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            clock,
            pods,
            metrics,
            queue: Queue::default(),
            caches: Caches::new(),
            options,
        })
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    use std::time::Duration;

    use super::*;
    use crate::objects::fixtures::settings;

    /// With an API server that never answers.
    pub(crate) fn silent(metrics: Metrics) -> Context {
        let silent = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, kube::Error>>().await
        });
        of(&Client::new(silent, "ns"), metrics)
    }

    /// With this API server.
    pub(crate) fn of(server: &Client, metrics: Metrics) -> Context {
        Context::new(options(), server, Clock::system(), metrics).expect("a context")
    }

    fn options() -> OperatorOptions {
        OperatorOptions {
            namespaces: [].into(),
            own_namespace: String::new(),
            identity: String::new(),
            leader_election: false,
            max_concurrent_rollouts: 1,
            max_concurrent_reconciles: 1,
            poll_interval: Duration::from_secs(10),
            deletion_deadline: Duration::from_secs(10),
            allow_local_tables: false,
            listen: ([127, 0, 0, 1], 0).into(),
            pods: settings(),
        }
    }
}
