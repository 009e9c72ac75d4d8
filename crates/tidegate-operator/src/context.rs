//! What every reconcile shares.

use std::sync::Mutex;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use tidegate_api::{IngestionPipeline, IngestionRun};

use crate::OperatorOptions;
use crate::cache::Cache;
use crate::client;
use crate::clock::Clock;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::pipeline::{PodClient, Rollouts, States, labels};
use crate::queue::Queue;
use crate::runs;

/// The controller's name in Events.
const CONTROLLER: &str = "tidegate-operator";
/// kubectl's own memory, as large as the object itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The operator's means and what it has seen.
pub(crate) struct Context {
    pub(crate) options: OperatorOptions,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    pub(crate) pods: PodClient,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) queue: Queue,
    pub(crate) caches: Caches,
    pub(crate) states: States,
    /// Whose pods are being replaced because of a new release.
    pub(crate) rollouts: Mutex<Rollouts>,
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
            states: States::default(),
            rollouts: Mutex::new(Rollouts::new(options.max_concurrent_rollouts)),
            options,
        }
    }
}

/// What the watches have seen. Pipelines are kept as they came, so that one that does not fit the types
/// hurts nobody else.
#[derive(Debug)]
pub(crate) struct Caches {
    pub(crate) pipelines: Cache<DynamicObject>,
    /// By the pipeline that they name.
    pub(crate) runs: Cache<DynamicObject>,
    pub(crate) stateful_sets: Cache<StatefulSet>,
    pub(crate) deployments: Cache<Deployment>,
    pub(crate) config_maps: Cache<ConfigMap>,
    pub(crate) services: Cache<Service>,
    pub(crate) service_accounts: Cache<ServiceAccount>,
    pub(crate) disruption_budgets: Cache<PodDisruptionBudget>,
    pub(crate) network_policies: Cache<NetworkPolicy>,
    pub(crate) jobs: Cache<Job>,
    pub(crate) pods: Cache<Pod>,
    /// Those that offer themselves to pipelines, each by its own name.
    pub(crate) offered_accounts: Cache<ServiceAccount>,
}

impl Caches {
    pub(crate) fn new() -> Self {
        Self {
            pipelines: Cache::new(own_name, trim_pipeline),
            runs: Cache::new(named_pipeline, trim_pipeline),
            stateful_sets: Cache::new(pipeline_of, trim_metadata),
            deployments: Cache::new(pipeline_of, trim_metadata),
            config_maps: Cache::new(pipeline_of, trim_metadata),
            services: Cache::new(pipeline_of, trim_metadata),
            service_accounts: Cache::new(pipeline_of, trim_metadata),
            disruption_budgets: Cache::new(pipeline_of, trim_metadata),
            network_policies: Cache::new(pipeline_of, trim_metadata),
            jobs: Cache::new(pipeline_of, trim_metadata),
            pods: Cache::new(pipeline_of, trim_pod),
            offered_accounts: Cache::new(own_name, trim_metadata),
        }
    }
}

/// The resource of pipelines, for objects that are read without its types.
pub(crate) fn pipeline_resource() -> ApiResource {
    ApiResource::erase::<IngestionPipeline>(&())
}

/// The resource of runs.
pub(crate) fn run_resource() -> ApiResource {
    ApiResource::erase::<IngestionRun>(&())
}

/// A run that names none is one of a pipeline without a name, which does not exist.
fn named_pipeline(run: &DynamicObject) -> Option<Key> {
    Some(Key::new(run.namespace()?, runs::pipeline_of(run).unwrap_or_default()))
}

fn own_name<K: Resource>(object: &K) -> Option<Key> {
    Some(Key::new(object.namespace()?, object.name_any()))
}

fn pipeline_of<K: Resource>(object: &K) -> Option<Key> {
    let pipeline = object.labels().get(labels::PIPELINE)?;
    Some(Key::new(object.namespace()?, pipeline))
}

fn trim_metadata<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

fn trim_pipeline(object: &mut DynamicObject) {
    trim_metadata(object);
    object.annotations_mut().remove(LAST_APPLIED);
}

/// Of a pod's spec only the configurations that it mounts are asked for.
fn trim_pod(pod: &mut Pod) {
    trim_metadata(pod);
    let Some(spec) = &mut pod.spec else { return };
    let volumes = spec.volumes.take().into_iter().flatten();
    let maps = volumes.filter(|volume| volume.config_map.is_some()).collect();
    *spec = PodSpec { volumes: Some(maps), ..PodSpec::default() };
}
