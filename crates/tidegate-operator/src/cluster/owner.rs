//! Whose an object is.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::DynamicObject;
use kube::{Resource, ResourceExt};
use tidegate_api::{GROUP, KIND, VERSION};

use super::labels;
use crate::key::Key;

/// A pipeline as the owner of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) key: Key,
    pub(crate) uid: String,
}

/// An object's relation to a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// It belongs to this pipeline.
    Ours,
    /// It has our labels and no owner: what an orphaning deletion or a restored backup left. It is
    /// taken over.
    Orphaned,
    /// It belongs to an earlier pipeline of this name and is about to be collected.
    Former,
    /// It is somebody else's and not touched.
    Foreign,
}

impl Owner {
    /// None for an object that the API server has not finished making.
    pub(crate) fn of(pipeline: &DynamicObject) -> Option<Self> {
        let key = Key::new(pipeline.namespace()?, pipeline.name_any());
        Some(Self { key, uid: pipeline.uid()? })
    }

    /// The reference that all its objects carry.
    pub(crate) fn reference(&self) -> OwnerReference {
        controlled_by(KIND, &self.key.name, &self.uid)
    }
}

/// The reference to a resource of ours that controls what it owns.
pub(crate) fn controlled_by(kind: &str, name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Tells whose an object is.
pub(crate) fn ownership<K: Resource>(object: &K, owner: &Owner) -> Ownership {
    let references = object.owner_references();
    match references.iter().find(|reference| reference.controller == Some(true)) {
        Some(controller) if controller.uid == owner.uid => Ownership::Ours,
        Some(controller) if controller.kind == KIND && controller.name == owner.key.name => {
            Ownership::Former
        }
        Some(_) => Ownership::Foreign,
        None if labels::is_ours(object.meta().labels.as_ref()) => Ownership::Orphaned,
        None => Ownership::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(controller: Option<OwnerReference>, labelled: bool) -> ConfigMap {
        let labels = labelled.then(|| labels::common("clicks"));
        let owner_references = controller.map(|reference| vec![reference]);
        ConfigMap {
            metadata: ObjectMeta { labels, owner_references, ..ObjectMeta::default() },
            ..ConfigMap::default()
        }
    }

    #[test]
    fn only_what_has_our_reference_or_nobodys_and_our_labels_is_touched() {
        let owner = |uid: &str| Owner { key: Key::new("ns", "clicks"), uid: uid.to_owned() };
        let me = owner("now");
        let chart = OwnerReference { kind: "Chart".to_owned(), ..owner("x").reference() };
        let watcher = OwnerReference { controller: None, ..owner("x").reference() };
        for (controller, labelled, wanted) in [
            (Some(me.reference()), true, Ownership::Ours),
            (Some(me.reference()), false, Ownership::Ours),
            (Some(owner("before").reference()), true, Ownership::Former),
            (Some(chart), true, Ownership::Foreign),
            (None, true, Ownership::Orphaned),
            (Some(watcher), true, Ownership::Orphaned),
            (None, false, Ownership::Foreign),
        ] {
            let object = object(controller, labelled);
            assert_eq!(ownership(&object, &me), wanted, "{object:?}");
        }
    }
}
