//! Sending what differs, in a stated order, and removing what is no longer wanted.
//!
//! Server-side apply with one field manager. A no-op apply is a request all the same, so each object is
//! compared with the live one first and nothing is sent when nothing differs. An object that belongs to
//! somebody else is never taken over.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tidegate_types::Reason;

use super::build::{Applied, Prepared, Resources};
use super::compare::holds;
use super::failure::Failure;
use super::kind::{Kind, describe};
use super::owner::{Owner, Ownership, ownership};
use super::rewritten::{Rewrites, Rewritten};
use super::stamp::{stamped, template_of_agent, template_of_workers};
use super::{labels, names};
use crate::context::Context;

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
}

impl<'a> Applier<'a> {
    pub(crate) fn new(context: &'a Context, owner: &'a Owner) -> Self {
        Self { context, owner, repaired: Vec::new(), rewritten: Rewritten::default() }
    }

    /// With what the reconcile before found.
    pub(crate) fn knowing(self, rewrites: Rewrites) -> Self {
        Self { rewritten: Rewritten::since(rewrites), ..self }
    }

    pub(crate) fn into_changes(self) -> Changes {
        Changes { repaired: self.repaired, rewrites: self.rewritten.into_now() }
    }

    /// Applies everything, what pods need before the pods, and then removes what is left over.
    pub(crate) async fn apply(
        &mut self,
        resources: Resources<Prepared>,
    ) -> Result<Resources<Applied>, Failure> {
        let Resources {
            service_account,
            network_policy,
            accepted,
            config,
            assignment,
            agent,
            service,
            workers,
            disruption_budget,
            state: PhantomData,
        } = resources;
        let service_account = match service_account {
            Some(account) => Some(self.ensure(account).await?),
            None => None,
        };
        let applied = Resources {
            service_account,
            network_policy: self.ensure(network_policy).await?,
            accepted: self.ensure(accepted).await?,
            config: self.ensure(config).await?,
            assignment: self.ensure(assignment).await?,
            agent: self.ensure(agent).await?,
            service: self.ensure(service).await?,
            workers: self.ensure(workers).await?,
            disruption_budget: self.ensure(disruption_budget).await?,
            state: PhantomData,
        };
        self.remove_orphans(&applied).await?;
        Ok(applied)
    }

    /// Makes one object what it should be; no request when it is.
    pub(crate) async fn ensure<K: Kind>(&mut self, mut wanted: K) -> Result<K, Failure> {
        let name = wanted.name_any();
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
    /// or somebody took the labels away. A list of one needs no right that the watches do not need.
    async fn unseen<K: Kind>(&self, name: &str) -> Result<Option<Arc<K>>, Failure> {
        let alone = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = self.api::<K>().list(&alone).await;
        let found = found.map_err(|error| Failure::of_request(&describe::<K>(name), &error))?;
        Ok(found.items.into_iter().next().map(Arc::new))
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

    async fn remove_orphans(&self, applied: &Resources<Applied>) -> Result<(), Failure> {
        let Resources {
            service_account,
            network_policy,
            accepted,
            config,
            assignment,
            agent,
            service,
            workers,
            disruption_budget,
            state: PhantomData,
        } = applied;
        let account = service_account.iter().map(ResourceExt::name_any).collect();
        self.remove_all_but::<ServiceAccount>(&account).await?;
        self.remove_all_but::<NetworkPolicy>(&named(network_policy)).await?;
        self.remove_all_but::<Deployment>(&named(agent)).await?;
        self.remove_all_but::<Service>(&named(service)).await?;
        self.remove_all_but::<StatefulSet>(&named(workers)).await?;
        self.remove_all_but::<PodDisruptionBudget>(&named(disruption_budget)).await?;
        self.remove_all_but::<Job>(&BTreeSet::new()).await?;
        let mut maps = self.configs_in_use(agent, workers);
        maps.extend([accepted, config, assignment].map(ResourceExt::name_any));
        self.remove_all_but::<ConfigMap>(&maps).await
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
        let how = DeleteParams {
            // Not the successor that somebody may have made meanwhile.
            preconditions: Some(Preconditions { uid: live.uid(), resource_version: None }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        let object = describe::<K>(&name);
        match self.api::<K>().delete(&name, &how).await {
            Ok(_) => {
                tracing::info!(pipeline = %self.owner.key, object, "removed");
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Failure::of_request(&object, &error)),
        }
    }

    /// Configurations that a pod reads, or may be started again to read: while pods are being replaced
    /// a controller may bring back one of the older kind, so that all are kept until it is through.
    fn configs_in_use(&self, agent: &Deployment, workers: &StatefulSet) -> BTreeSet<String> {
        let caches = &self.context.caches;
        let key = &self.owner.key;
        if !is_through(agent, workers) {
            let all = caches.config_maps.of(key);
            let names = all.iter().map(|map| map.name_any());
            return names.filter(|name| names::is_config(&key.name, name)).collect();
        }
        let pods = caches.pods.of(key);
        let templates = [template_of_agent(agent), template_of_workers(workers)];
        let templates = templates.into_iter().flatten().filter_map(|it| it.spec.as_ref());
        let specs = pods.iter().filter_map(|pod| pod.spec.as_ref()).chain(templates);
        specs.flat_map(maps_of).collect()
    }
}

/// The `ConfigMap`s that pods of a spec mount.
pub(crate) fn maps_of(spec: &PodSpec) -> impl Iterator<Item = String> + '_ {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
}

/// Whether both controllers have replaced what they had to replace.
fn is_through(agent: &Deployment, workers: &StatefulSet) -> bool {
    use super::observe::{agent_facts, worker_facts};
    agent_facts(Some(agent)).is_replaced() && worker_facts(Some(workers)).is_replaced()
}

fn named<K: Kind>(object: &K) -> BTreeSet<String> {
    BTreeSet::from([object.name_any()])
}

fn is_held<K: Kind>(live: &K, document: &Value) -> bool {
    serde_json::to_value(live).is_ok_and(|live| holds(&live, document))
}
