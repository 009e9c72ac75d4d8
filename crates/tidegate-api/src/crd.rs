//! The definition that a cluster gets.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::IngestionPipeline;

/// Formats that the derivation writes and that the API server does not know.
const UNKNOWN_FORMATS: [&str; 6] = ["uint8", "uint16", "uint32", "uint64", "int8", "int16"];

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

/// Corrects what the derivation cannot say: no field takes null, formats unknown to the API server go,
/// parents default to `{}` (their members have the defaults), and descriptions are paragraphs.
///
/// A parent with rules keeps its members' defaults in its own: the API server refuses a definition
/// whose default, taken as it is written, breaks or cannot answer its own rules.
fn tidy(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    node.remove("nullable");
    if node.get("format").and_then(Value::as_str).is_some_and(|f| UNKNOWN_FORMATS.contains(&f)) {
        node.remove("format");
    }
    let has_rules = node.contains_key("x-kubernetes-validations");
    if !has_rules && node.get("default").is_some_and(Value::is_object) {
        node.insert("default".to_owned(), json!({}));
    }
    if let Some(Value::String(text)) = node.get_mut("description") {
        *text = text.split("\n\n").map(unwrap_lines).collect::<Vec<_>>().join("\n\n");
    }
    for child in node
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(Map::values_mut)
    {
        tidy(child);
    }
    if let Some(items) = node.get_mut("items") {
        tidy(items);
    }
}

fn unwrap_lines(paragraph: &str) -> String {
    paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
