//! What one test stands on: a namespace with rights, a node, operators.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_config::Assignment;
use tidegate_operator::OperatorOptions;
use tidegate_testing::cluster::Access;
use tidegate_testing::{Namespace, ProcessNode, Tap, TidegateProcess, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::LONG;
use super::document::Document;
use super::operator::{InProcess, options, spawn};
use super::rights::{ACCOUNT, grant};

/// Everything goes away with it, the operators of the test first.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) node: ProcessNode,
    /// The operator's way in.
    pub(crate) access: Access,
    pub(crate) namespace: Namespace,
}

impl Stage {
    /// Pods are stand-ins.
    pub(crate) async fn of_stand_ins(name: &str) -> Self {
        Self::of_stand_ins_in(Namespace::create(name).await.unwrap()).await
    }

    /// The same in a namespace that is there.
    pub(crate) async fn of_stand_ins_in(namespace: Namespace) -> Self {
        let node = ProcessNode::stand_in(&namespace).await.unwrap();
        Self::with(namespace, node).await
    }

    /// Pods are processes.
    pub(crate) async fn of_processes(name: &str) -> Self {
        let namespace = Namespace::create(name).await.unwrap();
        let node = ProcessNode::start(&namespace).await.unwrap();
        Self::with(namespace, node).await
    }

    async fn with(namespace: Namespace, node: ProcessNode) -> Self {
        grant(&namespace).await.unwrap();
        let access = namespace.access(ACCOUNT).await.unwrap();
        Self { node, access, namespace }
    }

    /// An operator in this process.
    pub(crate) async fn operator(&self) -> InProcess {
        self.operator_with(options(&self.namespace)).await
    }

    /// The same with other options.
    pub(crate) async fn operator_with(&self, options: OperatorOptions) -> InProcess {
        InProcess::start(options, &self.access, Tap::new()).await.unwrap()
    }

    /// An operator as a process.
    pub(crate) async fn process(&self, identity: &str) -> TidegateProcess {
        spawn(&self.namespace, &self.access, identity, &self.node.folder()).await.unwrap()
    }

    /// Applies a pipeline.
    pub(crate) async fn apply(&self, document: &Document) {
        self.namespace.apply(document.value()).await.unwrap();
    }

    /// Changes fields of a pipeline's spec as `kubectl patch` does; the API server's refusal is
    /// returned.
    pub(crate) async fn edit(&self, name: &str, spec: &Value) -> anyhow::Result<IngestionPipeline> {
        self.namespace.merge(name, &json!({"spec": spec})).await
    }

    /// The pipeline as it stands.
    pub(crate) async fn pipeline(&self, name: &str) -> IngestionPipeline {
        self.namespace.api::<IngestionPipeline>().get(name).await.unwrap()
    }

    /// Waits for something and shows the pipelines when it does not come.
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFnMut() -> bool) {
        if let Err(error) = eventually(what, LONG, condition).await {
            // Without reading them: a test may have made some that cannot be read.
            let list = self.namespace.kubectl(&["get", "ipl", "--output", "json"]).await.unwrap();
            let list: Value = serde_json::from_str(&list).unwrap();
            let pipelines: String =
                list["items"].as_array().into_iter().flatten().map(in_words).collect();
            panic!("{error}\n{pipelines}");
        }
    }

    /// Waits until the status speaks of the newest spec and everything runs as it says.
    pub(crate) async fn until_ready(&self, name: &str) {
        self.until(&format!("{name} is ready"), async || is_settled(&self.pipeline(name).await))
            .await;
    }

    /// Waits for a condition with this status and reason.
    pub(crate) async fn until_condition(&self, name: &str, kind: &str, status: &str, reason: &str) {
        let what = format!("{kind}={status} {reason} of {name}");
        self.until(&what, async || {
            let found = condition(&self.pipeline(name).await, kind);
            found.is_some_and(|found| found.status == status && found.reason == reason)
        })
        .await;
    }

    /// A condition of a pipeline.
    pub(crate) async fn condition(&self, name: &str, kind: &str) -> Option<Condition> {
        condition(&self.pipeline(name).await, kind)
    }

    /// Waits until so many workers are ready, and no others exist.
    pub(crate) async fn until_workers(&self, name: &str, count: usize) {
        let what = format!("{count} workers of {name}");
        self.until(&what, async || {
            let pods = self.pods(name, "worker").await;
            pods.len() == count && pods.iter().all(is_ready)
        })
        .await;
    }

    /// Deletes a pod, and does not wait until it is gone.
    pub(crate) async fn delete_pod(&self, pod: &str) {
        self.namespace.api::<Pod>().delete(pod, &DeleteParams::default()).await.unwrap();
    }

    /// The pods of a component of a pipeline.
    pub(crate) async fn pods(&self, name: &str, component: &str) -> Vec<Pod> {
        let labels =
            format!("tidegate.dev/pipeline={name},app.kubernetes.io/component={component}");
        let list = ListParams::default().labels(&labels);
        self.namespace.api::<Pod>().list(&list).await.unwrap().items
    }

    /// The uids of these pods, sorted: they differ after a roll.
    pub(crate) async fn uids(&self, name: &str, component: &str) -> Vec<String> {
        let pods = self.pods(name, component).await;
        let mut uids: Vec<_> = pods.iter().filter_map(ResourceExt::uid).collect();
        uids.sort();
        uids
    }

    /// What a pod says about itself; null when it does not answer.
    pub(crate) async fn report(&self, pod: &str) -> Value {
        let report = async || {
            let address = self.node.address(pod)?;
            let mut stream = TcpStream::connect(address).await.ok()?;
            stream.write_all(b"GET /status HTTP/1.0\r\n\r\n").await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
        };
        report().await.unwrap_or_default()
    }

    /// Who reads what.
    pub(crate) async fn assignment(&self, name: &str) -> Assignment {
        let maps = self.namespace.api::<ConfigMap>();
        let map = maps.get(&format!("{name}-assignment")).await.unwrap();
        serde_json::from_str(&map.data.unwrap()["assignment.json"]).unwrap()
    }

    /// Whether an Event of this reason was written about something of the pipeline.
    pub(crate) async fn has_event(&self, name: &str, reason: &str) -> bool {
        self.events(name).await.iter().any(|event| event.reason.as_deref() == Some(reason))
    }

    /// The Events about a pipeline.
    pub(crate) async fn events(&self, name: &str) -> Vec<Event> {
        let events = self.namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
        let about = |event: &Event| {
            event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(name))
        };
        events.items.into_iter().filter(about).collect()
    }
}

/// Whether the status speaks of the newest spec and says that it is ready with nothing under way: what
/// `kubectl wait --for=condition=Ready` and kstatus look at.
pub(crate) fn is_settled(pipeline: &IngestionPipeline) -> bool {
    let observed = pipeline.status.as_ref().and_then(|status| status.observed_generation);
    let ready = condition(pipeline, "Ready").is_some_and(|ready| ready.status == "True");
    observed == pipeline.metadata.generation
        && ready
        && condition(pipeline, "Reconciling").is_none()
        && condition(pipeline, "Stalled").is_none()
}

fn condition(pipeline: &IngestionPipeline, kind: &str) -> Option<Condition> {
    let conditions = &pipeline.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == kind).cloned()
}

/// A pipeline's conditions, a line each.
fn in_words(pipeline: &Value) -> String {
    let status = &pipeline["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let lines: String = conditions
        .map(|condition| {
            let field = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
            let (kind, holds) = (field("type"), field("status"));
            format!("  {kind}={holds} {}: {}\n", field("reason"), field("message"))
        })
        .collect();
    let metadata = &pipeline["metadata"];
    let (wanted, observed) = (&metadata["generation"], &status["observedGeneration"]);
    format!("{}, generation {observed} of {wanted}\n{lines}", metadata["name"])
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|found| found.type_ == "Ready" && found.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
