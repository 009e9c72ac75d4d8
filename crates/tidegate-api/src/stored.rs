//! Objects as the API server hands them out: let through by another release's definition, perhaps.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::documents::{Kind, broken_rules, violation};
use crate::structure::{self, Fault};
use crate::{IngestionPipeline, IngestionRun, Violation};

/// Reads one object of the kind, so that one that cannot be read is a fault of that object alone.
///
/// Watch the kind as plain values (`DynamicObject`), not as [`IngestionPipeline`]: there a single object
/// that does not fit the type fails the whole list. What an operator does with the outcome:
///
/// * `Ok`: fields that this release does not know are gone, as if its own definition had taken the
///   object in; defaults are filled in. A status that cannot be read is gone too, since the operator
///   writes it anew.
/// * `Err`: the object was stored under a looser definition. Say so on that object
///   (`SpecAccepted=False`, `InvalidConfiguration`), leave what runs of it alone, and wait for an edit.
///
/// # Errors
///
/// Every fault of the object against the definition of this release, its rules included.
pub fn read_pipeline(object: &Value) -> Result<IngestionPipeline, Vec<Violation>> {
    let (mut pipeline, status): (IngestionPipeline, _) = read(Kind::Pipeline, object)?;
    pipeline.status = status.and_then(|status| serde_json::from_value(status).ok());
    Ok(pipeline)
}

/// Reads one run, as [`read_pipeline`] reads a pipeline.
///
/// # Errors
///
/// Every fault of the object against the definition of this release, its rules included.
pub fn read_run(object: &Value) -> Result<IngestionRun, Vec<Violation>> {
    let (mut run, status): (IngestionRun, _) = read(Kind::Run, object)?;
    run.status = status.and_then(|status| serde_json::from_value(status).ok());
    Ok(run)
}

/// The object without its status, and the status.
fn read<T: DeserializeOwned>(
    kind: Kind,
    object: &Value,
) -> Result<(T, Option<Value>), Vec<Violation>> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let named = |faults: Vec<Fault>| {
        faults.into_iter().map(|fault| violation("", name, fault)).collect::<Vec<_>>()
    };
    let mut object = object.clone();
    prune(kind.document_schema(), &mut object);
    let status = object.as_object_mut().and_then(|members| members.remove("status"));
    let mut faults = structure::check(kind.document_schema(), &object, "");
    if faults.is_empty() {
        faults = broken_rules(kind, &object, None);
    }
    if !faults.is_empty() {
        return Err(named(faults));
    }
    let read = serde_json::from_value(object)
        .map_err(|error| named(vec![Fault::new("", format!("cannot be read: {error}"))]))?;
    Ok((read, status))
}

/// Removes the members that the schema does not describe, as the API server does.
fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                members.retain(|name, _| properties.contains_key(name));
                for (name, member) in members {
                    prune(&properties[name], member);
                }
            } else if let Some(schema) = schema.get("additionalProperties") {
                members.values_mut().for_each(|member| prune(schema, member));
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| prune(schema, item));
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
    fn what_the_schema_does_not_describe_is_removed_at_every_level() {
        let schema = json!({"properties": {
            "known": {"items": {"properties": {"a": {}}}},
            "map": {"additionalProperties": {"properties": {"b": {}}}},
            "metadata": {"type": "object"},
        }});
        let mut value = json!({
            "known": [{"a": 1, "z": 1}],
            "map": {"x": {"b": 2, "z": 2}},
            "metadata": {"anything": 3},
            "z": 4,
        });
        prune(&schema, &mut value);
        assert_eq!(
            value,
            json!({"known": [{"a": 1}], "map": {"x": {"b": 2}}, "metadata": {"anything": 3}})
        );
    }
}
