//! Google's buckets, by fake-gcs-server. It answers the reads of our client and not its writes, so files
//! are put there by another interface.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::http::ask_http;
use crate::paths::service;
use crate::ports::free_port;
use crate::secret::write_secret;
use crate::server::{ServerProcess, is_its_process};

/// A bucket server on loopback with one bucket.
#[derive(Debug)]
pub struct GoogleServer {
    process: ServerProcess,
    bucket: String,
}

is_its_process!(GoogleServer);

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
        let process = ServerProcess::new("fake-gcs-server", folder, port);
        let mut server = Self { process, bucket: bucket.to_owned() };
        let (address, bucket) = (server.address(), server.bucket.clone());
        let up = async || make_bucket(address, &bucket).await.is_ok();
        server.process.start(command, up).await?;
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
        let target = format!("/upload/storage/v1/b/{}/o?uploadType=media&name={name}", self.bucket);
        let headers = [("Content-Type".to_owned(), "application/octet-stream".to_owned())];
        let (status, body) = ask_http(self.address(), ("POST", &target), &headers, bytes).await?;
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
        let account = r#"{"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": true}"#;
        write_secret(secrets, name, &[("GOOGLE_SERVICE_ACCOUNT", account)])
    }
}

async fn make_bucket(server: SocketAddr, bucket: &str) -> Result<()> {
    let body = format!("{{\"name\": \"{bucket}\"}}");
    let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
    let make = ("POST", "/storage/v1/b?project=tests");
    let (status, answer) = ask_http(server, make, &headers, body.as_bytes()).await?;
    ensure!(matches!(status, 200 | 409), "{status}: {answer}");
    Ok(())
}
