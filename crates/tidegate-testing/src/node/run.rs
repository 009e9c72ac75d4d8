//! One pod from its binding to its end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::Shared;
use super::status::{ContainerState, Ended, View};
use super::volumes::Volumes;

/// An API server that is busy is asked for half a minute.
pub(crate) const ATTEMPTS: u32 = 60;
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// What a test does to a pod.
#[derive(Debug)]
pub(crate) enum Order {
    /// A signal to its process, by its name without `SIG`.
    Signal(String, oneshot::Sender<Result<()>>),
    /// SIGKILL, as the kernel does when memory runs out.
    KillForMemory(oneshot::Sender<Result<()>>),
}

/// The object as it is now; none once it is gone.
#[derive(Debug)]
pub(crate) struct Latest(pub(crate) watch::Receiver<Option<Pod>>);

impl Latest {
    /// Whether the object is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.borrow().is_none()
    }

    /// Whether the pod was asked to go, or is gone already.
    pub(crate) fn is_leaving(&self) -> bool {
        let latest = self.0.borrow();
        latest.as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
    }

    /// Returns once [`is_leaving`](Self::is_leaving) holds.
    pub(crate) async fn until_leaving(&mut self) {
        while !self.is_leaving() && self.changed().await {}
    }

    /// Returns at the next change. False: the node has ended.
    pub(crate) async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// How long the process may take for its end; nothing when the object is gone.
    pub(crate) fn grace(&self) -> Duration {
        let latest = self.0.borrow();
        let seconds = latest.as_ref().and_then(|pod| pod.metadata.deletion_grace_period_seconds);
        Duration::from_secs(seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0))
    }
}

/// A pod on the node.
#[derive(Debug)]
pub(crate) struct PodRun {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pod: Pod,
    pub(crate) container: Container,
    pub(crate) view: View,
    pub(crate) volumes: Volumes,
    pub(crate) folder: PathBuf,
    pub(crate) latest: Latest,
    /// Changes of ConfigMaps and Secrets. One receiver from beginning to end, so that none is missed.
    pub(crate) changes: watch::Receiver<u64>,
    pub(crate) orders: mpsc::Receiver<Order>,
}

impl PodRun {
    /// The pod's name.
    pub(crate) fn name(&self) -> String {
        self.pod.name_any()
    }

    /// Whether the container is started again after such an end.
    pub(crate) fn restarts_after(&self, exit_code: i32) -> bool {
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        match policy {
            Some("Never") => false,
            Some("OnFailure") => exit_code != 0,
            _ => true,
        }
    }

    /// The container does not come back.
    pub(crate) async fn finish(&mut self, ended: Ended) {
        self.view.state = ContainerState::Terminated(ended);
        self.view.set_ready(false);
        self.report().await;
    }

    /// Writes the status. A pod that is no more, or is another one of that name, needs none.
    pub(crate) async fn report(&self) {
        let mut status = self.view.to_status(&self.container);
        status["metadata"] = json!({"uid": self.pod.uid()});
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), &self.shared.namespace);
        let (name, parameters, patch) =
            (self.name(), PatchParams::default(), Patch::Merge(&status));
        for _ in 0..ATTEMPTS {
            if is_final(&api.patch_status(&name, &parameters, &patch).await) {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// Removes the object and the folder.
    pub(crate) async fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
        if !self.latest.is_gone() {
            remove_pod(&self.shared.client, &self.pod).await;
        }
    }
}

/// What a kubelet does when nothing of a pod is left.
async fn remove_pod(client: &Client, pod: &Pod) {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let delete = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: pod.uid(), ..Preconditions::default() }),
        ..DeleteParams::default()
    };
    let name = pod.name_any();
    for _ in 0..ATTEMPTS {
        if is_final(&api.delete(&name, &delete).await) {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Whether asking again would change nothing: done, gone, or another one by now.
pub(crate) fn is_final<T>(answer: &kube::Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(kube::Error::Api(status)) => matches!(status.code, 403 | 404 | 409 | 422),
        Err(_) => false,
    }
}

/// The pod's only container.
pub(crate) fn only_container(pod: &Pod) -> Result<Container> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let [container] = containers else { anyhow::bail!("this node runs pods of one container") };
    Ok(container.clone())
}

/// A folder for a pod; pods of one name follow each other in different ones.
pub(crate) fn folder_of(shared: &Shared, pod: &Pod) -> Result<PathBuf> {
    let uid = pod.uid().unwrap_or_default();
    let folder = shared.folder.join("pods").join(format!("{}-{uid}", pod.name_any()));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}
