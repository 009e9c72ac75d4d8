//! What the pods of runs need is there before them, and what nobody needs any more goes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::resources::{BulkResources, build_bulk};
use crate::apply::Applier;
use crate::cluster::Owner;
use crate::cluster::names::is_config;
use crate::context::Context;
use crate::failure::Failure;
use crate::objects::volumes::maps_of;
use crate::validation::Transfer;

/// Applies what differs.
pub(crate) async fn keep_ready(
    applier: &mut Applier<'_>,
    context: &Context,
    owner: &Owner,
    pipeline: &Transfer,
) -> Result<(), Failure> {
    let resources = build_bulk(pipeline, &context.options.pods);
    let BulkResources { service_account, network_policy, accepted, config } = resources;
    if let Some(account) = service_account {
        applier.ensure(account).await?;
    }
    applier.ensure(network_policy).await?;
    applier.ensure(accepted).await?;
    applier.ensure(config).await?;
    applier.remove_others::<ServiceAccount>().await?;
    applier.remove_others::<NetworkPolicy>().await?;
    applier.remove_others_but::<ConfigMap>(configs_in_use(context, owner)).await
}

/// Configurations that a Job names whose pod may not have begun, or that a pod reads.
fn configs_in_use(context: &Context, owner: &Owner) -> BTreeSet<String> {
    let key = &owner.key;
    let jobs = context.caches.jobs.of(key);
    let pods = context.caches.pods.of(key);
    let open = jobs.iter().filter(|job| {
        let status = job.status.as_ref();
        status.is_none_or(|status| status.completion_time.is_none() && status.failed.is_none())
    });
    let templates = open.filter_map(|job| job.spec.as_ref()?.template.spec.as_ref());
    let specs = templates.chain(pods.iter().filter_map(|pod| pod.spec.as_ref()));
    specs.flat_map(maps_of).filter(|name| is_config(&key.name, name)).collect()
}
