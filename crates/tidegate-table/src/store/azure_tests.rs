//! The two clients over a server that stands in for Azure's blobs.

use std::sync::Arc;

use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use tidegate_testing::AzureServer;
use tidegate_types::{Nonce, Secret};
use url::Url;

use super::testing::{ROWS, rows, write};
use super::{AzureKey, KeySource, Keys, StoreOptions, TableStore, open, probe};

/// The key as it is mounted.
#[derive(Debug)]
struct Mounted(tempfile::TempDir);

impl KeySource<AzureKey> for Mounted {
    fn read(&self) -> Result<AzureKey, Box<dyn std::error::Error + Send + Sync>> {
        let key = std::fs::read_to_string(self.0.path().join("az/AZURE_STORAGE_ACCOUNT_KEY"))?;
        Ok(AzureKey::Account(Secret::new(key)))
    }
}

fn table(server: &AzureServer) -> TableStore {
    let folder = tempfile::tempdir().expect("a directory");
    server.write_secret(folder.path(), "az").expect("written");
    let options = StoreOptions {
        keys: Some(Keys::Azure(Arc::new(Mounted(folder)))),
        endpoint: Some(server.endpoint()),
        ..StoreOptions::new(Url::parse(&server.url("some/table")).expect("valid"))
    };
    open(&options).expect("the store opens")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azurite; run by make test"]
async fn azure_passes_the_probe_and_takes_files_of_several_parts() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = AzureServer::start(folder.path(), "lake").await.expect("the server starts");
    let store = table(&server);
    probe(&store, Nonce::from_random(2)).await.expect("fit");
    assert_eq!(store.data.list(None).count().await, 0);
    let file = write(&store.data, 0).await.expect("written");
    assert!(file.size > 10 << 20, "several parts");
    assert_eq!(rows(&store.data, &file).await, ROWS);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs azurite; run by make test"]
async fn p5_of_sixteen_who_make_one_commit_of_azure_one_wins() {
    let folder = tempfile::tempdir().expect("a directory");
    let server = AzureServer::start(folder.path(), "lake").await.expect("the server starts");
    let store = table(&server);
    for version in 0..5 {
        let put = |writer: u8| {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let (store, path) = (Arc::clone(&store.commit), Path::from(format!("{version}.json")));
            async move { store.put_opts(&path, vec![writer].into(), options).await }
        };
        let answers = futures::future::join_all((0..16).map(put)).await;
        let won: Vec<_> = (0_u8..).zip(&answers).filter(|(_, answer)| answer.is_ok()).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let lost = answers.iter().filter_map(|answer| answer.as_ref().err());
        for error in lost {
            assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error}");
        }
        let path = Path::from(format!("{version}.json"));
        let stored = store.commit.get(&path).await.expect("there").bytes().await.expect("read");
        assert_eq!(stored[..], [won[0].0]);
    }
}
