//! Azure: `abfss://container@account.dfs.core.windows.net/path`, the address under which other programs
//! find the same table.

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use tidegate_types::AzureContainer;

use super::keys::{Keys, RereadKey};
use super::{StoreError, StoreOptions, address, foreign_key};

const FORM: &str = "write abfss://container@account.dfs.core.windows.net/path";

/// Where blobs are.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    container: String,
    account: String,
    /// The service of the account.
    service: String,
}

/// A client for the options' container.
pub(super) fn open(
    options: &StoreOptions,
    retry: RetryConfig,
    client: ClientOptions,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let at = Account::of(options)?;
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
        .with_account(at.account)
        .with_container_name(at.container)
        .with_endpoint(at.service)
        .with_retry(retry)
        .with_client_options(client)
        .build()
        .map_err(|source| StoreError::Open { url: options.url.to_string(), source })?;
    Ok(Arc::new(store))
}

impl Account {
    fn of(options: &StoreOptions) -> Result<Self, StoreError> {
        let place = options.url.as_str().strip_prefix("abfss://").unwrap_or_default();
        let place = place.split('/').next().unwrap_or_default();
        let AzureContainer { container, account, cloud } =
            AzureContainer::parse(place).ok_or_else(|| address(options, FORM))?;
        let service = match &options.endpoint {
            Some(endpoint) => service_at(endpoint, &account),
            None => format!("https://{account}.blob.{cloud}"),
        };
        Ok(Self { container, account, service })
    }
}

/// Whoever stands in for Azure has the account in the path; an endpoint of the account's own, such as a
/// private one, has it in the host.
fn service_at(endpoint: &str, account: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    match host.split_once('.') {
        Some((first, _)) if first.eq_ignore_ascii_case(account) => endpoint.to_owned(),
        _ => format!("{endpoint}/{account}"),
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn account(url: &str, endpoint: Option<&str>) -> Result<Account, StoreError> {
        let mut options = StoreOptions::new(Url::parse(url).expect("a URL"));
        options.endpoint = endpoint.map(str::to_owned);
        Account::of(&options)
    }

    #[test]
    fn the_address_says_account_container_and_cloud() {
        for (host, endpoint, service) in [
            ("shop.dfs.core.windows.net", None, "https://shop.blob.core.windows.net"),
            ("shop.dfs.core.chinacloudapi.cn", None, "https://shop.blob.core.chinacloudapi.cn"),
            ("shop.dfs.core.windows.net", Some("http://127.0.0.1:1/"), "http://127.0.0.1:1/shop"),
            ("shop.dfs.core.windows.net", Some("https://shop.example/"), "https://shop.example"),
            ("shop.dfs.core.windows.net", Some("https://shops.local"), "https://shops.local/shop"),
        ] {
            let found = account(&format!("abfss://lake@{host}/a/b"), endpoint).expect("an address");
            let (container, account) = ("lake".to_owned(), "shop".to_owned());
            assert_eq!(found, Account { container, account, service: service.to_owned() });
        }
        for wrong in [
            "abfss://shop.dfs.core.windows.net/lake",
            "abfss://lake@shop/a",
            "abfss://lake@shop.blob.core.windows.net/a",
            "abfss://lake:key@shop.dfs.core.windows.net/a",
            "abfss://lake@shop.dfs.core.windows.net:1/a",
            "abfss://lake@shop.z1.dfs.core.windows.net/a",
        ] {
            let error = account(wrong, None).expect_err(wrong).to_string();
            assert!(error.contains("abfss://container@account"), "{error}");
        }
    }
}
