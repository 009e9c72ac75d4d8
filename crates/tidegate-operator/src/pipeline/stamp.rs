//! The stamps of what was applied, and pod templates that wait for their turn.
//!
//! An object carries the hash of what was applied last, and a workload that of its pod template too: by
//! comparing hashes it is known whether other pods are wanted, whatever defaults the API server filled in.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use serde_json::Value;
use tidegate_api::IngestionPipelineSpec;
use tidegate_config::content_hash;
use tidegate_types::Reason;

use super::build::{Prepared, Resources};
use super::failure::Failure;
use super::kind::Kind;
use super::owner::Owner;
use super::{labels, names};
use crate::context::Caches;

/// Annotation of workloads: the hash of the pod template that was applied.
const TEMPLATE_HASH: &str = "tidegate.dev/template-hash";

/// Annotation of workloads: which spec shaped their pods, see [`spec_mark`].
const SPEC_MARK: &str = "tidegate.dev/spec-hash";

/// What of a spec shapes no pod.
const NOT_OF_PODS: [&str; 5] = ["suspend", "replicas", "scaling", "objectives", "deletionPolicy"];

/// The generation of the resource, and the hash of what of its spec shapes the pods. Both are needed to
/// tell an edit: scaling by hand raises the generation alone, and a new release may write the same spec
/// differently.
pub(crate) fn spec_mark(generation: i64, spec: &IngestionPipelineSpec) -> String {
    let mut spec = serde_json::to_value(spec).unwrap_or_default();
    if let Some(members) = spec.as_object_mut() {
        members.retain(|name, _| !NOT_OF_PODS.contains(&name.as_str()));
    }
    format!("{generation}-{}", hash_of(&spec))
}

/// Whether the user edited what shapes the pods. Without a mark on the live workload nobody can tell,
/// and it counts as the work of a new release.
fn is_edit(live: Option<&String>, wanted: Option<&String>) -> bool {
    let parts = |mark: &String| -> Option<(String, String)> {
        let (generation, hash) = mark.split_once('-')?;
        Some((generation.to_owned(), hash.to_owned()))
    };
    let marks = live.and_then(parts).zip(wanted.and_then(parts));
    marks.is_some_and(|(live, wanted)| live.0 != wanted.0 && live.1 != wanted.1)
}

/// Marks the workloads with the spec that shapes their pods.
pub(crate) fn mark_spec(resources: &mut Resources<Prepared>, mark: &str) {
    for annotations in [resources.agent.annotations_mut(), resources.workers.annotations_mut()] {
        annotations.insert(SPEC_MARK.to_owned(), mark.to_owned());
    }
}

/// Whether a workload that runs was shaped by a spec that the user has edited since.
pub(crate) fn is_edited(resources: &Resources<Prepared>, caches: &Caches, owner: &Owner) -> bool {
    let of = |annotations: &BTreeMap<String, String>| annotations.get(SPEC_MARK).cloned();
    let agent = caches.deployments.get(&owner.key, &resources.agent.name_any());
    let workers = caches.stateful_sets.get(&owner.key, &resources.workers.name_any());
    let agent = agent.and_then(|live| of(live.annotations()));
    let workers = workers.and_then(|live| of(live.annotations()));
    is_edit(agent.as_ref(), of(resources.agent.annotations()).as_ref())
        || is_edit(workers.as_ref(), of(resources.workers.annotations()).as_ref())
}

/// The stamps of the pod templates that were applied last, the agent's and the workers'.
pub(crate) fn live_templates(caches: &Caches, owner: &Owner) -> [Option<String>; 2] {
    let (key, name) = (&owner.key, &owner.key.name);
    let agent = caches.deployments.get(key, &names::agent(name));
    let workers = caches.stateful_sets.get(key, &names::workers(name));
    [
        agent.and_then(|live| live.annotations().get(TEMPLATE_HASH).cloned()),
        workers.and_then(|live| live.annotations().get(TEMPLATE_HASH).cloned()),
    ]
}

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

/// `serde_json` keeps members sorted, so that equal values have equal texts.
fn hash_of(value: &Value) -> String {
    content_hash(value.to_string().as_bytes())
}

/// Whether sending these would give any pod a new template.
pub(crate) fn replaces_pods(
    resources: &Resources<Prepared>,
    caches: &Caches,
    owner: &Owner,
) -> bool {
    let key = &owner.key;
    let agent = caches.deployments.get(key, &resources.agent.name_any());
    let workers = caches.stateful_sets.get(key, &resources.workers.name_any());
    let differs = |live: Option<&String>, template: Option<&PodTemplateSpec>| {
        let wanted = template.and_then(|template| serde_json::to_value(template).ok());
        live != wanted.map(|wanted| hash_of(&wanted)).as_ref()
    };
    agent.is_some_and(|live| {
        differs(live.annotations().get(TEMPLATE_HASH), template_of_agent(&resources.agent))
    }) || workers.is_some_and(|live| {
        differs(live.annotations().get(TEMPLATE_HASH), template_of_workers(&resources.workers))
    })
}

/// Puts the live pod templates in the place of the new ones, which wait for their turn.
pub(crate) fn hold_templates(resources: &mut Resources<Prepared>, caches: &Caches, owner: &Owner) {
    let key = &owner.key;
    let agent = &mut resources.agent;
    if let Some(live) = caches.deployments.get(key, &agent.name_any())
        && let (Some(wanted), Some(there)) = (&mut agent.spec, &live.spec)
    {
        wanted.template = there.template.clone();
        keep_stamp(agent, live.as_ref());
    }
    let workers = &mut resources.workers;
    if let Some(live) = caches.stateful_sets.get(key, &workers.name_any())
        && let (Some(wanted), Some(there)) = (&mut workers.spec, &live.spec)
    {
        wanted.template = there.template.clone();
        keep_stamp(workers, live.as_ref());
    }
}

fn keep_stamp<K: Kind>(wanted: &mut K, live: &K) {
    for name in [TEMPLATE_HASH, SPEC_MARK] {
        wanted.annotations_mut().remove(name);
        if let Some(stamp) = live.annotations().get(name) {
            wanted.annotations_mut().insert(name.to_owned(), stamp.clone());
        }
    }
}

pub(crate) fn template_of_agent(agent: &Deployment) -> Option<&PodTemplateSpec> {
    agent.spec.as_ref().map(|spec| &spec.template)
}

pub(crate) fn template_of_workers(workers: &StatefulSet) -> Option<&PodTemplateSpec> {
    workers.spec.as_ref().map(|spec| &spec.template)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workers(replicas: i32, image: &str) -> StatefulSet {
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
    fn a_template_that_is_held_back_keeps_the_stamp_of_the_live_one() {
        let mut live = workers(1, "a");
        stamped(&mut live, "it").expect("it can be written");
        let mut wanted = workers(2, "a");
        keep_stamp(&mut wanted, &live);
        let held = stamps(wanted);
        assert_eq!(held.1, stamps(workers(1, "a")).1);
    }

    #[test]
    fn an_edit_is_what_shapes_pods_and_was_not_applied() {
        let mark = |generation, edit: fn(&mut tidegate_api::IngestionPipeline)| {
            spec_mark(generation, &crate::pipeline::fixtures::clicks(edit).spec)
        };
        let applied = mark(3, |_| {});
        let edited = |wanted: &String| is_edit(Some(&applied), Some(wanted));
        assert!(!edited(&applied));
        let scaled = mark(4, |p| {
            p.spec.replicas += 3;
            p.spec.suspend = true;
            p.spec.scaling.min_replicas = 2;
        });
        assert!(!edited(&scaled), "kubectl scale is no edit of the pods");
        let annotated: fn(&mut tidegate_api::IngestionPipeline) = |p| {
            p.spec.template.annotations.insert("a".into(), "b".into());
        };
        // However often it is tried: the live mark changes only when it was applied.
        assert!(edited(&mark(4, annotated)) && edited(&mark(5, annotated)));
        assert!(!edited(&mark(3, annotated)), "another release writes the same spec differently");
        assert!(!is_edit(None, Some(&scaled)), "made by a release without marks");
    }

    #[test]
    fn a_template_that_is_held_back_keeps_the_mark_of_the_spec_that_shaped_it() {
        let mut live = workers(1, "a");
        live.annotations_mut().insert(SPEC_MARK.to_owned(), "3-old".to_owned());
        let mut wanted = workers(1, "b");
        wanted.annotations_mut().insert(SPEC_MARK.to_owned(), "3-new".to_owned());
        keep_stamp(&mut wanted, &live);
        assert_eq!(wanted.annotations().get(SPEC_MARK).map(String::as_str), Some("3-old"));
        keep_stamp(&mut wanted, &workers(1, "a"));
        assert_eq!(wanted.annotations().get(SPEC_MARK), None);
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
