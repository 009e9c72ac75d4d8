//! What the API server was seen to hold: one cache a kind, filled by a watch, asked by pipeline.
//!
//! An object that we have just written is put in at once, so that the next reconcile does not act on
//! what was there before; a watch event that is older than that is passed over, and so is the answer to
//! a write that was overtaken by the object's deletion. Resource versions are compared as numbers, as Kubernetes allows since 1.35 and as etcd has always made them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use kube::{Resource, ResourceExt};

use crate::key::Key;

/// How many deletions are remembered: far more than there can be answers under way.
const REMEMBERED: usize = 1024;

/// One kind. `owner` tells whose an object is; what is nobody's is not kept. `trim` takes away what
/// nobody asks for, because a thousand pipelines are held here whole.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    owner: fn(&K) -> Option<Key>,
    trim: fn(&mut K),
    inner: RwLock<Inner<K>>,
}

type Objects<K> = HashMap<Key, BTreeMap<String, Arc<K>>>;

#[derive(Debug)]
struct Inner<K> {
    objects: Objects<K>,
    removed: Removed,
}

/// The objects that were deleted last, each with the version that its deletion has. An object that
/// only lost its label is told like a deleted one, and may come back with a later version.
#[derive(Debug, Default)]
struct Removed {
    versions: HashMap<String, u64>,
    order: VecDeque<String>,
}

/// What an event changed.
#[derive(Debug)]
pub(crate) struct Change<K> {
    pub(crate) owner: Key,
    pub(crate) old: Option<Arc<K>>,
    pub(crate) new: Option<Arc<K>>,
}

impl<K: Resource> Cache<K> {
    pub(crate) fn new(owner: fn(&K) -> Option<Key>, trim: fn(&mut K)) -> Self {
        Self {
            owner,
            trim,
            inner: RwLock::new(Inner { objects: HashMap::new(), removed: Removed::default() }),
        }
    }

    /// One object of a pipeline.
    pub(crate) fn get(&self, owner: &Key, name: &str) -> Option<Arc<K>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.objects.get(owner)?.get(name).cloned()
    }

    /// Every object of a pipeline, by name.
    pub(crate) fn of(&self, owner: &Key) -> Vec<Arc<K>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner
            .objects
            .get(owner)
            .map(|objects| objects.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Every pipeline that owns something here.
    pub(crate) fn owners(&self) -> Vec<Key> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.objects.keys().cloned().collect()
    }

    /// The names of everything that is held of a namespace.
    pub(crate) fn names_in(&self, namespace: &str) -> BTreeSet<String> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let here = inner.objects.iter().filter(|(owner, _)| owner.namespace == namespace);
        here.flat_map(|(_, objects)| objects.keys().cloned()).collect()
    }

    /// Takes what was seen or has just been written, unless something newer is there already. An object
    /// that somebody labelled as another pipeline's changes for both.
    pub(crate) fn put(&self, mut object: K) -> Vec<Change<K>> {
        let Some(owner) = (self.owner)(&object) else { return Vec::new() };
        (self.trim)(&mut object);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { objects: inner, removed } = &mut *inner;
        if removed.overtook(&object) {
            return Vec::new();
        }
        let name = object.name_any();
        let old = inner.get(&owner).and_then(|objects| objects.get(&name)).cloned();
        if old.as_ref().is_some_and(|old| is_as_new(old.as_ref(), &object)) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        if old.is_none() {
            changes.extend(leave_former_owner(inner, &owner, &object));
        }
        let new = Arc::new(object);
        inner.entry(owner.clone()).or_default().insert(name, Arc::clone(&new));
        changes.push(Change { owner, old, new: Some(new) });
        changes
    }

    /// Takes away what was deleted, unless another object of that name is there already.
    pub(crate) fn remove(&self, object: &K) -> Option<Change<K>> {
        let owner = (self.owner)(object)?;
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { objects: inner, removed } = &mut *inner;
        removed.note(object);
        let objects = inner.get_mut(&owner)?;
        let name = object.name_any();
        if objects.get(&name).is_none_or(|there| there.uid() != object.uid()) {
            return None;
        }
        let old = objects.remove(&name);
        if objects.is_empty() {
            inner.remove(&owner);
        }
        Some(Change { owner, old, new: None })
    }

    /// Takes a whole list of one namespace, or of all.
    pub(crate) fn replace(&self, namespace: Option<&str>, objects: Vec<K>) -> Vec<Change<K>> {
        let mut changes = self.drop_unlisted(namespace, &objects);
        changes.extend(objects.into_iter().flat_map(|object| self.put(object)));
        changes
    }

    fn drop_unlisted(&self, namespace: Option<&str>, listed: &[K]) -> Vec<Change<K>> {
        let listed: std::collections::HashSet<(Key, String)> = listed
            .iter()
            .filter_map(|object| Some(((self.owner)(object)?, object.name_any())))
            .collect();
        let mut changes = Vec::new();
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (owner, objects) in &mut inner.objects {
            if namespace.is_some_and(|namespace| namespace != owner.namespace) {
                continue;
            }
            objects.retain(|name, old| {
                let stays = listed.contains(&(owner.clone(), name.clone()));
                if !stays {
                    let old = Some(Arc::clone(old));
                    changes.push(Change { owner: owner.clone(), old, new: None });
                }
                stays
            });
        }
        inner.objects.retain(|_, objects| !objects.is_empty());
        changes
    }
}

impl Removed {
    fn note<K: Resource>(&mut self, object: &K) {
        let (Some(uid), Some(version)) = (object.uid(), version(object)) else { return };
        if self.versions.insert(uid.clone(), version).is_none() {
            self.order.push_back(uid);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.versions.remove(&oldest);
            }
        }
    }

    /// Whether the object was deleted after it was as it is here.
    fn overtook<K: Resource>(&self, object: &K) -> bool {
        let deleted = object.meta().uid.as_ref().and_then(|uid| self.versions.get(uid));
        deleted.is_some_and(|deleted| version(object).is_some_and(|seen| seen <= *deleted))
    }
}

fn leave_former_owner<K: Resource>(
    inner: &mut Objects<K>,
    owner: &Key,
    object: &K,
) -> Option<Change<K>> {
    let name = object.name_any();
    let (former, objects) = inner.iter_mut().find(|(key, objects)| {
        key.namespace == owner.namespace
            && *key != owner
            && objects.get(&name).is_some_and(|there| there.uid() == object.uid())
    })?;
    let old = objects.remove(&name);
    Some(Change { owner: former.clone(), old, new: None })
}

/// Whether `there` is a state of the same object as `seen`, newer or the very same.
fn is_as_new<K: Resource>(there: &K, seen: &K) -> bool {
    there.uid() == seen.uid()
        && match (version(there), version(seen)) {
            (Some(there), Some(seen)) => there >= seen,
            _ => false,
        }
}

fn version<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(pipeline: &str, name: &str, uid: &str, version: u64) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some("ns".to_owned()),
                name: Some(name.to_owned()),
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_string()),
                labels: Some(BTreeMap::from([("pipeline".to_owned(), pipeline.to_owned())])),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn owner(object: &ConfigMap) -> Option<Key> {
        Some(Key::new(object.namespace()?, object.labels().get("pipeline")?))
    }

    fn versions(cache: &Cache<ConfigMap>, pipeline: &str) -> Vec<String> {
        let objects = cache.of(&Key::new("ns", pipeline));
        objects.iter().filter_map(|object| object.resource_version()).collect()
    }

    #[test]
    fn an_event_older_than_our_own_write_is_passed_over() {
        let cache = Cache::new(owner, |_| ());
        assert_eq!(cache.put(object("p", "a", "u", 7)).len(), 1);
        assert_eq!(cache.put(object("p", "a", "u", 6)).len(), 0);
        assert_eq!(versions(&cache, "p"), ["7"]);
        assert_eq!(cache.put(object("p", "a", "u", 10)).len(), 1);
        assert_eq!(versions(&cache, "p"), ["10"], "as numbers, not as text");
        assert_eq!(cache.put(object("p", "a", "other", 3)).len(), 1, "another object of that name");
    }

    #[test]
    fn an_object_that_changes_its_label_changes_for_both_pipelines() {
        let cache = Cache::new(owner, |_| ());
        cache.put(object("p", "a", "u", 1));
        let changes = cache.put(object("q", "a", "u", 2));
        let owners: Vec<&str> = changes.iter().map(|change| change.owner.name.as_str()).collect();
        assert_eq!(owners, ["p", "q"]);
        assert!(versions(&cache, "p").is_empty() && versions(&cache, "q") == ["2"]);
    }

    #[test]
    fn a_late_deletion_does_not_take_the_successor_away() {
        let cache = Cache::new(owner, |_| ());
        cache.put(object("p", "a", "new", 9));
        assert!(cache.remove(&object("p", "a", "old", 8)).is_none());
        assert_eq!(versions(&cache, "p"), ["9"]);
        assert!(cache.remove(&object("p", "a", "new", 10)).is_some());
        assert!(cache.owners().is_empty(), "nothing is kept of a pipeline without objects");
    }

    #[test]
    fn the_answer_to_a_write_that_was_overtaken_by_a_deletion_brings_nothing_back() {
        let cache = Cache::new(owner, |_| ());
        cache.put(object("p", "a", "u", 1));
        assert!(cache.remove(&object("p", "a", "u", 5)).is_some());
        assert!(cache.put(object("p", "a", "u", 4)).is_empty());
        assert!(cache.owners().is_empty(), "nothing would ever take it away again");
        assert_eq!(cache.put(object("p", "a", "v", 6)).len(), 1, "a successor");
        assert_eq!(cache.put(object("p", "b", "u", 7)).len(), 1, "it got its label back");
    }

    #[test]
    fn only_the_last_deletions_are_remembered() {
        let mut removed = Removed::default();
        for version in 0..3 * REMEMBERED {
            removed.note(&object("p", "a", &version.to_string(), 9));
            removed.note(&object("p", "a", &version.to_string(), 9));
        }
        assert_eq!((removed.versions.len(), removed.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!removed.overtook(&object("p", "a", "0", 1)));
        assert!(removed.overtook(&object("p", "a", &(3 * REMEMBERED - 1).to_string(), 1)));
    }

    #[test]
    fn a_list_replaces_what_its_namespace_held() {
        let cache = Cache::new(owner, |_| ());
        cache.put(object("p", "a", "a", 1));
        cache.put(object("p", "b", "b", 5));
        cache.put(object("q", "c", "c", 2));
        let other = cache.replace(Some("elsewhere"), Vec::new());
        assert!(other.is_empty(), "another namespace's list says nothing here");
        let changes = cache.replace(Some("ns"), vec![object("p", "b", "b", 4)]);
        assert_eq!(changes.len(), 2, "two are gone, one was known newer");
        assert!(cache.replace(Some("ns"), vec![object("p", "b", "b", 5)]).is_empty(), "no news");
        assert_eq!(versions(&cache, "p"), ["5"]);
        assert_eq!(cache.owners(), [Key::new("ns", "p")]);
    }
}
