//! The definition is one that a cluster takes, and says what a user needs.

use kube_cel::{ScopeContext, analyze_rule, compile_schema};
use serde_json::{Map, Value};
use tidegate_api::{crd, crd_yaml, schema};

/// Every node of the schema with its path.
fn nodes() -> Vec<(String, &'static Value)> {
    fn walk(path: &str, node: &'static Value, nodes: &mut Vec<(String, &'static Value)>) {
        nodes.push((path.to_owned(), node));
        let properties = node.get("properties").and_then(Value::as_object);
        for (name, child) in properties.into_iter().flat_map(Map::iter) {
            walk(&format!("{path}.{name}"), child, nodes);
        }
        if let Some(items) = node.get("items") {
            walk(&format!("{path}[]"), items, nodes);
        }
    }
    let mut all = Vec::new();
    walk("", schema(), &mut all);
    assert!(all.len() > 90, "the walk finds the fields");
    all
}

#[test]
fn the_kind_has_its_names() {
    let crd = crd();
    assert_eq!(crd.metadata.name.as_deref(), Some("ingestionpipelines.tidegate.dev"));
    assert_eq!(crd.spec.scope, "Namespaced");
    assert_eq!(crd.spec.names.short_names, Some(vec!["ipl".to_owned()]));
    assert_eq!(crd.spec.names.categories, Some(vec!["tidegate".to_owned()]));
    assert_eq!(crd.spec.versions.len(), 1);
    assert_eq!(crd.spec.versions[0].name, "v1alpha1");
}

#[test]
fn every_field_has_a_type_and_a_description_and_none_takes_null() {
    for (path, node) in nodes() {
        assert!(node.get("type").is_some(), "{path} has no type");
        assert!(node.get("nullable").is_none(), "{path} takes null");
        let described = node.get("description").is_some() || path.ends_with("[]");
        assert!(described, "{path} has no description");
        let format = node.get("format").and_then(Value::as_str);
        assert!(matches!(format, None | Some("date-time")), "{path} has the format {format:?}");
    }
}

#[test]
fn every_text_list_and_number_is_bounded() {
    for (path, node) in nodes() {
        let bound = match node["type"].as_str() {
            Some("string") if node.get("enum").is_some() => continue,
            Some("string") => "maxLength",
            Some("array") => "maxItems",
            Some("integer") => "minimum",
            _ => continue,
        };
        assert!(node.get(bound).is_some(), "{path} has no {bound}");
    }
}

#[test]
fn defaults_are_scalars_and_parents_default_to_nothing() {
    for (path, node) in nodes() {
        match node.get("default") {
            Some(Value::Object(_)) if node.get("x-kubernetes-validations").is_some() => {}
            Some(Value::Object(members)) => assert!(members.is_empty(), "{path}"),
            Some(Value::Array(_) | Value::Null) => panic!("{path} has a list as its default"),
            _ => {}
        }
    }
}

/// The API server judges a default before the defaults of its members are filled in, and refuses the
/// whole definition when a rule cannot be answered.
#[test]
fn a_default_with_rules_has_the_members_that_the_rules_ask_for() {
    let mut judged = 0;
    for (path, node) in nodes() {
        let Some(default) = node.get("default").and_then(Value::as_object) else { continue };
        if node.get("x-kubernetes-validations").is_none() {
            continue;
        }
        judged += 1;
        for (name, member) in node["properties"].as_object().into_iter().flatten() {
            assert_eq!(default.get(name), member.get("default"), "{path}.{name}");
        }
    }
    assert_eq!(judged, 2, "partitioning and startFrom");
}

#[test]
fn every_rule_compiles_and_is_cheap_and_has_a_message_with_a_remedy() {
    let mut rules = 0;
    for (path, node) in nodes() {
        let compiled = compile_schema(node);
        assert!(!compiled.has_errors(), "{path}: {:?}", compiled.compilation_errors());
        for rule in node["x-kubernetes-validations"].as_array().into_iter().flatten() {
            rules += 1;
            let text = rule["rule"].as_str().expect("a rule is text");
            let warnings = analyze_rule(text, &compiled, ScopeContext::CrdValidation);
            assert!(warnings.is_empty(), "{path}: {warnings:?}");
            let message = rule["message"].as_str().expect("a rule has a message");
            assert!(message.contains("; "), "{path}: {message:?} does not say what to write");
        }
    }
    assert!(rules >= 15, "{rules} rules");
}

#[test]
fn the_yaml_is_the_definition() {
    let read: Value = serde_yaml::from_str(&crd_yaml()).expect("it is YAML");
    assert_eq!(read, serde_json::to_value(crd()).expect("it is plain"));
    assert!(crd_yaml().len() < 200_000, "it fits an annotation and a request");
}
