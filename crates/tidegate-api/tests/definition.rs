//! The definition is one that a cluster takes, and says what a user needs.

use kube_cel::{ScopeContext, analyze_rule, compile_schema};
use serde_json::{Map, Value};
use tidegate_api::{
    KUBERNETES_FIELDS, LONGEST_BULK_NAME, LONGEST_NAME, LONGEST_RUN_NAME, crd, crd_yaml,
    definitions, run_crd, run_schema, schema,
};

/// Every node of both schemas with its path; those inside Kubernetes' own types too.
fn nodes() -> Vec<(String, &'static Value)> {
    fn walk(path: &str, node: &'static Value, nodes: &mut Vec<(String, &'static Value)>) {
        nodes.push((path.to_owned(), node));
        let properties = node.get("properties").and_then(Value::as_object);
        for (name, child) in properties.into_iter().flat_map(Map::iter) {
            walk(&format!("{path}.{name}"), child, nodes);
        }
        for (inner, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let Some(child) = node.get(inner) {
                walk(&format!("{path}{mark}"), child, nodes);
            }
        }
    }
    let mut all = Vec::new();
    for definition in definitions() {
        walk("", definition.schema(), &mut all);
    }
    all
}

/// The nodes whose shape is ours to choose.
fn our_nodes() -> Vec<(String, &'static Value)> {
    let theirs = |path: &str| {
        let field = path.strip_prefix(".spec.template.").unwrap_or_default();
        KUBERNETES_FIELDS.iter().any(|name| {
            field.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[', '{']))
        })
    };
    let ours: Vec<_> = nodes().into_iter().filter(|(path, _)| !theirs(path)).collect();
    assert!((260..600).contains(&ours.len()), "the walk finds the fields: {}", ours.len());
    ours
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
fn the_kind_of_runs_has_its_names_and_columns() {
    let crd = run_crd();
    assert_eq!(crd.metadata.name.as_deref(), Some("ingestionruns.tidegate.dev"));
    assert_eq!(crd.spec.scope, "Namespaced");
    assert_eq!(crd.spec.names.short_names, Some(vec!["irun".to_owned()]));
    assert_eq!(crd.spec.names.categories, Some(vec!["tidegate".to_owned()]));
    let version = &crd.spec.versions[0];
    assert!(version.subresources.as_ref().is_some_and(|found| found.status.is_some()));
    let columns = version.additional_printer_columns.iter().flatten();
    let names: Vec<_> =
        columns.filter(|one| one.priority.is_none()).map(|one| one.name.as_str()).collect();
    let wanted =
        ["Pipeline", "Trigger", "Start", "End", "Phase", "Chunks", "Rows", "Duration", "Age"];
    assert_eq!(names, wanted);
    for column in version.additional_printer_columns.iter().flatten() {
        let path = column.json_path.split('[').next().unwrap_or_default();
        let place = format!("/properties{}", path.replace('.', "/properties/"));
        let place = place.replacen("/properties/properties", "/properties", 1);
        let known = path.starts_with(".metadata") || run_schema().pointer(&place).is_some();
        assert!(known, "{} is at {path}, which is no field", column.name);
    }
}

/// A scheduled run carries its tick, its Jobs the attempt, and labels have 63 characters.
#[test]
fn names_of_runs_leave_room_for_what_stands_behind_them() {
    assert_eq!(LONGEST_BULK_NAME + "-20260601t010000z".len(), LONGEST_RUN_NAME);
    assert_eq!(LONGEST_RUN_NAME + "-g999".len(), 63);
    let rules = run_schema()["x-kubernetes-validations"].to_string();
    assert!(rules.contains(&format!("self.metadata.name.size() <= {LONGEST_RUN_NAME}")), "{rules}");
    let rules = schema()["x-kubernetes-validations"].to_string();
    assert!(
        rules.contains(&format!("self.metadata.name.size() <= {LONGEST_BULK_NAME}")),
        "{rules}"
    );
}

#[test]
fn every_field_has_a_type_and_none_takes_null() {
    for (path, node) in nodes() {
        let number_or_text = node.get("x-kubernetes-int-or-string").is_some();
        assert!(number_or_text || node.get("type").is_some(), "{path} has no type");
        assert!(node.get("nullable").is_none(), "{path} takes null");
        let format = node.get("format").and_then(Value::as_str);
        let known = matches!(format, None | Some("date-time" | "int32" | "int64"));
        assert!(known, "{path} has the format {format:?}");
    }
}

#[test]
fn every_field_is_described() {
    for (path, node) in our_nodes() {
        let described = node.get("description").is_some() || path.ends_with(['[', ']', '}']);
        assert!(described, "{path} has no description");
    }
}

#[test]
fn every_text_list_map_and_number_is_bounded() {
    for (path, node) in our_nodes() {
        let bound = match node["type"].as_str() {
            Some("string") if node.get("enum").is_some() => continue,
            // An instant has one length.
            Some("string") if node["format"] == "date-time" => continue,
            Some("string") => "maxLength",
            Some("array") => "maxItems",
            Some("integer") => "minimum",
            Some("object") if node.get("additionalProperties").is_some() => "maxProperties",
            _ => continue,
        };
        assert!(node.get(bound).is_some(), "{path} has no {bound}");
    }
}

/// An operator that wrote nothing must not read zeros.
#[test]
fn nothing_in_the_status_has_a_default() {
    for (path, node) in nodes().iter().filter(|(path, _)| path.starts_with(".status")) {
        assert!(node.get("default").is_none(), "{path}");
    }
}

#[test]
fn pipelines_name_nothing_of_other_namespaces_and_no_claims() {
    for (path, _) in nodes() {
        for end in [".namespaces", ".namespaceSelector", ".namespace", ".claims"] {
            assert!(!path.ends_with(end), "{path}");
        }
    }
}

#[test]
fn the_name_leaves_room_for_what_stands_behind_it() {
    let rules = schema()["x-kubernetes-validations"].to_string();
    assert!(rules.contains(&format!("self.metadata.name.size() <= {LONGEST_NAME}")), "{rules}");
    assert_eq!(LONGEST_NAME + "-worker".len() + "-0123456789".len(), 63, "a label's length");
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
    assert_eq!(judged, 5, "partitioning, startFrom, scaling and tls of both databases");
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
            let mut warnings = analyze_rule(text, &compiled, ScopeContext::CrdValidation);
            // It does not know that `all` brings a variable of its own.
            warnings.retain(|warning| !warning.message.starts_with("variable 'key'"));
            assert!(warnings.is_empty(), "{path}: {warnings:?}");
            let message = rule["message"].as_str().expect("a rule has a message");
            assert!(message.contains("; "), "{path}: {message:?} does not say what to write");
        }
    }
    assert!(rules >= 60, "{rules} rules");
}

#[test]
fn the_yaml_is_the_definition() {
    for definition in definitions() {
        let read: Value = serde_yaml::from_str(&definition.yaml()).expect("it is YAML");
        assert_eq!(read, serde_json::to_value(definition.crd()).expect("it is plain"));
        assert!(definition.yaml().len() < 200_000, "it fits an annotation and a request");
    }
    assert_eq!(definitions()[0].yaml(), crd_yaml());
}
