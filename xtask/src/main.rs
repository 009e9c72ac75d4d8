//! Checks of the repository itself: `cargo run -p xtask -- check`, and `-- generate` for the files that
//! are written from code.

mod arrows;
mod crd_chart;
mod examples;
mod fields_page;
mod generated;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let root = root();
    match std::env::args().nth(1).as_deref() {
        Some("check") => check(&root),
        Some("generate") => generated::write(&root),
        _ => bail!("write `cargo run -p xtask -- check` or `cargo run -p xtask -- generate`"),
    }
}

/// The repository's root: xtask lies right below it.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new(".")).to_owned()
}

fn check(root: &Path) -> Result<()> {
    let mut faults = generated::stale(root)?;
    faults.extend(arrows::check(root)?);
    faults.extend(examples::check(root)?);
    if faults.is_empty() {
        return Ok(());
    }
    bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "))
}
