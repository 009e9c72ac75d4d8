//! What the servers of the tests have in common: a process that ends badly and is started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::child::ManagedChild;
use crate::wait::eventually;

/// Recovery of large data takes its time on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// The process of a server on a port of loopback that stays the same over restarts. Servers are this by
/// [`Deref`](std::ops::Deref), so that each can be killed, stopped, frozen and asked for its port.
#[derive(Debug)]
pub struct ServerProcess {
    /// The program's name, for its logs and for messages.
    name: &'static str,
    /// Where the logs go.
    folder: PathBuf,
    port: u16,
    /// The signal on which it ends orderly at once, whoever is connected.
    farewell: &'static str,
    child: Option<ManagedChild>,
}

impl ServerProcess {
    /// One that does not run yet.
    pub(crate) fn new(name: &'static str, folder: &Path, port: u16) -> Self {
        Self { name, folder: folder.to_path_buf(), port, farewell: "TERM", child: None }
    }

    /// The same with another signal that asks it to end.
    pub(crate) fn ending_by(self, farewell: &'static str) -> Self {
        Self { farewell, ..self }
    }

    /// Where its logs go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it and waits until `is_up`. One that still runs is killed first.
    pub(crate) async fn start(
        &mut self,
        command: Command,
        mut is_up: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        self.kill().await?;
        let mut child = ManagedChild::spawn(command, self.name, &self.folder)?;
        let mut ended = false;
        let up = eventually(&format!("{} is up", self.name), START_LIMIT, async || {
            ended = !matches!(child.exit_status(), Ok(None));
            ended || is_up().await
        })
        .await;
        up.with_context(|| child.output())?;
        ensure!(!ended, "{} ended at once:\n{}", self.name, child.output());
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL to the server and its processes: nothing is written any more, nobody says goodbye.
    ///
    /// # Errors
    ///
    /// When a process does not go.
    pub async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(mut child) => child.kill_with_children(STOP_LIMIT).await,
            None => Ok(()),
        }
    }

    /// Asks the server to end orderly, and waits until it has.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub async fn stop(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.signal(self.farewell).await?;
            child.wait(STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// SIGSTOP: connections stay open and nothing answers. Only the process itself: those that it started
    /// for connections go on.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn freeze(&mut self) -> Result<()> {
        let child = self.running()?;
        child.signal("STOP").await?;
        child.stopped(STOP_LIMIT).await
    }

    /// SIGCONT.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub async fn thaw(&mut self) -> Result<()> {
        self.running()?.signal("CONT").await
    }

    /// The server's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens; what a [`FaultProxy`](crate::FaultProxy) is put in front of.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    fn running(&mut self) -> Result<&mut ManagedChild> {
        let name = self.name;
        self.child.as_mut().with_context(|| format!("{name} does not run"))
    }
}

/// Makes a server its process.
macro_rules! is_its_process {
    ($server:ty) => {
        impl std::ops::Deref for $server {
            type Target = $crate::server::ServerProcess;

            fn deref(&self) -> &Self::Target {
                &self.process
            }
        }

        impl std::ops::DerefMut for $server {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.process
            }
        }
    };
}
pub(crate) use is_its_process;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scratch, free_port};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn server(scratch: &Scratch) -> ServerProcess {
        ServerProcess::new("shell", scratch.path(), free_port().unwrap())
    }

    #[tokio::test]
    async fn a_server_that_ends_before_it_is_up_is_told_with_its_words() {
        let scratch = Scratch::new("server").unwrap();
        let mut server = server(&scratch);
        let error = server.start(shell("echo no room"), async || false).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("ended at once") && error.contains("no room"), "{error}");
        assert!(server.freeze().await.unwrap_err().to_string().contains("shell does not run"));
    }

    #[tokio::test]
    async fn a_server_that_is_started_again_was_killed_first() {
        let scratch = Scratch::new("server").unwrap();
        let mut server = server(&scratch);
        server.start(shell("exec sleep 1000"), async || true).await.unwrap();
        let first = server.running().unwrap().process_id();
        server.start(shell("exec sleep 1000"), async || true).await.unwrap();
        assert_ne!(server.running().unwrap().process_id(), first);
        assert!(!Path::new(&format!("/proc/{first}")).exists());
        server.freeze().await.unwrap();
        server.thaw().await.unwrap();
        server.stop().await.unwrap();
    }
}
