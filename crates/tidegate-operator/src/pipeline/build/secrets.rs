//! Which component gets which secret.
//!
//! | | worker | agent | cleanup |
//! |---|---|---|---|
//! | `credentials` | yes | yes | only without `adminCredentials` |
//! | `adminCredentials` | no | yes | yes |
//! | the store's keys, TLS | yes | yes | yes |

use std::collections::BTreeMap;

use tidegate_api::{CaKind, IngestionPipelineSpec};
use tidegate_config::content_hash;

/// A folder below the folder of secrets: the Secret of its name, the `ConfigMap` of its name, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// The objects' name.
    pub(super) name: String,
    /// Whether it holds the Secret's keys.
    pub(super) secret: bool,
    /// Whether it holds the `ConfigMap`'s keys.
    pub(super) config_map: bool,
}

impl Folder {
    /// The name of its volume. Names of Secrets may be longer than those of volumes and have dots.
    pub(super) fn volume(&self) -> String {
        format!("secrets-{}", content_hash(self.name.as_bytes()))
    }
}

/// What a worker mounts.
pub(super) fn of_worker(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let mut folders = Folders::of_all(spec);
    folders.secret(credentials(spec));
    folders.in_order()
}

/// What the agent mounts.
pub(super) fn of_agent(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let mut folders = Folders::of_all(spec);
    folders.secret(credentials(spec));
    folders.secret(admin_credentials(spec));
    folders.in_order()
}

/// What the cleanup mounts.
pub(super) fn of_cleanup(spec: &IngestionPipelineSpec) -> Vec<Folder> {
    let mut folders = Folders::of_all(spec);
    folders.secret(admin_credentials(spec).or(credentials(spec)));
    folders.in_order()
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
        match tls.ca_ref.as_ref().map(|ca| (ca.kind, ca.name.as_str())) {
            Some((CaKind::Secret, name)) => folders.secret(Some(name)),
            Some((CaKind::ConfigMap, name)) => folders.config_map(name),
            None => {}
        }
        folders
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
