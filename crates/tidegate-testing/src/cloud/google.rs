//! Google's buckets, by fake-gcs-server. It answers the reads of our client and not its writes, so files
//! are put there by another interface.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::ask;
use crate::child::ManagedChild;
use crate::paths::service;
use crate::ports::free_port;
use crate::wait::eventually;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A bucket server on loopback with one bucket.
#[derive(Debug)]
pub struct GoogleServer {
    port: u16,
    bucket: String,
    _child: ManagedChild,
}

impl GoogleServer {
    /// Starts a server whose logs lie in `folder`, with a bucket.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not come up.
    pub async fn start(folder: &Path, bucket: &str) -> Result<Self> {
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(service("fake-gcs-server")?);
        command.args(["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1"]).args([
            "-port",
            &port.to_string(),
            "-public-host",
            &address,
        ]);
        let child = ManagedChild::spawn(command, "fake-gcs-server", folder)?;
        let server = Self { port, bucket: bucket.to_owned(), _child: child };
        let up = async || server.make_bucket().await.is_ok();
        eventually("the bucket server has a bucket", START_LIMIT, up).await?;
        Ok(server)
    }

    /// Its `http://` endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The `gs://` address of a path in the bucket.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("gs://{}/{path}", self.bucket)
    }

    /// Stores an object.
    ///
    /// # Errors
    ///
    /// When the server does not take it.
    pub async fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let name = path.replace('/', "%2F");
        let request =
            format!("POST /upload/storage/v1/b/{}/o?uploadType=media&name={name}", self.bucket);
        let headers = [("Content-Type".to_owned(), "application/octet-stream".to_owned())];
        let (status, body) = ask(self.address(), &request, &headers, bytes).await?;
        ensure!(status == 200, "{status}: {body}");
        Ok(())
    }

    /// Writes the secret `name` below `secrets`, as it is mounted: an account that signs nothing, since
    /// the server asks nobody who they are.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write_secret(&self, secrets: &Path, name: &str) -> Result<()> {
        let folder = secrets.join(name);
        std::fs::create_dir_all(&folder).context("make the secret's folder")?;
        let account = r#"{"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": true}"#;
        std::fs::write(folder.join("GOOGLE_SERVICE_ACCOUNT"), account).context("write the account")
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    async fn make_bucket(&self) -> Result<()> {
        let body = format!("{{\"name\": \"{}\"}}", self.bucket);
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        let request = "POST /storage/v1/b?project=tests";
        let (status, answer) = ask(self.address(), request, &headers, body.as_bytes()).await?;
        ensure!(matches!(status, 200 | 409), "{status}: {answer}");
        Ok(())
    }
}
