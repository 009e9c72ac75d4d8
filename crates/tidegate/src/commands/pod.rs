//! What the commands that run in pods have in common: their arguments, their configuration, and the
//! message that they leave when they end badly.
//!
//! Certificates: TLS connections trust the authorities in the files that OpenSSL would look at; an image
//! that has nothing else carries `/etc/ssl/certs/ca-certificates.crt`. `SSL_CERT_FILE` and `SSL_CERT_DIR`
//! (a folder, every file of it) take the place of these. `TIDEGATE_PRIVATE_CA` names a file with further
//! ones, which are trusted beside them. A NATS server with `tls.caRef` trusts that authority alone.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;
use tidegate_config::{LONGEST_MESSAGE, PipelineConfig, TransferConfig, content_hash};
use tidegate_telemetry::{Answer, Health, Pages, Registry, Server, Watched, serve_with};
use tidegate_types::Reason;
use tidegate_worker::pod::{PodIdentity, bounded};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// A loop goes round every few seconds; a store that hangs is given up within four minutes, and that is
/// no reason to kill anybody.
const LONGEST_SILENCE: Duration = Duration::from_secs(300);
/// How long answers that are on their way may hold up the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Where Kubernetes picks up why a container ended, and the variable that names another place.
const TERMINATION_LOG: &str = "/dev/termination-log";
const TERMINATION_VARIABLE: &str = "TIDEGATE_TERMINATION_LOG";
/// What Kubernetes takes of it, in bytes.
const LONGEST_TERMINATION: usize = 4_096;

/// The document that a pod works with, and its secrets.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The resolved configuration, as the operator writes it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Where Secrets are mounted, as <name>/<key>
    #[arg(long, value_name = "DIR", default_value = "/etc/tidegate/secrets")]
    pub(crate) secrets_dir: PathBuf,
}

/// Where a pod listens.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ListenArgs {
    /// The address of /metrics, /livez, /readyz and /status: the pod's own
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: IpAddr,
    /// Its port; 0 takes a free one, which the log names
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
}

impl ConfigArgs {
    /// Reads the configuration of a streaming pipeline.
    pub(crate) fn load(&self) -> Result<(PipelineConfig, PodIdentity), Failure> {
        let (config, bytes): (PipelineConfig, _) = self.load_as()?;
        let identity = PodIdentity {
            pipeline: config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: content_hash(&bytes),
        };
        Ok((config, identity))
    }

    /// Reads the configuration of a bulk pipeline.
    pub(crate) fn load_transfer(&self) -> Result<TransferConfig, Failure> {
        self.load_as().map(|(config, _)| config)
    }

    fn load_as<T: DeserializeOwned>(&self) -> Result<(T, Vec<u8>), Failure> {
        let file = self.config.display();
        let bytes = std::fs::read(&self.config)
            .map_err(|error| Failure::of(error).during(format!("reading {file}")))?;
        let config = parse(&bytes).map_err(|problem| {
            Failure::says(problem)
                .during(format!("{file} is not a pipeline's configuration"))
                .advising("the operator writes it; see that both are of one release")
        })?;
        Ok((config, bytes))
    }
}

/// What is wrong, with the field that it is wrong with.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner();
        if path == "." { problem.to_string() } else { format!("{path}: {problem}") }
    })
}

/// A running endpoint.
pub(crate) struct Endpoint {
    server: Server,
    stop: CancellationToken,
}

impl Endpoint {
    /// Opens it.
    pub(crate) async fn open(
        listen: ListenArgs,
        registry: Registry,
        watched: Arc<dyn Watched>,
        pages: Pages,
    ) -> Result<Self, Failure> {
        let health = Health::new(LONGEST_SILENCE);
        health.watch(watched);
        let stop = CancellationToken::new();
        let address = SocketAddr::new(listen.address, listen.port);
        let server = serve_with(address, Arc::new(registry), health, pages, stop.clone())
            .await
            .map_err(|error| Failure::of(error).worth_retrying(true))?;
        tracing::info!(status = format!("http://{}/status", server.address()), "listening");
        Ok(Self { server, stop })
    }

    /// Closes it.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        // Whoever still listens has had the time.
        _ = tokio::time::timeout(LAST_ANSWERS, self.server.stopped()).await;
    }
}

/// A page that shows a value as JSON.
pub(crate) fn shows<T: serde::Serialize>(value: &T) -> Answer {
    match serde_json::to_string(value) {
        Ok(body) => Answer { status: 200, body },
        Err(error) => Answer { status: 500, body: json!({"error": error.to_string()}).to_string() },
    }
}

/// Leaves the reason of a failure where Kubernetes picks it up.
pub(crate) fn leave_message(failure: &Failure, reason: Reason) {
    let message = bounded(&failure.causes().join(": "), LONGEST_MESSAGE);
    terminate_with(&json!({"reason": reason.as_str(), "message": message}));
}

/// Leaves a message where Kubernetes picks it up. Outside of a pod there is nowhere to leave it.
pub(crate) fn terminate_with(message: &serde_json::Value) {
    let text = bounded(&message.to_string(), LONGEST_TERMINATION);
    let written = match std::env::var_os(TERMINATION_VARIABLE) {
        Some(file) => std::fs::write(file, text),
        None => write_over(Path::new(TERMINATION_LOG), &text),
    };
    if let Err(error) = written {
        tracing::debug!(%error, "no termination message could be left");
    }
}

/// Kubernetes makes the file; one that is not there is not made.
fn write_over(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().write(true).truncate(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_be_read_is_told_with_file_and_field() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pipeline.json");
        let args = ConfigArgs { config: file.clone(), secrets_dir: "s".into() };
        let refused = |content: Option<&str>| {
            if let Some(content) = content {
                std::fs::write(&file, content).expect("writable");
            }
            let failure = args.load().map(drop).expect_err("refused");
            assert_eq!(failure.code(), 65);
            let text = failure.to_string();
            assert!(text.contains("pipeline.json"), "{text}");
            text
        };
        assert!(refused(None).contains("No such file"));
        assert!(refused(Some("{}")).contains("missing field `name`"));
        assert!(refused(Some("nonsense")).contains("line 1"));
        let wrong = r#"{"name": "a/b", "ledger": "a.b", "guarantee": "ExactlyOnce", "source": {"servers": 7}}"#;
        let text = refused(Some(wrong));
        assert!(text.contains("source.servers: invalid type"), "{text}");
    }

    #[test]
    fn a_message_is_left_only_where_there_is_a_place_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log");
        assert!(write_over(&file, "x").is_err() && !file.exists());
        std::fs::write(&file, "something longer").expect("writable");
        write_over(&file, "short").expect("it is there");
        assert_eq!(std::fs::read_to_string(&file).expect("readable"), "short");
    }
}
