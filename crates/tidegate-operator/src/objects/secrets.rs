//! Which component gets which secret.
//!
//! | | worker | agent | cleanup | transfer | calendar |
//! |---|---|---|---|---|---|
//! | `credentials` | yes | yes | only without `adminCredentials` | | |
//! | `adminCredentials` | no | yes | yes | | |
//! | a bulk source's connection or keys, its TLS | | | | yes | no |
//! | the table's store's keys, TLS of the broker | yes | yes | yes | the keys | the keys |

use std::collections::BTreeMap;

use tidegate_api::{CaKind, CaRef, IngestionPipelineSpec};
use tidegate_config::content_hash;

/// A folder below the folder of secrets: the Secret of its name, the `ConfigMap` of its name, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    /// The objects' name.
    pub(crate) name: String,
    /// Whether it holds the Secret's keys.
    pub(crate) secret: bool,
    /// Whether it holds the `ConfigMap`'s keys.
    pub(crate) config_map: bool,
}

impl Folder {
    /// The name of its volume. Names of Secrets may be longer than those of volumes and have dots.
    pub(crate) fn volume(&self) -> String {
        format!("secrets-{}", content_hash(self.name.as_bytes()))
    }
}

/// What a worker mounts.
pub(crate) fn of_worker(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let mut folders = Folders::of_all(spec);
    folders.secret(credentials(spec));
    folders.in_order()
}

/// What the agent mounts.
pub(crate) fn of_agent(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let mut folders = Folders::of_all(spec);
    folders.secret(credentials(spec));
    folders.secret(admin_credentials(spec));
    folders.in_order()
}

/// What the cleanup mounts.
pub(crate) fn of_cleanup(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let mut folders = Folders::of_all(spec);
    folders.secret(admin_credentials(spec).or(credentials(spec)));
    folders.in_order()
}

/// What an attempt of a run mounts.
pub(crate) fn of_transfer(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let source = &spec.source;
    let mut folders = Folders::of_all(spec);
    for database in source.postgres.iter().chain(&source.mysql) {
        folders.secret(Some(&database.connection.secret_ref.name));
        folders.authorities(database.tls.ca_ref.as_ref());
    }
    let files = source.object_store.as_ref().and_then(|files| files.storage.secret_ref.as_ref());
    folders.secret(files.map(|secret| secret.name.as_str()));
    folders.in_order()
}

/// What the question for the calendar mounts: it looks at the table alone.
pub(crate) fn of_calendar(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    Folders::of_all(spec).in_order()
}

fn credentials(spec: &IngestionPipelineSpec) -> Option<&str> {
    let credentials = spec.source.jet_stream.as_ref()?.credentials.as_ref()?;
    Some(&credentials.secret_ref.name)
}

fn admin_credentials(spec: &IngestionPipelineSpec) -> Option<&str> {
    let credentials = spec.source.jet_stream.as_ref()?.admin_credentials.as_ref()?;
    Some(&credentials.secret_ref.name)
}

/// Folders by name: whether a Secret, and whether a `ConfigMap`.
#[derive(Default)]
struct Folders(BTreeMap<String, (bool, bool)>);

impl Folders {
    /// What every component needs: the store's keys, and TLS towards the broker.
    fn of_all(spec: &IngestionPipelineSpec) -> Self {
        let mut folders = Self::default();
        folders.secret(spec.sink.storage.secret_ref.as_ref().map(|secret| secret.name.as_str()));
        let tls = spec.source.jet_stream.as_ref().and_then(|stream| stream.tls.as_ref());
        let Some(tls) = tls else { return folders };
        folders.secret(tls.client_secret_ref.as_ref().map(|secret| secret.name.as_str()));
        folders.authorities(tls.ca_ref.as_ref());
        folders
    }

    fn authorities(&mut self, authorities: Option<&CaRef>) {
        match authorities.map(|ca| (ca.kind, ca.name.as_str())) {
            Some((CaKind::Secret, name)) => self.secret(Some(name)),
            Some((CaKind::ConfigMap, name)) => self.config_map(name),
            None => {}
        }
    }

    fn secret(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.0.entry(name.to_owned()).or_default().0 = true;
        }
    }

    fn config_map(&mut self, name: &str) {
        self.0.entry(name.to_owned()).or_default().1 = true;
    }

    fn in_order(self) -> Vec<Folder> {
        let folders = self.0.into_iter();
        folders.map(|(name, (secret, config_map))| Folder { name, secret, config_map }).collect()
    }
}
