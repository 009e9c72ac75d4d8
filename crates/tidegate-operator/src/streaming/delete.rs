//! Deletion of what lies outside the cluster.
//!
//! A pipeline whose policies say `Delete` carries a finalizer; any other is plain garbage collection.
//! Workers and agent go first, so that nobody writes what is being deleted; then a Job deletes. The
//! pipeline goes in any case once the deadline has passed, and an Event says what is left.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::core::DynamicObject;
use serde::Deserialize;
use tidegate_api::DeletionAction;
use tidegate_types::Reason;

use super::resources::{Cleanup, cleanup_job};
use super::validate::Validation;
use crate::apply::Applier;
use crate::cluster::labels::{self, Component};
use crate::cluster::{Owner, Ownership, names, ownership};
use crate::context::Context;
use crate::failure::Failure;
use crate::pods::{last_condition, terminated};
use crate::validation::ValidatedPipeline;

/// How far a deletion is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// Nothing outside the cluster is to go, or it went, or somebody else's finalizer is waited for.
    Done,
    /// Workers and agent are leaving.
    Draining,
    /// The Job deletes.
    Cleaning,
    /// It was given up, and this is left.
    Incomplete(Vec<String>),
}

/// What the Job's pod says when it ends.
#[derive(Debug, Deserialize)]
struct LastWords {
    #[serde(default)]
    left: Vec<String>,
}

/// Whether something outside the cluster goes with the pipeline.
pub(crate) fn wants_cleanup(pipeline: &ValidatedPipeline) -> bool {
    let policy = &pipeline.spec.deletion_policy;
    policy.stream == DeletionAction::Delete || policy.data == DeletionAction::Delete
}

/// Goes one step on with the deletion of a pipeline that has our finalizer, which is the caller's to take
/// back when it is over. `left`: for how long it may go on.
pub(crate) async fn delete(
    context: &Context,
    owner: &Owner,
    validation: &Validation,
    left: SignedDuration,
) -> Result<Deletion, Failure> {
    let pipeline = match to_clean(validation) {
        Ok(pipeline) => pipeline,
        Err(deletion) => return Ok(deletion),
    };
    if left <= SignedDuration::ZERO {
        return Ok(Deletion::Incomplete(targets(pipeline)));
    }
    let mut applier = Applier::new(context, owner);
    applier.remove_all_but::<StatefulSet>(&BTreeSet::new()).await?;
    applier.remove_all_but::<Deployment>(&BTreeSet::new()).await?;
    let pods = context.caches.pods.of(&owner.key);
    if pods.iter().any(|pod| !is_cleanup(pod)) {
        return Ok(Deletion::Draining);
    }
    let job = context.caches.jobs.get(&owner.key, &names::cleanup(&owner.key.name));
    let job = job.filter(|job| ownership(job.as_ref(), owner) == Ownership::Ours);
    if let Some(job) = &job {
        let so_far = outcome(job, pods.iter().map(AsRef::as_ref), pipeline);
        if so_far != Deletion::Cleaning {
            return Ok(so_far);
        }
    }
    let cleanup = cleanup_job(pipeline, &context.options.pods, left.unsigned_abs());
    match ensure(&mut applier, cleanup, job.is_none()).await {
        Ok(()) => Ok(Deletion::Cleaning),
        // The namespace goes too, and nothing can be made in it any more.
        Err(failure) if failure.reason == Reason::Deleting => {
            Ok(Deletion::Incomplete(targets(pipeline)))
        }
        Err(failure) => Err(failure),
    }
}

/// What there is to delete, or how the deletion ends without a Job.
fn to_clean(validation: &Validation) -> Result<&ValidatedPipeline, Deletion> {
    let said = validation.rejection.as_ref().map_or("", |rejection| rejection.message.as_str());
    let Some(pipeline) = &validation.pipeline else {
        let left =
            format!("no accepted spec is known, so stream and table stay as they are: {said}");
        return Err(Deletion::Incomplete(vec![left]));
    };
    if !wants_cleanup(pipeline) {
        return Err(Deletion::Done);
    }
    if validation.withheld {
        let left = targets(pipeline).into_iter().map(|target| format!("{target}: {said}"));
        return Err(Deletion::Incomplete(left.collect()));
    }
    Ok(pipeline)
}

/// What the Job needs is looked after while it runs, because in a foreground deletion the garbage
/// collector takes that too. The Job is made once: its template can never change.
async fn ensure(
    applier: &mut Applier<'_>,
    cleanup: Cleanup,
    make_job: bool,
) -> Result<(), Failure> {
    let Cleanup { service_account, network_policy, config, job } = cleanup;
    if let Some(account) = service_account {
        applier.ensure(account).await?;
    }
    applier.ensure(network_policy).await?;
    applier.ensure(config).await?;
    if make_job {
        applier.ensure(job).await?;
    }
    Ok(())
}

/// How long the deletion of a pipeline may go on; no more than nothing when it has to end.
pub(crate) fn time_left(
    context: &Context,
    object: &DynamicObject,
    now: Timestamp,
) -> SignedDuration {
    let begun = object.meta().deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let limit = SignedDuration::try_from(context.options.deletion_deadline)
        .unwrap_or(SignedDuration::from_hours(1));
    limit - now.duration_since(begun)
}

fn is_cleanup(pod: &Pod) -> bool {
    labels::is_of(pod, Component::Cleanup)
}

/// How the Job ended, if it did.
fn outcome<'a>(
    job: &Job,
    pods: impl Iterator<Item = &'a Pod>,
    pipeline: &ValidatedPipeline,
) -> Deletion {
    match last_condition(job) {
        None => Deletion::Cleaning,
        Some(condition) if condition.type_ == "Complete" => match last_words(pods) {
            // It did what it could, and says what it had to leave.
            Some(words) if !words.left.is_empty() => Deletion::Incomplete(words.left),
            _ => Deletion::Done,
        },
        Some(_) => Deletion::Incomplete(match last_words(pods) {
            Some(words) if !words.left.is_empty() => words.left,
            _ => targets(pipeline),
        }),
    }
}

/// What the newest attempt said.
fn last_words<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<LastWords> {
    let mut pods: Vec<&Pod> = pods.filter(|pod| is_cleanup(pod)).collect();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    pods.into_iter()
        .rev()
        .find_map(|pod| serde_json::from_str(terminated(pod)?.message.as_deref()?).ok())
}

/// What was to be deleted, in words.
fn targets(pipeline: &ValidatedPipeline) -> Vec<String> {
    let policy = &pipeline.spec.deletion_policy;
    let stream = (policy.stream == DeletionAction::Delete)
        .then(|| format!("stream {}", pipeline.config.source.stream));
    let table = (policy.data == DeletionAction::Delete)
        .then(|| format!("table {}", pipeline.config.sink.url));
    stream.into_iter().chain(table).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::streaming::validate::tests::accepted;
    use crate::validation::Rejection;

    fn job(condition: Option<(&str, &str)>) -> Job {
        let conditions: Vec<Value> = condition
            .map(|(kind, status)| json!({"type": kind, "status": status, "message": "why"}))
            .into_iter()
            .collect();
        serde_json::from_value(json!({"status": {"conditions": conditions}})).expect("a Job")
    }

    fn pod(made: &str, component: &str, said: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "creationTimestamp": made,
                "labels": {(labels::COMPONENT): component},
            },
            "status": {"containerStatuses": [{
                "name": "tidegate", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 65, "message": said}},
            }]},
        }))
        .expect("a pod")
    }

    #[test]
    fn a_deletion_ends_with_what_the_newest_attempt_says_is_left() {
        let pipeline = accepted("deletionPolicy: {stream: Delete, data: Delete}");
        let left = |what: &[&str]| {
            Deletion::Incomplete(what.iter().map(|what| (*what).to_owned()).collect())
        };
        let early = "2026-06-01T00:00:00Z";
        let late = "2026-06-01T00:01:00Z";
        let everything = left(&["stream CLICKS", "table s3://lake/clicks"]);
        for (condition, pods, wanted) in [
            (None, vec![], Deletion::Cleaning),
            (Some(("Complete", "False")), vec![], Deletion::Cleaning),
            (Some(("Complete", "True")), vec![], Deletion::Done),
            (
                Some(("Complete", "True")),
                vec![pod(
                    late,
                    "cleanup",
                    r#"{"reason": "Ok", "left": ["stream CLICKS: in use"]}"#,
                )],
                left(&["stream CLICKS: in use"]),
            ),
            (Some(("Failed", "True")), vec![], everything.clone()),
            (Some(("Failed", "True")), vec![pod(late, "cleanup", "killed")], everything.clone()),
            (
                Some(("Failed", "True")),
                vec![
                    pod(late, "cleanup", r#"{"left": ["table: 3 files"]}"#),
                    pod(early, "cleanup", r#"{"left": ["stream", "table"]}"#),
                    pod(late, "worker", r#"{"left": ["not its business"]}"#),
                ],
                left(&["table: 3 files"]),
            ),
        ] {
            let found = outcome(&job(condition), pods.iter(), &pipeline);
            assert_eq!(found, wanted, "{condition:?}");
        }
    }

    #[test]
    fn without_a_spec_or_the_accounts_consent_the_deletion_tells_the_real_reason() {
        let pipeline = || Some(accepted("deletionPolicy: {stream: Delete, data: Delete}"));
        let no = |reason| Some(Rejection { reason, message: "no".to_owned() });
        let bad = no(Reason::InvalidConfiguration);
        let validation = |pipeline, rejection, withheld| Validation {
            pipeline,
            rejection,
            withheld,
            ..Validation::default()
        };
        assert!(to_clean(&validation(pipeline(), None, false)).is_ok());
        assert!(to_clean(&validation(pipeline(), bad.clone(), false)).is_ok(), "accepted before");
        let left = |deletion: Result<_, Deletion>| match deletion {
            Err(Deletion::Incomplete(left)) => left,
            other => panic!("{:?}", other.err()),
        };
        let never = left(to_clean(&validation(None, bad, false)).map(|_| ()));
        let words = "no accepted spec is known, so stream and table stay as they are: no";
        assert_eq!(never, [words]);
        let refused = no(Reason::ServiceAccountRefused);
        let withheld = left(to_clean(&validation(pipeline(), refused.clone(), true)).map(|_| ()));
        assert_eq!(withheld, ["stream CLICKS: no", "table s3://lake/clicks: no"]);
        let keeps = validation(Some(accepted("")), refused, true);
        assert_eq!(to_clean(&keeps).err(), Some(Deletion::Done));
    }
}
