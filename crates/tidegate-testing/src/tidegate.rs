//! The real binary as a process.

use std::env;
use std::ffi::OsStr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::child::ManagedChild;
use crate::paths::service;

/// A call of `tidegate` that is being put together.
#[derive(Debug)]
pub struct TidegateCommand {
    command: Command,
}

/// A running `tidegate`. Everything of [`ManagedChild`] works on it: kill, signals, waiting, output.
#[derive(Debug)]
pub struct TidegateProcess {
    child: ManagedChild,
}

impl TidegateCommand {
    /// A call of the binary that `TIDEGATE_BIN` names, else of the one that was built beside the tests.
    /// Services are on its `PATH`, logs are JSON.
    ///
    /// # Errors
    ///
    /// When the binary was not built.
    pub fn new(subcommand: &str) -> Result<Self> {
        let binary = binary();
        ensure!(binary.is_file(), "{} is not there; `make build` builds it", binary.display());
        Ok(Self::of(&binary, subcommand))
    }

    /// A call of this binary, for tests that know it by `CARGO_BIN_EXE_tidegate`.
    #[must_use]
    pub fn of(binary: &Path, subcommand: &str) -> Self {
        let mut command = Command::new(binary);
        command.arg(subcommand).env("PATH", path_with_services()).env("NO_COLOR", "1");
        Self { command }
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// `--set path=value`.
    #[must_use]
    pub fn set(self, path: &str, value: &str) -> Self {
        self.argument("--set").argument(format!("{path}={value}"))
    }

    /// A variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Dies by SIGKILL when the named step is reached for the n-th time.
    #[must_use]
    pub fn die_at(self, step: &str, time: u32) -> Self {
        self.environment("TIDEGATE_FAILPOINT", &format!("{step}:{time}"))
    }

    /// Stops by SIGSTOP there, and goes on at SIGCONT.
    #[must_use]
    pub fn freeze_at(self, step: &str, time: u32) -> Self {
        self.environment("TIDEGATE_FAILPOINT", &format!("{step}:{time}:freeze"))
    }

    /// Starts it; its output goes to files named `name` in `log_folder`.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(self, name: &str, log_folder: &Path) -> Result<TidegateProcess> {
        let child = ManagedChild::spawn(self.command, name, log_folder)?;
        Ok(TidegateProcess { child })
    }
}

impl Deref for TidegateProcess {
    type Target = ManagedChild;

    fn deref(&self) -> &ManagedChild {
        &self.child
    }
}

impl DerefMut for TidegateProcess {
    fn deref_mut(&mut self) -> &mut ManagedChild {
        &mut self.child
    }
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    env::var_os("TIDEGATE_BIN").map_or_else(beside_the_tests, PathBuf::from)
}

/// Tests run from `<profile>/deps`, binaries stand in `<profile>`.
fn beside_the_tests() -> PathBuf {
    let test = env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new("")).join("tidegate")
}

fn path_with_services() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let services =
        service("nats-server").ok().and_then(|file| file.parent().map(Path::to_path_buf));
    let folders = services.into_iter().chain(env::split_paths(&path));
    env::join_paths(folders).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Scratch;

    #[tokio::test]
    async fn arguments_and_environment_reach_the_process() {
        let scratch = Scratch::new("tidegate").unwrap();
        let mut process = TidegateCommand::of(Path::new("/bin/sh"), "-c")
            .argument("echo \"$TIDEGATE_FAILPOINT $*\"")
            .set("spec.suspend", "true")
            .die_at("commit.after_put", 2)
            .spawn("worker", scratch.path())
            .unwrap();
        assert!(process.wait(Duration::from_secs(20)).await.unwrap().success());
        assert_eq!(process.stdout(), "commit.after_put:2 spec.suspend=true\n");
    }
}
