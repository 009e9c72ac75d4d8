//! What the pods of runs need is there before them, and what nobody needs any more goes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;

use super::validate::Transfer;
use crate::context::Context;
use crate::pipeline::{Applier, BulkResources, Failure, Owner, build_bulk, is_config, maps_of};

/// Applies what differs.
pub(crate) async fn keep_ready(
    applier: &mut Applier<'_>,
    context: &Context,
    owner: &Owner,
    pipeline: &Transfer,
) -> Result<(), Failure> {
    let resources = build_bulk(pipeline, &context.options.pods);
    let BulkResources { service_account, network_policy, accepted, config } = resources;
    let accounts = service_account.iter().map(ResourceExt::name_any).collect();
    if let Some(account) = service_account {
        applier.ensure(account).await?;
    }
    let policy = applier.ensure(network_policy).await?;
    let accepted = applier.ensure(accepted).await?;
    let config = applier.ensure(config).await?;
    applier.remove_all_but::<ServiceAccount>(&accounts).await?;
    applier.remove_all_but::<NetworkPolicy>(&BTreeSet::from([policy.name_any()])).await?;
    let mut maps = configs_in_use(context, owner);
    maps.extend([accepted.name_any(), config.name_any()]);
    applier.remove_all_but::<ConfigMap>(&maps).await
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
