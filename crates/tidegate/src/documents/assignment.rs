//! `--set path=value`: a change to a pipeline's document before it is read.

use std::str::FromStr;

use serde_json::{Map, Value};
use thiserror::Error;

/// Fields of a document's first level; any other path begins below `spec`.
const TOP_LEVEL: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// One `--set`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    /// The steps from the document's root.
    path: Vec<String>,
    value: Value,
}

/// The text is no assignment, or the document has no such place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AssignmentError {
    #[error(
        "{0:?} is not an assignment: write path=value, such as sink.flush.maxInterval=5s or \
         'source.jetStream.servers=[\"nats://127.0.0.1:4222\"]'"
    )]
    NoAssignment(String),
    #[error("the path {0:?} has an empty step")]
    EmptyStep(String),
    #[error("the value of {path} is not YAML: {problem}")]
    Value { path: String, problem: String },
    #[error("--set {path}: {at} is {found}, which has no fields")]
    NotAContainer { path: String, at: String, found: &'static str },
    #[error("--set {path}: {at} is a list of {length}, write an index up to {length}")]
    NoSuchIndex { path: String, at: String, length: usize },
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, AssignmentError> {
        let (path, value) =
            text.split_once('=').ok_or_else(|| AssignmentError::NoAssignment(text.to_owned()))?;
        let mut steps = split_path(path);
        if steps.iter().any(String::is_empty) {
            return Err(AssignmentError::EmptyStep(path.to_owned()));
        }
        if !TOP_LEVEL.contains(&steps[0].as_str()) {
            steps.insert(0, "spec".to_owned());
        }
        Ok(Self { value: read_value(path, value)?, path: steps })
    }
}

impl Assignment {
    /// Changes the document. `null` removes the field, and what is missing on the way is made.
    pub(crate) fn apply(&self, document: &mut Value) -> Result<(), AssignmentError> {
        let (last, way) = self.path.split_last().expect("a path has at least one step");
        let mut place = document;
        for (depth, step) in way.iter().enumerate() {
            place = self.descend(place, step, depth)?;
        }
        self.put(place, last)
    }

    fn descend<'v>(
        &self,
        place: &'v mut Value,
        step: &str,
        depth: usize,
    ) -> Result<&'v mut Value, AssignmentError> {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        match place {
            Value::Object(fields) => Ok(fields.entry(step).or_insert(Value::Null)),
            Value::Array(items) => {
                let index = self.index(step, items.len(), depth)?;
                if index == items.len() {
                    items.push(Value::Null);
                }
                Ok(&mut items[index])
            }
            other => Err(self.no_container(other, depth)),
        }
    }

    fn put(&self, place: &mut Value, last: &str) -> Result<(), AssignmentError> {
        let depth = self.path.len() - 1;
        if !self.value.is_null() {
            *self.descend(place, last, depth)? = self.value.clone();
            return Ok(());
        }
        match place {
            Value::Null => {}
            Value::Object(fields) => drop(fields.remove(last)),
            Value::Array(items) => {
                let index = self.index(last, items.len(), depth)?;
                if index < items.len() {
                    items.remove(index);
                }
            }
            other => return Err(self.no_container(other, depth)),
        }
        Ok(())
    }

    fn index(&self, step: &str, length: usize, depth: usize) -> Result<usize, AssignmentError> {
        step.parse().ok().filter(|index| *index <= length).ok_or_else(|| {
            AssignmentError::NoSuchIndex { path: self.shown(), at: self.at(depth), length }
        })
    }

    fn no_container(&self, found: &Value, depth: usize) -> AssignmentError {
        let found = match found {
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            _ => "text",
        };
        AssignmentError::NotAContainer { path: self.shown(), at: self.at(depth), found }
    }

    fn shown(&self) -> String {
        self.path.join(".")
    }

    fn at(&self, depth: usize) -> String {
        if depth == 0 { "the document".to_owned() } else { self.path[..depth].join(".") }
    }
}

/// Splits at dots; a backslash keeps the dot that follows it.
fn split_path(path: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        let kept = match letter {
            '.' => {
                steps.push(String::new());
                continue;
            }
            '\\' => letters.next().unwrap_or('\\'),
            other => other,
        };
        steps.last_mut().expect("it starts with one").push(kept);
    }
    steps
}

/// An empty value is the empty string, not YAML's null, so that a field is removed only on purpose.
fn read_value(path: &str, text: &str) -> Result<Value, AssignmentError> {
    if text.trim().is_empty() {
        return Ok(Value::String(String::new()));
    }
    serde_yaml::from_str(text).map_err(|problem| AssignmentError::Value {
        path: path.to_owned(),
        problem: problem.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "metadata": {"name": "clicks", "labels": {"a.b/c": "old"}},
            "spec": {
                "source": {"jetStream": {"stream": "S", "subjects": ["a", "b"]}},
                "sink": {"flush": {"maxInterval": "1m"}},
            },
        })
    }

    #[test]
    fn a_value_goes_to_the_place_its_path_names() {
        for (text, pointer, expected) in [
            ("spec.sink.flush.maxInterval=5s", "/spec/sink/flush/maxInterval", json!("5s")),
            ("sink.flush.maxRows=100", "/spec/sink/flush/maxRows", json!(100)),
            (
                r#"source.jetStream.servers=["nats://h:1"]"#,
                "/spec/source/jetStream/servers",
                json!(["nats://h:1"]),
            ),
            ("source.jetStream.subjects.1=c", "/spec/source/jetStream/subjects/1", json!("c")),
            ("source.jetStream.subjects.2=c", "/spec/source/jetStream/subjects/2", json!("c")),
            ("suspend=true", "/spec/suspend", json!(true)),
            ("dedup={window: 1h, key: {type: Header}}", "/spec/dedup/window", json!("1h")),
            ("sink.storage.url=s3://a/b?c=d", "/spec/sink/storage/url", json!("s3://a/b?c=d")),
            ("metadata.name=other", "/metadata/name", json!("other")),
            (r"metadata.labels.a\.b/c=new", "/metadata/labels/a.b~1c", json!("new")),
            ("filter.cel=", "/spec/filter/cel", json!("")),
            ("sink.file.targetSize='1'", "/spec/sink/file/targetSize", json!("1")),
        ] {
            let mut document = document();
            let assignment: Assignment = text.parse().expect(text);
            assignment.apply(&mut document).expect(text);
            assert_eq!(document.pointer(pointer), Some(&expected), "{text}");
        }
    }

    #[test]
    fn null_removes_a_field() {
        let mut changed = document();
        for text in ["sink.flush.maxInterval=null", "source.jetStream.subjects.0=~", "dedup=null"] {
            text.parse::<Assignment>().expect(text).apply(&mut changed).expect(text);
        }
        assert_eq!(changed["spec"]["sink"]["flush"], json!({}));
        assert_eq!(changed["spec"]["source"]["jetStream"]["subjects"], json!(["b"]));
        assert_eq!(changed["spec"].get("dedup"), None);
    }

    #[test]
    fn an_assignment_without_sense_is_refused_with_the_place() {
        for (text, says) in [
            ("suspend", "write path=value"),
            ("sink..flush=1", "empty step"),
            ("=1", "empty step"),
            ("sink.flush={", "not YAML"),
        ] {
            let error = text.parse::<Assignment>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        for (text, says) in [
            ("sink.flush.maxInterval.x=1", "spec.sink.flush.maxInterval is text"),
            ("source.jetStream.subjects.x=1", "list of 2"),
            ("source.jetStream.subjects.9=1", "list of 2"),
        ] {
            let assignment: Assignment = text.parse().expect(text);
            let error = assignment.apply(&mut document()).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
