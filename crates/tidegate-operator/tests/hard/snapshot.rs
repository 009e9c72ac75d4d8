//! What a pipeline has in the cluster, without what differs from one run to the next.
//!
//! Left out are the API server's own marks, times, names that are made up, and numbers that only count.
//! Names of pipeline and namespace, and hashes that depend on them, are replaced by words.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::api::ListParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_testing::Namespace;

/// Objects by kind and name.
pub(crate) type Snapshot = BTreeMap<String, Value>;

/// Everything of our kinds in a namespace, as it is.
#[derive(Debug)]
pub(crate) struct Inventory {
    namespace: String,
    /// With their kinds.
    objects: Vec<(&'static str, Value)>,
}

impl Inventory {
    pub(crate) async fn take(namespace: &Namespace) -> anyhow::Result<Self> {
        let kinds: [futures::future::BoxFuture<'_, anyhow::Result<_>>; 10] = [
            Box::pin(list::<IngestionPipeline>("IngestionPipeline", namespace)),
            Box::pin(list::<ServiceAccount>("ServiceAccount", namespace)),
            Box::pin(list::<NetworkPolicy>("NetworkPolicy", namespace)),
            Box::pin(list::<ConfigMap>("ConfigMap", namespace)),
            Box::pin(list::<Deployment>("Deployment", namespace)),
            Box::pin(list::<Service>("Service", namespace)),
            Box::pin(list::<StatefulSet>("StatefulSet", namespace)),
            Box::pin(list::<PodDisruptionBudget>("PodDisruptionBudget", namespace)),
            Box::pin(list::<Job>("Job", namespace)),
            Box::pin(list::<Pod>("Pod", namespace)),
        ];
        let objects = try_join_all(kinds).await?.into_iter().flatten().collect();
        Ok(Self { namespace: namespace.name().to_owned(), objects })
    }

    /// The objects of one pipeline, as they are.
    pub(crate) fn raw<'a>(
        &'a self,
        pipeline: &'a str,
    ) -> impl Iterator<Item = (&'static str, &'a Value)> {
        let own = self.objects.iter().filter(move |(kind, object)| is_of(kind, object, pipeline));
        own.map(|(kind, object)| (*kind, object))
    }

    /// One object as it is; null when there is none.
    pub(crate) fn object(&self, kind: &str, name: &str) -> &Value {
        static NOTHING: Value = Value::Null;
        let mut objects = self.objects.iter();
        let found = objects.find(|(of, object)| *of == kind && object["metadata"]["name"] == name);
        found.map_or(&NOTHING, |(_, object)| object)
    }

    /// The objects of one pipeline, so that they can be compared with those of another.
    pub(crate) fn snapshot(&self, pipeline: &str) -> Snapshot {
        let words = self.words(pipeline);
        let mut snapshot = Snapshot::new();
        for (kind, object) in self.raw(pipeline) {
            let object = renamed(&normal(kind, object), &words);
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let mut key = format!("{kind}/{name}");
            // Names of a Deployment's pods are made up.
            while snapshot.contains_key(&key) {
                key.push('+');
            }
            snapshot.insert(key, object);
        }
        snapshot
    }

    /// What is said instead of names and hashes, the longest first.
    fn words(&self, pipeline: &str) -> Vec<(String, String)> {
        let prefix = format!("{pipeline}-config-");
        let hashes = self.objects.iter().filter(|(kind, _)| *kind == "ConfigMap");
        let hashes = hashes.filter_map(|(_, object)| {
            object["metadata"]["name"].as_str()?.strip_prefix(&prefix).map(str::to_owned)
        });
        let mut words: Vec<_> = hashes.map(|hash| (hash, "HASH".to_owned())).collect();
        words.push((self.namespace.clone(), "NAMESPACE".to_owned()));
        words.push((pipeline.to_uppercase(), "STREAM".to_owned()));
        words.push((pipeline.to_owned(), "PIPELINE".to_owned()));
        words
    }
}

/// What differs between two snapshots, in words.
pub(crate) fn differences(found: &Snapshot, wanted: &Snapshot) -> Vec<String> {
    let mut differences = Vec::new();
    for (key, object) in wanted {
        match found.get(key) {
            None => differences.push(format!("{key} is missing")),
            Some(there) => compare(key, there, object, &mut differences),
        }
    }
    let more = found.iter().filter(|(key, _)| !wanted.contains_key(*key));
    differences.extend(more.map(|(key, _)| format!("{key} is too many")));
    differences
}

fn compare(place: &str, found: &Value, wanted: &Value, differences: &mut Vec<String>) {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            let mut keys: Vec<_> = found.keys().chain(wanted.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (there, here) = (found.get(key), wanted.get(key));
                let null = &Value::Null;
                let place = format!("{place}.{key}");
                compare(&place, there.unwrap_or(null), here.unwrap_or(null), differences);
            }
        }
        _ if found == wanted => {}
        _ => differences.push(format!("{place} is {found}, not {wanted}")),
    }
}

async fn list<K>(
    kind: &'static str,
    namespace: &Namespace,
) -> anyhow::Result<Vec<(&'static str, Value)>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Serialize + Debug,
{
    let list = namespace.api::<K>().list(&ListParams::default()).await?;
    let objects = list.items.into_iter().map(|object| Ok((kind, serde_json::to_value(object)?)));
    objects.collect()
}

/// By label, owner or name, so that one without its labels is found too.
fn is_of(kind: &str, object: &Value, pipeline: &str) -> bool {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if kind == "IngestionPipeline" {
        return name == pipeline;
    }
    let owners = metadata["ownerReferences"].as_array();
    let owned = owners
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "IngestionPipeline" && owner["name"] == pipeline);
    owned
        || metadata["labels"]["tidegate.dev/pipeline"] == pipeline
        || name.strip_prefix(pipeline).is_some_and(|rest| rest.starts_with('-'))
}

fn normal(kind: &str, object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = normal_metadata(&object["metadata"]);
    object["metadata"] = metadata;
    match kind {
        "IngestionPipeline" => object["status"] = normal_status(&object["status"]),
        "ConfigMap" => normal_map(&mut object),
        "Pod" => normal_pod(&mut object),
        "Job" => {
            without(&mut object["spec"], &["selector", "template"]);
            without(&mut object, &["status"]);
        }
        "StatefulSet" | "Deployment" => {
            let status = &object["status"];
            let ready = status["readyReplicas"].as_u64().unwrap_or(0);
            object["status"] = json!({"replicas": status["replicas"], "ready": ready});
        }
        "Service" => {
            without(&mut object["spec"], &["clusterIP", "clusterIPs"]);
            without(&mut object, &["status"]);
        }
        _ => without(&mut object, &["status"]),
    }
    object
}

fn without(object: &mut Value, fields: &[&str]) {
    if let Some(members) = object.as_object_mut() {
        members.retain(|name, _| !fields.contains(&name.as_str()));
    }
}

fn normal_metadata(metadata: &Value) -> Value {
    let mut kept = json!({"name": metadata["name"]});
    for field in ["labels", "annotations", "finalizers"] {
        kept[field] = metadata[field].clone();
    }
    let leaves = !metadata["deletionTimestamp"].is_null();
    if leaves {
        kept["leaves"] = json!(true);
    }
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    kept["owners"] = owners.map(|owner| json!([owner["kind"], owner["controller"]])).collect();
    let changing = [
        "tidegate.dev/applied-hash",
        "tidegate.dev/template-hash",
        "tidegate.dev/spec-hash",
        "deployment.kubernetes.io/revision",
    ];
    without(&mut kept["annotations"], &["tidegate.dev/requestedAt"]);
    for name in changing {
        let annotation = &mut kept["annotations"][name];
        *annotation = json!(!annotation.is_null());
    }
    // The first is of the control plane, the others of hashes.
    without(
        &mut kept["labels"],
        &[
            "pod-template-hash",
            "controller-revision-hash",
            "batch.kubernetes.io/controller-uid",
            "controller-uid",
        ],
    );
    kept
}

/// What it says, not since when and in which words.
fn normal_status(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let conditions: Map<String, Value> = conditions
        .map(|condition| {
            let kind = condition["type"].as_str().unwrap_or_default().to_owned();
            // While it is True its reason tells of the last step, whenever that was.
            let tells_the_past = kind == "ScalingActive" && condition["status"] == "True";
            let reason = if tells_the_past { &Value::Null } else { &condition["reason"] };
            (kind, json!([condition["status"], reason]))
        })
        .collect();
    json!({
        "conditions": conditions,
        "phase": status["phase"],
        "replicas": status["replicas"],
        "readyReplicas": status["readyReplicas"],
        "selector": status["selector"],
    })
}

/// Assignments count their changes; who reads what depends on who read it before, how many do not.
fn normal_map(object: &mut Value) {
    let Some(text) = object["data"]["assignment.json"].as_str() else { return };
    let Ok(assignment) = serde_json::from_str::<Value>(text) else { return };
    let workers = assignment["workers"].as_array().into_iter().flatten();
    let shares: Vec<_> = workers.map(|worker| worker["partitions"].clone()).collect();
    let mut all: Vec<_> = shares.iter().filter_map(Value::as_array).flatten().collect();
    all.sort_by_key(|partition| partition.as_u64());
    let mut sizes: Vec<_> = shares.iter().filter_map(Value::as_array).map(Vec::len).collect();
    sizes.sort_unstable();
    object["data"]["assignment.json"] = json!({"all": all, "shares": sizes});
}

fn normal_pod(object: &mut Value) {
    let status = &object["status"];
    let ready = status["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    object["status"] = json!({"ready": ready, "phase": status["phase"]});
    let owner = object["metadata"]["owners"][0][0].clone();
    let component = object["metadata"]["labels"]["app.kubernetes.io/component"].clone();
    if owner != "StatefulSet" {
        object["metadata"]["name"] = component;
    }
    without(&mut object["spec"], &["nodeName", "hostname"]);
}

fn renamed(object: &Value, words: &[(String, String)]) -> Value {
    let mut text = object.to_string();
    for (name, word) in words {
        text = text.replace(name, word);
    }
    serde_json::from_str(&text).unwrap()
}
