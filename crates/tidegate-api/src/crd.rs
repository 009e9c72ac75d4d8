//! The definitions that a cluster gets.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::tidy::tidy;
use crate::{IngestionPipeline, IngestionRun, KIND, RUN_KIND};

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

/// One kind, as a cluster gets to know it.
#[derive(Debug)]
pub struct Definition {
    /// The kind's name.
    pub kind: &'static str,
    crd: CustomResourceDefinition,
    schema: Value,
}

impl Definition {
    /// The definition, as it stands in `crds/`.
    #[must_use]
    pub fn crd(&self) -> CustomResourceDefinition {
        self.crd.clone()
    }

    /// The structural schema of the kind, with descriptions, defaults, bounds and CEL rules.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The definition as YAML.
    #[must_use]
    pub fn yaml(&self) -> String {
        serde_yaml::to_string(&self.crd).expect("a definition has only text, numbers and maps")
    }

    /// The kind's name in the plural, which is also that of its file.
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.crd.spec.names.plural
    }
}

/// Every kind.
#[must_use]
pub fn definitions() -> [&'static Definition; 2] {
    [&PIPELINE, &RUN]
}

/// The definition of `IngestionPipeline`, as it stands in `crds/`.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    PIPELINE.crd()
}

/// The structural schema of `IngestionPipeline`.
#[must_use]
pub fn schema() -> &'static Value {
    PIPELINE.schema()
}

/// The definition of `IngestionPipeline` as YAML.
#[must_use]
pub fn crd_yaml() -> String {
    PIPELINE.yaml()
}

/// The definition of `IngestionRun`, as it stands in `crds/`.
#[must_use]
pub fn run_crd() -> CustomResourceDefinition {
    RUN.crd()
}

/// The structural schema of `IngestionRun`.
#[must_use]
pub fn run_schema() -> &'static Value {
    RUN.schema()
}

static PIPELINE: LazyLock<Definition> =
    LazyLock::new(|| definition(KIND, &IngestionPipeline::crd()));

static RUN: LazyLock<Definition> = LazyLock::new(|| definition(RUN_KIND, &IngestionRun::crd()));

fn definition(kind: &'static str, derived: &CustomResourceDefinition) -> Definition {
    let mut document =
        serde_json::to_value(derived).expect("a definition has only text, numbers and maps");
    let schema = document
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema")
        .expect("the derivation writes one version with a schema");
    tidy(schema);
    let schema = schema.clone();
    let crd = serde_json::from_value(document).expect("only the schema was touched");
    Definition { kind, crd, schema }
}
