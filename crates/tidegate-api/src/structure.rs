//! A document against the structural part of the schema: known fields, types, enums and bounds.
//!
//! The API server by itself drops an unknown field; for a person it is a mistake, so that it is one
//! here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tidegate_types::did_you_mean;

/// A fault and its place, before file and document are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) field: String,
    pub(crate) problem: String,
    pub(crate) instead: Option<String>,
}

impl Fault {
    pub(crate) fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.to_owned(), problem: problem.into(), instead: None }
    }

    pub(crate) fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }
}

/// Every fault of `value` against `schema`, in the order of the document.
pub(crate) fn check(schema: &Value, value: &Value, field: &str) -> Vec<Fault> {
    let mut walk = Walk { root: schema, faults: Vec::new() };
    walk.node(schema, value, field);
    walk.faults
}

/// What stands for the type of a value that is a whole number or a text.
const NUMBER_OR_TEXT: &str = "int-or-string";

fn type_of(schema: &Value) -> &str {
    match schema.get("x-kubernetes-int-or-string") {
        Some(_) => NUMBER_OR_TEXT,
        None => schema.get("type").and_then(Value::as_str).unwrap_or_default(),
    }
}

struct Walk<'a> {
    /// The whole schema, to say where a misplaced field belongs.
    root: &'a Value,
    faults: Vec<Fault>,
}

impl Walk<'_> {
    fn node(&mut self, schema: &Value, value: &Value, field: &str) {
        let wanted = type_of(schema);
        match (wanted, value) {
            (_, Value::Null) => self.fault(
                Fault::new(field, "has no value").instead("give it one, or leave the field out"),
            ),
            ("object", Value::Object(members)) => self.object(schema, members, field),
            ("array", Value::Array(items)) => self.array(schema, items, field),
            ("string", Value::String(text)) => self.string(schema, text, field),
            ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.number(schema, number, field);
            }
            ("boolean", Value::Bool(_)) => {}
            (NUMBER_OR_TEXT, Value::String(text)) => self.string(schema, text, field),
            (NUMBER_OR_TEXT, Value::Number(number)) if number.is_i64() || number.is_u64() => {}
            _ => self.fault(wrong_type(schema, wanted, value, field)),
        }
    }

    fn object(&mut self, schema: &Value, members: &Map<String, Value>, field: &str) {
        if let Some(schema) = schema.get("additionalProperties") {
            for (name, value) in members {
                self.node(schema, value, &join(field, name));
            }
        }
        if let Some(problem) = out_of_bounds(schema, "Properties", members.len() as u64, "entries")
        {
            self.fault(Fault::new(field, problem));
        }
        // An object without properties is a map, or not described here (metadata), and anything goes.
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, value) in members {
            match properties.get(name) {
                Some(property) => self.node(property, value, &join(field, name)),
                None => {
                    let fault = self.unknown_field(properties, name, field);
                    self.fault(fault);
                }
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                let instead = properties.get(name).map_or_else(String::new, |p| example(name, p));
                self.fault(Fault::new(&join(field, name), "is missing").instead(instead));
            }
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], field: &str) {
        if let Some(problem) = out_of_bounds(schema, "Items", items.len() as u64, "entries") {
            self.fault(Fault::new(field, problem));
        }
        let item_schema = schema.get("items").unwrap_or(&Value::Null);
        for (index, item) in items.iter().enumerate() {
            self.node(item_schema, item, &format!("{field}[{index}]"));
        }
        let keys: Vec<&str> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => vec![""],
            Some("map") => schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .map(|keys| keys.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default(),
            _ => return,
        };
        self.distinct(items, &keys, field);
    }

    fn distinct(&mut self, items: &[Value], keys: &[&str], field: &str) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let key: Vec<String> = keys
                .iter()
                .map(|key| if key.is_empty() { Some(item) } else { item.get(key) })
                .map(|part| part.map_or_else(String::new, plain))
                .collect();
            let name = key.join(", ");
            if !seen.insert(key) {
                let place = format!("{field}[{index}]");
                self.fault(
                    Fault::new(&place, format!("{name} stands twice")).instead("remove one"),
                );
            }
        }
    }

    fn string(&mut self, schema: &Value, text: &str, field: &str) {
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            let names: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            if !names.contains(&text) {
                self.fault(unknown_value(&names, text, field));
            }
            return;
        }
        let length = text.chars().count() as u64;
        if let Some(problem) = out_of_bounds(schema, "Length", length, "characters") {
            self.fault(Fault::new(field, problem));
        }
    }

    fn number(&mut self, schema: &Value, number: &serde_json::Number, field: &str) {
        let value = number.as_f64().unwrap_or(f64::NAN);
        let (least, most) = match schema.get("format").and_then(Value::as_str) {
            Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
            _ => (None, None),
        };
        let minimum = schema.get("minimum").and_then(Value::as_f64).or(least);
        let maximum = schema.get("maximum").and_then(Value::as_f64).or(most);
        if minimum.is_some_and(|least| value < least) || maximum.is_some_and(|most| value > most) {
            let range = match (minimum, maximum) {
                (Some(least), Some(most)) => format!("write {least} to {most}"),
                (Some(least), None) => format!("write {least} or more"),
                (None, most) => format!("write {} or less", most.unwrap_or_default()),
            };
            self.fault(Fault::new(field, format!("{number} is out of range")).instead(range));
        }
    }

    fn unknown_field(&self, known: &Map<String, Value>, name: &str, field: &str) -> Fault {
        let fault = Fault::new(&join(field, name), "is no known field");
        if let Some(near) = did_you_mean(name, known.keys().map(String::as_str)) {
            return fault.instead(format!("did you mean {near}?"));
        }
        let mut elsewhere = Vec::new();
        places_of(&self.root["properties"]["spec"], name, "spec", &mut elsewhere);
        match elsewhere.as_slice() {
            [place] => fault.instead(format!("it belongs at {place}")),
            _ => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                fault.instead(format!("known here: {}", names.join(", ")))
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

/// Every place of the schema where a field has this name.
fn places_of(schema: &Value, name: &str, field: &str, places: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (property, child) in properties.into_iter().flatten() {
        let place = join(field, property);
        if property == name {
            places.push(place.clone());
        }
        places_of(child, name, &place, places);
    }
    if let Some(items) = schema.get("items") {
        places_of(items, name, &format!("{field}[]"), places);
    }
}

fn out_of_bounds(schema: &Value, bound: &str, count: u64, what: &str) -> Option<String> {
    let least = schema.get(format!("min{bound}")).and_then(Value::as_u64).unwrap_or(0);
    let most = schema.get(format!("max{bound}")).and_then(Value::as_u64).unwrap_or(u64::MAX);
    if count < least {
        Some(format!("has {count} {what}, fewer than {least}"))
    } else if count > most {
        Some(format!("has {count} {what}, more than {most}"))
    } else {
        None
    }
}

fn unknown_value(names: &[&str], text: &str, field: &str) -> Fault {
    let fault = Fault::new(field, format!("{text:?} is no known value"));
    let all = names.join(", ");
    match did_you_mean(text, names.iter().copied()) {
        Some(near) if names.len() == 1 => fault.instead(format!("did you mean {near}?")),
        Some(near) => fault.instead(format!("did you mean {near}? write one of {all}")),
        None if names.len() == 1 => fault.instead(format!("write {all}")),
        None => fault.instead(format!("write one of {all}")),
    }
}

fn wrong_type(schema: &Value, wanted: &str, value: &Value, field: &str) -> Fault {
    let found = match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    };
    let (named, instead) = match wanted {
        "object" => ("a map", object_example(schema)),
        "array" => ("a list", format!("write [{}]", plain(value))),
        "string" => ("text", format!("write \"{}\" in quotes", plain(value))),
        "integer" => ("a whole number", "write digits without quotes".to_owned()),
        "boolean" => ("true or false", "write true or false, without quotes".to_owned()),
        NUMBER_OR_TEXT => ("a quantity", format!("write \"{}\" in quotes", plain(value))),
        other => (other, String::new()),
    };
    let fault = Fault::new(field, format!("is {found}, wanted is {named}"));
    if instead.is_empty() { fault } else { fault.instead(instead) }
}

/// A union's `type` is what most often is written without its map.
fn object_example(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let names: Vec<&str> = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
    match schema.pointer("/properties/type/enum/0").and_then(Value::as_str) {
        Some(first) => format!("write {{type: {first}}}"),
        None => format!("write a map with {}", names.join(", ")),
    }
}

fn example(name: &str, schema: &Value) -> String {
    match (schema.pointer("/enum/0").and_then(Value::as_str), schema["type"].as_str()) {
        (Some(first), _) => format!("write {name}: {first}"),
        (None, Some("object")) => format!("write {name} with its members"),
        (None, Some("array")) => format!("write {name} as a list"),
        _ => format!("write {name}: …"),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
