//! Sending what differs, in a stated order, and removing what is no longer wanted.
//!
//! Server-side apply with one field manager. A no-op apply is a request all the same, so each object is
//! compared with the live one first and nothing is sent when nothing differs. An object that belongs to
//! somebody else is never taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tidegate_types::Reason;

use super::compare::holds;
use super::kind::{Kind, describe};
use super::requests;
use super::rewritten::{Rewrites, Rewritten};
use super::stamp::stamped;
use crate::cluster::{Owner, Ownership, labels, names, ownership};
use crate::context::Context;
use crate::failure::Failure;

/// How long an object of a former pipeline, or one that is being deleted, may take to go.
const COLLECTED_WITHIN: Duration = Duration::from_secs(2);
/// How long until somebody else's object is looked at again.
const NAME_FREED_WITHIN: Duration = Duration::from_secs(60);

/// What applying found besides.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Objects that somebody else had changed and that were put right.
    pub(crate) repaired: Vec<String>,
    /// Objects that do not come out as they are applied, for the next reconcile.
    pub(crate) rewrites: Rewrites,
}

/// Applies the objects of one pipeline.
pub(crate) struct Applier<'a> {
    context: &'a Context,
    owner: &'a Owner,
    repaired: Vec<String>,
    rewritten: Rewritten,
    /// The names of what was applied, by kind.
    wanted: BTreeMap<&'static str, BTreeSet<String>>,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(context: &'a Context, owner: &'a Owner) -> Self {
        Self {
            context,
            owner,
            repaired: Vec::new(),
            rewritten: Rewritten::default(),
            wanted: BTreeMap::new(),
        }
    }

    /// With what the reconcile before found.
    pub(crate) fn knowing(self, rewrites: Rewrites) -> Self {
        Self { rewritten: Rewritten::since(rewrites), ..self }
    }

    pub(crate) fn into_changes(self) -> Changes {
        Changes { repaired: self.repaired, rewrites: self.rewritten.into_now() }
    }

    /// Makes one object what it should be; no request when it is.
    pub(crate) async fn ensure<K: Kind>(&mut self, mut wanted: K) -> Result<K, Failure> {
        let name = wanted.name_any();
        self.wanted.entry(K::NAME).or_default().insert(name.clone());
        let live = match K::cache(&self.context.caches).get(&self.owner.key, &name) {
            Some(live) => Some(live),
            None => self.unseen::<K>(&name).await?,
        };
        let document = stamped(&mut wanted, &describe::<K>(&name))?;
        if let Some(live) = &live {
            self.check_owner(live.as_ref())?;
            let same_hash = live.annotations().get(labels::APPLIED_HASH)
                == wanted.annotations().get(labels::APPLIED_HASH);
            let mut is_known = || self.rewritten.is_known(live.as_ref(), &document);
            if same_hash && (is_held(live.as_ref(), &document) || is_known()) {
                return Ok(live.as_ref().clone());
            }
            if same_hash {
                self.repairs::<K>(&name);
            }
        }
        let live = self.send(&name, &document).await?;
        if !is_held(&live, &document) {
            self.rewritten.note(&live, &document);
        }
        Ok(live)
    }

    /// An object that carries our labels is in the cache. Any other of that name was there before us,
    /// or somebody took the labels away.
    async fn unseen<K: Kind>(&self, name: &str) -> Result<Option<Arc<K>>, Failure> {
        let found = requests::find(&self.api::<K>(), name, &describe::<K>(name)).await?;
        Ok(found.map(Arc::new))
    }

    fn check_owner<K: Kind>(&self, live: &K) -> Result<(), Failure> {
        let object = describe::<K>(&live.name_any());
        let leaves =
            |message: String| Failure::waiting(Reason::Progressing, message, COLLECTED_WITHIN);
        if live.meta().deletion_timestamp.is_some() {
            return Err(leaves(format!("{object} is being deleted and will be made again")));
        }
        match ownership(live, self.owner) {
            Ownership::Ours | Ownership::Orphaned => Ok(()),
            Ownership::Former => {
                Err(leaves(format!("{object} of a former pipeline of this name is being deleted")))
            }
            Ownership::Foreign => Err(Failure::waiting(
                Reason::NameTaken,
                format!("{object} belongs to somebody else; rename it or the pipeline"),
                NAME_FREED_WITHIN,
            )),
        }
    }

    fn repairs<K: Kind>(&mut self, name: &str) {
        let object = describe::<K>(name);
        tracing::info!(pipeline = %self.owner.key, object, "somebody changed it, it is put right");
        self.context.metrics.repaired(K::NAME);
        self.repaired.push(object);
    }

    async fn send<K: Kind>(&self, name: &str, document: &Value) -> Result<K, Failure> {
        let how = PatchParams::apply(names::FIELD_MANAGER).force();
        let sent = self.api::<K>().patch(name, &how, &Patch::Apply(document)).await;
        let object = describe::<K>(name);
        let live = sent.map_err(|error| Failure::of_request(&object, &error))?;
        tracing::debug!(pipeline = %self.owner.key, object, "applied");
        K::cache(&self.context.caches).put(live.clone());
        Ok(live)
    }

    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.owner.key.namespace)
    }

    /// Removes what is ours of a kind and was not applied here.
    pub(crate) async fn remove_others<K: Kind>(&self) -> Result<(), Failure> {
        self.remove_others_but::<K>(BTreeSet::new()).await
    }

    /// The same, but for these.
    pub(crate) async fn remove_others_but<K: Kind>(
        &self,
        mut kept: BTreeSet<String>,
    ) -> Result<(), Failure> {
        kept.extend(self.wanted.get(K::NAME).into_iter().flatten().cloned());
        self.remove_all_but::<K>(&kept).await
    }

    /// Removes what is ours of a kind and not named here.
    pub(crate) async fn remove_all_but<K: Kind>(
        &self,
        kept: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        for live in K::cache(&self.context.caches).of(&self.owner.key) {
            let stays = kept.contains(&live.name_any())
                || live.meta().deletion_timestamp.is_some()
                || ownership(live.as_ref(), self.owner) != Ownership::Ours;
            if !stays {
                self.remove(live.as_ref()).await?;
            }
        }
        Ok(())
    }

    async fn remove<K: Kind>(&self, live: &K) -> Result<(), Failure> {
        let name = live.name_any();
        let object = describe::<K>(&name);
        if requests::delete(&self.api::<K>(), &name, live.uid(), &object).await? {
            tracing::info!(pipeline = %self.owner.key, object, "removed");
        }
        Ok(())
    }
}

fn is_held<K: Kind>(live: &K, document: &Value) -> bool {
    serde_json::to_value(live).is_ok_and(|live| holds(&live, document))
}
