//! Defaults of the definition, filled in as the API server does before it evaluates rules.
//!
//! `kube-cel` fills in defaults too, but not those of members of a map that is itself a default, which
//! is what our parents are (`default: {}`).

use serde_json::Value;

/// The value with every default of `schema` that it leaves open.
pub(crate) fn fill(schema: &Value, mut value: Value) -> Value {
    fill_in(schema, &mut value);
    value
}

fn fill_in(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                if let Some(default) = property.get("default") {
                    members.entry(name).or_insert_with(|| default.clone());
                }
                if let Some(member) = members.get_mut(name) {
                    fill_in(property, member);
                }
            }
            if let Some(schema) = schema.get("additionalProperties") {
                members.values_mut().for_each(|member| fill_in(schema, member));
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| fill_in(schema, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_reach_into_maps_that_are_defaults_and_leave_what_is_written() {
        let schema = json!({"properties": {
            "parent": {"default": {}, "properties": {"a": {"default": 1}, "b": {"default": 2}}},
            "list": {"items": {"properties": {"c": {"default": 3}}}},
            "absent": {"properties": {"d": {"default": 4}}},
            "map": {"additionalProperties": {"properties": {"e": {"default": 6}}}},
        }});
        let filled = fill(&schema, json!({"list": [{}, {"c": 5}], "map": {"x": {}}}));
        assert_eq!(
            filled,
            json!({
                "parent": {"a": 1, "b": 2},
                "list": [{"c": 3}, {"c": 5}],
                "map": {"x": {"e": 6}},
            })
        );
        let filled = fill(&schema, json!({"parent": {"b": 9}}));
        assert_eq!(filled, json!({"parent": {"a": 1, "b": 9}}));
    }
}
