//! A real S3 server with conditional writes, by `SeaweedFS`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStoreExt, RetryConfig};
use tokio::process::Command;

use crate::paths::service;
use crate::ports::{TWIN, free_port_with_twin};
use crate::secret::write_secret;
use crate::server::{ServerProcess, is_its_process};

/// The server's only user.
pub const ACCESS_KEY: &str = "test";
/// That user's secret.
pub const SECRET_KEY: &str = "test";
/// Ports are looked for and then opened; somebody may come in between.
const START_ATTEMPTS: u32 = 3;

/// An S3 server on loopback with one bucket. Data and port stay over restarts.
#[derive(Debug)]
pub struct S3Server {
    process: ServerProcess,
    bucket: String,
    /// Id and secret of the only user.
    keys: (String, String),
    ports: Ports,
}

is_its_process!(S3Server);

/// Every port is given explicitly, since servers of several tests share the machine.
#[derive(Debug, Clone, Copy)]
struct Ports {
    s3: u16,
    master: u16,
    filer: u16,
    volume: u16,
    admin: u16,
}

impl S3Server {
    /// Starts a server whose data and logs lie in `folder`, with a bucket.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not become writable.
    pub async fn start(folder: &Path, bucket: &str) -> Result<Self> {
        Self::start_for(folder, bucket, (ACCESS_KEY, SECRET_KEY)).await
    }

    /// The same, with another user than [`ACCESS_KEY`]: the id and the secret.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not become writable.
    pub async fn start_for(folder: &Path, bucket: &str, user: (&str, &str)) -> Result<Self> {
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let ports = Ports::free()?;
            let mut server = Self {
                process: ServerProcess::new("weed", folder, ports.s3),
                bucket: bucket.to_owned(),
                keys: (user.0.to_owned(), user.1.to_owned()),
                ports,
            };
            match server.restart().await {
                Ok(()) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("at least one attempt was made")?)
    }

    /// Starts the server again with the same ports and data. One that still runs is killed first.
    ///
    /// # Errors
    ///
    /// When it does not become writable.
    pub async fn restart(&mut self) -> Result<()> {
        let data = self.folder().join("data");
        fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
        let mut command = Command::new(service("weed")?);
        command
            .current_dir(self.folder())
            .env("AWS_ACCESS_KEY_ID", &self.keys.0)
            .env("AWS_SECRET_ACCESS_KEY", &self.keys.1)
            .args(["-logtostderr=true", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .args(["-webdav=false", "-admin.ui=false", "-master.telemetry=false"])
            .arg(format!("-dir={}", data.display()))
            .arg(format!("-bucket={}", self.bucket))
            .args(self.ports.arguments());
        let store = self.store(None)?;
        self.process.start(command, async || is_writable(&store).await).await
    }

    /// Its `http://` endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The `s3://` address of a path in the bucket.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.bucket)
    }

    /// Writes the secret `name` with the user's keys below `secrets`, as it is mounted.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write_secret(&self, secrets: &Path, name: &str) -> Result<()> {
        let (id, secret) = &self.keys;
        let keys = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret)];
        write_secret(secrets, name, &keys)
    }

    /// A client without retries, so that a test sees each failure; through `endpoint`, a proxy's for
    /// instance, when there is one.
    ///
    /// # Errors
    ///
    /// When the endpoint is not an address.
    pub fn store(&self, endpoint: Option<&str>) -> Result<Arc<AmazonS3>> {
        let own = self.endpoint();
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint.unwrap_or(&own))
            .with_bucket_name(&self.bucket)
            .with_region("us-east-1")
            .with_access_key_id(&self.keys.0)
            .with_secret_access_key(&self.keys.1)
            .with_allow_http(true)
            .with_retry(retry)
            .build()
            .context("build the S3 client")?;
        Ok(Arc::new(store))
    }
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self {
            s3: free_port_with_twin()?,
            master: free_port_with_twin()?,
            filer: free_port_with_twin()?,
            volume: free_port_with_twin()?,
            admin: free_port_with_twin()?,
        })
    }

    fn arguments(self) -> Vec<String> {
        let services = [
            ("s3", self.s3),
            ("master", self.master),
            ("filer", self.filer),
            ("volume", self.volume),
            ("admin", self.admin),
        ];
        let ports = services.iter().flat_map(|(service, port)| {
            [format!("-{service}.port={port}"), format!("-{service}.port.grpc={}", port + TWIN)]
        });
        ports.chain(["-s3.port.iceberg=0".to_owned(), "-s3.port.lance=0".to_owned()]).collect()
    }
}

async fn is_writable(store: &AmazonS3) -> bool {
    store.put(&".ready".into(), "yes".into()).await.is_ok()
}

#[cfg(test)]
mod tests {
    use object_store::{Error, ObjectStore, PutMode, PutOptions};

    use super::*;
    use crate::Scratch;

    #[tokio::test]
    #[ignore = "needs seaweedfs; run by make test"]
    async fn an_object_survives_a_kill_and_is_still_not_created_twice() {
        let scratch = Scratch::new("s3").unwrap();
        let mut server = S3Server::start(scratch.path(), "lake").await.unwrap();
        let store = server.store(None).unwrap();
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&"a".into(), "first".into(), create()).await.unwrap();
        server.kill().await.unwrap();
        assert!(store.get(&"a".into()).await.is_err());
        server.restart().await.unwrap();
        let read = store.get(&"a".into()).await.unwrap().bytes().await.unwrap();
        assert_eq!(&read[..], b"first");
        let again = store.put_opts(&"a".into(), "second".into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    }
}
