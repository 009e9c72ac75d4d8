//! The object stores of the table and of sources that are files.

use std::sync::Arc;

use object_store::ObjectStore;
use tidegate_config::{ObjectSource, S3Options, Sink};
use tidegate_table::store::{self, AccessKey, KeySource, StoreOptions, TableStore};
use tidegate_types::Reason;
use url::Url;

use crate::error::RunError;
use crate::private_ca;
use crate::secrets::{SecretError, Secrets};

/// Opens the table's object store.
///
/// # Errors
///
/// When the address, the secret or the store itself will not do.
pub fn open_store(sink: &Sink, secrets: &Secrets) -> Result<TableStore, RunError> {
    let url = address("sink.storage.url", &sink.url)?;
    open(url, sink.secret.as_deref(), &sink.s3, secrets)
}

/// Opens the object store in which a source's files are. Nothing is made there.
///
/// # Errors
///
/// When the address, the secret or the store itself will not do, or a local folder does not exist.
pub fn open_source_store(
    source: &ObjectSource,
    secrets: &Secrets,
) -> Result<Arc<dyn ObjectStore>, RunError> {
    const FIELD: &str = "source.objectStore.storage.url";
    let url = address(FIELD, &source.url)?;
    if !matches!(url.scheme(), "file" | "s3") {
        let what = format!(
            "{FIELD} {:?} has the scheme {:?}; this version reads s3:// and file://",
            source.url,
            url.scheme()
        );
        return Err(RunError::permanent(Reason::InvalidConfiguration, what));
    }
    if let ("file", Ok(folder)) = (url.scheme(), url.to_file_path())
        && !folder.is_dir()
    {
        let what = format!("{FIELD}: the folder {} does not exist", folder.display());
        return Err(RunError::transient(Reason::SourceUnreachable, what));
    }
    Ok(open(url, source.secret.as_deref(), &source.s3, secrets)?.data)
}

fn address(field: &str, text: &str) -> Result<Url, RunError> {
    Url::parse(text).map_err(|source| {
        let what = format!("{field} {text:?} is not an address");
        RunError::permanent(Reason::InvalidConfiguration, what).because(source)
    })
}

fn open(
    url: Url,
    secret: Option<&str>,
    s3: &S3Options,
    secrets: &Secrets,
) -> Result<TableStore, RunError> {
    let mut options = StoreOptions::new(url);
    options.endpoint.clone_from(&s3.endpoint);
    options.region.clone_from(&s3.region);
    options.path_style = s3.addressing_style == tidegate_config::AddressingStyle::Path;
    options.private_authorities = private_ca::authorities()?;
    if let Some(name) = secret {
        let keys = MountedKey { secrets: secrets.clone(), name: name.to_owned() };
        // A key that is missing is told at once.
        keys.key()?;
        options.keys = Some(Arc::new(keys));
    }
    Ok(store::open(&options)?)
}

/// The store's key in a mounted secret.
#[derive(Debug)]
struct MountedKey {
    secrets: Secrets,
    name: String,
}

impl MountedKey {
    fn key(&self) -> Result<AccessKey, SecretError> {
        let read = |key| Ok(self.secrets.read(&self.name, key)?.expose().clone());
        let token = self.secrets.read_optional(&self.name, "AWS_SESSION_TOKEN")?;
        Ok(AccessKey {
            id: read("AWS_ACCESS_KEY_ID")?,
            secret: read("AWS_SECRET_ACCESS_KEY")?,
            token: token.map(|token| token.expose().clone()),
        })
    }
}

impl KeySource for MountedKey {
    fn read(&self) -> Result<AccessKey, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.key()?)
    }
}
