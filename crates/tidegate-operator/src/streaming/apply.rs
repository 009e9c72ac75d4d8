//! Applying the objects of a stream's pipeline in a stated order, and removing what is left over.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;

use super::observe::{agent_facts, worker_facts};
use super::resources::{Applied, Prepared, Resources};
use super::templates::{template_of_agent, template_of_workers};
use crate::apply::Applier;
use crate::cluster::{Caches, names};
use crate::failure::Failure;
use crate::key::Key;
use crate::objects::volumes::maps_of;

/// Applies everything, what pods need before the pods, and then removes what is left over.
pub(crate) async fn apply(
    applier: &mut Applier<'_>,
    caches: &Caches,
    key: &Key,
    resources: Resources<Prepared>,
) -> Result<Resources<Applied>, Failure> {
    let Resources {
        service_account,
        network_policy,
        accepted,
        config,
        assignment,
        agent,
        service,
        workers,
        disruption_budget,
        state: PhantomData,
    } = resources;
    let service_account = match service_account {
        Some(account) => Some(applier.ensure(account).await?),
        None => None,
    };
    let applied = Resources {
        service_account,
        network_policy: applier.ensure(network_policy).await?,
        accepted: applier.ensure(accepted).await?,
        config: applier.ensure(config).await?,
        assignment: applier.ensure(assignment).await?,
        agent: applier.ensure(agent).await?,
        service: applier.ensure(service).await?,
        workers: applier.ensure(workers).await?,
        disruption_budget: applier.ensure(disruption_budget).await?,
        state: PhantomData,
    };
    let used = configs_in_use(caches, key, &applied.agent, &applied.workers);
    remove_orphans(applier, used).await?;
    Ok(applied)
}

/// Of every kind what was not applied. The configurations that are in use stay.
async fn remove_orphans(
    applier: &Applier<'_>,
    configs_in_use: BTreeSet<String>,
) -> Result<(), Failure> {
    applier.remove_others::<ServiceAccount>().await?;
    applier.remove_others::<NetworkPolicy>().await?;
    applier.remove_others::<Deployment>().await?;
    applier.remove_others::<Service>().await?;
    applier.remove_others::<StatefulSet>().await?;
    applier.remove_others::<PodDisruptionBudget>().await?;
    applier.remove_others::<Job>().await?;
    applier.remove_others_but::<ConfigMap>(configs_in_use).await
}

/// Configurations that a pod reads, or may be started again to read: while pods are being replaced
/// a controller may bring back one of the older kind, so that all are kept until it is through.
fn configs_in_use(
    caches: &Caches,
    key: &Key,
    agent: &Deployment,
    workers: &StatefulSet,
) -> BTreeSet<String> {
    if !is_through(agent, workers) {
        let all = caches.config_maps.of(key);
        let names = all.iter().map(|map| map.name_any());
        return names.filter(|name| names::is_config(&key.name, name)).collect();
    }
    let pods = caches.pods.of(key);
    let templates = [template_of_agent(agent), template_of_workers(workers)];
    let templates = templates.into_iter().flatten().filter_map(|it| it.spec.as_ref());
    let specs = pods.iter().filter_map(|pod| pod.spec.as_ref()).chain(templates);
    specs.flat_map(maps_of).collect()
}

/// Whether both controllers have replaced what they had to replace.
fn is_through(agent: &Deployment, workers: &StatefulSet) -> bool {
    agent_facts(Some(agent)).is_replaced() && worker_facts(Some(workers)).is_replaced()
}
