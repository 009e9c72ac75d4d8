//! The embedded broker: one `nats-server` child for every pipeline that names no servers.
//!
//! Two commands on one data folder share it: the second one finds the first one's server instead of
//! starting another on the same files, which would ruin them. A lock on a file, which the system takes
//! back when its holder dies, says who may start one; a file beside it says where the server listens.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tidegate_config::PipelineConfig;
use tidegate_source::embedded::{EmbeddedOptions, EmbeddedServer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::failure::Failure;

/// How long another process may take to start the server that we want to share.
const JOIN_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A server on loopback greets at once.
const GREETING_WITHIN: Duration = Duration::from_secs(1);

/// Where brokers and their secrets are found.
#[derive(Debug, Clone, Args)]
pub(crate) struct BrokerArgs {
    /// The nats-server binary for pipelines that name no servers; looked for on PATH by default
    #[arg(long, value_name = "PATH", env = "TIDEGATE_NATS_SERVER")]
    nats_server: Option<PathBuf>,
    /// Secrets and ConfigMaps as files: DIR/<name>/<key>
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
}

/// The embedded server of this command, if it has one of its own.
#[derive(Debug)]
pub(crate) struct Broker(Option<Own>);

#[derive(Debug)]
struct Own {
    server: EmbeddedServer,
    address_file: PathBuf,
    /// Holds the folder until the server is gone.
    _lock: File,
}

impl Broker {
    /// Gives every pipeline without servers the embedded one; nothing is started when all name theirs.
    pub(crate) async fn provide<'a>(
        args: &BrokerArgs,
        data_dir: &Path,
        configs: impl Iterator<Item = &'a mut PipelineConfig>,
    ) -> Result<Self, Failure> {
        let wanting: Vec<_> = configs.filter(|config| config.source.servers.is_empty()).collect();
        if wanting.is_empty() {
            return Ok(Self(None));
        }
        let (url, own) = Self::start_or_join(args, data_dir).await?;
        for config in wanting {
            config.source.servers = vec![url.clone()];
            // A single server keeps a single copy.
            config.source.retention.replicas = 1;
        }
        Ok(Self(own))
    }

    /// Ends the server if it is ours.
    pub(crate) async fn stop(self) {
        let Some(own) = self.0 else { return };
        // A stale address is noticed by whoever reads it.
        let _ = std::fs::remove_file(&own.address_file);
        if let Err(error) = own.server.stop().await {
            tracing::warn!(%error, "the embedded nats-server did not end cleanly");
        }
    }

    /// The address, and the server when it is ours.
    async fn start_or_join(
        args: &BrokerArgs,
        data_dir: &Path,
    ) -> Result<(String, Option<Own>), Failure> {
        let doing = format!("preparing the embedded server's folder {}", data_dir.display());
        let prepare = || {
            std::fs::create_dir_all(data_dir)?;
            File::options().create(true).append(true).open(data_dir.join("nats.lock"))
        };
        let lock = prepare().map_err(|error| Failure::of(error).during(doing))?;
        let address_file = data_dir.join("nats.address");
        match lock.try_lock() {
            Ok(()) => Self::start(args, data_dir, address_file, lock).await,
            Err(TryLockError::WouldBlock) => Self::join(&address_file).await.map(|url| (url, None)),
            Err(TryLockError::Error(error)) => {
                Err(Failure::of(error).during("locking the embedded server's folder"))
            }
        }
    }

    async fn start(
        args: &BrokerArgs,
        data_dir: &Path,
        address_file: PathBuf,
        lock: File,
    ) -> Result<(String, Option<Own>), Failure> {
        if let Some(url) = living_server(&address_file).await {
            tracing::warn!(url, "using the nats-server that a killed process left behind");
            return Ok((url, None));
        }
        let options = EmbeddedOptions {
            binary: args.nats_server.clone(),
            store_dir: data_dir.join("nats"),
            port: 0,
            extra_config: String::new(),
        };
        let server = EmbeddedServer::start(options).await?;
        let url = server.url();
        std::fs::write(&address_file, &url)
            .map_err(|error| Failure::of(error).during("writing the embedded server's address"))?;
        tracing::info!(url, store = %data_dir.join("nats").display(), "embedded nats-server started");
        Ok((url, Some(Own { server, address_file, _lock: lock })))
    }

    async fn join(address_file: &Path) -> Result<String, Failure> {
        let look = async {
            loop {
                if let Some(url) = living_server(address_file).await {
                    return url;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let missing = |_| {
            Failure::says(
                "another process holds the data folder, and its nats-server does not answer",
            )
            .worth_retrying(true)
            .advising("wait for the other process, or name another --data-dir")
        };
        let url = tokio::time::timeout(JOIN_WITHIN, look).await.map_err(missing)?;
        tracing::info!(url, "sharing the embedded nats-server of another process");
        Ok(url)
    }
}

/// The address in the file, if a NATS server greets there.
async fn living_server(address_file: &Path) -> Option<String> {
    let url = std::fs::read_to_string(address_file).ok()?.trim().to_owned();
    let greets = tokio::time::timeout(GREETING_WITHIN, greets_like_nats(&url));
    matches!(greets.await, Ok(Ok(true))).then_some(url)
}

async fn greets_like_nats(url: &str) -> io::Result<bool> {
    let parsed = url::Url::parse(url).map_err(io::Error::other)?;
    let address = (parsed.host_str().unwrap_or("127.0.0.1"), parsed.port().unwrap_or(4222));
    let mut greeting = [0_u8; 5];
    TcpStream::connect(address).await?.read_exact(&mut greeting).await?;
    Ok(greeting == *b"INFO ")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn greeter(greeting: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("nats://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(greeting).await;
            }
        });
        url
    }

    #[tokio::test]
    async fn only_a_server_that_greets_like_nats_is_shared() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nats.address");
        assert_eq!(living_server(&file).await, None, "no file");
        let url = greeter(b"INFO {}\r\n").await;
        std::fs::write(&file, format!("{url}\n")).expect("writable");
        assert_eq!(living_server(&file).await, Some(url));
        std::fs::write(&file, greeter(b"SSH-2.0-x").await).expect("writable");
        assert_eq!(living_server(&file).await, None, "somebody else has the port now");
        std::fs::write(&file, "not an address").expect("writable");
        assert_eq!(living_server(&file).await, None);
    }

    #[tokio::test]
    async fn the_server_of_a_process_that_holds_the_folder_is_joined() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = File::create(folder.path().join("nats.lock")).expect("writable");
        other.try_lock().expect("nobody else");
        let url = greeter(b"INFO {}\r\n").await;
        std::fs::write(folder.path().join("nats.address"), &url).expect("writable");
        let args = BrokerArgs { nats_server: Some("/nowhere".into()), secrets_dir: None };
        let (joined, own) = Broker::start_or_join(&args, folder.path()).await.expect("joined");
        assert_eq!((joined, own.is_none()), (url, true));
        Broker(own).stop().await;
        assert!(folder.path().join("nats.address").exists(), "it is not ours to remove");
    }
}
