//! A folder with a pipeline in it, and the binary called there.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A folder that goes away with the value; the pipeline is `p.yaml`.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn with(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A call of the binary in the folder, with the logs that it has by default.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(self.path()).env_remove("TIDEGATE_LOG");
        command
    }
}

/// Standard output.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
