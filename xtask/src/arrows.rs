//! The direction of dependencies, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Which crates of ours a crate may use (development dependencies aside). A crate that is missing here
/// is a fault: a new crate comes with its arrows.
const ARROWS: &[(&str, &[&str])] = &[
    ("tidegate-types", &[]),
    ("tidegate-api", &["tidegate-types"]),
    ("tidegate-config", &["tidegate-types"]),
    (
        "tidegate-resolve",
        &["tidegate-api", "tidegate-config", "tidegate-schedule", "tidegate-types"],
    ),
    (
        "tidegate-operator",
        &[
            "tidegate-api",
            "tidegate-config",
            "tidegate-resolve",
            "tidegate-schedule",
            "tidegate-telemetry",
            "tidegate-types",
        ],
    ),
    ("tidegate-dedup", &["tidegate-types"]),
    ("tidegate-batch", &["tidegate-types"]),
    ("tidegate-decode", &["tidegate-types"]),
    ("tidegate-source", &["tidegate-types"]),
    ("tidegate-table", &["tidegate-types"]),
    ("tidegate-telemetry", &["tidegate-types"]),
    ("tidegate-schedule", &["tidegate-types"]),
    ("tidegate-runtime", &["tidegate-config", "tidegate-table", "tidegate-types"]),
    (
        "tidegate-extract",
        &[
            "tidegate-config",
            "tidegate-decode",
            "tidegate-runtime",
            "tidegate-schedule",
            "tidegate-types",
        ],
    ),
    (
        "tidegate-worker",
        &[
            "tidegate-batch",
            "tidegate-config",
            "tidegate-decode",
            "tidegate-dedup",
            "tidegate-runtime",
            "tidegate-source",
            "tidegate-table",
            "tidegate-telemetry",
            "tidegate-types",
        ],
    ),
    (
        "tidegate-transfer",
        &[
            "tidegate-batch",
            "tidegate-config",
            "tidegate-decode",
            "tidegate-extract",
            "tidegate-runtime",
            "tidegate-schedule",
            "tidegate-table",
            "tidegate-telemetry",
            "tidegate-types",
        ],
    ),
    ("tidegate-testing", &[]),
    (
        "tidegate",
        &[
            "tidegate-api",
            "tidegate-batch",
            "tidegate-config",
            "tidegate-operator",
            "tidegate-resolve",
            "tidegate-runtime",
            "tidegate-schedule",
            "tidegate-source",
            "tidegate-telemetry",
            "tidegate-transfer",
            "tidegate-types",
            "tidegate-worker",
        ],
    ),
    ("xtask", &["tidegate-api", "tidegate-resolve"]),
];

/// Which crates of ours may use a library directly.
const ONLY: &[(&str, &[&str])] = &[
    ("async-nats", &["tidegate-source"]),
    ("delta_kernel", &["tidegate-table"]),
    ("delta_kernel_default_engine", &["tidegate-table"]),
    ("tokio-postgres", &["tidegate-extract"]),
    ("mysql_async", &["tidegate-extract"]),
    ("kube", &["tidegate-api", "tidegate-operator", "tidegate-testing"]),
    ("k8s-openapi", &["tidegate-api", "tidegate-operator", "tidegate-testing"]),
    ("kube-cel", &["tidegate-api"]),
];

/// Which libraries a crate must not use, not even in its tests: these are synchronous and pure.
const NEVER: &[(&str, &[&str])] = &[
    ("tidegate-types", &["tokio", "tokio-util", "futures"]),
    ("tidegate-dedup", &["tokio", "tokio-util", "futures"]),
    ("tidegate-batch", &["tokio", "tokio-util", "futures"]),
    ("tidegate-config", &["tokio", "tokio-util", "futures"]),
    ("tidegate-schedule", &["tokio", "tokio-util", "futures"]),
    ("tidegate-resolve", &["tokio", "tokio-util", "futures"]),
];

/// Crates that run in the pods of the data plane: none may reach the custom resources or `kube`.
const DATA_PLANE: &[&str] = &[
    "tidegate-batch",
    "tidegate-config",
    "tidegate-decode",
    "tidegate-dedup",
    "tidegate-extract",
    "tidegate-runtime",
    "tidegate-schedule",
    "tidegate-source",
    "tidegate-table",
    "tidegate-telemetry",
    "tidegate-transfer",
    "tidegate-worker",
];

/// Crates that open sources, tables and stores: the operator reaches none of them.
const OPENING: &[&str] = &[
    "tidegate-extract",
    "tidegate-runtime",
    "tidegate-source",
    "tidegate-table",
    "tidegate-transfer",
    "tidegate-worker",
];

/// A crate and what its manifest names.
#[derive(Debug, Clone, Default)]
struct Manifest {
    /// Normal and build dependencies.
    used: BTreeSet<String>,
    /// Development dependencies.
    tested_with: BTreeSet<String>,
}

type Workspace = BTreeMap<String, Manifest>;

/// The arrows of the workspace at `root` that point the wrong way.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    Ok(faults(&workspace(&metadata)))
}

fn workspace(metadata: &Value) -> Workspace {
    let mut workspace = Workspace::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = workspace.entry(text(&package["name"])).or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = text(&dependency["name"]);
            if dependency["kind"] == "dev" {
                manifest.tested_with.insert(name);
            } else {
                manifest.used.insert(name);
            }
        }
    }
    workspace
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn faults(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, manifest) in workspace {
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| from == name) else {
            faults.push(format!("{name} has no arrows: add it to xtask/src/arrows.rs"));
            continue;
        };
        for used in manifest.used.iter().filter(|used| workspace.contains_key(*used)) {
            if !allowed.contains(&used.as_str()) {
                faults.push(format!("{name} must not depend on {used}"));
            }
        }
        faults.extend(library_faults(name, manifest));
    }
    for name in DATA_PLANE {
        for forbidden in ["tidegate-api", "kube"] {
            if reaches(workspace, name, forbidden) {
                faults.push(format!("{name} is of the data plane and must not reach {forbidden}"));
            }
        }
    }
    for forbidden in OPENING {
        if reaches(workspace, "tidegate-operator", forbidden) {
            faults.push(format!("tidegate-operator opens nothing and must not reach {forbidden}"));
        }
    }
    faults
}

fn library_faults(name: &str, manifest: &Manifest) -> Vec<String> {
    let mut faults = Vec::new();
    for (library, owners) in ONLY {
        if manifest.used.contains(*library) && !owners.contains(&name) {
            faults.push(format!("{name} must not depend on {library}: only {} does", owners[0]));
        }
    }
    for (_, libraries) in NEVER.iter().filter(|(of, _)| *of == name) {
        for library in *libraries {
            if manifest.used.contains(*library) || manifest.tested_with.contains(*library) {
                faults.push(format!("{name} is synchronous and must not depend on {library}"));
            }
        }
    }
    faults
}

/// Whether `from` reaches `target` over any number of arrows among our crates.
fn reaches(workspace: &Workspace, from: &str, target: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        let Some(manifest) = workspace.get(name) else { continue };
        if manifest.used.contains(target) {
            return true;
        }
        open.extend(manifest.used.iter().map(String::as_str).filter(|next| seen.insert(*next)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, used: &[&str], tested_with: &[&str]) -> Workspace {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut workspace: Workspace =
            ARROWS.iter().map(|(name, _)| ((*name).to_owned(), Manifest::default())).collect();
        workspace
            .insert(name.to_owned(), Manifest { used: own(used), tested_with: own(tested_with) });
        workspace
    }

    #[test]
    fn the_arrows_of_this_repository_point_down() {
        assert_eq!(check(&crate::root()).expect("cargo runs"), Vec::<String>::new());
    }

    #[test]
    fn arrows_that_point_the_wrong_way_are_named() {
        for (name, used, tested_with, says) in [
            ("tidegate-types", &["tidegate-config"][..], &[][..], "must not depend on tidegate-c"),
            ("tidegate-worker", &["async-nats"], &[], "only tidegate-source does"),
            ("tidegate-source", &["delta_kernel"], &[], "only tidegate-table does"),
            ("tidegate-dedup", &[], &["tokio"], "is synchronous"),
            ("tidegate-table", &["kube"], &[], "must not reach kube"),
            ("tidegate-operator", &["tidegate-transfer"], &[], "opens nothing"),
            ("tidegate-operator", &["tokio-postgres"], &[], "only tidegate-extract does"),
            ("tidegate-new", &[], &[], "has no arrows"),
        ] {
            let faults = faults(&with(name, used, tested_with));
            assert!(faults.iter().any(|fault| fault.contains(says)), "{name}: {faults:?}");
        }
        assert_eq!(faults(&with("tidegate-types", &[], &[])), Vec::<String>::new());
    }

    #[test]
    fn an_indirect_way_to_the_custom_resources_is_found() {
        let mut workspace = with("tidegate-worker", &["tidegate-table"], &[]);
        workspace.entry("tidegate-table".into()).or_default().used.insert("tidegate-api".into());
        let faults = faults(&workspace);
        let says = "tidegate-worker is of the data plane and must not reach tidegate-api";
        assert!(faults.iter().any(|fault| fault == says), "{faults:?}");
    }
}
