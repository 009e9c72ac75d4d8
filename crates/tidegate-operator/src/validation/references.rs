//! What the spec points to and what is remembered of it: read from the caches, no request.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tidegate_api::{IngestionPipeline, IngestionPipelineSpec};

use super::rejection::Rejection;
use crate::cluster::names::{self, ACCEPTED_KEY};
use crate::cluster::{Caches, Owner, Ownership, ownership};
use crate::key::Key;

/// What the spec points to and what is remembered of it, read from the caches.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct References {
    /// The service accounts of the namespace that offer themselves to pipelines: those that carry the
    /// label `tidegate.dev/pipeline-use: "true"`.
    pub(crate) offered_accounts: BTreeSet<String>,
    /// The spec that was accepted last; none for a new pipeline.
    pub(crate) accepted: Option<IngestionPipelineSpec>,
    /// The specs that the pipelines run by whose rows this one replaces, by their names: what the new spec
    /// names and what the accepted one names, as far as anything was accepted there.
    pub(crate) repaired: BTreeMap<String, IngestionPipelineSpec>,
}

/// Reads the references of a pipeline. Both the new and the accepted spec may name a service account, and
/// a pipeline that they repair.
pub(crate) fn dereference(
    caches: &Caches,
    owner: &Owner,
    resource: &Result<IngestionPipeline, Rejection>,
) -> References {
    let accepted = remembered(caches, owner);
    let new = resource.as_ref().ok().map(|resource| &resource.spec);
    let named = new.into_iter().chain(accepted.as_ref()).filter_map(repaired_by);
    let known = |name: &String| Some((name.clone(), running(caches, owner, name)?));
    References {
        offered_accounts: caches.offered_accounts.names_in(&owner.key.namespace),
        repaired: named.filter_map(known).collect(),
        accepted,
    }
}

/// Whose rows the runs of a pipeline of this spec replace.
fn repaired_by(spec: &IngestionPipelineSpec) -> Option<&String> {
    Some(&spec.bulk.as_ref()?.repairs.as_ref()?.pipeline_ref.name)
}

/// The spec that the pipeline of this name runs by: not what somebody wrote into it since, which may be
/// refused.
fn running(caches: &Caches, owner: &Owner, name: &str) -> Option<IngestionPipelineSpec> {
    let key = Key::new(&owner.key.namespace, name);
    let object = caches.pipelines.get(&key, name)?;
    remembered(caches, &Owner::of(&object)?)
}

/// The spec that was accepted last.
fn remembered(caches: &Caches, owner: &Owner) -> Option<IngestionPipelineSpec> {
    let map = caches.config_maps.get(&owner.key, &names::accepted(&owner.key.name))?;
    accepted(&map, owner)
}

/// The spec in the `ConfigMap`, when it was this very pipeline's: another one of that name has its own
/// history.
fn accepted(map: &ConfigMap, owner: &Owner) -> Option<IngestionPipelineSpec> {
    if ownership(map, owner) != Ownership::Ours {
        return None;
    }
    let text = map.data.as_ref()?.get(ACCEPTED_KEY)?;
    match serde_json::from_str(text) {
        Ok(spec) => Some(spec),
        Err(error) => {
            tracing::warn!(object = map.name_any(), %error, "the accepted spec cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{DynamicObject, ObjectMeta};
    use serde_json::json;

    use super::*;
    use crate::cluster::labels;
    use crate::validation::fixtures::orders;

    const MEND: &str = "bulk: {schedule: null, repairs: {pipelineRef: {name: clicks}}}";

    fn clicks(partitions: u32) -> serde_json::Value {
        json!({
            "source": {"type": "JetStream", "jetStream": {
                "servers": ["nats://nats:4222"], "stream": "CLICKS",
                "partitioning": {"type": "Subject", "partitions": partitions},
            }},
            "sink": {"storage": {"url": "s3://lake/clicks"}},
        })
    }

    fn put_pipeline(caches: &Caches, uid: &str, version: &str, spec: &serde_json::Value) {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
            "metadata": {
                "name": "clicks", "namespace": "shop", "uid": uid, "resourceVersion": version,
            },
            "spec": spec,
        }))
        .expect("an object");
        caches.pipelines.put(object);
    }

    fn put_accepted(caches: &Caches, name: &str, uid: &str, spec: &serde_json::Value) {
        let owner = Owner { key: Key::new("shop", name), uid: uid.to_owned() };
        let label = (labels::PIPELINE.to_owned(), name.to_owned());
        caches.config_maps.put(ConfigMap {
            metadata: ObjectMeta {
                name: Some(names::accepted(name)),
                namespace: Some("shop".to_owned()),
                labels: Some(BTreeMap::from([label])),
                owner_references: Some(vec![owner.reference()]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(ACCEPTED_KEY.to_owned(), spec.to_string())])),
            ..ConfigMap::default()
        });
    }

    /// How many partitions `mend` takes the stream of clicks to have.
    fn partitions(caches: &Caches) -> Option<u32> {
        let owner = Owner { key: Key::new("shop", "mend"), uid: "m".to_owned() };
        let references = dereference(caches, &owner, &orders(MEND));
        let clicks = references.repaired.get("clicks")?;
        clicks.source.jet_stream.as_ref()?.partitioning.partitions
    }

    #[test]
    fn b10_a_rejected_edit_of_the_stream_changes_no_repair() {
        let caches = Caches::new();
        put_pipeline(&caches, "c", "1", &clicks(8));
        assert_eq!(partitions(&caches), None, "nothing was accepted, and nothing streams");
        put_accepted(&caches, "clicks", "c", &clicks(8));
        assert_eq!(partitions(&caches), Some(8));
        put_pipeline(&caches, "c", "2", &clicks(1));
        assert_eq!(partitions(&caches), Some(8), "the workers keep what was accepted");
        put_pipeline(&caches, "c", "3", &json!({"source": 7}));
        assert_eq!(partitions(&caches), Some(8), "and so when it cannot be read");
        put_pipeline(&caches, "another", "4", &clicks(2));
        assert_eq!(partitions(&caches), None, "another pipeline of that name");
    }

    #[test]
    fn b10_an_edit_that_drops_the_repairs_finds_whom_the_accepted_spec_repairs() {
        let caches = Caches::new();
        put_pipeline(&caches, "c", "1", &clicks(8));
        put_accepted(&caches, "clicks", "c", &clicks(8));
        let owner = Owner { key: Key::new("shop", "mend"), uid: "m".to_owned() };
        let dropped = orders("");
        assert!(dereference(&caches, &owner, &dropped).repaired.is_empty(), "nobody names it");
        let accepted = orders(MEND).expect("it can be read").spec;
        let accepted = serde_json::to_value(accepted).expect("plain");
        put_accepted(&caches, "mend", "m", &accepted);
        assert!(dereference(&caches, &owner, &dropped).repaired.contains_key("clicks"));
    }
}
