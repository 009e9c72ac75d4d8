//! What stands above every object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::labels::{self, Component};
use crate::validation::ValidatedPipeline;

/// The metadata of an object that belongs to the pipeline as a whole.
pub(crate) fn shared<C>(pipeline: &ValidatedPipeline<C>, name: String) -> ObjectMeta {
    labelled(pipeline, name, labels::common(&pipeline.name))
}

/// The metadata of an object that belongs to one component.
pub(crate) fn of<C>(
    pipeline: &ValidatedPipeline<C>,
    name: String,
    component: Component,
) -> ObjectMeta {
    labelled(pipeline, name, labels::of(&pipeline.name, component))
}

fn labelled<C>(
    pipeline: &ValidatedPipeline<C>,
    name: String,
    labels: BTreeMap<String, String>,
) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(pipeline.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![pipeline.owner.clone()]),
        ..ObjectMeta::default()
    }
}
