//! Where the programs of a control plane stand.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::workspace;

/// The folder with `kube-apiserver`, `kube-controller-manager`, `etcd`, `kubectl` and `helm`: what
/// `TIDEGATE_CLUSTER_TOOLS` names, else where `scripts/cluster-tools.sh` builds them.
///
/// # Errors
///
/// When they were not built.
pub fn cluster_tools() -> Result<PathBuf> {
    let folder = env::var_os("TIDEGATE_CLUSTER_TOOLS").map_or_else(built, |set| Ok(set.into()))?;
    ensure!(
        folder.join("kube-apiserver").is_file(),
        "no kube-apiserver in {}; scripts/cluster-tools.sh builds it",
        folder.display()
    );
    Ok(folder)
}

fn built() -> Result<PathBuf> {
    let script = workspace().join("scripts/cluster-tools.sh");
    let output = Command::new(&script).arg("path").output();
    let output = output.with_context(|| format!("run {}", script.display()))?;
    ensure!(output.status.success(), "{} path failed", script.display());
    let path = String::from_utf8(output.stdout).context("the path is text")?;
    Ok(Path::new(path.trim()).to_path_buf())
}
