//! Objects that are not what was applied even in the answer to applying it.
//!
//! A webhook that changes what we say, or an API server that drops it, would have us send the same for
//! ever and call it somebody's change each time. Such an object is left alone for as long as both what
//! we want and what is there stay the same.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Map, Value};
use tidegate_config::content_hash;

use super::kind::{Kind, describe};
use crate::cluster::labels;

/// Of one pipeline, by object: what was applied and what came of it.
pub(crate) type Rewrites = BTreeMap<String, Rewrite>;

/// What was applied and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrite {
    /// What was applied, in its stamp.
    applied: String,
    /// The hash of what is there.
    live: String,
}

/// The rewrites of an earlier reconcile and of this one. Objects that no longer are and objects that are
/// again what they should be are forgotten with the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    before: Rewrites,
    now: Rewrites,
}

impl Rewritten {
    pub(crate) fn since(before: Rewrites) -> Self {
        Self { before, now: Rewrites::new() }
    }

    pub(crate) fn into_now(self) -> Rewrites {
        self.now
    }

    /// Whether the object came out like this when the same was applied before.
    pub(crate) fn is_known<K: Kind>(&mut self, live: &K, document: &Value) -> bool {
        let object = describe::<K>(&live.name_any());
        let rewrite = rewrite(live, document);
        let known = self.before.get(&object) == Some(&rewrite);
        if known {
            self.now.insert(object, rewrite);
        }
        known
    }

    /// Takes note of what came of applying.
    pub(crate) fn note<K: Kind>(&mut self, live: &K, document: &Value) {
        let object = describe::<K>(&live.name_any());
        if !self.before.contains_key(&object) {
            tracing::warn!(object, "something changes what is applied; it is left as it came out");
        }
        self.now.insert(object, rewrite(live, document));
    }
}

fn rewrite<K: Kind>(live: &K, document: &Value) -> Rewrite {
    let stamp =
        document.pointer("/metadata/annotations").and_then(|all| all.get(labels::APPLIED_HASH));
    let mut content = serde_json::to_value(live).unwrap_or_default();
    forget_progress(content.as_object_mut());
    Rewrite {
        applied: stamp.and_then(Value::as_str).unwrap_or_default().to_owned(),
        live: content_hash(content.to_string().as_bytes()),
    }
}

/// What changes without anybody changing what the object asks for.
fn forget_progress(object: Option<&mut Map<String, Value>>) {
    let Some(object) = object else { return };
    object.remove("status");
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in ["resourceVersion", "generation", "managedFields"] {
            metadata.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::json;

    use super::*;

    fn live(version: &str, replicas: i32, ready: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "clicks-agent", "resourceVersion": version, "generation": 3},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"readyReplicas": ready},
        }))
        .expect("a Deployment")
    }

    fn document(stamp: &str) -> Value {
        json!({"metadata": {"annotations": {(labels::APPLIED_HASH): stamp}}})
    }

    fn known_after(before: &Rewrites, live: &Deployment, stamp: &str) -> bool {
        Rewritten::since(before.clone()).is_known(live, &document(stamp))
    }

    #[test]
    fn what_came_out_otherwise_is_left_alone_until_it_or_our_wish_changes() {
        let mut first = Rewritten::default();
        assert!(!first.is_known(&live("1", 2, 0), &document("a")), "it is sent once");
        first.note(&live("1", 2, 0), &document("a"));
        let before = first.into_now();
        assert!(known_after(&before, &live("9", 2, 1), "a"), "progress is no change");
        assert!(!known_after(&before, &live("9", 5, 1), "a"), "somebody changed it");
        assert!(!known_after(&before, &live("9", 2, 1), "b"), "something else is wanted");
    }

    #[test]
    fn it_is_remembered_for_as_long_as_it_is_looked_at() {
        let mut first = Rewritten::default();
        first.note(&live("1", 2, 0), &document("a"));
        let mut second = Rewritten::since(first.into_now());
        assert!(second.is_known(&live("2", 2, 0), &document("a")));
        let kept = second.into_now();
        assert!(known_after(&kept, &live("3", 2, 0), "a"));
        assert!(Rewritten::since(kept).into_now().is_empty(), "it is gone, or as it should be");
    }
}
