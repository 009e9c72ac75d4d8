//! Where things lie in the checkout.

use std::env;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the workspace.
///
/// # Panics
///
/// Never: this crate lies two folders below it.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the crate lies in <workspace>/crates").to_path_buf()
}

/// The path of a service's program, such as `nats-server` or `weed`.
///
/// # Errors
///
/// When it is neither in `TIDEGATE_SERVICES`, nor in `target/venv/bin`, nor on `PATH`.
pub fn service(program: &str) -> Result<PathBuf> {
    let named = env::var_os("TIDEGATE_SERVICES").map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain([workspace().join("target/venv/bin")])
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not installed; `make setup` installs it"))
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
