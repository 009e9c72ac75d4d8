//! Azure's blobs, by Azurite.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use object_store::azure::{
    AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder,
};
use object_store::client::HttpRequestBody;
use tokio::process::Command;

use crate::http::ask_http;
use crate::paths::service;
use crate::ports::free_port;
use crate::secret::write_secret;
use crate::server::{ServerProcess, is_its_process};

/// The only account and its key: `azurite-tests` in base64.
const ACCOUNT: &str = "tgtests";
const KEY: &str = "YXp1cml0ZS10ZXN0cw==";

/// A blob server on loopback with one container.
#[derive(Debug)]
pub struct AzureServer {
    process: ServerProcess,
    container: String,
}

is_its_process!(AzureServer);

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
        let process = ServerProcess::new("azurite-blob", folder, port);
        let mut server = Self { process, container: container.to_owned() };
        let (address, container) = (server.address(), server.container.clone());
        let up = async || make_container(address, &container).await.is_ok();
        server.process.start(command, up).await?;
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
        write_secret(secrets, name, &[("AZURE_STORAGE_ACCOUNT_KEY", KEY)])
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
}

/// Signs the request like a client does.
async fn make_container(server: SocketAddr, container: &str) -> Result<()> {
    let path = format!("/{ACCOUNT}/{container}?restype=container");
    let mut request = http::Request::builder()
        .method("PUT")
        .uri(format!("http://{server}{path}"))
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
    let (status, body) = ask_http(server, ("PUT", &path), &headers, &[]).await?;
    // Made by an attempt whose answer was lost.
    ensure!(matches!(status, 201 | 409), "{status}: {body}");
    Ok(())
}
