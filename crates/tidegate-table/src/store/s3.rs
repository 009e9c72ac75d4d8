//! S3, and servers that speak as it does: `s3://bucket/path`.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::keys::{Identity, Keys, RereadKey};
use super::listings::LooksAtListings;
use super::{StoreError, StoreOptions, address, foreign_key};

/// A client for the options' bucket.
pub(super) fn open(
    options: &StoreOptions,
    retry: RetryConfig,
    client: ClientOptions,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let identity = Identity::of(|name| std::env::var(name).ok());
    if options.keys.is_none() && identity == Identity::Nobody {
        return Err(StoreError::NoIdentity { url: options.url.to_string() });
    }
    let bucket = builder(options)?
        .with_retry(retry)
        .with_http_connector(LooksAtListings::OfS3)
        .with_client_options(client)
        .build()
        .map_err(|source| StoreError::Open { url: options.url.to_string(), source })?;
    Ok(Arc::new(bucket))
}

fn builder(options: &StoreOptions) -> Result<AmazonS3Builder, StoreError> {
    let bucket = options.bucket()?;
    let builder = match &options.keys {
        Some(Keys::S3(keys)) => {
            let keys = RereadKey::new(Arc::clone(keys));
            AmazonS3Builder::new().with_credentials(Arc::new(keys))
        }
        None => AmazonS3Builder::from_env(),
        Some(_) => return Err(foreign_key(options)),
    };
    let mut builder =
        builder.with_bucket_name(bucket).with_virtual_hosted_style_request(!options.path_style);
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(at) = &options.endpoint {
        builder = builder.with_endpoint(endpoint(options, at, bucket)?);
    }
    Ok(builder)
}

/// The client takes a virtual-hosted endpoint with the bucket in it; users write it without.
fn endpoint(options: &StoreOptions, endpoint: &str, bucket: &str) -> Result<String, StoreError> {
    let problem = |why: &str| address(options, &format!("endpoint {endpoint:?} {why}"));
    let mut parsed = Url::parse(endpoint).map_err(|_| problem("is not a URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(problem("must begin with https:// or http://"));
    }
    let host = parsed.host_str().ok_or_else(|| problem("names no host"))?.to_owned();
    if !options.path_style && !host.starts_with(&format!("{bucket}.")) {
        parsed
            .set_host(Some(&format!("{bucket}.{host}")))
            .map_err(|_| problem("cannot carry the bucket in its host: use path style"))?;
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s3_endpoint_carries_the_bucket_where_the_style_asks_for_it() {
        let mut options = StoreOptions::new(Url::parse("s3://lake/x/y").expect("a URL"));
        let of = |options: &StoreOptions, at: &str| endpoint(options, at, "lake").ok();
        assert_eq!(of(&options, "https://s3.io/").as_deref(), Some("https://lake.s3.io"));
        assert_eq!(of(&options, "https://lake.s3.io").as_deref(), Some("https://lake.s3.io"));
        options.path_style = true;
        assert_eq!(of(&options, "http://[::1]:9").as_deref(), Some("http://[::1]:9"));
    }
}
