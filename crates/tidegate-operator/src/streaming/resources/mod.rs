//! Every object of a stream's pipeline, made without a client.

mod cleanup;
mod deployment;
mod disruption_budget;
mod service;
mod stateful_set;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::facts::Decisions;
use crate::objects::{config_maps, network_policy, service_account};
use crate::options::PodSettings;
use crate::validation::ValidatedPipeline;

pub(crate) use cleanup::{Cleanup, cleanup_job};

/// Built, and not sent anywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prepared;
/// As the API server has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied;

/// The objects of a pipeline, in the order in which they are applied: what pods need before the pods.
/// Whoever goes over them destructures without `..`, so that none is forgotten.
#[derive(Debug, Clone)]
pub(crate) struct Resources<S> {
    /// The account of the pods; none when the spec names one.
    pub(crate) service_account: Option<ServiceAccount>,
    /// Who may speak to the pods, and where they may go.
    pub(crate) network_policy: NetworkPolicy,
    /// The spec that was accepted last.
    pub(crate) accepted: ConfigMap,
    /// The configuration. Its name changes with its contents, and it is immutable.
    pub(crate) config: ConfigMap,
    /// Who reads what.
    pub(crate) assignment: ConfigMap,
    /// The agent.
    pub(crate) agent: Deployment,
    /// The names of the workers' pods.
    pub(crate) service: Service,
    /// The workers.
    pub(crate) workers: StatefulSet,
    /// How many workers may be evicted at a time.
    pub(crate) disruption_budget: PodDisruptionBudget,
    /// How far they have come.
    pub(crate) state: PhantomData<S>,
}

/// Makes every object of a pipeline.
pub(crate) fn build(
    pipeline: &ValidatedPipeline,
    decisions: &Decisions,
    settings: &PodSettings,
) -> Resources<Prepared> {
    Resources {
        service_account: service_account::build(pipeline),
        network_policy: network_policy::build(pipeline, settings),
        accepted: config_maps::accepted(pipeline),
        config: config_maps::config(pipeline),
        assignment: config_maps::assignment(pipeline, &decisions.assignment),
        agent: deployment::build(pipeline, settings, decisions.agents),
        service: service::build(pipeline),
        workers: stateful_set::build(pipeline, settings, decisions.replicas),
        disruption_budget: disruption_budget::build(pipeline),
        state: PhantomData,
    }
}
