//! Files whose pipelines may name each other: read, changed, checked, resolved.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_api::{Documents, IngestionPipeline, IngestionRun, Violation};

use super::{ChangeArgs, Loaded, LoadedFile};
use crate::failure::Failure;

/// What a file came to: its pipelines, or every mistake in it.
pub(crate) type FileOutcome = Result<LoadedFile, Vec<Violation>>;

/// Reads files, whose pipelines may name each other. The outer error is about a file, the inner ones about
/// what stands in it.
pub(crate) fn load_files(
    files: &[PathBuf],
    changes: &ChangeArgs,
) -> Result<Vec<FileOutcome>, Failure> {
    let data_dir = changes.absolute_data_dir()?;
    let mut checked = Vec::new();
    for file in files {
        let text = read_text(file)?;
        checked.push(check_text(&file.display().to_string(), &text, changes, &data_dir));
    }
    Ok(resolve_files(checked))
}

/// The documents of a file that were checked one by one.
pub(super) struct CheckedFile {
    name: String,
    documents: Documents,
}

pub(super) fn check_text(
    file: &str,
    text: &str,
    changes: &ChangeArgs,
    data_dir: &Path,
) -> Result<CheckedFile, Vec<Violation>> {
    let mut documents = tidegate_api::read(file, text)?;
    for document in &mut documents {
        changes.apply(document, data_dir).map_err(|problem| {
            vec![Violation::new(&name_of(document), "", problem).in_file(file)]
        })?;
    }
    let documents = tidegate_api::check(file, documents)?;
    Ok(CheckedFile { name: file.to_owned(), documents })
}

pub(super) fn resolve_files(checked: Vec<Result<CheckedFile, Vec<Violation>>>) -> Vec<FileOutcome> {
    let good = checked.iter().filter_map(|file| file.as_ref().ok());
    let all: Vec<_> = good.flat_map(|file| file.documents.pipelines.clone()).collect();
    checked.into_iter().map(|file| file.and_then(|file| resolve_file(file, &all))).collect()
}

fn resolve_file(file: CheckedFile, all: &[IngestionPipeline]) -> FileOutcome {
    let directory = std::env::current_dir().ok();
    let runs = file.documents.runs.iter().map(name_of_run).collect();
    let notes = file.documents.notes;
    let mut loaded = LoadedFile { pipelines: Loaded::default(), runs, notes };
    let mut violations = Vec::new();
    for pipeline in &file.documents.pipelines {
        let others = |name: &str| tidegate_resolve::find_among(all, pipeline, name);
        match tidegate_resolve::resolve_among(pipeline, directory.as_deref(), &others) {
            Ok(resolved) => loaded.pipelines.push(&pipeline.spec, resolved),
            Err(found) => violations.extend(found.into_iter().map(|one| one.in_file(&file.name))),
        }
    }
    if violations.is_empty() { Ok(loaded) } else { Err(violations) }
}

fn read_text(file: &Path) -> Result<String, Failure> {
    let outcome = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    outcome.map_err(|error| Failure::of(error).during(format!("reading {}", file.display())))
}

/// What a run is called: those that are made by `kubectl create` have the beginning of a name only.
fn name_of_run(run: &IngestionRun) -> String {
    let metadata = &run.metadata;
    let named = metadata.name.clone();
    let begun = || metadata.generate_name.as_ref().map(|begin| format!("{begin}…"));
    let name = named.or_else(begun).unwrap_or_default();
    match &metadata.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name,
    }
}

fn name_of(document: &Value) -> String {
    document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
}
