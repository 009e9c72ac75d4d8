//! The node towards the API server: registering it, finding pods a place, starting them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::address::free_address;
use super::life::run_to_the_end;
use super::run::{ATTEMPTS, Latest, PAUSE, PodRun, folder_of, is_final, only_container};
use super::status::{View, second};
use super::volumes::Volumes;
use super::{Seat, Shared};

/// Requests at a time, so that a thousand pods at once do not crowd out the test.
const CONCURRENT_BINDINGS: usize = 16;
/// Orders that wait for one pod; tests give one at a time.
const ORDERS: usize = 8;

/// Makes the Node object, which is ready.
pub(crate) async fn register(shared: &Shared) -> Result<()> {
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let node = serde_json::from_value(json!({
        "metadata": {"name": shared.namespace, "labels": {
            "kubernetes.io/hostname": shared.namespace,
            "kubernetes.io/os": "linux",
        }},
    }))?;
    nodes.create(&PostParams::default(), &node).await.context("register the node")?;
    let status = Patch::Merge(ready_status());
    nodes
        .patch_status(&shared.namespace, &PatchParams::default(), &status)
        .await
        .context("report the node")?;
    Ok(())
}

fn ready_status() -> Value {
    let now = second(Timestamp::now());
    json!({"status": {
        "capacity": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "ProcessNode", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    }})
}

/// Follows the pods of the namespace for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &shared.namespace);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    let mut scheduler = Scheduler::new(shared);
    let mut cordoned = scheduler.shared.cordoned.subscribe();
    // Those that a new list does not name are gone.
    let mut listed = BTreeSet::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(Event::Init)) => listed.clear(),
                Some(Ok(Event::InitApply(pod))) => {
                    listed.insert(pod.uid().unwrap_or_default());
                    scheduler.see(pod);
                }
                Some(Ok(Event::InitDone)) => scheduler.forget_all_but(&listed),
                Some(Ok(Event::Apply(pod))) => scheduler.see(pod),
                Some(Ok(Event::Delete(pod))) => scheduler.forget(&pod),
                // The watcher tries again by itself.
                Some(Err(_)) => {}
                None => return,
            },
            _ = cordoned.changed() => scheduler.look_again(),
            Some(_) = scheduler.tasks.join_next() => {}
        }
    }
}

struct Scheduler {
    shared: Arc<Shared>,
    bindings: Arc<Semaphore>,
    /// Pods without a place.
    pending: Vec<Pod>,
    tasks: JoinSet<()>,
}

impl Scheduler {
    fn new(shared: Arc<Shared>) -> Self {
        let bindings = Arc::new(Semaphore::new(CONCURRENT_BINDINGS));
        Self { shared, bindings, pending: Vec::new(), tasks: JoinSet::new() }
    }

    fn see(&mut self, pod: Pod) {
        let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        if bound.is_none() {
            self.place(pod);
        } else if bound.as_deref() == Some(&self.shared.namespace) && !self.is_known(&pod) {
            self.seat(pod);
        }
    }

    /// Hands the news to a pod that runs here.
    fn is_known(&self, pod: &Pod) -> bool {
        let seats = self.shared.seats();
        let seat = seats.get(&pod.name_any());
        let seat = seat.filter(|seat| Some(&seat.uid) == pod.metadata.uid.as_ref());
        seat.inspect(|seat| drop(seat.latest.send_replace(Some(pod.clone())))).is_some()
    }

    fn place(&mut self, pod: Pod) {
        self.pending.retain(|other| other.uid() != pod.uid());
        if pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        let cordoned = *self.shared.cordoned.borrow();
        self.pending.push(pod.clone());
        if cordoned && is_unschedulable(&pod) {
            return;
        }
        let (client, bindings) = (self.shared.client.clone(), Arc::clone(&self.bindings));
        let node = self.shared.namespace.clone();
        self.tasks.spawn(async move {
            // A closed semaphore is one whose node has ended.
            let _permit = bindings.acquire().await;
            for _ in 0..ATTEMPTS {
                let client = client.clone();
                let answer = match cordoned {
                    true => refuse(client, &pod).await,
                    false => bind(client, &pod, &node).await,
                };
                // A final one may be a refusal: the pod is gone, or was bound by an earlier try.
                if is_final(&answer) {
                    return;
                }
                sleep(PAUSE).await;
            }
        });
    }

    fn look_again(&mut self) {
        for pod in std::mem::take(&mut self.pending) {
            self.place(pod);
        }
    }

    fn seat(&mut self, pod: Pod) {
        self.pending.retain(|other| other.uid() != pod.uid());
        match pod_run(&self.shared, pod) {
            Ok((name, seat, run)) => {
                self.shared.seats().insert(name, seat);
                self.tasks.spawn(run_to_the_end(run));
            }
            #[expect(clippy::print_stderr, reason = "the test's output is where it is looked for")]
            Err(error) => eprintln!("node {}: {error:#}", self.shared.namespace),
        }
    }

    fn forget(&mut self, pod: &Pod) {
        self.pending.retain(|other| other.uid() != pod.uid());
        let uid = pod.uid().unwrap_or_default();
        self.shared.seats().retain(|_, seat| seat.stays(seat.uid != uid));
    }

    fn forget_all_but(&mut self, listed: &BTreeSet<String>) {
        self.pending.retain(|pod| pod.uid().is_some_and(|uid| listed.contains(&uid)));
        self.shared.seats().retain(|_, seat| seat.stays(listed.contains(&seat.uid)));
    }
}

impl Seat {
    /// A pod that does not stay hears that its object is gone.
    fn stays(&self, stays: bool) -> bool {
        if !stays {
            self.latest.send_replace(None);
        }
        stays
    }
}

fn pod_run(shared: &Arc<Shared>, pod: Pod) -> Result<(String, Seat, PodRun)> {
    let address = free_address()?;
    let folder = folder_of(shared, &pod)?;
    let container = only_container(&pod)?;
    let (latest, latest_receiver) = watch::channel(Some(pod.clone()));
    let (orders, orders_receiver) = mpsc::channel(ORDERS);
    let seat = Seat { uid: pod.uid().unwrap_or_default(), address, latest, orders };
    let run = PodRun {
        shared: Arc::clone(shared),
        volumes: Volumes::new(&folder.join("volumes"), &pod),
        view: View::new(address),
        container,
        folder,
        latest: Latest(latest_receiver),
        changes: shared.objects.changes(),
        orders: orders_receiver,
        pod,
    };
    Ok((run.name(), seat, run))
}

async fn bind(client: Client, pod: &Pod, node: &str) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let _: Value =
        api.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
    Ok(())
}

/// What a scheduler says of a pod that fits nowhere.
async fn refuse(client: Client, pod: &Pod) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let status = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 node(s) were unschedulable",
        "lastTransitionTime": second(Timestamp::now()),
    }]}});
    api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

fn is_unschedulable(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
}
