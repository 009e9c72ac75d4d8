//! What runs now: workloads and pods from the caches, and what the pods say themselves.

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use tidegate_config::Assignment;
use tidegate_types::Reason;

use super::build::ASSIGNMENT_KEY;
use super::facts::{Observed, PodFacts, Trouble, WorkloadFacts};
use super::labels::{self, Component};
use super::message::bounded;
use super::names;
use crate::context::Context;
use crate::key::Key;

/// Why a container does not start that will not start by itself.
const START_FAILURES: [&str; 9] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
    "StartError",
];

/// Looks at a pipeline and asks its pods, all at once.
pub(crate) async fn observe(context: &Context, key: &Key) -> Observed {
    let caches = &context.caches;
    let deployment = caches.deployments.get(key, &names::agent(&key.name));
    let stateful_set = caches.stateful_sets.get(key, &names::workers(&key.name));
    let pods = caches.pods.of(key);
    let of = |component| pods.iter().filter(move |pod| is_component(pod, component));
    let agent = of(Component::Agent).max_by_key(|pod| liveliness(pod));
    let workers = of(Component::Worker)
        .map(|pod| async move { (pod.name_any(), pod_facts(context, pod).await) });
    let agent = async {
        match agent {
            Some(pod) => Some(pod_facts(context, pod).await),
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
    let workers = pods.iter().filter(|pod| is_component(pod, Component::Worker) && behind(pod));
    let addresses: Vec<&str> = workers.filter_map(|pod| address(pod)).collect();
    join_all(addresses.into_iter().map(|address| context.pods.assign(address, wanted))).await;
}

/// The assignment that was handed out last.
fn assignment(context: &Context, key: &Key) -> Option<Assignment> {
    let map = context.caches.config_maps.get(key, &names::assignment(&key.name))?;
    let text = map.data.as_ref()?.get(ASSIGNMENT_KEY)?;
    serde_json::from_str(text).ok()
}

fn is_component(pod: &Pod, component: Component) -> bool {
    pod.labels().get(labels::COMPONENT).is_some_and(|value| value == component.as_str())
}

/// Of several agents' pods the one that matters: not leaving, and the newest.
fn liveliness(pod: &Pod) -> (bool, Option<Timestamp>) {
    let made = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (pod.metadata.deletion_timestamp.is_none(), made)
}

pub(crate) fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    status.pod_ip.as_deref().filter(|address| running && !address.is_empty())
}

pub(crate) async fn pod_facts<R: DeserializeOwned>(context: &Context, pod: &Pod) -> PodFacts<R> {
    let report = match address(pod) {
        Some(address) => context.pods.report(address).await,
        None => None,
    };
    facts_of(pod, report)
}

/// What Kubernetes says of a pod.
fn facts_of<R>(pod: &Pod, report: Option<R>) -> PodFacts<R> {
    let status = pod.status.as_ref();
    let ready = condition(status, "Ready");
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let since = ready.and_then(|condition| condition.last_transition_time.as_ref());
    let since = since.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0);
    PodFacts {
        ready: is_ready,
        not_ready_since: since.filter(|_| !is_ready),
        leaving: pod.metadata.deletion_timestamp.is_some(),
        trouble: status.filter(|_| !is_ready).and_then(trouble),
        report,
    }
}

fn condition<'a>(status: Option<&'a PodStatus>, name: &str) -> Option<&'a PodCondition> {
    status?.conditions.iter().flatten().find(|condition| condition.type_ == name)
}

/// What keeps a pod from beginning; none once it has begun.
pub(crate) fn trouble_to_begin(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    trouble(status).filter(|_| status.phase.as_deref() == Some("Pending"))
}

/// What is wrong with a pod that is not ready and may not be able to say so itself.
fn trouble(status: &PodStatus) -> Option<Trouble> {
    if let Some(scheduled) = condition(Some(status), "PodScheduled")
        && scheduled.status == "False"
        && scheduled.reason.as_deref() == Some("Unschedulable")
    {
        let message = bounded(scheduled.message.as_deref().unwrap_or("no node takes it"));
        return Some(Trouble { reason: Reason::Unschedulable, message });
    }
    let container = status.container_statuses.iter().flatten().find_map(container_trouble);
    let message = container.or_else(|| pod_failure(status))?;
    Some(Trouble { reason: Reason::PodFailing, message: bounded(&message) })
}

/// The pod as a whole, such as one that was evicted.
fn pod_failure(status: &PodStatus) -> Option<String> {
    if status.phase.as_deref() != Some("Failed") {
        return None;
    }
    let reason = status.reason.as_deref().unwrap_or("Failed");
    Some(joined(reason, status.message.as_deref()))
}

fn container_trouble(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref();
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if !START_FAILURES.contains(&reason) {
            return None;
        }
        // What the container said when it ended tells more than that it is being held back.
        return Some(match last {
            Some(last) => joined(reason, Some(&ended(last))),
            None => joined(reason, waiting.message.as_deref()),
        });
    }
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        return (terminated.exit_code != 0).then(|| ended(terminated));
    }
    // It runs again, but the kernel will not be more patient this time.
    last.filter(|last| last.reason.as_deref() == Some("OOMKilled")).map(ended)
}

fn ended(state: &k8s_openapi::api::core::v1::ContainerStateTerminated) -> String {
    let reason = state.reason.as_deref().unwrap_or("Error");
    let how = format!("{reason} (exit code {})", state.exit_code);
    joined(&how, state.message.as_deref())
}

fn joined(reason: &str, message: Option<&str>) -> String {
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    }
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

    fn pod(status: Value) -> Pod {
        let made = "2026-06-01T00:00:00Z";
        serde_json::from_value(json!({
            "metadata": {"name": "clicks-worker-0", "creationTimestamp": made},
            "status": status,
        }))
        .expect("a pod")
    }

    fn facts(status: Value) -> PodFacts<()> {
        facts_of(&pod(status), None)
    }

    #[test]
    fn a_pod_that_has_begun_is_not_kept_from_it() {
        let unschedulable = json!([{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes",
        }]);
        for (phase, waits) in [("Pending", true), ("Running", false), ("Failed", false)] {
            let pod = pod(json!({"phase": phase, "conditions": unschedulable}));
            let trouble = trouble_to_begin(&pod).map(|trouble| trouble.reason);
            assert_eq!(trouble, waits.then_some(Reason::Unschedulable), "{phase}");
        }
        assert_eq!(trouble_to_begin(&pod(json!({"phase": "Pending"}))), None);
    }

    #[test]
    fn trouble_is_told_in_kubernetes_own_words() {
        let container = |state: Value, last: Value| {
            json!({"containerStatuses": [{
                "name": "tidegate", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
                "state": state, "lastState": last,
            }]})
        };
        let none = json!({});
        let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        for (status, wanted) in [
            (
                json!({"conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "0/3 nodes are available"}]}),
                Some((Reason::Unschedulable, "0/3 nodes are available")),
            ),
            (
                container(
                    json!({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}),
                    none.clone(),
                ),
                Some((Reason::PodFailing, "ImagePullBackOff: no such image")),
            ),
            (
                container(
                    json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
                    json!({"terminated": {"exitCode": 65, "reason": "Error", "message": "pipeline.json: name is missing\\n"}}),
                ),
                Some((
                    Reason::PodFailing,
                    "CrashLoopBackOff: Error (exit code 65): pipeline.json: name is missing\\n",
                )),
            ),
            (
                container(json!({"running": {}}), killed.clone()),
                Some((Reason::PodFailing, "OOMKilled (exit code 137)")),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}),
                Some((Reason::PodFailing, "Evicted: disk pressure")),
            ),
            (container(json!({"waiting": {"reason": "ContainerCreating"}}), none.clone()), None),
            (container(json!({"running": {}}), none.clone()), None),
            (container(json!({"terminated": {"exitCode": 0}}), none), None),
        ] {
            let found = facts(status.clone()).trouble;
            let found = found.as_ref().map(|t| (t.reason, t.message.as_str()));
            assert_eq!(found, wanted, "{status}");
        }
    }

    #[test]
    fn a_ready_pod_has_no_trouble_and_an_unready_one_says_since_when() {
        let ready = |status: &str| {
            json!({
                "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-06-01T00:01:00Z"}],
                "containerStatuses": [{
                    "name": "tidegate", "image": "i", "imageID": "", "ready": true, "restartCount": 1,
                    "state": {"running": {}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }],
            })
        };
        let well = facts(ready("True"));
        assert!(well.ready && well.not_ready_since.is_none() && well.trouble.is_none());
        let unwell = facts(ready("False"));
        let since = unwell.not_ready_since.map(|time| time.to_string());
        assert_eq!(since.as_deref(), Some("2026-06-01T00:01:00Z"));
        let new = facts(json!({})).not_ready_since.map(|time| time.to_string());
        assert_eq!(new.as_deref(), Some("2026-06-01T00:00:00Z"), "since it was made");
    }

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
