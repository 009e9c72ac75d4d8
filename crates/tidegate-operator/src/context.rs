//! What every reconcile shares: the ways to the API server and to pods, and what was seen.

use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use crate::client;
use crate::clock::Clock;
use crate::cluster::Caches;
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
        pods: PodClient,
        metrics: Metrics,
    ) -> Self {
        let client = client::counted(client, &metrics);
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(options.identity.clone()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            clock,
            pods,
            metrics,
            queue: Queue::default(),
            caches: Caches::new(),
            options,
        }
    }
}
