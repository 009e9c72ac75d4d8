//! Azure's blobs, by Azurite.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use object_store::azure::{
    AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder,
};
use object_store::client::HttpRequestBody;
use tokio::process::Command;

use super::ask;
use crate::child::ManagedChild;
use crate::paths::service;
use crate::ports::free_port;
use crate::wait::eventually;

const START_LIMIT: Duration = Duration::from_secs(60);
/// The only account and its key: `azurite-tests` in base64.
const ACCOUNT: &str = "tgtests";
const KEY: &str = "YXp1cml0ZS10ZXN0cw==";

/// A blob server on loopback with one container.
#[derive(Debug)]
pub struct AzureServer {
    port: u16,
    container: String,
    _child: ManagedChild,
}

impl AzureServer {
    /// Starts a server whose data and logs lie in `folder`, with a container.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not come up.
    pub async fn start(folder: &Path, container: &str) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(service("azurite-blob")?);
        command
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"))
            .args(["--skipApiVersionCheck", "--disableTelemetry", "--silent"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"])
            .arg(folder);
        let child = ManagedChild::spawn(command, "azurite-blob", folder)?;
        let server = Self { port, container: container.to_owned(), _child: child };
        let up = async || server.make_container().await.is_ok();
        eventually("the blob server has a container", START_LIMIT, up).await?;
        Ok(server)
    }

    /// Its `http://` endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The `abfss://` address of a path in the container.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("abfss://{}@{ACCOUNT}.dfs.core.windows.net/{path}", self.container)
    }

    /// Writes the secret `name` with the account's key below `secrets`, as it is mounted.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write_secret(&self, secrets: &Path, name: &str) -> Result<()> {
        let folder = secrets.join(name);
        std::fs::create_dir_all(&folder).context("make the secret's folder")?;
        std::fs::write(folder.join("AZURE_STORAGE_ACCOUNT_KEY"), KEY).context("write the key")
    }

    /// A client beside the one under test.
    ///
    /// # Errors
    ///
    /// When it cannot be built.
    pub fn store(&self) -> Result<Arc<MicrosoftAzure>> {
        let store = MicrosoftAzureBuilder::new()
            .with_account(ACCOUNT)
            .with_access_key(KEY)
            .with_container_name(&self.container)
            .with_endpoint(format!("{}/{ACCOUNT}", self.endpoint()))
            .with_allow_http(true)
            .build()
            .context("build the client")?;
        Ok(Arc::new(store))
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    async fn make_container(&self) -> Result<()> {
        let path = format!("/{ACCOUNT}/{}?restype=container", self.container);
        let mut request = http::Request::builder()
            .method("PUT")
            .uri(format!("{}{path}", self.endpoint()))
            .header("content-length", "0")
            .body(HttpRequestBody::empty())
            .context("make the request")?;
        let key = AzureCredential::AccessKey(AzureAccessKey::try_new(KEY)?);
        AzureAuthorizer::new(&key, ACCOUNT).try_authorize(&mut request)?;
        let headers = request.headers().iter().filter(|(name, _)| *name != "content-length");
        let headers: Vec<_> = headers
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect();
        let (status, body) = ask(self.address(), &format!("PUT {path}"), &headers, b"").await?;
        // Made by an attempt whose answer was lost.
        ensure!(matches!(status, 201 | 409), "{status}: {body}");
        Ok(())
    }
}
