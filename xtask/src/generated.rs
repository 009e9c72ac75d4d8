//! Files that are written from code and committed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tidegate_api::Definition;

use crate::{crd_chart, fields_page};

/// Path from the root, and contents.
fn files() -> Vec<(String, String)> {
    let mut files = vec![("charts/tidegate-crds/Chart.yaml".to_owned(), crd_chart::chart())];
    for definition in tidegate_api::definitions() {
        let plural = definition.plural();
        let page = definition.kind.to_lowercase();
        files.extend([
            (format!("crds/{plural}.yaml"), crd_file(definition)),
            (
                format!("charts/tidegate-crds/templates/{plural}.yaml"),
                crd_chart::template(&definition.yaml()),
            ),
            (format!("docs/{page}-fields.md"), fields_page::page(definition)),
        ]);
    }
    files
}

fn crd_file(definition: &Definition) -> String {
    let note =
        "# Written by `cargo run -p xtask -- generate` from crates/tidegate-api; do not edit.\n";
    let yaml = definition.yaml();
    let end = if yaml.ends_with('\n') { "" } else { "\n" };
    format!("{note}{yaml}{end}")
}

/// Writes every generated file.
pub(crate) fn write(root: &Path) -> Result<()> {
    for (path, contents) in files() {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The generated files that differ from what the code would write.
pub(crate) fn stale(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (path, contents) in files() {
        if fs::read_to_string(root.join(&path)).unwrap_or_default() != contents {
            faults.push(format!("{path} is stale: run `cargo run -p xtask -- generate`"));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_what_the_code_writes() {
        assert_eq!(stale(&crate::root()).expect("readable"), Vec::<String>::new());
    }

    #[test]
    fn a_changed_or_missing_file_is_stale() {
        let empty = std::env::temp_dir().join("tidegate-xtask-has-no-files-here");
        assert_eq!(stale(&empty).expect("readable").len(), files().len());
    }
}
