//! `kube-apiserver`, `kube-controller-manager` and `etcd` on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use super::access::{self, Access};
use super::audit::{self, AuditRecord};
use super::component::Component;
use super::tools::cluster_tools;
use crate::guard;
use crate::paths::workspace;
use crate::ports::free_port;
use crate::wait::eventually;

/// Four to eight seconds on a quiet machine.
const START_LIMIT: Duration = Duration::from_secs(120);
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cluster");

/// A Kubernetes control plane without nodes. All tests of one binary share it; a
/// [`Namespace`](super::Namespace) keeps them apart.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    tools: PathBuf,
    admin: Access,
    /// The one that writes comes last, so that it is dropped last.
    _components: [Component; 3],
}

impl ControlPlane {
    /// The control plane of this test binary; the first call starts it. It ends with the process. Its
    /// folder under `target/tmp` stays when a test failed in it.
    ///
    /// # Errors
    ///
    /// When the programs were not built or do not come up; every later call then says the same.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Result<ControlPlane>> = OnceCell::const_new();
        let shared = SHARED.get_or_init(Self::start).await;
        shared.as_ref().map_err(|error| anyhow!("the control plane did not start: {error:#}"))
    }

    /// A control plane of one's own.
    ///
    /// # Errors
    ///
    /// When the programs were not built or do not come up.
    pub async fn start() -> Result<Self> {
        Self::start_with(&workspace().join("crds")).await
    }

    /// One with other definitions than the workspace's.
    ///
    /// # Errors
    ///
    /// When the programs were not built or do not come up, or the definitions are refused.
    pub async fn start_with(definitions: &Path) -> Result<Self> {
        let tools = cluster_tools()?;
        let folder = new_folder()?;
        let (tokens, admin, manager) = access::tokens();
        fs::write(folder.join("tokens.csv"), tokens).context("write the tokens")?;
        let (etcd_port, port) = (free_port()?, free_port()?);
        let mut etcd = Component::start(&tools, "etcd", &folder, &etcd(&folder, etcd_port))?;
        let server = api_server(&folder, port, etcd_port);
        let mut server = Component::start(&tools, "kube-apiserver", &folder, &server)?;
        let admin = Access::new(port, &folder.join("apiserver.crt"), &admin, "default");
        admin.write(&folder.join("kubeconfig"))?;
        wait_until_ready(&admin, &mut [&mut etcd, &mut server]).await?;
        // The garbage collector learns new kinds only every 30 s, so ours are there before it starts.
        apply_definitions(&tools, &folder, definitions)?;
        Access::new(port, &folder.join("apiserver.crt"), &manager, "default")
            .write(&folder.join("manager.kubeconfig"))?;
        let manager = controller_manager(&folder);
        let mut manager = Component::start(&tools, "kube-controller-manager", &folder, &manager)?;
        wait_for_controllers(&admin, &mut manager).await?;
        Ok(Self { folder, tools, admin, _components: [manager, server, etcd] })
    }

    /// The administrator's client. A client belongs to the runtime in which it was made, so each test
    /// makes its own.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub async fn client(&self) -> Result<Client> {
        self.admin.client().await
    }

    /// The administrator's way in.
    #[must_use]
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Logs of the components and whatever belongs to the whole.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `kubectl` as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.tool("kubectl")
    }

    /// `helm` as the administrator.
    #[must_use]
    pub fn helm(&self) -> Command {
        self.tool("helm")
    }

    /// What service accounts asked of the API server since it started, in the order of the answers.
    ///
    /// # Errors
    ///
    /// When the record cannot be read.
    pub fn audit(&self) -> Result<Vec<AuditRecord>> {
        audit::read(&self.folder.join("audit.log"))
    }

    /// The folder, logs in it, is kept when the tests end.
    pub(crate) fn keep(&self) {
        let _ = fs::write(self.folder.join(guard::KEEP), "");
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(self.tools.join(program));
        // Caches and plugins of whoever runs the tests stay out of it.
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder);
        command
    }
}

fn new_folder() -> Result<PathBuf> {
    let parent = workspace().join("target/tmp");
    fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
    let folder = tempfile::Builder::new().prefix("control-plane-").tempdir_in(&parent);
    let folder = folder.context("make a folder for the control plane")?.keep();
    guard::remove_at_end(&folder);
    Ok(folder)
}

fn etcd(folder: &Path, port: u16) -> Vec<String> {
    vec![
        "--name=test".to_owned(),
        format!("--data-dir={}", folder.join("etcd").display()),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
    ]
}

fn api_server(folder: &Path, port: u16, etcd_port: u16) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--cert-dir={folder}"),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--anonymous-auth=false".to_owned(),
        format!("--token-auth-file={folder}/tokens.csv"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--api-audiences=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={DATA}/service-account-key.pem"),
        format!("--service-account-signing-key-file={DATA}/service-account-key.pem"),
        format!("--audit-policy-file={DATA}/audit-policy.yaml"),
        format!("--audit-log-path={folder}/audit.log"),
        // Larger than any suite writes, so that there is one file.
        "--audit-log-maxsize=4096".to_owned(),
        // A suite of tests is many clients at once; what is tested is not the fairness among them.
        "--max-requests-inflight=3000".to_owned(),
        "--max-mutating-requests-inflight=1500".to_owned(),
        "--v=1".to_owned(),
    ]
}

fn controller_manager(folder: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}/manager.kubeconfig", folder.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={DATA}/service-account-key.pem"),
        format!("--root-ca-file={}/apiserver.crt", folder.display()),
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        "--concurrent-gc-syncs=5".to_owned(),
        // Nobody renews the leases of the nodes that tests make.
        "--node-monitor-grace-period=24h".to_owned(),
        "--v=1".to_owned(),
    ]
}

/// Waits for the API server, and ends early when one of the components does.
async fn wait_until_ready(admin: &Access, components: &mut [&mut Component]) -> Result<()> {
    let mut trouble = None;
    eventually("the API server is ready", START_LIMIT, async || {
        trouble = components.iter_mut().find_map(|component| component.check().err());
        trouble.is_some() || is_ready(admin).await
    })
    .await
    .with_context(|| {
        components.iter().map(|component| component.last_words()).collect::<String>()
    })?;
    trouble.map_or(Ok(()), Err)
}

async fn is_ready(admin: &Access) -> bool {
    // The certificate appears a moment after the start.
    let Ok(client) = admin.client().await else { return false };
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok_and(|answer| answer == "ok")
}

/// The controllers have made what every namespace gets.
async fn wait_for_controllers(admin: &Access, manager: &mut Component) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.client().await?, "default");
    let mut trouble = None;
    eventually("the controllers work", START_LIMIT, async || {
        trouble = manager.check().err();
        trouble.is_some() || accounts.get_opt("default").await.is_ok_and(|found| found.is_some())
    })
    .await
    .with_context(|| manager.last_words())?;
    trouble.map_or(Ok(()), Err)
}

fn apply_definitions(tools: &Path, folder: &Path, definitions: &Path) -> Result<()> {
    let kubectl = |arguments: &[&str]| -> Result<()> {
        let output = Command::new(tools.join("kubectl"))
            .env("KUBECONFIG", folder.join("kubeconfig"))
            .env("HOME", folder)
            .args(arguments)
            .arg(definitions)
            .output()
            .context("run kubectl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "kubectl {arguments:?}: {complaint}");
        Ok(())
    };
    kubectl(&["apply", "--server-side", "-f"])?;
    // It fails at once on a definition that has no conditions yet.
    let begun = std::time::Instant::now();
    loop {
        match kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f"]) {
            Err(error)
                if error.to_string().contains("accessor error")
                    && begun.elapsed() < START_LIMIT => {}
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[tokio::test]
    #[ignore = "needs a control plane; run by make test"]
    async fn cluster_a_control_plane_answers_and_is_gone_with_its_value() {
        let plane = ControlPlane::start().await.unwrap();
        let version = plane.client().await.unwrap().apiserver_version().await.unwrap();
        assert!(version.git_version.starts_with("v1."), "{version:?}");
        let answer = plane.kubectl().args(["get", "ingestionpipelines"]).output().unwrap();
        assert!(answer.status.success(), "{answer:?}");
        let mut get = plane.kubectl();
        get.args(["get", "--raw", "/readyz", "--request-timeout=5s"]);
        drop(plane);
        assert!(!get.stderr(Stdio::null()).status().unwrap().success());
    }
}
