//! The watches: each fills a cache and says which pipelines it concerns.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tidegate_telemetry::{Gate, Health};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Change};
use crate::context::{Caches, Context, pipeline_resource, run_resource};
use crate::key::Key;
use crate::pipeline::labels;
use crate::queue::GATHER;

/// The pauses between two tries of a watch that broke; the last one stays.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// How long a watch may fail before what it has seen counts as out of date.
const FAILS_FOR: Duration = Duration::from_secs(60);
/// A watch that has not failed for so long is well again: that it was begun says nothing by itself, and
/// a try takes less than this to fail.
const WELL_AFTER: Duration = Duration::from_secs(20);
/// What the API server says of a resource that it does not know.
const NOT_FOUND: u16 = 404;

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
        self.follow(kind, api, watcher::Config::default(), cache, wake_changed);
    }

    fn offered_accounts(&mut self) {
        let api = api(self.context.client.clone(), self.scope.as_deref());
        let offered = watcher::Config::default().labels(&format!("{}=true", labels::PIPELINE_USE));
        let wake = |context: &Context, change: &Change<_>| wake_users(context, &change.owner);
        self.follow("ServiceAccount", api, offered, |caches| &caches.offered_accounts, wake);
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
        self.follow(kind, api, ours, cache, wake);
    }

    fn follow<K>(
        &mut self,
        kind: &'static str,
        api: Api<K>,
        config: watcher::Config,
        cache: fn(&Caches) -> &Cache<K>,
        wake: fn(&Context, &Change<K>),
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let gate = Gate::closed(format!("waiting for the first list of {kind}"));
        self.health.watch(gate.clone());
        let filled = CancellationToken::new();
        self.watches.filled.push(filled.clone());
        let follower = Follower {
            context: Arc::clone(self.context),
            scope: self.scope.clone(),
            kind,
            cache,
            wake,
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

/// One watch.
struct Follower<K: Resource> {
    context: Arc<Context>,
    scope: Option<String>,
    kind: &'static str,
    cache: fn(&Caches) -> &Cache<K>,
    wake: fn(&Context, &Change<K>),
    gate: Arc<Gate>,
    filled: CancellationToken,
    trouble: Trouble,
    /// The list that is being read.
    listed: Vec<K>,
}

impl<K> Follower<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    async fn run(mut self, api: Api<K>, config: watcher::Config) {
        let mut events = std::pin::pin!(watcher(api, config));
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.trouble.passes() => {
                    self.well();
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    // That a list is asked for says nothing about the answer.
                    if !matches!(event, Event::Init) {
                        self.well();
                    }
                    self.take(event);
                }
                Some(Err(error)) => {
                    let fault = self.trouble.failed(Instant::now());
                    self.failed(&error, fault);
                    tokio::time::sleep(fault.pause).await;
                }
                None => return,
            }
        }
    }

    fn well(&mut self) {
        if self.trouble.ended() && self.filled.is_cancelled() && !self.gate.is_open() {
            tracing::info!(kind = self.kind, "the watch goes on");
            self.gate.open();
        }
    }

    fn take(&mut self, event: Event<K>) {
        let cache = (self.cache)(&self.context.caches);
        let changes = match event {
            Event::Apply(object) => cache.put(object),
            Event::Delete(object) => cache.remove(&object).into_iter().collect(),
            Event::Init => {
                self.listed.clear();
                return;
            }
            Event::InitApply(object) => {
                self.listed.push(object);
                return;
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let changes = cache.replace(self.scope.as_deref(), listed);
                self.gate.open();
                self.filled.cancel();
                changes
            }
        };
        for change in &changes {
            (self.wake)(&self.context, change);
        }
    }

    /// A watch that was filled once goes on with what it has seen, and the API server is asked again;
    /// when that helps nothing for too long the replica is not ready.
    fn failed(&self, error: &watcher::Error, fault: Fault) {
        self.context.metrics.watch_failed(self.kind);
        let kind = self.kind;
        let waits_for = if self.filled.is_cancelled() {
            format!("the watch of {kind} fails, what is known of it is out of date")
        } else if is_missing(error) {
            format!("waiting for the definition of {kind}")
        } else {
            format!("waiting for the first list of {kind}")
        };
        let told = if self.filled.is_cancelled() { fault.lasts } else { fault.first };
        if told {
            tracing::warn!(kind, %error, "{waits_for}");
        } else {
            tracing::debug!(kind, %error, "a watch broke and is begun again");
        }
        if !self.filled.is_cancelled() || fault.lasts {
            self.gate.close(waits_for);
        }
    }
}

/// The failures of a watch since it was last well.
#[derive(Debug, Default)]
struct Trouble {
    failures: usize,
    since: Option<Instant>,
    last: Option<Instant>,
    told: bool,
}

/// One failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fault {
    /// It was well before.
    first: bool,
    /// It has failed for too long; told once.
    lasts: bool,
    /// How long to wait before the next try.
    pause: Duration,
}

impl Trouble {
    fn failed(&mut self, now: Instant) -> Fault {
        let since = *self.since.get_or_insert(now);
        let too_long = now.saturating_duration_since(since) >= FAILS_FOR;
        let fault = Fault {
            first: self.failures == 0,
            lasts: too_long && !self.told,
            pause: PAUSES[self.failures.min(PAUSES.len() - 1)],
        };
        self.told |= too_long;
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now + fault.pause);
        fault
    }

    /// Whether there was any.
    fn ended(&mut self) -> bool {
        std::mem::take(self).since.is_some()
    }

    /// Comes when it has not failed for long enough; never when it has not failed.
    async fn passes(&self) {
        match self.last {
            Some(last) => tokio::time::sleep_until(last + WELL_AFTER).await,
            None => std::future::pending().await,
        }
    }
}

fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == NOT_FOUND,
        _ => false,
    }
}

/// Takes in a pipeline as the answer to our own write shows it. Somebody may have edited it meanwhile: the
/// watch then brings nothing new any more, so that the edit is heard of here.
pub(crate) fn take_in(context: &Context, pipeline: DynamicObject) {
    for change in &context.caches.pipelines.put(pipeline) {
        wake_changed(context, change);
    }
}

/// The same of a run.
pub(crate) fn take_in_run(context: &Context, run: DynamicObject) {
    for change in &context.caches.runs.put(run) {
        wake_changed(context, change);
    }
}

fn wake_changed(context: &Context, change: &Change<DynamicObject>) {
    if is_news(change.old.as_deref(), change.new.as_deref()) {
        context.queue.add(change.owner.clone(), Instant::now() + GATHER);
    }
}

/// Whether a pipeline changed in what is reconciled: our own writes of its status are no news.
fn is_news(old: Option<&DynamicObject>, new: Option<&DynamicObject>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    let part = |object: &DynamicObject| {
        let meta = &object.metadata;
        let deleted = meta.deletion_timestamp.is_some();
        (meta.uid.clone(), meta.generation, meta.finalizers.clone(), deleted)
    };
    part(old) != part(new) || old.annotations() != new.annotations()
}

/// Wakes the pipelines that name a service account.
fn wake_users(context: &Context, account: &Key) {
    let pipelines = &context.caches.pipelines;
    for owner in pipelines.owners().into_iter().filter(|key| key.namespace == account.namespace) {
        let names_it = pipelines.get(&owner, &owner.name).is_some_and(|pipeline| {
            let named = pipeline.data.pointer("/spec/serviceAccountName");
            named.and_then(serde_json::Value::as_str) == Some(account.name.as_str())
        });
        if names_it {
            context.queue.add(owner, Instant::now() + GATHER);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_telemetry::Registry;

    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::pipeline::PodClient;
    use crate::{CloudIdentity, OperatorOptions, PodSettings};

    fn pipeline(generation: i64, extra: &serde_json::Value) -> DynamicObject {
        let mut object = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": generation},
            "status": {"phase": "Running"},
        });
        if let (Some(object), Some(extra)) = (object.as_object_mut(), extra.as_object()) {
            object.extend(extra.clone());
        }
        serde_json::from_value(object).expect("an object")
    }

    #[test]
    fn a_status_is_no_news_and_everything_else_is() {
        let old = pipeline(1, &json!({}));
        let status = pipeline(1, &json!({"status": {"phase": "Idle"}}));
        assert!(!is_news(Some(&old), Some(&status)));
        assert!(is_news(Some(&old), Some(&pipeline(2, &json!({})))));
        assert!(is_news(None, Some(&old)) && is_news(Some(&old), None));
        let mut asked = old.clone();
        asked.annotations_mut().insert("tidegate.dev/requestedAt".into(), "now".into());
        assert!(is_news(Some(&old), Some(&asked)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_for_a_minute_is_told_once_and_is_well_after_a_quiet_time() {
        let mut trouble = Trouble::default();
        let begun = Instant::now();
        let mut faults = Vec::new();
        while begun.elapsed() < FAILS_FOR * 2 {
            let fault = trouble.failed(Instant::now());
            faults.push((begun.elapsed(), fault));
            let next = Instant::now() + fault.pause;
            tokio::select! {
                () = trouble.passes() => panic!("it is not well while it fails"),
                () = tokio::time::sleep_until(next) => {}
            }
        }
        let told: Vec<_> = faults.iter().filter(|(_, fault)| fault.lasts).collect();
        assert!(matches!(&told[..], [(at, _)] if *at >= FAILS_FOR), "{told:?}");
        assert_eq!(faults.iter().filter(|(_, fault)| fault.first).count(), 1);
        let pauses: Vec<Duration> = faults.iter().take(5).map(|(_, fault)| fault.pause).collect();
        assert_eq!((&pauses[..4], pauses[4]), (&PAUSES[..], PAUSES[3]), "it does not begin anew");
        trouble.passes().await;
        assert!(trouble.ended() && !trouble.ended());
        assert!(trouble.failed(Instant::now()).first);
    }

    fn context() -> Context {
        let silent = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, kube::Error>>().await
        });
        let metrics = Metrics::new(&mut Registry::default());
        let pods = PodClient::new(metrics.clone()).expect("a client");
        Context::new(options(), &kube::Client::new(silent, "ns"), Clock::system(), pods, metrics)
    }

    fn options() -> OperatorOptions {
        let pods = PodSettings {
            image: String::new(),
            image_pull_policy: String::new(),
            environment: Vec::new(),
            private_ca_config_map: None,
            cloud_identity: CloudIdentity::None,
            operator_namespace: String::new(),
            operator_labels: Vec::new(),
            scraper_namespace_labels: Vec::new(),
        };
        OperatorOptions {
            namespaces: [].into(),
            own_namespace: String::new(),
            identity: String::new(),
            leader_election: false,
            max_concurrent_rollouts: 1,
            max_concurrent_reconciles: 1,
            poll_interval: Duration::from_secs(10),
            deletion_deadline: Duration::from_secs(10),
            allow_local_tables: false,
            listen: ([127, 0, 0, 1], 0).into(),
            pods,
        }
    }

    /// The watch tells of the edit too, but of nothing that is not known already.
    #[tokio::test(start_paused = true)]
    async fn an_edit_that_the_answer_to_our_own_write_shows_is_not_lost() {
        let context = context();
        let wait = Duration::from_secs(5);
        context.caches.pipelines.put(pipeline(1, &json!({})));
        take_in(&context, pipeline(1, &json!({"status": {"phase": "Idle"}})));
        assert!(tokio::time::timeout(wait, context.queue.next()).await.is_err(), "no news");
        take_in(&context, pipeline(2, &json!({"status": {"phase": "Idle"}})));
        let woken = tokio::time::timeout(wait, context.queue.next()).await;
        assert_eq!(woken.ok(), Some(Key::new("ns", "p")));
    }
}
