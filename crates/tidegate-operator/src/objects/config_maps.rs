//! The documents that reach the pods, and the one that the operator writes to itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use tidegate_config::Assignment;

use super::metadata;
use crate::cluster::names::{self, ACCEPTED_KEY, ASSIGNMENT_KEY, CONFIG_KEY};
use crate::validation::ValidatedPipeline;

/// The configuration that the pods work with.
pub(crate) fn config<C>(pipeline: &ValidatedPipeline<C>) -> ConfigMap {
    let name = names::config(&pipeline.name, &pipeline.config_hash);
    let document = document(pipeline, name, CONFIG_KEY, pipeline.config_json.clone());
    // Nobody can change what a pod of that hash reads, and kubelets need not watch it.
    ConfigMap { immutable: Some(true), ..document }
}

/// Who reads what.
pub(crate) fn assignment<C>(pipeline: &ValidatedPipeline<C>, assignment: &Assignment) -> ConfigMap {
    let name = names::assignment(&pipeline.name);
    document(pipeline, name, ASSIGNMENT_KEY, json(assignment))
}

/// The spec that is running, for the time when the resource holds one that cannot.
pub(crate) fn accepted<C>(pipeline: &ValidatedPipeline<C>) -> ConfigMap {
    let name = names::accepted(&pipeline.name);
    document(pipeline, name, ACCEPTED_KEY, json(&pipeline.spec))
}

fn document<C>(
    pipeline: &ValidatedPipeline<C>,
    name: String,
    key: &str,
    text: String,
) -> ConfigMap {
    ConfigMap {
        metadata: metadata::shared(pipeline, name),
        data: Some(BTreeMap::from([(key.to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// Both types are plain structs whose maps have texts as keys, which always have a JSON form.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
