//! The rules of the schema that are expressions: CEL, and patterns, which are evaluated alike.

use kube_cel::{CompiledSchema, ErrorKind, ValidationError, Validator, compile_schema};
use serde_json::{Value, json};

use crate::defaults;
use crate::structure::Fault;
use crate::vocabulary::{FORMS, TextForm};

/// The compiled rules of one schema.
pub(crate) struct Rules {
    schema: Value,
    compiled: CompiledSchema,
    validator: Validator,
}

impl Rules {
    /// Compiles the rules of `schema`.
    pub(crate) fn new(schema: &Value) -> Self {
        let mut schema = schema.clone();
        patterns_to_rules(&mut schema);
        Self { compiled: compile_schema(&schema), schema, validator: Validator::new() }
    }

    /// Every rule that `value` breaks; with `old`, also those about changes.
    pub(crate) fn check(&self, value: &Value, old: Option<&Value>) -> Vec<Fault> {
        let value = defaults::fill(&self.schema, value.clone());
        let old = old.map(|old| defaults::fill(&self.schema, old.clone()));
        match self.validator.validate_compiled(&self.compiled, &value, old.as_ref()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_iter().map(fault).collect(),
        }
    }
}

/// Our messages are `problem; remedy`.
fn fault(error: ValidationError) -> Fault {
    if error.kind != ErrorKind::ValidationFailure {
        return Fault::new(&error.field_path, format!("could not be checked: {}", error.message));
    }
    match error.message.split_once("; ") {
        Some((problem, instead)) => Fault::new(&error.field_path, problem).instead(instead),
        None => Fault::new(&error.field_path, error.message),
    }
}

/// Writes every `pattern` of the schema as a rule, so that one evaluator judges both.
fn patterns_to_rules(schema: &mut Value) {
    let Some(node) = schema.as_object_mut() else { return };
    if let Some(pattern) = node.get("pattern").and_then(Value::as_str) {
        let number_too = node.contains_key("x-kubernetes-int-or-string");
        let rule = pattern_rule(pattern, number_too);
        let rules = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(rule);
        }
    }
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(patterns_to_rules);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = node.get_mut(inner) {
            patterns_to_rules(schema);
        }
    }
}

/// The evaluator has a pattern for texts only; the digits of a number are one.
fn pattern_rule(pattern: &str, number_too: bool) -> Value {
    let form = FORMS.iter().find(|form| form.pattern == pattern);
    let (name, instead) = match form {
        Some(TextForm { name, instead, .. }) => ((*name).to_owned(), (*instead).to_owned()),
        None => (format!("text of the form {pattern}"), "write it in that form".to_owned()),
    };
    let literal = pattern.replace('\\', "\\\\").replace('\'', "\\'");
    let text = if number_too { "string(self)" } else { "self" };
    json!({
        "rule": format!("{text}.matches('{literal}')"),
        "messageExpression": format!(
            "\"'\" + {text} + \"' is not {name}; {}\"",
            instead.replace('\\', "\\\\").replace('"', "\\\"")
        ),
    })
}
