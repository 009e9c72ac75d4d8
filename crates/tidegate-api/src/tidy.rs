//! What the derivation of the schema cannot say.

use serde_json::{Map, Value, json};

use crate::vocabulary::QUANTITY;

/// Formats that the derivation writes and that the API server does not know.
const UNKNOWN_FORMATS: [&str; 6] = ["uint8", "uint16", "uint32", "uint64", "int8", "int16"];

/// Members of Kubernetes' own types that pipelines do not get, below `spec.template`: claims would need
/// a list in the pod that is not offered, and nothing in a pipeline names another namespace.
const WITHHELD: [(&str, &[&str]); 3] = [
    ("resources", &["claims"]),
    ("agentResources", &["claims"]),
    ("affinity", &["namespaces", "namespaceSelector"]),
];

/// Corrects the schema of the whole kind.
pub(crate) fn tidy(schema: &mut Value) {
    tidy_node(schema);
    if let Some(template) = schema.pointer_mut("/properties/spec/properties/template/properties") {
        for (field, members) in WITHHELD {
            if let Some(field) = template.get_mut(field) {
                withhold(field, members);
            }
        }
    }
    if let Some(status) = schema.pointer_mut("/properties/status") {
        // What the operator did not write must not appear to have been written.
        for_each_node(status, &mut |node| drop(node.remove("default")));
    }
}

/// No field takes null, formats unknown to the API server go, parents default to `{}` (their members
/// have the defaults), descriptions are paragraphs, quantities are as in Kubernetes' own definitions.
///
/// A parent with rules keeps its members' defaults in its own: the API server refuses a definition
/// whose default, taken as it is written, breaks or cannot answer its own rules.
fn tidy_node(schema: &mut Value) {
    for_each_node(schema, &mut |node| {
        node.remove("nullable");
        let format = node.get("format").and_then(Value::as_str);
        if format.is_some_and(|format| UNKNOWN_FORMATS.contains(&format)) {
            node.remove("format");
        }
        let has_rules = node.contains_key("x-kubernetes-validations");
        if !has_rules && node.get("default").is_some_and(Value::is_object) {
            node.insert("default".to_owned(), json!({}));
        }
        if node.contains_key("x-kubernetes-int-or-string") {
            quantity(node);
        }
        if let Some(Value::String(text)) = node.get_mut("description") {
            *text = text.split("\n\n").map(unwrap_lines).collect::<Vec<_>>().join("\n\n");
        }
    });
}

/// The only value of ours that is a number or a text.
fn quantity(node: &mut Map<String, Value>) {
    node.insert("anyOf".to_owned(), json!([{"type": "integer"}, {"type": "string"}]));
    node.insert("pattern".to_owned(), json!(QUANTITY.pattern));
    node.insert("description".to_owned(), json!("A quantity, such as 500m or 512Mi."));
}

fn withhold(schema: &mut Value, members: &[&str]) {
    for_each_node(schema, &mut |node| {
        if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
            properties.retain(|name, _| !members.contains(&name.as_str()));
        }
    });
}

/// Calls `change` for the schema itself and for every schema in it.
fn for_each_node(schema: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    let Some(node) = schema.as_object_mut() else { return };
    change(node);
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|child| for_each_node(child, change));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(inner) {
            for_each_node(child, change);
        }
    }
}

fn unwrap_lines(paragraph: &str) -> String {
    paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
