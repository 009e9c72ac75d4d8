//! Google Cloud Storage: `gs://bucket/path`.

use std::sync::Arc;

use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::keys::Keys;
use super::listings::LooksAtListings;
use super::{StoreError, StoreOptions, address, foreign_key};

/// A client for the options' bucket.
pub(super) fn open(
    options: &StoreOptions,
    retry: RetryConfig,
    client: ClientOptions,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let bucket = options.bucket()?;
    let builder = match &options.keys {
        Some(Keys::Google(account)) => {
            GoogleCloudStorageBuilder::new().with_service_account_key(account.expose())
        }
        // The identity of the pod or the machine.
        None => GoogleCloudStorageBuilder::from_env(),
        Some(_) => return Err(foreign_key(options)),
    };
    let builder = match &options.endpoint {
        Some(endpoint) => builder.with_base_url(endpoint.trim_end_matches('/')),
        None => builder,
    };
    let store = builder
        .with_bucket_name(bucket)
        .with_retry(retry)
        // Its listings are in the protocol of S3, and read as carelessly.
        .with_http_connector(LooksAtListings::OfGoogle)
        .with_client_options(client)
        .build()
        // The client's error may have the account's key in it.
        .map_err(|_| address(options, "GOOGLE_SERVICE_ACCOUNT is no service account's JSON, or the environment's identity cannot be used"))?;
    Ok(Arc::new(store))
}
