//! Deletion of what lies outside the cluster.
//!
//! A pipeline whose policies say `Delete` carries a finalizer; any other is plain garbage collection.
//! Workers and agent go first, so that nobody writes what is being deleted; then a Job deletes. The
//! pipeline goes in any case once the deadline has passed, and an Event says what is left.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::core::{DynamicObject, Status};
use kube::{Resource, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_api::{DeletionAction, GROUP, KIND, VERSION};
use tidegate_types::Reason;
use tokio::time::Instant;

use super::apply::Applier;
use super::build::{Cleanup, cleanup_job};
use super::facts::ValidatedPipeline;
use super::failure::Failure;
use super::labels::{self, Component};
use super::names;
use super::owner::{Owner, Ownership, ownership};
use super::validate::Validation;
use crate::context::{Context, pipeline_resource};
use crate::runs::{last_condition, terminated};
use crate::watch::take_in;

/// How long until a pipeline that somebody else changed is looked at again.
const CHANGED_AGAIN: Duration = Duration::from_secs(1);

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

/// Whether the pipeline waits for us before it goes.
pub(crate) fn has_finalizer(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER)
}

/// Sets or takes back our finalizer, and nobody else's.
pub(crate) async fn set_finalizer(
    context: &Context,
    owner: &Owner,
    wanted: bool,
) -> Result<(), Failure> {
    if !wanted {
        return take_finalizer(context, owner).await;
    }
    // With the uid, so that a successor of the same name is not meant.
    let document = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": owner.key.name, "uid": owner.uid, "finalizers": [names::FINALIZER]},
    });
    let how = PatchParams::apply(names::FIELD_MANAGER).force();
    patch(context, owner, &how, &Patch::Apply(document), true).await
}

/// Takes our finalizer back, whoever wrote it: one that came with a restored backup has no manager, and
/// an apply takes away only what the same manager applied.
pub(crate) async fn take_finalizer(context: &Context, owner: &Owner) -> Result<(), Failure> {
    // Newer than what the reconcile began with when the status was written since.
    let live = context.caches.pipelines.get(&owner.key, &owner.key.name);
    let live = live.filter(|live| live.uid().as_ref() == Some(&owner.uid) && has_finalizer(live));
    let Some(live) = live else { return Ok(()) };
    let how = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    patch(context, owner, &how, &Patch::Merge(without_finalizer(&live)), false).await
}

/// A merge patch replaces the whole list, so that it may only meet the object that it was made from.
fn without_finalizer(live: &DynamicObject) -> Value {
    let others: Vec<&String> =
        live.finalizers().iter().filter(|finalizer| *finalizer != names::FINALIZER).collect();
    json!({"metadata": {
        "uid": live.uid(),
        "resourceVersion": live.resource_version(),
        "finalizers": others,
    }})
}

async fn patch(
    context: &Context,
    owner: &Owner,
    how: &PatchParams,
    patch: &Patch<Value>,
    wanted: bool,
) -> Result<(), Failure> {
    let name = &owner.key.name;
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &owner.key.namespace, &pipeline_resource());
    let changed = |what: &str| {
        Failure::waiting(Reason::Progressing, format!("{KIND} {name}: {what}"), CHANGED_AGAIN)
    };
    match api.patch(name, how, patch).await {
        Ok(object) => {
            let done = has_finalizer(&object) == wanted;
            // One that is gone now comes back as it was last; the watch tells.
            if object.metadata.deletion_timestamp.is_none() {
                take_in(context, object);
            }
            if done { Ok(()) } else { Err(changed("its finalizers are not what was sent")) }
        }
        Err(kube::Error::Api(status)) if status.code == 404 => {
            if let Some(live) = context.caches.pipelines.get(&owner.key, name) {
                gone(context, &live, &status);
            }
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == 409 && !wanted => {
            Err(changed("somebody changed it meanwhile"))
        }
        Err(error) => Err(Failure::of_request(&format!("{KIND} {name}"), &error)),
    }
}

/// Forgets a pipeline of which the API server says that there is none: no event may come for it any
/// more. That the kind is not served says nothing about one object of it.
pub(crate) fn gone(context: &Context, object: &DynamicObject, refusal: &Status) {
    if names_object(refusal, &object.name_any())
        && let Some(change) = context.caches.pipelines.remove(object)
    {
        context.queue.add(change.owner, Instant::now());
    }
}

fn names_object(refusal: &Status, name: &str) -> bool {
    refusal.details.as_ref().is_some_and(|details| details.name == name)
}

/// Goes one step on with a deletion. The finalizer is the caller's to take back when it is over.
pub(crate) async fn delete(
    context: &Context,
    owner: &Owner,
    object: &DynamicObject,
    validation: &Validation,
    now: Timestamp,
) -> Result<Deletion, Failure> {
    if !has_finalizer(object) {
        return Ok(Deletion::Done);
    }
    let pipeline = match to_clean(validation) {
        Ok(pipeline) => pipeline,
        Err(deletion) => return Ok(deletion),
    };
    let left = time_left(context, object, now);
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
    let mut make_job = false;
    match job.filter(|job| ownership(job.as_ref(), owner) == Ownership::Ours) {
        Some(job) => {
            let so_far = outcome(&job, pods.iter().map(AsRef::as_ref), pipeline);
            if so_far != Deletion::Cleaning {
                return Ok(so_far);
            }
        }
        None => make_job = true,
    }
    let cleanup = cleanup_job(pipeline, &context.options.pods, left.unsigned_abs());
    match ensure(&mut applier, cleanup, make_job).await {
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

fn time_left(context: &Context, object: &DynamicObject, now: Timestamp) -> SignedDuration {
    let begun = object.meta().deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let limit = SignedDuration::try_from(context.options.deletion_deadline)
        .unwrap_or(SignedDuration::from_hours(1));
    limit - now.duration_since(begun)
}

fn is_cleanup(pod: &Pod) -> bool {
    let component = pod.labels().get(labels::COMPONENT);
    component.is_some_and(|component| component == Component::Cleanup.as_str())
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
    use super::*;
    use crate::pipeline::facts::Rejection;
    use crate::pipeline::validate::tests::accepted;

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
    fn our_finalizer_goes_by_a_patch_that_meets_only_what_was_seen() {
        let live: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": KIND,
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7",
                "finalizers": ["example.com/a", names::FINALIZER, "example.com/b"],
            },
        }))
        .expect("a pipeline");
        let wanted = json!({"metadata": {
            "uid": "u", "resourceVersion": "7", "finalizers": ["example.com/a", "example.com/b"],
        }});
        assert_eq!(without_finalizer(&live), wanted);
    }

    #[test]
    fn only_an_answer_about_the_object_itself_says_that_it_is_gone() {
        let status = |details: Value| -> Status {
            serde_json::from_value(json!({"code": 404, "details": details})).expect("a status")
        };
        assert!(names_object(&status(json!({"name": "p", "kind": "ingestionpipelines"})), "p"));
        assert!(!names_object(&status(json!({"causes": []})), "p"));
        assert!(!names_object(&status(Value::Null), "p"));
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
