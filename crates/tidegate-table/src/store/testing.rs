//! A table on a real S3 server, for tests.

use std::path::Path;
use std::sync::Arc;

use tidegate_testing::{ACCESS_KEY, S3Server, SECRET_KEY};
use url::Url;

use super::{AccessKey, KeySource, StoreOptions, TableStore, open};

/// A server with its data in `folder`.
pub(crate) async fn server(folder: &Path) -> S3Server {
    S3Server::start(folder, "lake").await.expect("the server starts")
}

/// The table's store as a worker opens it, through `endpoint`.
pub(crate) fn table(server: &S3Server, endpoint: &str, path: &str) -> TableStore {
    let url = Url::parse(&server.url(path)).expect("valid");
    let options = StoreOptions {
        keys: Some(Arc::new(TestKey)),
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        ..StoreOptions::new(url)
    };
    open(&options).expect("the store opens")
}

#[derive(Debug)]
struct TestKey;

impl KeySource for TestKey {
    fn read(&self) -> Result<AccessKey, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AccessKey { id: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), token: None })
    }
}
