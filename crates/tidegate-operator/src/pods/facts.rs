//! How a pod is: what Kubernetes says of it, and what it says itself.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use serde::de::DeserializeOwned;
use tidegate_types::Reason;

use super::address::address;
use super::client::PodClient;
use crate::text::bounded;

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

/// A pod, and what it says about itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodFacts<R> {
    /// Whether its readiness probe passes.
    pub(crate) ready: bool,
    /// Since when it has not been ready; none while it is.
    pub(crate) not_ready_since: Option<Timestamp>,
    /// Whether it was asked to leave.
    pub(crate) leaving: bool,
    /// What Kubernetes says is wrong with it.
    pub(crate) trouble: Option<Trouble>,
    /// What it says itself; none when it does not answer.
    pub(crate) report: Option<R>,
}

/// What is wrong with a pod that cannot speak for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// [`Reason::Unschedulable`] or [`Reason::PodFailing`].
    pub(crate) reason: Reason,
    /// Kubernetes' own words, bounded.
    pub(crate) message: String,
}

/// Looks at a pod, and asks it when it runs.
pub(crate) async fn pod_facts<R: DeserializeOwned>(pods: &PodClient, pod: &Pod) -> PodFacts<R> {
    let report = match address(pod) {
        Some(address) => pods.report(address).await,
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
            Some(last) => joined(reason, Some(&end_of(last))),
            None => joined(reason, waiting.message.as_deref()),
        });
    }
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        return (terminated.exit_code != 0).then(|| end_of(terminated));
    }
    // It runs again, but the kernel will not be more patient this time.
    last.filter(|last| last.reason.as_deref() == Some("OOMKilled")).map(end_of)
}

fn end_of(state: &ContainerStateTerminated) -> String {
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
}
