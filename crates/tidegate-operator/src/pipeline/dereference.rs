//! What the spec points to and what is remembered of it: read from the caches, no request.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tidegate_api::IngestionPipelineSpec;

use super::build::ACCEPTED_KEY;
use super::facts::References;
use super::names;
use super::owner::{Owner, Ownership, ownership};
use crate::context::Caches;
use crate::key::Key;

/// Reads the references of a pipeline. Both the new and the accepted spec may name a service account.
pub(crate) fn dereference(caches: &Caches, owner: &Owner) -> References {
    let key = &owner.key;
    let remembered = caches.config_maps.get(key, &names::accepted(&key.name));
    References {
        offered_accounts: caches.offered_accounts.names_in(&key.namespace),
        accepted: remembered.and_then(|map| accepted(&map, owner)),
        repaired: None,
    }
}

/// The pipeline that a bulk pipeline of this spec repairs.
pub(crate) fn repaired(
    caches: &Caches,
    owner: &Owner,
    spec: &IngestionPipelineSpec,
) -> Option<(String, IngestionPipelineSpec)> {
    let name = &spec.bulk.as_ref()?.repairs.as_ref()?.pipeline_ref.name;
    let key = Key::new(&owner.key.namespace, name);
    let object = caches.pipelines.get(&key, name)?;
    let pipeline = super::validate::read(&object).ok()?;
    Some((name.clone(), pipeline.spec))
}

/// The spec in the `ConfigMap`, when it was this very pipeline's: another one of that name has its own
/// history.
fn accepted(map: &ConfigMap, owner: &Owner) -> Option<IngestionPipelineSpec> {
    if ownership(map, owner) != Ownership::Ours {
        return None;
    }
    let text = map.data.as_ref()?.get(ACCEPTED_KEY)?;
    match serde_json::from_str(text) {
        Ok(spec) => Some(spec),
        Err(error) => {
            tracing::warn!(object = map.name_any(), %error, "the accepted spec cannot be read");
            None
        }
    }
}
