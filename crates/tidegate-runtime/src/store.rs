//! The object stores of the table and of sources that are files.

use std::sync::Arc;

use object_store::ObjectStore;
use tidegate_config::{ObjectSource, S3Options, Sink};
use tidegate_table::store::{self, AccessKey, AzureKey, KeySource, Keys, StoreOptions, TableStore};
use tidegate_types::{Explained, Reason};
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
    const FIELD: &str = "sink.storage.url";
    let url = address(FIELD, &sink.url, &SINKS)?;
    let at = StoreAddress { url, endpoint: sink.endpoint.as_deref(), s3: &sink.s3 };
    open(at, ("sink.storage.secretRef", sink.secret.as_deref()), secrets)
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
    let url = address(FIELD, &source.url, &SOURCES)?;
    if let ("file", Ok(folder)) = (url.scheme(), url.to_file_path())
        && !folder.is_dir()
    {
        let what = format!("{FIELD}: the folder {} does not exist", folder.display());
        return Err(RunError::transient(Reason::SourceUnreachable, what));
    }
    let at = StoreAddress { url, endpoint: source.endpoint.as_deref(), s3: &source.s3 };
    let secret = ("source.objectStore.storage.secretRef", source.secret.as_deref());
    Ok(open(at, secret, secrets)?.data)
}

/// Schemes of stores that hold tables: those of which a conformance test shows that they make an object only
/// where there is none. Of Google's there is none, for want of a server that answers our client's
/// conditional writes. `memory` is for tests.
const SINKS: [&str; 4] = ["s3", "abfss", "file", "memory"];
/// Schemes of stores that hold files.
const SOURCES: [&str; 4] = ["s3", "abfss", "gs", "file"];

/// Where a store is.
struct StoreAddress<'a> {
    url: Url,
    endpoint: Option<&'a str>,
    s3: &'a S3Options,
}

fn address(field: &str, text: &str, known: &[&str]) -> Result<Url, RunError> {
    let url = Url::parse(text).map_err(|source| {
        let what = format!("{field} {text:?} is not an address");
        RunError::permanent(Reason::InvalidConfiguration, what).because(source)
    })?;
    if known.contains(&url.scheme()) {
        return Ok(url);
    }
    let offered: Vec<_> = known.iter().copied().filter(|scheme| *scheme != "memory").collect();
    let what = format!(
        "{field} {text:?} has the scheme {:?}; this version takes {} there",
        url.scheme(),
        offered.join(", ")
    );
    Err(RunError::permanent(Reason::InvalidConfiguration, what))
}

fn open(
    at: StoreAddress<'_>,
    (field, secret): (&str, Option<&str>),
    secrets: &Secrets,
) -> Result<TableStore, RunError> {
    let keys = secret.map(|name| keys(at.url.scheme(), secrets, name)).transpose();
    let keys = keys.map_err(|error| {
        let what = format!("{field} names a secret that cannot be used");
        RunError::transient(error.reason(), what).because(error)
    })?;
    let mut options = StoreOptions::new(at.url);
    let endpoint = at.endpoint.or(at.s3.endpoint.as_deref());
    options.endpoint = endpoint.map(str::to_owned);
    options.region.clone_from(&at.s3.region);
    options.path_style = at.s3.addressing_style == tidegate_config::AddressingStyle::Path;
    options.private_authorities = private_ca::authorities()?;
    options.keys = keys.flatten();
    Ok(store::open(&options)?)
}

/// The keys that a store of this scheme takes; a key that is missing is told at once.
fn keys(scheme: &str, secrets: &Secrets, name: &str) -> Result<Option<Keys>, SecretError> {
    if scheme == "file" {
        return Ok(None);
    }
    let mounted = || MountedKey { secrets: secrets.clone(), name: name.to_owned() };
    secrets.require(name)?;
    Ok(match scheme {
        "s3" => {
            mounted().access_key()?;
            Some(Keys::S3(Arc::new(mounted())))
        }
        "abfss" => {
            mounted().azure_key()?;
            Some(Keys::Azure(Arc::new(mounted())))
        }
        "gs" => Some(Keys::Google(secrets.read(name, "GOOGLE_SERVICE_ACCOUNT")?)),
        _ => None,
    })
}

/// The store's key in a mounted secret.
#[derive(Debug)]
struct MountedKey {
    secrets: Secrets,
    name: String,
}

impl MountedKey {
    fn access_key(&self) -> Result<AccessKey, SecretError> {
        let read = |key| Ok(self.secrets.read(&self.name, key)?.expose().clone());
        let token = self.secrets.read_optional(&self.name, "AWS_SESSION_TOKEN")?;
        Ok(AccessKey {
            id: read("AWS_ACCESS_KEY_ID")?,
            secret: read("AWS_SECRET_ACCESS_KEY")?,
            token: token.map(|token| token.expose().clone()),
        })
    }

    /// The account's key, or a signature.
    fn azure_key(&self) -> Result<AzureKey, SecretError> {
        let optional = |key| self.secrets.read_optional(&self.name, key);
        if let Some(key) = optional("AZURE_STORAGE_ACCOUNT_KEY")? {
            return Ok(AzureKey::Account(key));
        }
        let wanted = "AZURE_STORAGE_ACCOUNT_KEY | AZURE_STORAGE_SAS_TOKEN";
        optional("AZURE_STORAGE_SAS_TOKEN")?
            .map(AzureKey::Signature)
            .ok_or_else(|| SecretError::NoUsableKey { name: self.name.clone(), wanted })
    }
}

impl KeySource<AccessKey> for MountedKey {
    fn read(&self) -> Result<AccessKey, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.access_key()?)
    }
}

impl KeySource<AzureKey> for MountedKey {
    fn read(&self) -> Result<AzureKey, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.azure_key()?)
    }
}
