//! A process that a test started and may treat badly.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::guard::Watched;
use crate::wait::eventually;

/// A child process; its output is kept in files and it is killed when the value goes away, or this
/// process does.
#[derive(Debug)]
pub struct ManagedChild {
    name: String,
    child: Child,
    process_id: u32,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Behind the child, so that it is watched until it was killed.
    _watched: Watched,
}

impl ManagedChild {
    /// Starts `command`; `<name>.out` and `<name>.err` in `log_folder` are appended to, so that the
    /// lives of one service before and after a kill stand in one file.
    ///
    /// # Errors
    ///
    /// When the program cannot be started or the files not be written.
    pub fn spawn(mut command: Command, name: &str, log_folder: &Path) -> Result<Self> {
        fs::create_dir_all(log_folder).with_context(|| format!("make {}", log_folder.display()))?;
        let stdout = log_folder.join(format!("{name}.out"));
        let stderr = log_folder.join(format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&stdout)?)
            .stderr(append(&stderr)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let process_id = child.id().context("a child that was just started has an id")?;
        let watched = Watched::new(process_id);
        Ok(Self { name: name.to_owned(), child, process_id, stdout, stderr, _watched: watched })
    }

    /// The process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Whether SIGSTOP has reached it.
    fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process_id));
        stat.is_ok_and(|stat| stat.contains(") T "))
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    ///
    /// When the process cannot be reaped.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// SIGKILL to the process and to those that it started, and waits until they are gone.
    pub(crate) async fn kill_with_children(&mut self, limit: Duration) -> Result<()> {
        let children = children_of(self.process_id);
        self.kill().await?;
        for child in &children {
            let line = format!("kill -9 {child} 2>/dev/null");
            // One that has gone by itself is fine.
            Command::new("sh").args(["-c", &line]).status().await.context("run sh")?;
        }
        let what = format!("the processes of {} are gone", self.name);
        let gone = async || !children.iter().any(|child| is_alive(*child));
        eventually(&what, limit, gone).await
    }

    /// Sends a signal by its name without `SIG`: `STOP`, `CONT`, `TERM`, `INT`.
    ///
    /// # Errors
    ///
    /// When the process has already ended: a test that signals a corpse would prove nothing.
    pub async fn signal(&mut self, signal: &str) -> Result<()> {
        let ended = self.exit_status()?;
        ensure!(ended.is_none(), "{} has already ended: {ended:?}", self.name);
        // Sending a signal in-process needs `unsafe`; the shell's builtin is on every machine.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", self.process_id)])
            .status()
            .await
            .context("run sh")?;
        ensure!(sent.success(), "kill -{signal} {} ({}) failed", self.process_id, self.name);
        Ok(())
    }

    /// How the process ended; none while it runs.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("look after {}", self.name))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    ///
    /// When it has not ended within `limit`; the message carries the end of its output.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("wait for {}", self.name)),
            Err(_) => anyhow::bail!(
                "{} still runs after {limit:?}; its last words:\n{}",
                self.name,
                last_lines(&self.output(), 30)
            ),
        }
    }

    /// Waits for the end of the process, however long it takes.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.with_context(|| format!("wait for {}", self.name))
    }

    /// Waits until the output contains `text`.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`, or the process ends without having said it.
    pub async fn wait_for_output(&mut self, text: &str, limit: Duration) -> Result<()> {
        let what = format!("{text:?} in the output of {}", self.name);
        self.until(&what, limit, |child| child.output().contains(text)).await
    }

    /// Waits until SIGSTOP has reached it, its own at a step for instance.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`, or the process ends instead.
    pub async fn stopped(&mut self, limit: Duration) -> Result<()> {
        let what = format!("{} stands still", self.name);
        self.until(&what, limit, Self::is_stopped).await
    }

    /// Waits until something holds; an error with the last words when the process ends without it.
    async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let mut ended = false;
        let looked = eventually(what, limit, || {
            ended = ended || !matches!(self.child.try_wait(), Ok(None));
            std::future::ready(holds(self) || ended)
        })
        .await;
        let last = last_lines(&self.output(), 30);
        looked.with_context(|| last.clone())?;
        ensure!(holds(self), "{what}: it ended first\n{last}");
        Ok(())
    }

    /// All that was written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read_lossy(&self.stdout)
    }

    /// All that was written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// Both, standard output first.
    #[must_use]
    pub fn output(&self) -> String {
        self.stdout() + &self.stderr()
    }
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|process| parent_of(*process) == Some(parent))
        .collect()
}

/// Behind the name in brackets, which may hold anything, the second word.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// One that nobody has waited for yet does nothing any more.
fn is_alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("write {}", path.display()))
}

fn read_lossy(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;
    use crate::Scratch;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(scratch: &Scratch, script: &str) -> ManagedChild {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        ManagedChild::spawn(command, "shell", scratch.path()).unwrap()
    }

    #[tokio::test]
    async fn output_is_kept_and_waited_for() {
        let scratch = Scratch::new("child").unwrap();
        let mut child = shell(&scratch, "echo one; echo two >&2; exit 3");
        child.wait_for_output("two", LONG).await.unwrap();
        assert_eq!(child.wait(LONG).await.unwrap().code(), Some(3));
        assert_eq!((child.stdout().as_str(), child.stderr().as_str()), ("one\n", "two\n"));
        let missing = child.wait_for_output("three", LONG).await.unwrap_err();
        assert!(missing.to_string().contains("it ended first"), "{missing}");
    }

    #[tokio::test]
    async fn a_killed_child_ends_by_signal_nine_and_cannot_be_signalled_again() {
        let scratch = Scratch::new("child").unwrap();
        let mut child = shell(&scratch, "exec sleep 1000");
        child.kill().await.unwrap();
        assert_eq!(child.exit_status().unwrap().unwrap().signal(), Some(9));
        assert!(child.signal("TERM").await.is_err());
    }

    #[tokio::test]
    async fn a_child_that_ends_instead_of_standing_still_is_told() {
        let scratch = Scratch::new("child").unwrap();
        let mut child = shell(&scratch, "echo over");
        let error = child.stopped(LONG).await.unwrap_err().to_string();
        assert!(error.contains("it ended first") && error.contains("over"), "{error}");
    }

    #[tokio::test]
    async fn the_children_of_a_child_are_killed_with_it() {
        let scratch = Scratch::new("child").unwrap();
        let mut child = shell(&scratch, "sleep 1000 & echo $!; wait");
        child.wait_for_output("\n", LONG).await.unwrap();
        let grandchild = child.stdout().trim().parse().unwrap();
        assert!(is_alive(grandchild));
        child.kill_with_children(LONG).await.unwrap();
        assert!(!is_alive(grandchild));
    }

    #[tokio::test]
    async fn a_stopped_child_does_nothing_until_it_goes_on() {
        let scratch = Scratch::new("child").unwrap();
        let mut child = shell(&scratch, "exec sleep 1000");
        child.signal("STOP").await.unwrap();
        // The signal is on its way when `kill` returns.
        child.stopped(LONG).await.unwrap();
        child.signal("CONT").await.unwrap();
        child.signal("TERM").await.unwrap();
        assert_eq!(child.wait(LONG).await.unwrap().signal(), Some(15));
    }

    #[tokio::test]
    async fn waiting_for_a_child_that_stays_names_it_and_its_last_words() {
        let scratch = Scratch::new("child").unwrap();
        let mut child = shell(&scratch, "echo busy; exec sleep 1000");
        child.wait_for_output("busy", LONG).await.unwrap();
        let error = child.wait(Duration::from_millis(20)).await.unwrap_err().to_string();
        assert!(error.contains("shell still runs") && error.contains("busy"), "{error}");
    }
}
