//! The reference page of a kind's fields, from the descriptions in the schema.

use std::fmt::Write;

use serde_json::Value;
use tidegate_api::{Definition, KUBERNETES_FIELDS};

const STATUS: &str = "\n## Status\n\nWritten by the operator; absent until it is known.\n\n\
                      | field | type | default | meaning |\n|---|---|---|---|\n";

/// The page of a kind.
pub(crate) fn page(definition: &Definition) -> String {
    let names = &definition.crd().spec.names;
    let short = names.short_names.iter().flatten().next().unwrap_or(&names.plural).clone();
    page_of(definition.kind, &short, definition.schema())
}

/// One table row a field, in the order of the schema, children below their parent.
fn page_of(kind: &str, short: &str, schema: &Value) -> String {
    let first = format!("{}.md", kind.to_lowercase());
    let mut page = format!(
        "<!-- Written by `cargo run -p xtask -- generate` from crates/tidegate-api; do not edit. -->\n\
         # {kind}: every field\n\n\
         Generated from the resource's definition. A page to read first: [{first}]({first}).\n\
         Fields in **bold** are required where their parent stands; `[]` marks a list's entries. What\n\
         *as in a pod* says is described in Kubernetes' own reference, and by `kubectl explain {short}`.\n\n\
         | field | type | default | meaning |\n|---|---|---|---|\n",
    );
    for part in ["spec", "status"] {
        if let Some(fields) = schema.pointer(&format!("/properties/{part}")) {
            if part == "status" {
                page.push_str(STATUS);
            }
            rows(fields, part, &mut page);
        }
    }
    page
}

fn rows(schema: &Value, place: &str, page: &mut String) {
    let required: Vec<&str> = texts(schema.get("required"));
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, field) in properties.into_iter().flatten() {
        let path = format!("{place}.{name}");
        row(field, &path, required.contains(&name.as_str()), page);
        if is_kubernetes(&path) {
            continue;
        }
        rows(field, &path, page);
        if let Some(items) = field.get("items") {
            rows(items, &format!("{path}[]"), page);
        }
    }
}

fn row(field: &Value, path: &str, required: bool, page: &mut String) {
    let name = if required { format!("**`{path}`**") } else { format!("`{path}`") };
    let default = match field.get("default") {
        None => String::new(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    };
    let description = field.get("description").and_then(Value::as_str).unwrap_or_default();
    let meaning = description.replace('\n', " ").replace('|', "\\|");
    let kind = type_name(field);
    let kind = if is_kubernetes(path) { format!("{kind}, *as in a pod*") } else { kind };
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| {name} | {kind} | {default} | {meaning} |");
}

fn is_kubernetes(path: &str) -> bool {
    path.strip_prefix("spec.template.").is_some_and(|field| KUBERNETES_FIELDS.contains(&field))
}

fn type_name(field: &Value) -> String {
    let values = texts(field.get("enum"));
    if !values.is_empty() {
        return values.join(", ");
    }
    match field.get("type").and_then(Value::as_str).unwrap_or_default() {
        "array" => format!("list of {}", field.get("items").map_or_else(String::new, type_name)),
        "object" => match field.get("additionalProperties") {
            Some(values) => format!("map to {}", type_name(values)),
            None => "map".to_owned(),
        },
        "string" if field.get("format").is_some() => "instant".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        other => other.to_owned(),
    }
}

fn texts(values: Option<&Value>) -> Vec<&str> {
    values.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_a_row_with_its_default() {
        let schema = json!({"properties": {"spec": {"required": ["a"], "properties": {
            "a": {"type": "string", "description": "An a.", "default": "x"},
            "list": {"type": "array", "items": {"type": "object", "properties": {
                "b": {"enum": ["X", "Y"], "description": "Either | or."}}}},
        }}}});
        let page = page_of("Kind", "k", &schema);
        assert!(page.contains("| **`spec.a`** | text | `x` | An a. |"), "{page}");
        assert!(page.contains("| `spec.list[].b` | X, Y |  | Either \\| or. |"), "{page}");
    }

    #[test]
    fn kubernetes_own_types_and_maps_are_one_row() {
        let page = page(tidegate_api::definitions()[0]);
        assert!(page.contains("`kubectl explain ipl`"), "{page}");
        assert!(page.contains("| `spec.template.affinity` | map, *as in a pod* |"), "{page}");
        assert!(!page.contains("spec.template.affinity."), "{page}");
        assert!(page.contains("| `spec.template.labels` | map to text |"), "{page}");
    }

    #[test]
    fn every_field_of_every_kind_is_described() {
        for definition in tidegate_api::definitions() {
            for line in page(definition).lines().filter(|line| line.starts_with("| ")) {
                let meaning = line.rsplit(" | ").next().unwrap_or_default().trim_end_matches(" |");
                assert!(!meaning.trim().is_empty(), "{line}");
            }
        }
    }
}
