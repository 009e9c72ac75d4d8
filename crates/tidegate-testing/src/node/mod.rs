//! A node for tests: kubelet and scheduler of one namespace, without containers.
//!
//! [`ProcessNode::start`] runs the real commands of our pods as processes. The node binds every pending
//! pod of its namespace to itself, lays out ConfigMaps, Secrets, projected volumes and emptyDirs as
//! folders (and keeps them up to date), gives each pod an address `127.x.y.z` of its own, starts
//! `TIDEGATE_BIN` with the pod's arguments and environment, asks its readiness probe, and reports its
//! status with exit codes and termination messages. An ended container is started again as its policy
//! says; a deleted pod gets SIGTERM, its grace and SIGKILL. Paths in arguments and variables that lie at,
//! below or above a mount are moved below the pod's folder. `PATH` and the folder for temporary files
//! lead nowhere, as in the image.
//!
//! [`ProcessNode::stand_in`] starts nothing. Its pods are ready at once, and each serves `/status` at its
//! address: a healthy agent's without lag, a worker's that follows its assignment. Tests change what
//! they say, are and do: [`say`](ProcessNode::say), [`unready`](ProcessNode::unready),
//! [`silence`](ProcessNode::silence), [`trouble`](ProcessNode::trouble), [`end`](ProcessNode::end),
//! [`hold`](ProcessNode::hold). Pods of Jobs end at once; those of runs do as the log of their table says,
//! which the node keeps: [`transfers`](ProcessNode::transfers), [`mark_done`](ProcessNode::mark_done).
//!
//! What it does not have: names of Services, init containers, several containers, limits, liveness
//! probes, security contexts.

mod address;
mod expand;
mod life;
mod objects;
mod probe;
mod process;
mod run;
mod runs;
mod scheduling;
mod stand_in;
mod status;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::objects::Objects;
use self::run::Order;
pub use self::runs::Transfer;
use self::stand_in::{Saying, StandIns};
use crate::cluster::Namespace;

/// The node of one namespace. Its pods end with it.
#[derive(Debug)]
pub struct ProcessNode {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// What the node's tasks have in common.
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// The node has its name too.
    pub(crate) namespace: String,
    /// Logs of pods and their folders.
    pub(crate) folder: PathBuf,
    /// What the processes run.
    pub(crate) binary: PathBuf,
    pub(crate) objects: Arc<Objects>,
    /// None: pods are processes.
    pub(crate) stand_ins: Option<StandIns>,
    /// By the name of the pod.
    seats: Mutex<BTreeMap<String, Seat>>,
    /// By the name of a pod or the beginning of it: variable and value.
    environment: Mutex<Vec<(String, String, String)>>,
    cordoned: watch::Sender<bool>,
}

/// A pod that runs here.
#[derive(Debug)]
struct Seat {
    uid: String,
    address: Ipv4Addr,
    latest: watch::Sender<Option<Pod>>,
    orders: mpsc::Sender<Order>,
}

impl ProcessNode {
    /// A node that runs the real binary.
    ///
    /// # Errors
    ///
    /// When the node cannot be registered.
    pub async fn start(namespace: &Namespace) -> Result<Self> {
        Self::running(namespace, &crate::tidegate::binary()).await
    }

    /// A node that runs another program in its stead.
    ///
    /// # Errors
    ///
    /// When the node cannot be registered.
    pub async fn running(namespace: &Namespace, binary: &Path) -> Result<Self> {
        Self::new(namespace, binary, None).await
    }

    /// A node whose pods are stand-ins.
    ///
    /// # Errors
    ///
    /// When the node cannot be registered.
    pub async fn stand_in(namespace: &Namespace) -> Result<Self> {
        Self::new(namespace, Path::new("/nowhere"), Some(StandIns::default())).await
    }

    async fn new(
        namespace: &Namespace,
        binary: &Path,
        stand_ins: Option<StandIns>,
    ) -> Result<Self> {
        let folder = namespace.folder();
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let shared = Arc::new(Shared {
            client: namespace.client(),
            namespace: namespace.name().to_owned(),
            folder,
            binary: binary.to_path_buf(),
            objects: Arc::default(),
            stand_ins,
            seats: Mutex::default(),
            environment: Mutex::default(),
            cordoned: watch::Sender::new(false),
        });
        scheduling::register(&shared).await?;
        let mut tasks = JoinSet::new();
        let (objects, client, name) = (&shared.objects, &shared.client, &shared.namespace);
        let (first, second) = ((Arc::clone(objects), client.clone()), name.clone());
        tasks.spawn(async move { first.0.follow_config_maps(first.1, &second).await });
        let (first, second) = ((Arc::clone(objects), client.clone()), name.clone());
        tasks.spawn(async move { first.0.follow_secrets(first.1, &second).await });
        tasks.spawn(scheduling::run(Arc::clone(&shared)));
        Ok(Self { shared, _tasks: tasks })
    }

    /// The address at which a pod answers; none before it is bound.
    #[must_use]
    pub fn address(&self, pod: &str) -> Option<SocketAddr> {
        let address = self.shared.seats().get(pod)?.address;
        Some((address, address::PORT).into())
    }

    /// The names of the pods that are here now.
    #[must_use]
    pub fn pods(&self) -> Vec<String> {
        self.shared.seats().keys().cloned().collect()
    }

    /// SIGKILL to a pod's process. Kubernetes sees a container that ended with 137.
    ///
    /// # Errors
    ///
    /// When there is no such pod, or its process does not run.
    pub async fn kill(&self, pod: &str) -> Result<()> {
        self.signal(pod, "KILL").await
    }

    /// A signal to a pod's process, by its name without `SIG`.
    ///
    /// # Errors
    ///
    /// When there is no such pod, or its process does not run.
    pub async fn signal(&self, pod: &str, signal: &str) -> Result<()> {
        let signal = signal.to_owned();
        self.order(pod, |done| Order::Signal(signal, done)).await
    }

    /// Kills as the kernel does when memory runs out.
    ///
    /// # Errors
    ///
    /// When there is no such pod, or its process does not run.
    pub async fn kill_for_memory(&self, pod: &str) -> Result<()> {
        self.order(pod, Order::KillForMemory).await
    }

    /// All that the processes of pods of this name have written, one life after the other.
    #[must_use]
    pub fn log(&self, pod: &str) -> String {
        let read = |end: &str| {
            let bytes = fs::read(self.shared.folder.join(format!("{pod}.{end}")));
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        read("out") + &read("err")
    }

    /// Where the logs are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.shared.folder.clone()
    }

    /// A variable for the processes that are started from now on in pods of this name, or whose name
    /// begins with it and a dash; a failpoint for instance.
    pub fn set_environment(&self, pod: &str, name: &str, value: &str) {
        let mut environment =
            self.shared.environment.lock().unwrap_or_else(PoisonError::into_inner);
        environment.push((pod.to_owned(), name.to_owned(), value.to_owned()));
    }

    /// From now on pods find no place, or find one again.
    pub fn cordon(&self, cordoned: bool) {
        self.shared.cordoned.send_replace(cordoned);
    }

    /// Changes the report of stand-ins: pods of this name, or whose name begins with it and a dash. The
    /// fields are merged into what was said before.
    pub fn say(&self, pod: &str, report: &Value) {
        self.change(pod, |saying| stand_in::merge(&mut saying.report, report));
    }

    /// Whether stand-ins fail their readiness probe.
    pub fn unready(&self, pod: &str, unready: bool) {
        self.change(pod, |saying| saying.unready = unready);
    }

    /// Whether stand-ins close connections without an answer.
    pub fn silence(&self, pod: &str, silent: bool) {
        self.change(pod, |saying| saying.silent = silent);
    }

    /// What Kubernetes says is wrong with stand-ins: the reason for which their container waits.
    pub fn trouble(&self, pod: &str, trouble: Option<(&'static str, &str)>) {
        let trouble = trouble.map(|(reason, message)| (reason, message.to_owned()));
        self.change(pod, |saying| saying.trouble = trouble);
    }

    /// How stand-ins end: exit code and termination message. Pods of Jobs end with 0 when nothing is
    /// said; others run on.
    pub fn end(&self, pod: &str, exit_code: i32, message: &str) {
        self.change(pod, |saying| saying.end = Some((exit_code, message.to_owned())));
    }

    /// How stand-ins end that are told to leave, as a process that hears SIGTERM: exit code and termination
    /// message.
    pub fn end_when_told(&self, pod: &str, exit_code: i32, message: &str) {
        self.change(pod, |saying| saying.told = Some((exit_code, message.to_owned())));
    }

    /// Whether stand-ins for pods of Jobs run on.
    pub fn hold(&self, pod: &str, held: bool) {
        self.change(pod, |saying| saying.held = held);
    }

    /// What the stand-ins for attempts of a pipeline's runs did that succeeded, oldest first.
    #[must_use]
    pub fn transfers(&self, pipeline: &str) -> Vec<Transfer> {
        let stand_ins = self.shared.stand_ins.as_ref();
        stand_ins.map(|stand_ins| stand_ins.logs.transfers(pipeline)).unwrap_or_default()
    }

    /// Marks an interval, `<start>/<end>`, as done in the log of a pipeline's table.
    pub fn mark_done(&self, pipeline: &str, interval: &str) {
        if let Some(stand_ins) = &self.shared.stand_ins {
            stand_ins.logs.mark_done(pipeline, interval);
        }
    }

    /// What was posted to a stand-in last: to a worker its assignment, to a coordinator that its readers
    /// were given up.
    #[must_use]
    pub fn posted(&self, pod: &str) -> Option<Value> {
        self.shared.stand_ins.as_ref()?.posted(pod)
    }

    /// Forgets what was posted to a stand-in, to see whether it is posted again.
    pub fn forget_posted(&self, pod: &str) {
        if let Some(stand_ins) = &self.shared.stand_ins {
            stand_ins.forget_posted(pod);
        }
    }

    fn change(&self, pod: &str, change: impl FnOnce(&mut Saying)) {
        if let Some(stand_ins) = &self.shared.stand_ins {
            stand_ins.change(pod, change);
        }
    }

    async fn order(
        &self,
        pod: &str,
        order: impl FnOnce(oneshot::Sender<Result<()>>) -> Order,
    ) -> Result<()> {
        let orders = self.shared.seats().get(pod).map(|seat| seat.orders.clone());
        let Some(orders) = orders else { bail!("no pod {pod} on this node") };
        let (done, answer) = oneshot::channel();
        orders.send(order(done)).await.with_context(|| format!("{pod} has ended"))?;
        answer.await.with_context(|| format!("{pod} has no process"))?
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Shared {
    fn seats(&self) -> MutexGuard<'_, BTreeMap<String, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tests add for a pod.
    pub(crate) fn extra_environment(&self, pod: &str) -> Vec<(String, String)> {
        let environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = |name: &str| {
            pod.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let own = environment.iter().filter(|(name, ..)| concerned(name));
        own.map(|(_, variable, value)| (variable.clone(), value.clone())).collect()
    }
}
