//! The reference page of the fields, from the descriptions in the schema.

use std::fmt::Write;

use serde_json::Value;

/// One table row a field, in the order of the schema, children below their parent.
pub(crate) fn page(schema: &Value) -> String {
    let mut page = String::from(
        "<!-- Written by `cargo run -p xtask -- generate` from crates/tidegate-api; do not edit. -->\n\
         # IngestionPipeline: every field\n\n\
         Generated from the resource's definition. A page to read first: [ingestionpipeline.md](ingestionpipeline.md).\n\
         Fields in **bold** are required where their parent stands; `[]` marks a list's entries.\n\n\
         | field | type | default | meaning |\n|---|---|---|---|\n",
    );
    if let Some(spec) = schema.pointer("/properties/spec") {
        rows(spec, "spec", &mut page);
    }
    page
}

fn rows(schema: &Value, place: &str, page: &mut String) {
    let required: Vec<&str> = texts(schema.get("required"));
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, field) in properties.into_iter().flatten() {
        let path = format!("{place}.{name}");
        row(field, &path, required.contains(&name.as_str()), page);
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
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| {name} | {} | {default} | {meaning} |", type_name(field));
}

fn type_name(field: &Value) -> String {
    let values = texts(field.get("enum"));
    if !values.is_empty() {
        return values.join(", ");
    }
    match field.get("type").and_then(Value::as_str).unwrap_or_default() {
        "array" => format!("list of {}", field.get("items").map_or_else(String::new, type_name)),
        "object" => "map".to_owned(),
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
        let page = page(&schema);
        assert!(page.contains("| **`spec.a`** | text | `x` | An a. |"), "{page}");
        assert!(page.contains("| `spec.list[].b` | X, Y |  | Either \\| or. |"), "{page}");
    }

    #[test]
    fn every_field_of_the_resource_is_described() {
        for line in page(tidegate_api::schema()).lines().filter(|line| line.starts_with("| ")) {
            let meaning = line.rsplit(" | ").next().unwrap_or_default().trim_end_matches(" |");
            assert!(!meaning.trim().is_empty(), "{line}");
        }
    }
}
