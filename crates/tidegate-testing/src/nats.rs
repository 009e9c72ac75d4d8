//! A real `nats-server`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::paths::service;
use crate::ports::free_port;
use crate::scratch::copy_folder;
use crate::server::{ServerProcess, is_its_process};

/// What is special about a server.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// More lines for its configuration file: users, TLS, limits.
    pub configuration: String,
    /// The port; a free one when absent.
    pub port: Option<u16>,
}

/// A `nats-server` with JetStream on a port of loopback that stays the same over restarts.
#[derive(Debug)]
pub struct NatsServer {
    process: ServerProcess,
}

is_its_process!(NatsServer);

impl NatsServer {
    /// Starts a server whose data, configuration and logs lie in `folder`.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not come up.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &NatsOptions::default()).await
    }

    /// Starts a server with options.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not come up.
    pub async fn start_with(folder: &Path, options: &NatsOptions) -> Result<Self> {
        let port = options.port.map_or_else(free_port, Ok)?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut server = Self { process: ServerProcess::new("nats-server", folder, port) };
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: test\nmax_payload: 8MB\n\
             jetstream {{ store_dir: {:?} }}\n{}\n",
            server.store(),
            options.configuration
        );
        fs::write(server.configuration(), text).context("write the server's configuration")?;
        server.restart().await?;
        Ok(server)
    }

    /// Starts the server again, with the same port and data. One that still runs is killed first.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(service("nats-server")?);
        command.arg("-c").arg(self.configuration());
        let port = self.port();
        self.process.start(command, async || greets(port).await).await
    }

    /// Copies the store away. The server must be stopped.
    ///
    /// # Errors
    ///
    /// When a file cannot be copied.
    pub fn back_up(&self, to: &Path) -> Result<()> {
        copy_folder(&self.store(), to).context("back the store up")
    }

    /// Puts a copy in the place of the store, as somebody would who restores an older backup. The
    /// server must be stopped.
    ///
    /// # Errors
    ///
    /// When a file cannot be copied.
    pub fn restore(&self, from: &Path) -> Result<()> {
        fs::remove_dir_all(self.store()).context("remove the store")?;
        copy_folder(from, &self.store()).context("restore the store")
    }

    /// The server's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where the streams lie.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    fn configuration(&self) -> PathBuf {
        self.folder().join("nats.conf")
    }
}

/// The server's first words come after its streams are recovered.
async fn greets(port: u16) -> bool {
    let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    let read = tokio::time::timeout(Duration::from_secs(1), reader.read_line(&mut line)).await;
    matches!(read, Ok(Ok(_))) && line.starts_with("INFO ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[tokio::test]
    #[ignore = "needs nats-server; run by make test"]
    async fn a_broker_is_killed_and_comes_back_on_its_port() {
        let scratch = Scratch::new("nats").unwrap();
        let mut server = NatsServer::start(scratch.path()).await.unwrap();
        let port = server.port();
        assert!(greets(port).await);
        server.kill().await.unwrap();
        assert!(!greets(port).await);
        server.restart().await.unwrap();
        assert!(greets(port).await);
        assert!(server.url().ends_with(&port.to_string()));
    }

    #[tokio::test]
    #[ignore = "needs nats-server; run by make test"]
    async fn a_frozen_broker_accepts_and_says_nothing() {
        let scratch = Scratch::new("nats").unwrap();
        let mut server = NatsServer::start(scratch.path()).await.unwrap();
        server.freeze().await.unwrap();
        assert!(!greets(server.port()).await);
        server.thaw().await.unwrap();
        assert!(greets(server.port()).await);
        server.stop().await.unwrap();
    }

    #[tokio::test]
    #[ignore = "needs nats-server; run by make test"]
    async fn a_restored_store_is_the_one_that_was_backed_up() {
        let scratch = Scratch::new("nats").unwrap();
        let mut server = NatsServer::start(&scratch.join("nats")).await.unwrap();
        server.stop().await.unwrap();
        fs::write(server.store().join("marker"), "old").unwrap();
        server.back_up(&scratch.join("backup")).unwrap();
        fs::write(server.store().join("marker"), "new").unwrap();
        server.restore(&scratch.join("backup")).unwrap();
        assert_eq!(fs::read_to_string(server.store().join("marker")).unwrap(), "old");
        server.restart().await.unwrap();
    }
}
