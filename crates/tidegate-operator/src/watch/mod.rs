//! The watches: each fills a cache and says which pipelines it concerns.

mod follower;
mod trouble;

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tidegate_telemetry::{Gate, Health};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::follower::{Followed, Follower};
use self::trouble::Trouble;
use crate::cluster::{Cache, Caches, Change, labels, pipeline_resource, run_resource};
use crate::context::Context;
use crate::news::{wake_changed, wake_users};
use crate::queue::GATHER;

/// A watch that runs until it is dropped.
pub(crate) type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Every watch, of every kind in every namespace.
#[derive(Default)]
pub(crate) struct Watches {
    /// To be run side by side.
    pub(crate) running: Vec<Watch>,
    /// Each is cancelled when its watch has seen a whole list for the first time.
    pub(crate) filled: Vec<CancellationToken>,
}

/// Makes the watches. `health` is not ready before each was filled.
pub(crate) fn watches(context: &Arc<Context>, health: &Health) -> Watches {
    let mut watches = Watches::default();
    let namespaces = &context.options.namespaces;
    let scopes: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    for scope in &scopes {
        let mut start = Starter { context, health, scope, watches: &mut watches };
        start.ours("IngestionPipeline", &pipeline_resource(), |caches| &caches.pipelines);
        start.ours("IngestionRun", &run_resource(), |caches| &caches.runs);
        start.offered_accounts();
        start.owned("StatefulSet", |caches| &caches.stateful_sets);
        start.owned("Deployment", |caches| &caches.deployments);
        start.owned("ConfigMap", |caches| &caches.config_maps);
        start.owned("Service", |caches| &caches.services);
        start.owned("ServiceAccount", |caches| &caches.service_accounts);
        start.owned("PodDisruptionBudget", |caches| &caches.disruption_budgets);
        start.owned("NetworkPolicy", |caches| &caches.network_policies);
        start.owned("Job", |caches| &caches.jobs);
        start.owned("Pod", |caches| &caches.pods);
    }
    watches
}

struct Starter<'a> {
    context: &'a Arc<Context>,
    health: &'a Health,
    scope: &'a Option<String>,
    watches: &'a mut Watches,
}

impl Starter<'_> {
    fn ours(
        &mut self,
        kind: &'static str,
        resource: &ApiResource,
        cache: fn(&Caches) -> &Cache<DynamicObject>,
    ) {
        let client = self.context.client.clone();
        let api: Api<DynamicObject> = match self.scope {
            Some(namespace) => Api::namespaced_with(client, namespace, resource),
            None => Api::all_with(client, resource),
        };
        self.follow(Followed { kind, cache, wake: wake_changed }, api, watcher::Config::default());
    }

    fn offered_accounts(&mut self) {
        let api = api(self.context.client.clone(), self.scope.as_deref());
        let offered = watcher::Config::default().labels(&format!("{}=true", labels::PIPELINE_USE));
        let followed = Followed {
            kind: "ServiceAccount",
            cache: |caches| &caches.offered_accounts,
            wake: |context, change| wake_users(context, &change.owner),
        };
        self.follow(followed, api, offered);
    }

    fn owned<K>(&mut self, kind: &'static str, cache: fn(&Caches) -> &Cache<K>)
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let api = api(self.context.client.clone(), self.scope.as_deref());
        let ours = watcher::Config::default().labels(labels::OURS);
        let wake = |context: &Context, change: &Change<K>| {
            context.queue.add(change.owner.clone(), Instant::now() + GATHER);
        };
        self.follow(Followed { kind, cache, wake }, api, ours);
    }

    fn follow<K>(&mut self, followed: Followed<K>, api: Api<K>, config: watcher::Config)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let gate = Gate::closed(format!("waiting for the first list of {}", followed.kind));
        self.health.watch(gate.clone());
        let filled = CancellationToken::new();
        self.watches.filled.push(filled.clone());
        let follower = Follower {
            context: Arc::clone(self.context),
            scope: self.scope.clone(),
            followed,
            gate,
            filled,
            trouble: Trouble::default(),
            listed: Vec::new(),
        };
        self.watches.running.push(Box::pin(follower.run(api, config)));
    }
}

fn api<K>(client: Client, scope: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match scope {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}
