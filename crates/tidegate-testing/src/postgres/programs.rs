//! The programs of the server's package.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use crate::paths::{is_root, service};

/// Whom the server runs as when the tests run as root, which it refuses to be.
const SYSTEM_USER: &str = "postgres";
/// Making a cluster takes its time on a loaded machine.
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// A program of the server's package, as the user that may run it.
pub(super) fn program(name: &str) -> Result<Command> {
    let binary = binary(name)?;
    if !is_root() {
        return Ok(Command::new(binary));
    }
    let mut command = Command::new("setpriv");
    let (user, group) = (format!("--reuid={SYSTEM_USER}"), format!("--regid={SYSTEM_USER}"));
    command.args([&user, &group, "--clear-groups"]).arg(binary);
    // The tests' own folder may be closed to that user.
    command.current_dir("/");
    Ok(command)
}

/// Debian keeps servers of several releases beside each other, off the PATH.
pub(super) fn binary(name: &str) -> Result<PathBuf> {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = releases
        .filter_map(|release| {
            let number = release.file_name().to_str()?.parse().ok()?;
            Some((number, release.path().join("bin").join(name)))
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    found.sort();
    found.pop().map_or_else(|| service(name), |(_, path)| Ok(path))
}

/// The ids of the server's user and group.
pub(super) fn system_user() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let ids = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(SYSTEM_USER)).then_some(())?;
        Some((parts.nth(1)?.parse().ok()?, parts.next()?.parse().ok()?))
    });
    ids.with_context(|| {
        format!("there is no user {SYSTEM_USER}; `make setup` installs the package")
    })
}

pub(super) async fn finished(mut command: Command, name: &str) -> Result<()> {
    let output = timeout(FINISH_LIMIT, command.kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{name} does not end"))?;
    let output = output.with_context(|| format!("run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {said}");
    Ok(())
}
