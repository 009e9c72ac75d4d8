//! Ways into a control plane: an address, a certificate to trust and a token.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

/// Who somebody is to the API server, and in which namespace they are at home.
#[derive(Debug, Clone)]
pub struct Access {
    server: String,
    certificate: PathBuf,
    token: String,
    namespace: String,
}

impl Access {
    pub(crate) fn new(port: u16, certificate: &Path, token: &str, namespace: &str) -> Self {
        Self {
            server: format!("https://127.0.0.1:{port}"),
            certificate: certificate.to_path_buf(),
            token: token.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// The same server for somebody else.
    pub(crate) fn with_token(&self, token: &str, namespace: &str) -> Self {
        Self { token: token.to_owned(), namespace: namespace.to_owned(), ..self.clone() }
    }

    /// A client for the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// When the server's certificate is not there yet.
    pub async fn client(&self) -> Result<Client> {
        Client::try_from(self.config().await?).context("build a client")
    }

    /// What a client is made of, for those that put something in between.
    ///
    /// # Errors
    ///
    /// When the server's certificate is not there yet.
    pub async fn config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig()).context("read a kubeconfig")?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("read a kubeconfig")
    }

    /// Writes a kubeconfig.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.kubeconfig()).with_context(|| format!("write {}", path.display()))
    }

    /// JSON is YAML.
    fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.server,
                "certificate-authority": self.certificate,
            }}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {
                "cluster": "test", "user": "test", "namespace": self.namespace,
            }}],
            "current-context": "test",
        })
        .to_string()
    }
}

/// The token file of the API server, the administrator's token and the controllers'.
pub(crate) fn tokens() -> (String, String, String) {
    let (admin, manager) = (random(), random());
    let file = format!(
        "{admin},admin,admin,system:masters\n{manager},system:kube-controller-manager,manager,\n"
    );
    (file, admin, manager)
}

/// Good enough among tests on loopback: a hash whose keys the system chose by chance.
pub(crate) fn random() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
