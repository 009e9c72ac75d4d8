//! Our finalizer, of pipelines that leave something outside the cluster to be deleted.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tidegate_api::{GROUP, KIND, VERSION};
use tidegate_types::Reason;

use super::write::gone;
use crate::cluster::{Owner, names, pipeline_resource};
use crate::context::Context;
use crate::failure::Failure;
use crate::news::take_in;

/// How long until a pipeline that somebody else changed is looked at again.
const CHANGED_AGAIN: Duration = Duration::from_secs(1);

/// Whether the pipeline waits for us before it goes.
pub(crate) fn has_finalizer(object: &DynamicObject) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == names::FINALIZER)
}

/// Whether it is being deleted and does not wait for us: it is the garbage collector's, and may be gone any
/// moment.
pub(crate) fn is_left_to_others(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some() && !has_finalizer(object)
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
    let asked = Asked { how, patch: Patch::Apply(document), wanted: true };
    send(context, owner, asked).await
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
    let asked = Asked { how, patch: Patch::Merge(without_finalizer(&live)), wanted: false };
    send(context, owner, asked).await
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

/// A change of the finalizers.
struct Asked {
    how: PatchParams,
    patch: Patch<Value>,
    /// Whether ours is there after it.
    wanted: bool,
}

async fn send(context: &Context, owner: &Owner, asked: Asked) -> Result<(), Failure> {
    let Asked { how, patch, wanted } = asked;
    let name = &owner.key.name;
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), &owner.key.namespace, &pipeline_resource());
    let changed = |what: &str| {
        Failure::waiting(Reason::Progressing, format!("{KIND} {name}: {what}"), CHANGED_AGAIN)
    };
    match api.patch(name, &how, &patch).await {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
