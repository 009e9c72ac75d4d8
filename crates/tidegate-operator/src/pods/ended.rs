//! How Jobs and their pods ended.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::ResourceExt;

/// The exit code for what no further attempt can change.
pub(crate) const PERMANENT: i32 = 65;

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) end: End,
}

/// How.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended.
    Exit {
        /// Its exit code.
        code: i32,
        /// Its termination message.
        said: String,
    },
    /// The Job is complete, and its pod is gone with what it had to say.
    Unheard,
    /// It took longer than it may.
    Deadline {
        /// Its termination message; empty when its pod is gone.
        said: String,
    },
    /// The pod is gone: its node was drained or lost, or somebody deleted it.
    Lost,
}

/// How a Job ended; none while it has not. `pods` are those of the Job.
pub(crate) fn ended<'a>(job: &Job, pods: impl Iterator<Item = &'a Pod>) -> Option<Ended> {
    if let Some(state) = newest_pod(job, pods).and_then(terminated) {
        let at = state.finished_at.as_ref().map(|time| time.0).or_else(|| job_end(job));
        let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
        let said = state.message.clone().unwrap_or_default();
        if was_stopped(job, state, at) {
            return Some(Ended { at, end: End::Deadline { said } });
        }
        return Some(Ended { at, end: End::Exit { code: state.exit_code, said } });
    }
    let condition = last_condition(job)?;
    let end = match condition.type_.as_str() {
        "Complete" => End::Unheard,
        _ if is_late(condition) => End::Deadline { said: String::new() },
        _ => End::Lost,
    };
    Some(Ended { at: job_end(job).unwrap_or(Timestamp::UNIX_EPOCH), end })
}

/// Whether the process ended because the Job's time was up: often all that it knows itself is that it was
/// told to end. One that ended well or for good meanwhile has said more. The controller marks the Job before or
/// after the pod's end is seen, so that the time tells too.
fn was_stopped(job: &Job, state: &ContainerStateTerminated, at: Timestamp) -> bool {
    let marks = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let marked = marks.is_some_and(|marks| {
        marks.iter().any(|mark| {
            let fails = matches!(mark.type_.as_str(), "Failed" | "FailureTarget");
            fails && mark.status == "True" && is_late(mark)
        })
    });
    let late = deadline(job).is_some_and(|deadline| at >= deadline);
    (marked || late) && !matches!(state.exit_code, 0 | PERMANENT)
}

fn is_late(condition: &JobCondition) -> bool {
    condition.reason.as_deref() == Some("DeadlineExceeded")
}

/// When a Job's time is up.
fn deadline(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.active_deadline_seconds?;
    let start = job.status.as_ref()?.start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// The newest pod of a Job.
pub(crate) fn newest_pod<'a>(job: &Job, pods: impl Iterator<Item = &'a Pod>) -> Option<&'a Pod> {
    pods.filter(|pod| is_of(job, pod))
        .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Whether a pod belongs to the Job.
pub(crate) fn is_of(job: &Job, pod: &Pod) -> bool {
    let uid = job.uid();
    let mut owners = pod.owner_references().iter();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

/// The end of a pod's only container.
pub(crate) fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.first()?.state.as_ref()?.terminated.as_ref()
}

/// How the controller says that the Job ended.
pub(crate) fn last_condition(job: &Job) -> Option<&JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| {
        condition.status == "True" && matches!(condition.type_.as_str(), "Complete" | "Failed")
    })
}

fn job_end(job: &Job) -> Option<Timestamp> {
    last_condition(job)?.last_transition_time.as_ref().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const THEN: &str = "2026-06-01T00:00:10Z";

    fn job(condition: Option<(&str, &str)>) -> Job {
        let conditions: Vec<Value> = condition
            .into_iter()
            .map(|(kind, reason)| {
                json!({"type": kind, "status": "True", "reason": reason, "lastTransitionTime": THEN})
            })
            .collect();
        let job = json!({"metadata": {"name": "r-g1", "uid": "job"}, "status": {"conditions": conditions}});
        serde_json::from_value(job).unwrap()
    }

    fn pod(owner: &str, state: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "r-g1-x", "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "r-g1", "uid": owner, "controller": true,
            }]},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "tidegate", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            }]},
        }))
        .unwrap()
    }

    #[test]
    fn an_end_is_what_the_pod_left_or_what_the_job_says_without_it() {
        let over = |code: i32| json!({"terminated": {"exitCode": code, "message": "words", "finishedAt": THEN}});
        let exit = |code| Some(End::Exit { code, said: "words".to_owned() });
        let running = json!({"running": {}});
        let late = |said: &str| End::Deadline { said: said.to_owned() };
        for (what, job, pods, wanted) in [
            ("runs", job(None), vec![pod("job", running.clone())], None),
            ("has no pod yet", job(None), vec![], None),
            ("ended", job(None), vec![pod("job", over(75))], exit(75)),
            (
                "failed by its pod",
                job(Some(("Failed", "BackoffLimitExceeded"))),
                vec![pod("job", over(65))],
                exit(65),
            ),
            ("another's pod", job(None), vec![pod("other", over(0))], None),
            ("complete, pod gone", job(Some(("Complete", ""))), vec![], Some(End::Unheard)),
            ("late", job(Some(("Failed", "DeadlineExceeded"))), vec![], Some(late(""))),
            ("pod gone", job(Some(("Failed", "BackoffLimitExceeded"))), vec![], Some(End::Lost)),
            (
                "evicted",
                job(Some(("Failed", "BackoffLimitExceeded"))),
                vec![pod("job", running)],
                Some(End::Lost),
            ),
        ] {
            let found = ended(&job, pods.iter());
            assert_eq!(found.as_ref().map(|ended| &ended.end), wanted.as_ref(), "{what}");
            if let Some(found) = found {
                assert_eq!(found.at.to_string(), THEN, "{what}");
            }
        }
    }

    #[test]
    fn whoever_was_told_to_end_because_the_time_was_up_did_not_just_break_off() {
        let over = |code: i32, at: &str| {
            pod(
                "job",
                json!({"terminated": {"exitCode": code, "message": "words", "finishedAt": at}}),
            )
        };
        let limited = |conditions: Value| -> Job {
            serde_json::from_value(json!({
                "metadata": {"name": "r-g1", "uid": "job"}, "spec": {"activeDeadlineSeconds": 10,
                    "template": {}},
                "status": {"startTime": "2026-06-01T00:00:00Z", "conditions": conditions},
            }))
            .unwrap()
        };
        let mark = |kind: &str, status: &str, reason: &str| json!([{"type": kind, "status": status, "reason": reason, "lastTransitionTime": THEN}]);
        let exit = |code| End::Exit { code, said: "words".to_owned() };
        let late = || End::Deadline { said: "words".to_owned() };
        let early = "2026-06-01T00:00:09Z";
        for (what, conditions, code, at, wanted) in [
            ("marked", mark("Failed", "True", "DeadlineExceeded"), 75, early, late()),
            ("about to be", mark("FailureTarget", "True", "DeadlineExceeded"), 75, early, late()),
            (
                "killed after its grace",
                mark("Failed", "True", "DeadlineExceeded"),
                137,
                early,
                late(),
            ),
            ("not marked yet", json!([]), 75, THEN, late()),
            ("in time", json!([]), 75, early, exit(75)),
            (
                "not marked after all",
                mark("Failed", "False", "DeadlineExceeded"),
                75,
                early,
                exit(75),
            ),
            (
                "failed by its pod",
                mark("Failed", "True", "BackoffLimitExceeded"),
                75,
                early,
                exit(75),
            ),
            ("ended well", mark("Failed", "True", "DeadlineExceeded"), 0, THEN, exit(0)),
            ("given up", mark("Failed", "True", "DeadlineExceeded"), 65, THEN, exit(65)),
        ] {
            let found = ended(&limited(conditions), [over(code, at)].iter()).unwrap();
            assert_eq!(found.end, wanted, "{what}");
        }
    }
}
