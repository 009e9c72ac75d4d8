//! Every example parses, validates and resolves: those in `examples/`, and those in the kinds' pages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidegate_api::IngestionPipeline;

/// The pages whose YAML blocks are examples.
const PAGES: [&str; 2] = ["docs/ingestionpipeline.md", "docs/ingestionrun.md"];

/// The faults of every `examples/**/*.yaml` and of the pages.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(&root.join("examples"), &mut files)?;
    files.sort();
    let mut faults = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        faults.extend(faults_of(&name, &text));
    }
    for name in PAGES {
        let page =
            fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"))?;
        for block in yaml_blocks(&page) {
            faults.extend(faults_of(name, block));
        }
    }
    Ok(faults)
}

fn yaml_blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

fn faults_of(name: &str, text: &str) -> Vec<String> {
    let in_file = |violations: Vec<tidegate_api::Violation>| -> Vec<String> {
        violations.into_iter().map(|violation| violation.in_file(name).to_string()).collect()
    };
    let documents = tidegate_api::read(name, text).and_then(|read| tidegate_api::check(name, read));
    match documents {
        Err(violations) => in_file(violations),
        Ok(documents) => resolve_each(&documents.pipelines).into_iter().flat_map(in_file).collect(),
    }
}

/// The faults of each; those of one text may name each other.
fn resolve_each(pipelines: &[IngestionPipeline]) -> Vec<Vec<tidegate_api::Violation>> {
    let here = std::env::current_dir().ok();
    let resolve = |one| {
        let others = |name: &str| tidegate_resolve::find_among(pipelines, one, name);
        tidegate_resolve::resolve_among(one, here.as_deref(), &others).err()
    };
    pipelines.iter().filter_map(resolve).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_parses_validates_and_resolves() {
        assert_eq!(check(&crate::root()).expect("readable"), Vec::<String>::new());
    }

    #[test]
    fn the_yaml_of_a_page_is_found() {
        let page = "a\n```yaml\nb: 1\n```\nc\n```\nd\n```\n```yaml\ne: 2\n```\n";
        assert_eq!(yaml_blocks(page).collect::<Vec<_>>(), ["b: 1\n", "e: 2\n"]);
    }

    #[test]
    fn a_fault_of_an_example_is_named_with_its_file() {
        let faults = faults_of("examples/x.yaml", "kind: IngestionPipelin\n");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("examples/x.yaml: document 1: kind: "), "{faults:?}");
    }
}
