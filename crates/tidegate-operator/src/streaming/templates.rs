//! Pod templates that wait for their turn, and what tells an edit from the work of a new release.
//!
//! A workload carries the hash of its pod template as it was applied last: by comparing hashes it is known
//! whether other pods are wanted, whatever defaults the API server filled in.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use tidegate_api::IngestionPipelineSpec;

use super::resources::{Prepared, Resources};
use crate::apply::kind::Kind;
use crate::apply::stamp::{TEMPLATE_HASH, hash_of};
use crate::cluster::{Caches, Owner, names};

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

    use super::*;
    use crate::apply::stamp::stamped;
    use crate::apply::stamp::tests::workers;
    use crate::streaming::fixtures::clicks;

    fn template_hash(mut object: StatefulSet) -> String {
        let document = stamped(&mut object, "it").expect("it can be written");
        document["metadata"]["annotations"][TEMPLATE_HASH].to_string()
    }

    #[test]
    fn a_template_that_is_held_back_keeps_the_stamp_of_the_live_one() {
        let mut live = workers(1, "a");
        stamped(&mut live, "it").expect("it can be written");
        let mut wanted = workers(2, "a");
        keep_stamp(&mut wanted, &live);
        assert_eq!(template_hash(wanted), template_hash(workers(1, "a")));
    }

    #[test]
    fn an_edit_is_what_shapes_pods_and_was_not_applied() {
        let mark = |generation, edit: fn(&mut tidegate_api::IngestionPipeline)| {
            spec_mark(generation, &clicks(edit).spec)
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
}
