//! The documents that reach the pods, and the one that the operator writes to itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Serialize;
use tidegate_config::Assignment;

use super::{ValidatedPipeline, metadata};
use crate::pipeline::names;

/// The key of the configuration, and the name of its file.
pub(crate) const CONFIG_KEY: &str = "pipeline.json";
/// The key of the assignment, and the name of its file.
pub(crate) const ASSIGNMENT_KEY: &str = "assignment.json";
/// The key of the accepted spec.
pub(crate) const ACCEPTED_KEY: &str = "spec.json";

/// The configuration that the pods work with.
pub(super) fn config<C>(pipeline: &ValidatedPipeline<C>) -> ConfigMap {
    let name = names::config(&pipeline.name, &pipeline.config_hash);
    let document = document(pipeline, name, CONFIG_KEY, pipeline.config_json.clone());
    // Nobody can change what a pod of that hash reads, and kubelets need not watch it.
    ConfigMap { immutable: Some(true), ..document }
}

/// Who reads what.
pub(super) fn assignment<C>(pipeline: &ValidatedPipeline<C>, assignment: &Assignment) -> ConfigMap {
    let name = names::assignment(&pipeline.name);
    document(pipeline, name, ASSIGNMENT_KEY, json(assignment))
}

/// The spec that is running, for the time when the resource holds one that cannot.
pub(super) fn accepted<C>(pipeline: &ValidatedPipeline<C>) -> ConfigMap {
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
