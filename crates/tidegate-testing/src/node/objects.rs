//! The ConfigMaps and Secrets of a namespace, kept up to date by watches.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Files by their path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;
type Named = Mutex<BTreeMap<String, Files>>;

/// What volumes and variables are made of.
#[derive(Debug)]
pub(crate) struct Objects {
    config_maps: Named,
    secrets: Named,
    changes: watch::Sender<u64>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            config_maps: Mutex::default(),
            secrets: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Objects {
    /// The keys of a `ConfigMap`; none when it does not exist.
    pub(crate) fn config_map(&self, name: &str) -> Option<Files> {
        lock(&self.config_maps).get(name).cloned()
    }

    /// The keys of a Secret; none when it does not exist.
    pub(crate) fn secret(&self, name: &str) -> Option<Files> {
        lock(&self.secrets).get(name).cloned()
    }

    /// Hears of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Follows the ConfigMaps until it is dropped.
    pub(crate) async fn follow_config_maps(self: Arc<Self>, client: Client, namespace: &str) {
        self.follow(client, namespace, |objects| &objects.config_maps, config_map_files).await;
    }

    /// Follows the Secrets until it is dropped.
    pub(crate) async fn follow_secrets(self: Arc<Self>, client: Client, namespace: &str) {
        self.follow(client, namespace, |objects| &objects.secrets, secret_files).await;
    }

    async fn follow<K>(
        &self,
        client: Client,
        namespace: &str,
        named: impl Fn(&Self) -> &Named,
        files: impl Fn(K) -> Files,
    ) where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let api: Api<K> = Api::namespaced(client, namespace);
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            let mut named = lock(named(self));
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    named.insert(object.name_any(), files(object));
                }
                Ok(Event::Delete(object)) => {
                    named.remove(&object.name_any());
                }
                Ok(Event::Init) => named.clear(),
                // The watcher tries again by itself.
                Ok(Event::InitDone) | Err(_) => {}
            }
            drop(named);
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

fn config_map_files(object: ConfigMap) -> Files {
    let text = object.data.unwrap_or_default().into_iter();
    let text = text.map(|(key, value)| (key, value.into_bytes()));
    let binary = object.binary_data.unwrap_or_default().into_iter();
    text.chain(binary.map(|(key, value)| (key, value.0))).collect()
}

fn secret_files(object: Secret) -> Files {
    object.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
}

fn lock(named: &Named) -> std::sync::MutexGuard<'_, BTreeMap<String, Files>> {
    named.lock().unwrap_or_else(PoisonError::into_inner)
}
