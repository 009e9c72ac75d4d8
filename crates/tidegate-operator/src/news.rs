//! Which pipelines a change wakes, whoever tells of it: a watch, or the answer to our own write.

use kube::ResourceExt;
use kube::core::DynamicObject;
use tokio::time::Instant;

use crate::cluster::Change;
use crate::context::Context;
use crate::key::Key;
use crate::queue::GATHER;

/// Takes in a pipeline as the answer to our own write shows it. Somebody may have edited it meanwhile: the
/// watch then brings nothing new any more, so that the edit is heard of here.
pub(crate) fn take_in(context: &Context, pipeline: DynamicObject) {
    for change in &context.caches.pipelines.put(pipeline) {
        wake_changed(context, change);
    }
}

/// The same of a run.
pub(crate) fn take_in_run(context: &Context, run: DynamicObject) {
    for change in &context.caches.runs.put(run) {
        wake_changed(context, change);
    }
}

/// Wakes the pipeline of an object of our own kinds, if it changed in what is reconciled.
pub(crate) fn wake_changed(context: &Context, change: &Change<DynamicObject>) {
    if is_news(change.old.as_deref(), change.new.as_deref()) {
        context.queue.add(change.owner.clone(), Instant::now() + GATHER);
    }
}

/// Whether a pipeline changed in what is reconciled: our own writes of its status are no news.
fn is_news(old: Option<&DynamicObject>, new: Option<&DynamicObject>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    let part = |object: &DynamicObject| {
        let meta = &object.metadata;
        let deleted = meta.deletion_timestamp.is_some();
        (meta.uid.clone(), meta.generation, meta.finalizers.clone(), deleted)
    };
    part(old) != part(new) || old.annotations() != new.annotations()
}

/// Wakes the pipelines that name a service account.
pub(crate) fn wake_users(context: &Context, account: &Key) {
    let pipelines = &context.caches.pipelines;
    for owner in pipelines.owners().into_iter().filter(|key| key.namespace == account.namespace) {
        let names_it = pipelines.get(&owner, &owner.name).is_some_and(|pipeline| {
            let named = pipeline.data.pointer("/spec/serviceAccountName");
            named.and_then(serde_json::Value::as_str) == Some(account.name.as_str())
        });
        if names_it {
            context.queue.add(owner, Instant::now() + GATHER);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use tidegate_telemetry::Registry;

    use super::*;
    use crate::context::fixtures::silent;
    use crate::metrics::Metrics;

    fn pipeline(generation: i64, extra: &serde_json::Value) -> DynamicObject {
        let mut object = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": generation},
            "status": {"phase": "Running"},
        });
        if let (Some(object), Some(extra)) = (object.as_object_mut(), extra.as_object()) {
            object.extend(extra.clone());
        }
        serde_json::from_value(object).expect("an object")
    }

    #[test]
    fn a_status_is_no_news_and_everything_else_is() {
        let old = pipeline(1, &json!({}));
        let status = pipeline(1, &json!({"status": {"phase": "Idle"}}));
        assert!(!is_news(Some(&old), Some(&status)));
        assert!(is_news(Some(&old), Some(&pipeline(2, &json!({})))));
        assert!(is_news(None, Some(&old)) && is_news(Some(&old), None));
        let mut asked = old.clone();
        asked.annotations_mut().insert("tidegate.dev/requestedAt".into(), "now".into());
        assert!(is_news(Some(&old), Some(&asked)));
    }

    /// The watch tells of the edit too, but of nothing that is not known already.
    #[tokio::test(start_paused = true)]
    async fn an_edit_that_the_answer_to_our_own_write_shows_is_not_lost() {
        let context = silent(Metrics::new(&mut Registry::default()));
        let wait = Duration::from_secs(5);
        context.caches.pipelines.put(pipeline(1, &json!({})));
        take_in(&context, pipeline(1, &json!({"status": {"phase": "Idle"}})));
        assert!(tokio::time::timeout(wait, context.queue.next()).await.is_err(), "no news");
        take_in(&context, pipeline(2, &json!({"status": {"phase": "Idle"}})));
        let woken = tokio::time::timeout(wait, context.queue.next()).await;
        assert_eq!(woken.ok(), Some(Key::new("ns", "p")));
    }
}
