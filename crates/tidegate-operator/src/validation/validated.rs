//! A pipeline that can run.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;
use tidegate_api::IngestionPipelineSpec;
use tidegate_config::{PipelineConfig, TransferConfig, content_hash};

use crate::cluster::Owner;

/// A pipeline that can run; `C` is its resolved configuration: that of a stream, or
/// [`TransferConfig`].
#[derive(Debug, Clone)]
pub(crate) struct ValidatedPipeline<C = PipelineConfig> {
    /// Its namespace; every object of ours stands there.
    pub(crate) namespace: String,
    /// Its name, the stem of theirs.
    pub(crate) name: String,
    /// The owner reference of every object of ours.
    pub(crate) owner: OwnerReference,
    /// The accepted spec: the resource's own, or the last one that was good.
    pub(crate) spec: IngestionPipelineSpec,
    /// What the pods get to read.
    pub(crate) config: C,
    /// The same as it stands in the `ConfigMap`, `pipeline.json`.
    pub(crate) config_json: String,
    /// [`tidegate_config::content_hash`] of it.
    pub(crate) config_hash: String,
}

/// A bulk pipeline that can run.
pub(crate) type Transfer = ValidatedPipeline<TransferConfig>;

/// Makes it from a spec that was checked, and what that was resolved to.
pub(crate) fn accept<C: Serialize>(
    owner: &Owner,
    spec: IngestionPipelineSpec,
    config: C,
) -> ValidatedPipeline<C> {
    // Plain structs whose maps have texts as keys always have a JSON form.
    let config_json = serde_json::to_string(&config).unwrap_or_default();
    ValidatedPipeline {
        namespace: owner.key.namespace.clone(),
        name: owner.key.name.clone(),
        owner: owner.reference(),
        spec,
        config_hash: content_hash(config_json.as_bytes()),
        config_json,
        config,
    }
}
