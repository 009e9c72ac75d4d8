//! One worker's life.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tidegate_testing::TidegateProcess;

/// Partitions of the pipeline.
pub(crate) const PARTITIONS: usize = 4;
/// What a life says on its way, in this order. Behind the last comes the drain.
pub(crate) const MILESTONES: &[&str] =
    &["listening", "opened", "claimed", "window loaded", "batch sealed", "committed", "draining"];
/// Finer than any stretch of a life that is worth a cut.
const LOOK: Duration = Duration::from_millis(3);

/// A running worker.
pub(crate) struct Life {
    process: TidegateProcess,
}

/// What became of a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It lost its partitions, said so, or left because of it.
    Fenced,
    /// It had none and took them; its successor was fenced instead.
    ClaimedAgain,
}

impl Life {
    pub(crate) fn new(process: TidegateProcess) -> Self {
        Self { process }
    }

    /// How often a line with this message was written.
    fn count(&self, message: &str) -> usize {
        let line = format!("\"message\":\"{message}");
        self.process.stderr().matches(&line).count()
    }

    pub(crate) fn says(&self, message: &str) -> bool {
        self.count(message) > 0
    }

    pub(crate) fn output(&self) -> String {
        let output = self.process.output();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The last milestone that was passed.
    pub(crate) fn phase(&self) -> &'static str {
        let passed = MILESTONES.iter().rev().find(|milestone| self.says(milestone));
        passed.copied().unwrap_or("starting")
    }

    /// Waits for a milestone, or for the end of the life.
    pub(crate) async fn reach(&mut self, milestone: &str, limit: Duration) -> Result<()> {
        let wanted = if matches!(milestone, "claimed" | "window loaded") { PARTITIONS } else { 1 };
        self.reach_often(milestone, wanted, limit).await
    }

    /// Waits until a line was written so often, or for the end of the life.
    pub(crate) async fn reach_often(
        &mut self,
        message: &str,
        times: usize,
        limit: Duration,
    ) -> Result<()> {
        self.until(limit, message, |life| Ok(life.count(message) >= times)).await
    }

    /// Waits until every partition was claimed, whatever the number of workers.
    pub(crate) async fn claims_all(&mut self, limit: Duration) -> Result<()> {
        self.until(limit, "all partitions", |life| Ok(life.count("claimed") >= PARTITIONS)).await
    }

    /// Until `done`, or until it is dead.
    async fn until(
        &mut self,
        limit: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let started = Instant::now();
        while !done(self)? {
            if self.exit_status()?.is_some() {
                return Ok(());
            }
            ensure!(started.elapsed() < limit, "{what}: not within {limit:?}\n{}", self.output());
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits for its end: true when SIGKILL was the cause.
    ///
    /// # Errors
    ///
    /// When it does not end, or ends by a fault.
    pub(crate) async fn died(&mut self, limit: Duration) -> Result<bool> {
        let status = self.wait(limit).await?;
        let killed = status.signal() == Some(9);
        ensure!(killed || status.success(), "a worker failed: {status}\n{}", self.output());
        Ok(killed)
    }

    /// Waits until it stopped itself.
    pub(crate) async fn frozen(&mut self, limit: Duration) -> Result<()> {
        self.process.stopped(limit).await
    }

    /// Waits until this zombie or its heir has lost.
    pub(crate) async fn fenced_or_claims_again(
        &mut self,
        heir: &mut Self,
        limit: Duration,
    ) -> Result<Ended> {
        let started = Instant::now();
        loop {
            if self.says("partition lost") || self.exit_status()?.is_some() {
                return Ok(Ended::Fenced);
            }
            if heir.says("partition lost") {
                return Ok(Ended::ClaimedAgain);
            }
            if started.elapsed() > limit {
                bail!("neither lost\nzombie:\n{}\nheir:\n{}", self.output(), heir.output());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exit_status()
    }

    pub(crate) async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait(limit).await
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    pub(crate) async fn signal(&mut self, name: &str) -> Result<()> {
        self.process.signal(name).await
    }

    pub(crate) async fn signal_if_alive(&mut self, name: &str) -> Result<()> {
        match self.exit_status()? {
            None => self.signal(name).await,
            Some(_) => Ok(()),
        }
    }
}
