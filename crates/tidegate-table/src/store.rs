//! Opening the object store of a table.
//!
//! The same place is opened twice. Data goes through a client that repeats what failed; commits go
//! through one that never does, because a repeated conditional put answers "exists" to its own first
//! attempt, and we would not know whose commit it was (P5). What is lost on the way must reach us as
//! not known.

mod azure;
mod error;
mod google;
mod keys;
mod listings;
mod probe;
mod s3;

use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

pub use error::StoreError;
pub use keys::{AccessKey, AzureKey, KeySource, Keys};
pub use probe::probe;

/// How long one request of the data client may take. A part of 8 MiB needs 130 KB/s.
const DATA_TIMEOUT: Duration = Duration::from_secs(60);
/// How long one commit may take before it counts as not known. Commits are a few kilobytes.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a table lies and how it is reached.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The table's root: `file:///…`, `s3://bucket/prefix`, `abfss://container@account.dfs.…/prefix`,
    /// `gs://bucket/prefix`, or `memory:///` in tests.
    pub url: Url,
    /// Where the key is; none: who we are follows from the environment, as with each cloud's own tools: a key
    /// in variables, a token file of the pod's role, at last the machine's metadata endpoint. With S3 there
    /// is also an endpoint of the container's, and the machine's is left alone where
    /// `AWS_EC2_METADATA_DISABLED` is `true`.
    pub keys: Option<Keys>,
    /// The endpoint's address; none: the cloud's own. Plain `http://` is allowed when it says so.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` when absent, which other servers than AWS ignore.
    pub region: Option<String>,
    /// The bucket stands in the path instead of the host name.
    pub path_style: bool,
    /// Certificates (PEM) of authorities to trust beside the system's.
    pub private_authorities: Option<Vec<u8>>,
}

impl StoreOptions {
    /// A store that needs nothing but its address.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            url,
            keys: None,
            endpoint: None,
            region: None,
            path_style: false,
            private_authorities: None,
        }
    }

    /// The bucket that the address begins with.
    fn bucket(&self) -> Result<&str, StoreError> {
        let bucket = self.url.host_str().filter(|host| !host.is_empty());
        bucket.ok_or_else(|| address(self, "it names no bucket"))
    }
}

/// The store of one table.
#[derive(Debug, Clone)]
pub struct TableStore {
    /// The table's root, with a slash at the end.
    pub root: Url,
    /// For data: rooted at the table, repeats failed requests.
    pub data: Arc<dyn ObjectStore>,
    /// For commits: the same place, never repeats a request.
    pub commit: Arc<dyn ObjectStore>,
}

impl TableStore {
    /// The store of a table in a folder below this one.
    #[must_use]
    pub fn below(&self, folder: &str) -> Self {
        let path = Path::from(folder);
        let at = |store: &Arc<dyn ObjectStore>| -> Arc<dyn ObjectStore> {
            Arc::new(PrefixStore::new(Arc::clone(store), path.clone()))
        };
        let mut root = self.root.clone();
        root.set_path(&format!("{}{path}/", self.root.path()));
        Self { root, data: at(&self.data), commit: at(&self.commit) }
    }
}

/// Opens the store of a table. A local directory is made when it is not there.
///
/// # Errors
///
/// When the address or the keys cannot be used; nothing is asked of a remote store yet.
pub fn open(options: &StoreOptions) -> Result<TableStore, StoreError> {
    match options.url.scheme() {
        "file" => open_directory(options),
        "s3" => open_clients(options, s3::open),
        "abfss" => open_clients(options, azure::open),
        "gs" => open_clients(options, google::open),
        "memory" => {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let root = directory_url(&options.url);
            Ok(TableStore { root, data: Arc::clone(&store), commit: store })
        }
        scheme => Err(StoreError::UnknownScheme {
            url: options.url.to_string(),
            scheme: scheme.to_owned(),
        }),
    }
}

/// A local write cannot be lost between us and the disk, so both clients are one; fsync makes a
/// commit survive a power cut.
fn open_directory(options: &StoreOptions) -> Result<TableStore, StoreError> {
    let directory = options.url.to_file_path().map_err(|()| {
        address(
            options,
            "a file address has three slashes and an absolute path: file:///data/table",
        )
    })?;
    let shown = directory.display().to_string();
    std::fs::create_dir_all(&directory)
        .map_err(|source| StoreError::Directory { directory: shown, source })?;
    let store = LocalFileSystem::new_with_prefix(directory)
        .map_err(|source| StoreError::Open { url: options.url.to_string(), source })?
        .with_fsync(true);
    let store: Arc<dyn ObjectStore> = Arc::new(store);
    Ok(TableStore { root: directory_url(&options.url), data: Arc::clone(&store), commit: store })
}

/// Makes a client of the whole bucket or container.
type Client =
    fn(&StoreOptions, RetryConfig, ClientOptions) -> Result<Arc<dyn ObjectStore>, StoreError>;

/// The two clients of a remote store.
fn open_clients(options: &StoreOptions, open: Client) -> Result<TableStore, StoreError> {
    let prefix = Path::from_url_path(options.url.path())
        .map_err(|error| address(options, &error.to_string()))?;
    let client = |retry, timeout| -> Result<Arc<dyn ObjectStore>, StoreError> {
        let bucket = open(options, retry, client_options(options, timeout)?)?;
        Ok(Arc::new(PrefixStore::new(bucket, prefix.clone())))
    };
    let never = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    Ok(TableStore {
        root: directory_url(&options.url),
        data: client(RetryConfig::default(), DATA_TIMEOUT)?,
        commit: client(never, COMMIT_TIMEOUT)?,
    })
}

fn client_options(options: &StoreOptions, timeout: Duration) -> Result<ClientOptions, StoreError> {
    let plain = options.endpoint.as_deref().is_some_and(|e| e.starts_with("http://"));
    let client = ClientOptions::new()
        .with_allow_http(plain)
        .with_timeout(timeout)
        .with_connect_timeout(CONNECT_TIMEOUT);
    let private =
        Certificate::from_pem_bundle(options.private_authorities.as_deref().unwrap_or(&[]))
            .map_err(|source| StoreError::Authorities { source })?;
    Ok(private.into_iter().fold(client, ClientOptions::with_root_certificate))
}

/// The address with a slash at the end, so that joining a path goes below it.
fn directory_url(url: &Url) -> Url {
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

fn address(options: &StoreOptions, problem: &str) -> StoreError {
    StoreError::Address { url: options.url.to_string(), problem: problem.to_owned() }
}

fn foreign_key(options: &StoreOptions) -> StoreError {
    address(options, "its key is of another kind of store")
}

#[cfg(test)]
mod authorities_tests;
#[cfg(test)]
mod azure_tests;
#[cfg(test)]
mod listings_tests;
#[cfg(test)]
mod s3_tests;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use tidegate_types::Reason;

    use super::*;

    fn options(url: &str) -> StoreOptions {
        StoreOptions::new(Url::parse(url).expect("a URL"))
    }

    fn refused(options: &StoreOptions) -> String {
        let error = open(options).expect_err("refused");
        assert_eq!(error.reason(), Reason::InvalidConfiguration);
        error.to_string()
    }

    #[test]
    fn addresses_that_cannot_be_a_table_are_refused_by_name() {
        assert!(refused(&options("ftp://bucket/x")).contains("\"ftp\""));
        assert!(refused(&options("file://host/x")).contains("file:///"));
        let mut endpoint = options("s3://bucket/x");
        endpoint.endpoint = Some("localhost:9000".into());
        assert!(refused(&endpoint).contains("https://"), "{}", refused(&endpoint));
        endpoint.endpoint = Some("http://127.0.0.1:9000".into());
        assert!(refused(&endpoint).contains("path style"), "{}", refused(&endpoint));
    }

    #[tokio::test]
    async fn a_local_directory_is_made_and_is_the_root() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("a b/table");
        let url = Url::from_file_path(&directory).expect("absolute");
        let store = open(&StoreOptions::new(url)).expect("opened");
        store.data.put(&Path::from("x"), "1".into()).await.expect("stored");
        assert!(directory.join("x").is_file());
        assert!(store.root.as_str().ends_with("/a%20b/table/"), "{}", store.root);
        let below = store.below("_dead_letters");
        below.commit.put(&Path::from("y"), "1".into()).await.expect("stored");
        assert!(directory.join("_dead_letters/y").is_file());
        assert!(below.root.as_str().ends_with("/table/_dead_letters/"), "{}", below.root);
    }
}
