//! Files with documents.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tidegate_types::did_you_mean;

use crate::rules::Rules;
use crate::structure::{self, Fault};
use crate::{
    GROUP, IngestionPipeline, IngestionRun, KIND, RUN_KIND, VERSION, Violation, run_schema, schema,
};

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Documents {
    /// The pipelines, in the order of the file.
    pub pipelines: Vec<IngestionPipeline>,
    /// The runs, in the order of the file.
    pub runs: Vec<IngestionRun>,
    /// A note for each document of another kind, which was left alone.
    pub notes: Vec<String>,
}

/// Reads and checks the pipelines of a file with one or more YAML documents. Documents of other kinds
/// are passed over; [`check`] names them.
///
/// # Errors
///
/// Every violation of every document, and one when the file holds no pipeline at all.
pub fn parse(file: &str, text: &str) -> Result<Vec<IngestionPipeline>, Vec<Violation>> {
    let documents = check(file, read(file, text)?)?;
    if documents.pipelines.is_empty() {
        let empty = Violation::new("", "", format!("there is no {KIND} in this file"))
            .instead(format!("write one with apiVersion: {GROUP}/{VERSION} and kind: {KIND}"))
            .in_file(file);
        return Err(vec![empty]);
    }
    Ok(documents.pipelines)
}

/// Reads the documents of a YAML file as plain values; empty ones are left out.
///
/// # Errors
///
/// One violation with line and column when the text is not YAML.
pub fn read(file: &str, text: &str) -> Result<Vec<Value>, Vec<Violation>> {
    // As in YAML 1.2: a column may be called n, y, on or off.
    let options = serde_yaml::options! { strict_booleans: true };
    serde_yaml::from_multiple_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map_or_else(String::new, |at| format!("line {}, column {}", at.line(), at.column()));
        let message = error.without_snippet().to_string();
        let problem = message.lines().next().unwrap_or_default();
        vec![Violation::new("", place, format!("is not valid YAML: {problem}")).in_file(file)]
    })
}

/// Checks documents against the schemas of their kinds and the rules in them.
///
/// # Errors
///
/// Every violation of every document.
pub fn check(file: &str, documents: Vec<Value>) -> Result<Documents, Vec<Violation>> {
    let mut result = Documents::default();
    let mut violations = Vec::new();
    let mut names = BTreeSet::new();
    for (index, document) in documents.into_iter().enumerate() {
        let name = document_name(&document, index);
        match classify(&document) {
            Class::Other(kind) => {
                result.notes.push(format!("{file}: {name}: kind {kind} is left alone"));
                continue;
            }
            Class::Faulty(fault) => violations.push(violation(file, &name, fault)),
            Class::Pipeline => match checked::<IngestionPipeline>(Kind::Pipeline, &document) {
                Ok(pipeline) => {
                    let namespace = pipeline.metadata.namespace.clone();
                    if !names.insert((KIND, namespace, name.clone())) {
                        violations.push(violation(file, &name, twice()));
                    }
                    result.pipelines.push(pipeline);
                }
                Err(faults) => {
                    violations.extend(faults.into_iter().map(|f| violation(file, &name, f)));
                }
            },
            Class::Run => match checked::<IngestionRun>(Kind::Run, &document) {
                Ok(run) => {
                    let named = run.metadata.name.is_some();
                    let key = (RUN_KIND, run.metadata.namespace.clone(), name.clone());
                    if named && !names.insert(key) {
                        violations.push(violation(file, &name, twice()));
                    }
                    result.runs.push(run);
                }
                Err(faults) => {
                    violations.extend(faults.into_iter().map(|f| violation(file, &name, f)));
                }
            },
        }
    }
    if violations.is_empty() { Ok(result) } else { Err(violations) }
}

fn twice() -> Fault {
    Fault::new("metadata.name", "stands twice in this file").instead("rename one")
}

/// Checks a change of an accepted pipeline: what is immutable, and every other rule.
///
/// # Errors
///
/// The rules that `new` breaks, by itself or against `old`.
pub fn validate_update(
    old: &IngestionPipeline,
    new: &IngestionPipeline,
) -> Result<(), Vec<Violation>> {
    let name = new.metadata.name.clone().unwrap_or_default();
    let as_value = |pipeline| {
        serde_json::to_value(pipeline)
            .map_err(|error| vec![Violation::new(&name, "", format!("cannot be read: {error}"))])
    };
    let (old, new) = (as_value(old)?, as_value(new)?);
    let mut faults = structure::check(Kind::Pipeline.document_schema(), &new, "");
    if faults.is_empty() {
        faults = broken_rules(Kind::Pipeline, &new, Some(&old));
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.into_iter().map(|fault| violation("", &name, fault)).collect())
}

/// The kinds of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pipeline,
    Run,
}

impl Kind {
    /// The schema with what every Kubernetes document has besides, which definitions leave out.
    pub(crate) fn document_schema(self) -> &'static Value {
        match self {
            Self::Pipeline => &PIPELINE_DOCUMENT,
            Self::Run => &RUN_DOCUMENT,
        }
    }
}

/// What a document is.
enum Class {
    Pipeline,
    Run,
    Other(String),
    Faulty(Fault),
}

/// Tells a pipeline with a slip in `kind` or `apiVersion` from a document that is none of our business.
fn classify(document: &Value) -> Class {
    let Some(members) = document.as_object() else {
        let fault = Fault::new("", "is not a map");
        return Class::Faulty(fault.instead("write apiVersion, kind, metadata and spec"));
    };
    let text = |name| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let ours = api_version.split('/').next() == Some(GROUP);
    let wanted = format!("{GROUP}/{VERSION}");
    let known = match kind {
        KIND => Some(Class::Pipeline),
        RUN_KIND => Some(Class::Run),
        _ => None,
    };
    let near = did_you_mean(kind, [KIND, RUN_KIND]);
    let unknown = Fault::new("kind", format!("{kind:?} is no known kind"));
    match known {
        Some(class) if api_version == wanted => class,
        Some(_) => Class::Faulty(
            Fault::new("apiVersion", format!("{api_version:?} is not the version of {kind}"))
                .instead(format!("write {wanted}")),
        ),
        None if let Some(near) = near => {
            Class::Faulty(unknown.instead(format!("did you mean {near}?")))
        }
        None if ours && !kind.is_empty() => {
            Class::Faulty(unknown.instead(format!("write {KIND} or {RUN_KIND}")))
        }
        None if kind.is_empty() => Class::Faulty(nameless(members)),
        None => Class::Other(kind.to_owned()),
    }
}

/// A document that does not say what it is.
fn nameless(members: &serde_json::Map<String, Value>) -> Fault {
    let instead = format!("write apiVersion: {GROUP}/{VERSION} and kind: {KIND} or {RUN_KIND}");
    let fault = match (members.contains_key("apiVersion"), members.contains_key("kind")) {
        (_, true) => Fault::new("kind", "is no name"),
        (true, false) => Fault::new("kind", "is missing"),
        (false, false) => Fault::new("", "has no apiVersion and no kind"),
    };
    fault.instead(instead)
}

fn checked<T: DeserializeOwned>(kind: Kind, document: &Value) -> Result<T, Vec<Fault>> {
    let mut faults = structure::check(kind.document_schema(), document, "");
    faults.extend(check_name(kind, document));
    if faults.is_empty() {
        // Expressions assume the types that the structure promises, so that they come second.
        faults = broken_rules(kind, &named(document), None);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    serde_json::from_value(document.clone())
        .map_err(|error| vec![Fault::new("", format!("cannot be read: {error}"))])
}

/// The document with a name like the one that the API server makes of `generateName`.
fn named(document: &Value) -> Cow<'_, Value> {
    let metadata = document.get("metadata");
    let begin = metadata.and_then(|metadata| metadata.get("generateName")).and_then(Value::as_str);
    match begin {
        Some(begin) if metadata.is_some_and(|metadata| metadata.get("name").is_none()) => {
            let mut document = document.clone();
            document["metadata"]["name"] = json!(format!("{begin}00000"));
            Cow::Owned(document)
        }
        _ => Cow::Borrowed(document),
    }
}

/// The rules that a document breaks, also against what it was before.
pub(crate) fn broken_rules(kind: Kind, document: &Value, old: Option<&Value>) -> Vec<Fault> {
    let rules = match kind {
        Kind::Pipeline => &PIPELINE_RULES,
        Kind::Run => &RUN_RULES,
    };
    let mut faults = rules.with(|rules| rules.check(document, old));
    // Rules of the whole object see no more of its metadata than the name, and cannot name the place:
    // definitions do not describe metadata.
    for fault in faults.iter_mut().filter(|fault| fault.field.is_empty()) {
        "metadata.name".clone_into(&mut fault.field);
    }
    faults
}

static PIPELINE_DOCUMENT: LazyLock<Value> = LazyLock::new(|| of_documents(schema()));
static RUN_DOCUMENT: LazyLock<Value> = LazyLock::new(|| of_documents(run_schema()));

fn of_documents(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("metadata".to_owned(), json!({"type": "object"}));
    }
    schema
}

thread_local! {
    // Compiled once a thread: the evaluator cannot be shared between threads.
    static PIPELINE_RULES: Rules = Rules::new(schema());
    static RUN_RULES: Rules = Rules::new(run_schema());
}

/// Rules speak of the name, which the API server sees to; on a laptop nobody else does. Runs may leave it
/// to the API server.
fn check_name(kind: Kind, document: &Value) -> Option<Fault> {
    let hint = "write a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit";
    let generated = document.pointer("/metadata/generateName").is_some_and(Value::is_string);
    match document.pointer("/metadata/name") {
        None if kind == Kind::Run && generated => None,
        None => Some(Fault::new("metadata.name", "is missing").instead(hint)),
        Some(Value::String(_)) => None,
        Some(_) => Some(Fault::new("metadata.name", "is not a name").instead(hint)),
    }
}

fn document_name(document: &Value, index: usize) -> String {
    document
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .map_or_else(|| format!("document {}", index + 1), str::to_owned)
}

pub(crate) fn violation(file: &str, document: &str, fault: Fault) -> Violation {
    Violation {
        file: file.to_owned(),
        document: document.to_owned(),
        field: fault.field,
        problem: fault.problem,
        instead: fault.instead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_cannot_be_changed() {
        let run = |trigger: &str| {
            json!({
                "metadata": {"name": "orders-1"},
                "spec": {"pipelineRef": {"name": "orders"}, "trigger": trigger},
            })
        };
        assert_eq!(broken_rules(Kind::Run, &run("Manual"), Some(&run("Manual"))), []);
        let mut changed = run("Manual");
        changed["spec"]["pipelineRef"]["name"] = json!("other");
        let found = broken_rules(Kind::Run, &changed, Some(&run("Manual")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].problem, "a run cannot be changed");
    }
}
