//! What the watches have seen, a cache a kind.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::DynamicObject;
use kube::{Resource, ResourceExt};

use super::cache::Cache;
use super::labels;
use crate::key::Key;

/// kubectl's own memory, as large as the object itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

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
            stateful_sets: Cache::new(labelled_pipeline, trim_metadata),
            deployments: Cache::new(labelled_pipeline, trim_metadata),
            config_maps: Cache::new(labelled_pipeline, trim_metadata),
            services: Cache::new(labelled_pipeline, trim_metadata),
            service_accounts: Cache::new(labelled_pipeline, trim_metadata),
            disruption_budgets: Cache::new(labelled_pipeline, trim_metadata),
            network_policies: Cache::new(labelled_pipeline, trim_metadata),
            jobs: Cache::new(labelled_pipeline, trim_metadata),
            pods: Cache::new(labelled_pipeline, trim_pod),
            offered_accounts: Cache::new(own_name, trim_metadata),
        }
    }
}

/// The pipeline that a run names, readable or not.
fn pipeline_of(run: &DynamicObject) -> Option<&str> {
    run.data.pointer("/spec/pipelineRef/name")?.as_str()
}

/// A run that names none is one of a pipeline without a name, which does not exist.
fn named_pipeline(run: &DynamicObject) -> Option<Key> {
    Some(Key::new(run.namespace()?, pipeline_of(run).unwrap_or_default()))
}

fn own_name<K: Resource>(object: &K) -> Option<Key> {
    Some(Key::new(object.namespace()?, object.name_any()))
}

fn labelled_pipeline<K: Resource>(object: &K) -> Option<Key> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_is_its_pipelines_whether_it_can_be_read_or_not() {
        for (spec, wanted) in [
            (json!({"pipelineRef": {"name": "orders"}, "trigger": 7}), "orders"),
            (json!({"pipelineRef": {"name": 7}}), ""),
            (json!(7), ""),
        ] {
            let run: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionRun",
                "metadata": {"name": "r", "namespace": "shop"}, "spec": spec,
            }))
            .expect("an object");
            assert_eq!(named_pipeline(&run), Some(Key::new("shop", wanted)), "{spec}");
        }
    }
}
