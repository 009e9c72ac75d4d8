//! Writing statuses and Events.
//!
//! The status is applied with our field manager, so that what is no longer said goes. It carries the
//! pipeline's uid, so that a successor of the same name never gets it, and no resource version: nobody
//! else writes it, and an edit meanwhile shows in `observedGeneration`.

use kube::api::{Api, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, Status};
use kube::runtime::events::Event;
use kube::{Resource, ResourceExt};
use serde_json::json;
use tidegate_api::{GROUP, IngestionPipelineStatus, KIND, VERSION};
use tidegate_types::Reason;
use tokio::time::Instant;

use crate::cluster::{Owner, names, pipeline_resource};
use crate::context::Context;
use crate::failure::Failure;
use crate::news::take_in;

/// A status that is refused will be refused again (the object does not fit its definition), and an Event
/// is all there is: nothing waits for it.
pub(crate) fn is_all_that_can_be_written(written: &Result<(), Failure>) -> bool {
    written.as_ref().err().is_none_or(|failure| failure.reason == Reason::ApiRefused)
}

/// Writes the status of a pipeline, if there is something to say.
pub(crate) async fn write(
    context: &Context,
    owner: &Owner,
    pipeline: &DynamicObject,
    status: Option<&IngestionPipelineStatus>,
) -> Result<(), Failure> {
    let Some(status) = status else { return Ok(()) };
    let key = &owner.key;
    let document = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": key.name, "uid": owner.uid},
        "status": status,
    });
    let client = context.client.clone();
    let api: Api<DynamicObject> =
        Api::namespaced_with(client, &key.namespace, &pipeline_resource());
    let how = PatchParams::apply(names::FIELD_MANAGER).force();
    match api.patch_status(&key.name, &how, &Patch::Apply(document)).await {
        Ok(object) => {
            take_in(context, object);
            Ok(())
        }
        Err(kube::Error::Api(refusal)) if refusal.code == 404 => {
            gone(context, pipeline, &refusal);
            Ok(())
        }
        Err(error) => {
            Err(Failure::of_request(&format!("the status of {KIND} {}", key.name), &error))
        }
    }
}

/// An Event that cannot be published is lost: the status says the same.
pub(crate) async fn publish(
    context: &Context,
    about: &DynamicObject,
    resource: &ApiResource,
    events: &[Event],
) {
    let mut reference = about.object_ref(resource);
    // Of which state of the object it speaks is told by its time.
    reference.resource_version = None;
    for event in events {
        if let Err(error) = context.recorder.publish(event, &reference).await {
            let object = about.name_any();
            tracing::warn!(object, reason = event.reason, %error, "an Event is lost");
        }
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_status_that_is_refused_holds_nothing_up_and_one_that_did_not_arrive_does() {
        let failed = |reason| Err(Failure::transient(reason, "no"));
        for (written, wanted) in [
            (Ok(()), true),
            (failed(Reason::ApiRefused), true),
            (failed(Reason::ApiUnavailable), false),
        ] {
            assert_eq!(is_all_that_can_be_written(&written), wanted, "{written:?}");
        }
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
}
