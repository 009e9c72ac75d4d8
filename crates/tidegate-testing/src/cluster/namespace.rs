//! A namespace for one test.

use std::fmt::{self, Debug, Formatter};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace as KubernetesNamespace, ServiceAccount};
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::access::{Access, random};
use super::control_plane::ControlPlane;
use crate::paths::workspace;
use crate::wait::eventually;

/// What a namespace gets by itself takes well under a second.
const LIMIT: Duration = Duration::from_secs(60);
/// Who applies what tests apply.
const MANAGER: &str = "test";
/// What is written down when a test fails.
const DUMPED: &str = "ingestionpipelines,ingestionruns,statefulsets,deployments,replicasets,jobs,pods,services,configmaps,\
     serviceaccounts,poddisruptionbudgets,networkpolicies,leases,events.events.k8s.io";

/// A namespace of the shared control plane in which Pod Security `restricted` is enforced. When the test
/// fails everything in it is written to `target/test-logs/cluster`; then it is deleted, which nobody
/// waits for.
pub struct Namespace {
    plane: &'static ControlPlane,
    name: String,
    client: Client,
}

impl Namespace {
    /// A new namespace; `stem` is the beginning of its name, at most 40 characters.
    ///
    /// # Errors
    ///
    /// When the control plane does not start, or the namespace does not get its service account.
    pub async fn create(stem: &str) -> Result<Self> {
        Self::create_on(ControlPlane::shared().await?, stem).await
    }

    /// The same on another control plane.
    ///
    /// # Errors
    ///
    /// When the namespace does not get its service account.
    pub async fn create_on(plane: &'static ControlPlane, stem: &str) -> Result<Self> {
        let client = plane.client().await?;
        let name = format!("{stem}-{}", &random()[..6]);
        let namespaces: Api<KubernetesNamespace> = Api::all(client.clone());
        let object = serde_json::from_value(json!({"metadata": {"name": name, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }}}))?;
        namespaces.create(&PostParams::default(), &object).await.context("make a namespace")?;
        let namespace = Self { plane, name, client };
        namespace.wait_for_defaults().await?;
        Ok(namespace)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The control plane that it belongs to.
    #[must_use]
    pub fn plane(&self) -> &'static ControlPlane {
        self.plane
    }

    /// The administrator's client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The objects of a kind in this namespace, as the administrator.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Applies a document, whatever its kind; it is put into this namespace. The answer is the object.
    ///
    /// # Errors
    ///
    /// When the API server refuses; its words are in the chain.
    pub async fn apply(&self, document: &Value) -> Result<DynamicObject> {
        let mut document = document.clone();
        document["metadata"]["namespace"] = json!(self.name);
        let (api, name) = self.dynamic(&document)?;
        let apply = PatchParams::apply(MANAGER).force();
        let applied = api.patch(&name, &apply, &Patch::Apply(&document)).await;
        applied.with_context(|| format!("apply {} {name}", document["kind"]))
    }

    /// Changes fields of an object, as `kubectl patch --type merge` does.
    ///
    /// # Errors
    ///
    /// When the API server refuses; its words are in the chain.
    pub async fn merge<K>(&self, name: &str, changes: &Value) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug,
    {
        let (api, patch) = (self.api::<K>(), Patch::Merge(changes));
        let patched = api.patch(name, &PatchParams::default(), &patch).await;
        patched.with_context(|| format!("change {name}"))
    }

    /// The way in of a service account of this namespace, with a token that lasts an hour.
    ///
    /// # Errors
    ///
    /// When there is no such service account.
    pub async fn access(&self, service_account: &str) -> Result<Access> {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let (accounts, create) = (self.api::<ServiceAccount>(), PostParams::default());
        let answer = accounts.create_token_request(service_account, &create, &request).await;
        let answer = answer.with_context(|| format!("a token for {service_account}"))?;
        let token = answer.status.context("the API server gave no token")?.token;
        Ok(self.plane.admin().with_token(&token, &self.name))
    }

    /// `kubectl` as the administrator, in this namespace, run to its end; what it wrote.
    ///
    /// # Errors
    ///
    /// When it fails; what it wrote is in the message.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.plane.kubectl();
        command.args(["--namespace", &self.name]).args(arguments);
        run(command).await
    }

    /// `helm` as the administrator, in this namespace, run to its end; what it wrote.
    ///
    /// # Errors
    ///
    /// When it fails; what it wrote is in the message.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.plane.helm();
        command.args(["--namespace", &self.name]).args(arguments);
        run(command).await
    }

    /// The user name of a service account of this namespace in the
    /// [record](ControlPlane::audit) of the API server.
    #[must_use]
    pub fn user(&self, service_account: &str) -> String {
        format!("system:serviceaccount:{}:{service_account}", self.name)
    }

    /// Where logs of this namespace's pods are kept.
    pub(crate) fn folder(&self) -> PathBuf {
        self.plane.folder().join(&self.name)
    }

    /// Admission lets pods in once the service account is there, and a pod of a real cluster would
    /// wait for the authority of the API server.
    async fn wait_for_defaults(&self) -> Result<()> {
        let (accounts, maps) = (self.api::<ServiceAccount>(), self.api::<ConfigMap>());
        eventually("a new namespace has its service account", LIMIT, async || {
            accounts.get_opt("default").await.is_ok_and(|found| found.is_some())
                && maps.get_opt("kube-root-ca.crt").await.is_ok_and(|found| found.is_some())
        })
        .await
    }

    fn dynamic(&self, document: &Value) -> Result<(Api<DynamicObject>, String)> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&document["metadata"]["name"]).context("a document has a name")?;
        let version = text(&document["apiVersion"]).context("a document has an apiVersion")?;
        let kind = text(&document["kind"]).context("a document has a kind")?;
        let (group, version) = version.split_once('/').unwrap_or(("", &version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        Ok((Api::namespaced_with(self.client.clone(), &self.name, &resource), name))
    }

    /// Everything in the namespace, as YAML.
    fn dump(&self) -> Result<PathBuf> {
        let folder = workspace().join("target/test-logs/cluster");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.yaml", self.name));
        let mut kubectl = self.plane.kubectl();
        kubectl.args(["--namespace", &self.name, "get", DUMPED, "--output", "yaml"]);
        fs::write(&path, kubectl.stderr(Stdio::null()).output()?.stdout)?;
        Ok(path)
    }
}

impl Debug for Namespace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.plane.keep();
            let dumped = self.dump();
            #[expect(clippy::print_stderr, reason = "the test's output is where it is looked for")]
            {
                eprintln!("namespace {}: objects in {dumped:?}, ", self.name);
                eprintln!("logs of pods in {}", self.folder().display());
            }
        }
        let mut delete = self.plane.kubectl();
        delete.args(["delete", "namespace", &self.name, "--wait=false"]);
        // The parent does not wait; the child is reaped at the end of the tests.
        let _ = delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    }
}

async fn run(command: Command) -> Result<String> {
    let what = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await;
    let output = output.with_context(|| format!("{what}: not within {LIMIT:?}"))?;
    let output = output.with_context(|| what.clone())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {said}{complaint}");
    Ok(said)
}
