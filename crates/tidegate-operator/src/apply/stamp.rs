//! The stamps of what was applied.
//!
//! An object carries the hash of what was applied last, and a workload that of its pod template too.

use kube::ResourceExt;
use serde_json::Value;
use tidegate_config::content_hash;
use tidegate_types::Reason;

use super::kind::Kind;
use crate::cluster::labels;
use crate::failure::Failure;

/// Annotation of workloads: the hash of the pod template that was applied.
pub(crate) const TEMPLATE_HASH: &str = "tidegate.dev/template-hash";

/// Writes the hash of the object into it, and returns the object as it is sent.
pub(crate) fn stamped<K: Kind>(wanted: &mut K, object: &str) -> Result<Value, Failure> {
    let broken = |error: serde_json::Error| {
        Failure::transient(Reason::ApiRefused, format!("{object} cannot be written: {error}"))
    };
    let plain = serde_json::to_value(&*wanted).map_err(broken)?;
    if let Some(template) = plain.pointer("/spec/template").filter(|_| has_pods::<K>()) {
        let hash = hash_of(template);
        // A template that is held back keeps the stamp of the one that was applied.
        wanted.annotations_mut().entry(TEMPLATE_HASH.to_owned()).or_insert(hash);
    }
    let hash = hash_of(&serde_json::to_value(&*wanted).map_err(broken)?);
    wanted.annotations_mut().insert(labels::APPLIED_HASH.to_owned(), hash);
    let mut document = serde_json::to_value(&*wanted).map_err(broken)?;
    if let Some(members) = document.as_object_mut() {
        members.remove("status");
        members.insert("apiVersion".to_owned(), K::api_version(&()).into());
        members.insert("kind".to_owned(), K::kind(&()).into());
    }
    Ok(document)
}

fn has_pods<K: Kind>() -> bool {
    matches!(K::NAME, "StatefulSet" | "Deployment")
}

/// The hash of a document: `serde_json` keeps members sorted, so that equal values have equal texts.
pub(crate) fn hash_of(value: &Value) -> String {
    content_hash(value.to_string().as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::api::apps::v1::StatefulSet;
    use serde_json::json;

    use super::*;

    /// A workload of so many replicas.
    pub(crate) fn workers(replicas: i32, image: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "clicks-worker"},
            "spec": {
                "replicas": replicas, "serviceName": "clicks-worker", "selector": {},
                "template": {"spec": {"containers": [{"name": "tidegate", "image": image}]}},
            },
        }))
        .expect("a StatefulSet")
    }

    fn stamps(mut object: StatefulSet) -> (String, String) {
        let document = stamped(&mut object, "it").expect("it can be written");
        let stamp = |name: &str| document["metadata"]["annotations"][name].to_string();
        (stamp(labels::APPLIED_HASH), stamp(TEMPLATE_HASH))
    }

    #[test]
    fn the_stamp_of_the_template_changes_with_the_template_alone() {
        let one = stamps(workers(1, "a"));
        assert_eq!(one, stamps(workers(1, "a")));
        let scaled = stamps(workers(2, "a"));
        assert!(one.0 != scaled.0 && one.1 == scaled.1);
        let upgraded = stamps(workers(1, "b"));
        assert!(one.0 != upgraded.0 && one.1 != upgraded.1);
    }

    #[test]
    fn what_is_sent_names_its_kind_and_says_nothing_of_a_status() {
        let mut object = workers(1, "a");
        object.status = Some(Default::default());
        let document = stamped(&mut object, "it").expect("it can be written");
        assert_eq!(
            (&document["apiVersion"], &document["kind"]),
            (&json!("apps/v1"), &json!("StatefulSet"))
        );
        assert!(document.get("status").is_none());
    }
}
