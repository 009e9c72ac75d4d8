//! Objects that another release's definition let through.

mod common;

use common::{FULL, set};
use serde_json::{Value, json};
use tidegate_api::{read, read_pipeline};

fn object(change: Option<(&str, Value)>) -> Value {
    let mut object = read("f.yaml", FULL).expect("it is YAML").remove(0);
    if let Some((path, value)) = change {
        set(&mut object, path, value);
    }
    object
}

#[test]
fn an_object_of_this_release_is_read_whole() {
    let mut stored = object(None);
    set(&mut stored, "status", json!({"lag": {"messages": 3, "seconds": 1}}));
    set(&mut stored, "metadata.managedFields", json!([{"manager": "kubectl"}]));
    let pipeline = read_pipeline(&stored).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(pipeline.metadata.name.as_deref(), Some("clicks"));
    assert_eq!(pipeline.status.and_then(|status| status.lag).map(|lag| lag.messages), Some(3));
    let resources = pipeline.spec.template.resources.and_then(|r| r.requests).expect("written");
    assert_eq!(resources["cpu"].0, "1", "a number is a quantity too");
}

#[test]
fn lists_leave_version_and_kind_out_and_that_is_no_fault() {
    let mut stored = object(None);
    set(&mut stored, "kind", Value::Null);
    set(&mut stored, "apiVersion", Value::Null);
    assert!(read_pipeline(&stored).is_ok());
}

#[test]
fn fields_of_a_newer_release_are_passed_over() {
    for path in ["spec.novelty", "spec.sink.delta.logRetention", "spec.template.resources.claims"] {
        let pipeline = read_pipeline(&object(Some((path, json!({"a": 1})))));
        assert_eq!(pipeline, read_pipeline(&object(None)), "{path}");
        assert!(pipeline.is_ok(), "{path}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    for (path, value, says) in [
        ("spec", Value::Null, "clicks: spec: is missing"),
        (
            "spec.source.type",
            json!("Kafka"),
            "clicks: spec.source.type: \"Kafka\" is no known value",
        ),
        ("spec.sink.flush.maxRows", json!("many"), "maxRows: is text, wanted is a whole number"),
        ("spec.schema.fields", json!({}), "fields: is a map, wanted is a list"),
        ("spec.replicas", json!(-1), "spec.replicas: -1 is out of range"),
        ("spec.scaling.minReplicas", json!(9), "minReplicas is above maxReplicas"),
        ("spec.template.labels", json!({"tidegate.dev/x": "y"}), "are set by Tidegate"),
        ("metadata.name", json!("a".repeat(60)), "the name is longer than 45 characters"),
    ] {
        let found = read_pipeline(&object(Some((path, value)))).expect_err(path);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(lines.iter().any(|line| line.contains(says)), "{path}: {lines:?}");
    }
    for nonsense in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(read_pipeline(&nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn a_status_that_cannot_be_read_is_no_fault_of_the_pipeline() {
    for status in [json!("x"), json!({"lag": "much"}), json!({"phase": "Novel"})] {
        let pipeline = read_pipeline(&object(Some(("status", status.clone()))));
        assert_eq!(pipeline.map(|pipeline| pipeline.status), Ok(None), "{status}");
    }
    // Nor is one that is read and breaks a bound.
    let long = json!({"selector": "x".repeat(600)});
    assert!(read_pipeline(&object(Some(("status", long)))).is_ok());
}
