//! The definition that a cluster gets.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::IngestionPipeline;
use crate::tidy::tidy;

/// Fields of `spec.template` whose inner shape is that of the same field of a pod in Kubernetes, which
/// describes and bounds them.
pub const KUBERNETES_FIELDS: [&str; 6] = [
    "affinity",
    "agentResources",
    "imagePullSecrets",
    "resources",
    "tolerations",
    "topologySpreadConstraints",
];

/// The definition of the kind, as it stands in `crds/`.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    DEFINITION.0.clone()
}

/// The structural schema of the kind, with descriptions, defaults, bounds and CEL rules.
#[must_use]
pub fn schema() -> &'static Value {
    &DEFINITION.1
}

/// The definition as YAML.
#[must_use]
pub fn crd_yaml() -> String {
    serde_yaml::to_string(&DEFINITION.0).expect("a definition has only text, numbers and maps")
}

static DEFINITION: LazyLock<(CustomResourceDefinition, Value)> = LazyLock::new(|| {
    let mut document = serde_json::to_value(IngestionPipeline::crd())
        .expect("a definition has only text, numbers and maps");
    let schema = document
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("the derivation writes one version with a schema");
    tidy(schema);
    let schema = schema.clone();
    let definition = serde_json::from_value(document).expect("only the schema was touched");
    (definition, schema)
});
