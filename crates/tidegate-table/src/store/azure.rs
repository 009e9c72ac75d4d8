//! Azure: `abfss://container@account.dfs.core.windows.net/path`, the address under which other programs
//! find the same table.

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::keys::{Keys, RereadKey};
use super::{StoreError, StoreOptions, address, foreign_key};

/// What stands behind the account's name in the address of a file system, and of its blobs.
const FILES: &str = "dfs";
const BLOBS: &str = "blob";
const FORM: &str = "write abfss://container@account.dfs.core.windows.net/path";

/// Where blobs are.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    container: String,
    account: String,
    /// The service of the account.
    service: String,
}

/// A client for the options' container.
pub(super) fn open(
    options: &StoreOptions,
    prefix: &Path,
    retry: RetryConfig,
    client: ClientOptions,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let place = Place::of(options)?;
    let builder = match &options.keys {
        Some(Keys::Azure(keys)) => {
            let keys = RereadKey::new(Arc::clone(keys));
            MicrosoftAzureBuilder::new().with_credentials(Arc::new(keys))
        }
        // A federated token of the pod, or the machine's identity.
        None => MicrosoftAzureBuilder::from_env(),
        Some(_) => return Err(foreign_key(options)),
    };
    let store = builder
        .with_account(place.account)
        .with_container_name(place.container)
        .with_endpoint(place.service)
        .with_retry(retry)
        .with_client_options(client)
        .build()
        .map_err(|source| StoreError::Open { url: options.url.to_string(), source })?;
    Ok(Arc::new(PrefixStore::new(store, prefix.clone())))
}

impl Place {
    fn of(options: &StoreOptions) -> Result<Self, StoreError> {
        let url = &options.url;
        let wrong = || address(options, FORM);
        let host = url.host_str().unwrap_or_default();
        let (account, rest) = host.split_once('.').ok_or_else(wrong)?;
        let cloud = rest.strip_prefix(FILES).and_then(|rest| rest.strip_prefix('.'));
        let cloud = cloud.ok_or_else(wrong)?;
        let is_whole = url.password().is_none() && url.port().is_none();
        if url.username().is_empty() || account.is_empty() || !is_whole {
            return Err(wrong());
        }
        let service = match &options.endpoint {
            // Whoever stands in for Azure has the account in the path.
            Some(endpoint) => format!("{}/{account}", endpoint.trim_end_matches('/')),
            None => format!("https://{account}.{BLOBS}.{cloud}"),
        };
        let (container, account) = (url.username().to_owned(), account.to_owned());
        Ok(Self { container, account, service })
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn place(url: &str, endpoint: Option<&str>) -> Result<Place, StoreError> {
        let mut options = StoreOptions::new(Url::parse(url).expect("a URL"));
        options.endpoint = endpoint.map(str::to_owned);
        Place::of(&options)
    }

    #[test]
    fn the_address_says_account_container_and_cloud() {
        for (host, endpoint, service) in [
            ("shop.dfs.core.windows.net", None, "https://shop.blob.core.windows.net"),
            ("shop.dfs.core.chinacloudapi.cn", None, "https://shop.blob.core.chinacloudapi.cn"),
            ("shop.dfs.core.windows.net", Some("http://127.0.0.1:1/"), "http://127.0.0.1:1/shop"),
        ] {
            let found = place(&format!("abfss://lake@{host}/a/b"), endpoint).expect("an address");
            let (container, account) = ("lake".to_owned(), "shop".to_owned());
            assert_eq!(found, Place { container, account, service: service.to_owned() });
        }
        for wrong in [
            "abfss://shop.dfs.core.windows.net/lake",
            "abfss://lake@shop/a",
            "abfss://lake@shop.blob.core.windows.net/a",
            "abfss://lake:key@shop.dfs.core.windows.net/a",
            "abfss://lake@shop.dfs.core.windows.net:1/a",
        ] {
            let error = place(wrong, None).expect_err(wrong).to_string();
            assert!(error.contains("abfss://container@account"), "{error}");
        }
    }
}
