//! What runs now: workloads and pods from the caches, and what the pods say themselves.

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tidegate_config::Assignment;

use super::facts::{Observed, WorkloadFacts};
use crate::cluster::labels::{self, Component};
use crate::cluster::names::{self, ASSIGNMENT_KEY};
use crate::context::Context;
use crate::key::Key;
use crate::pods::{address, pod_facts};

/// Looks at a pipeline and asks its pods, all at once.
pub(crate) async fn observe(context: &Context, key: &Key) -> Observed {
    let caches = &context.caches;
    let deployment = caches.deployments.get(key, &names::agent(&key.name));
    let stateful_set = caches.stateful_sets.get(key, &names::workers(&key.name));
    let pods = caches.pods.of(key);
    let of = |component| pods.iter().filter(move |pod| labels::is_of(pod.as_ref(), component));
    let agent = of(Component::Agent).max_by_key(|pod| liveliness(pod));
    let workers = of(Component::Worker)
        .map(|pod| async move { (pod.name_any(), pod_facts(&context.pods, pod).await) });
    let agent = async {
        match agent {
            Some(pod) => Some(pod_facts(&context.pods, pod).await),
            None => None,
        }
    };
    let (agent_pod, worker_pods) = tokio::join!(agent, join_all(workers));
    Observed {
        agent: agent_facts(deployment.as_deref()),
        workers: worker_facts(stateful_set.as_deref()),
        agent_pod,
        worker_pods: worker_pods.into_iter().collect(),
        assignment: assignment(context, key),
    }
}

/// Tells the workers that are behind what they should read; the mounted file tells them later.
pub(crate) async fn hand_out(context: &Context, key: &Key, wanted: &Assignment, seen: &Observed) {
    let behind = |pod: &Pod| {
        let facts = seen.worker_pods.get(&pod.name_any());
        let report = facts.and_then(|facts| facts.report.as_ref());
        report.is_some_and(|report| report.assignment_generation < wanted.generation)
    };
    let pods = context.caches.pods.of(key);
    let workers =
        pods.iter().filter(|pod| labels::is_of(pod.as_ref(), Component::Worker) && behind(pod));
    let addresses: Vec<&str> = workers.filter_map(|pod| address(pod)).collect();
    join_all(addresses.into_iter().map(|address| context.pods.assign(address, wanted))).await;
}

/// The assignment that was handed out last.
fn assignment(context: &Context, key: &Key) -> Option<Assignment> {
    let map = context.caches.config_maps.get(key, &names::assignment(&key.name))?;
    let text = map.data.as_ref()?.get(ASSIGNMENT_KEY)?;
    serde_json::from_str(text).ok()
}

/// Of several agents' pods the one that matters: not leaving, and the newest.
fn liveliness(pod: &Pod) -> (bool, Option<Timestamp>) {
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (pod.metadata.deletion_timestamp.is_none(), made)
}

/// The agent's Deployment.
pub(crate) fn agent_facts(deployment: Option<&Deployment>) -> WorkloadFacts {
    let Some(deployment) = deployment else { return WorkloadFacts::default() };
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    WorkloadFacts {
        exists: true,
        observed: status.observed_generation >= deployment.metadata.generation,
        wanted,
        existing: status.replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        ready: status.ready_replicas.unwrap_or(0),
    }
}

/// The workers' `StatefulSet`.
pub(crate) fn worker_facts(stateful_set: Option<&StatefulSet>) -> WorkloadFacts {
    let Some(stateful_set) = stateful_set else { return WorkloadFacts::default() };
    let status = stateful_set.status.clone().unwrap_or_default();
    let wanted = stateful_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    // Once every pod is of the newest revision the controller counts none as updated any more.
    let all_new =
        status.update_revision.is_some() && status.current_revision == status.update_revision;
    WorkloadFacts {
        exists: true,
        observed: status.observed_generation >= stateful_set.metadata.generation,
        wanted,
        existing: status.replicas,
        updated: if all_new { status.replicas } else { status.updated_replicas.unwrap_or(0) },
        ready: status.ready_replicas.unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_workload_is_settled_when_its_controller_has_seen_and_done_everything() {
        let set = |status: Value| -> StatefulSet {
            serde_json::from_value(json!({
                "metadata": {"generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": {}, "serviceName": "s"},
                "status": status,
            }))
            .expect("a StatefulSet")
        };
        let done = json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2,
            "currentRevision": "b", "updateRevision": "b"});
        assert!(worker_facts(Some(&set(done))).is_settled());
        for (what, status) in [
            (
                "not seen",
                json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
                "currentRevision": "b", "updateRevision": "b"}),
            ),
            (
                "under way",
                json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 2,
                "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"}),
            ),
            (
                "one unready",
                json!({"observedGeneration": 2, "replicas": 2, "readyReplicas": 1,
                "currentRevision": "b", "updateRevision": "b"}),
            ),
        ] {
            assert!(!worker_facts(Some(&set(status))).is_settled(), "{what}");
        }
        assert!(!worker_facts(None).is_settled() && !agent_facts(None).exists);
    }
}
