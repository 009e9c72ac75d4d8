//! One process of a control plane.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::guard::Watched;

/// A running program. It belongs to no runtime, because the tests that share it have one each; it is
/// killed when the value goes away, or this process does.
#[derive(Debug)]
pub(crate) struct Component {
    name: &'static str,
    log: PathBuf,
    child: Child,
    _watched: Watched,
}

impl Component {
    /// Starts `<tools>/<name>`; its output goes to `<folder>/<name>.log`.
    pub(crate) fn start(
        tools: &Path,
        name: &'static str,
        folder: &Path,
        arguments: &[String],
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("write {}", log.display()))?;
        let child = Command::new(tools.join(name))
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("write a log")?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let watched = Watched::new(child.id());
        Ok(Self { name, log, child, _watched: watched })
    }

    /// An error with its last words when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait().context("look after a component")? else {
            return Ok(());
        };
        bail!("{} ended, {status}:\n{}", self.name, self.last_words())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
