//! A table on a real S3 server, and a file in it, for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::StreamExt;
use object_store::ObjectStore;
use tidegate_testing::{ACCESS_KEY, S3Server, SECRET_KEY};
use tidegate_types::{Compression, Epoch, Ledger, Nonce};
use url::Url;

use super::{AccessKey, KeySource, Keys, StoreOptions, TableStore, open};
use crate::files::layout::{DataPath, FileName, object_of_log_path};
use crate::files::reader::read_columns;
use crate::files::{DataFile, FileError, FileWriter, WriteOptions};

/// A server with its data in `folder`.
pub(crate) async fn server(folder: &Path) -> S3Server {
    S3Server::start(folder, "lake").await.expect("the server starts")
}

/// The table's store as a worker opens it, through `endpoint`.
pub(crate) fn table(server: &S3Server, endpoint: &str, path: &str) -> TableStore {
    at(&server.url(path), endpoint)
}

/// A table's store behind `endpoint`, whoever answers there.
pub(crate) fn table_at(endpoint: &str, path: &str) -> TableStore {
    at(&format!("s3://lake/{path}"), endpoint)
}

fn at(url: &str, endpoint: &str) -> TableStore {
    let url = Url::parse(url).expect("valid");
    let options = StoreOptions {
        keys: Some(Keys::S3(Arc::new(TestKey))),
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        ..StoreOptions::new(url)
    };
    open(&options).expect("the store opens")
}

#[derive(Debug)]
struct TestKey;

impl KeySource<AccessKey> for TestKey {
    fn read(&self) -> Result<AccessKey, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AccessKey { id: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), token: None })
    }
}

/// Rows of eight bytes: three parts of the least size that S3 takes.
pub(crate) const ROWS: u64 = 1_500_000;

/// Writes a file of several parts below a folder whose name needs encoding.
pub(crate) async fn write(
    store: &Arc<dyn ObjectStore>,
    number: u32,
) -> Result<DataFile, FileError> {
    let noise = |n: u64| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()).cast_signed();
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(noise)));
    let batch = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).expect("a batch");
    let values = vec![("site".to_owned(), Some("Nord/Süd 1".to_owned()))];
    let name = FileName {
        ledger: Ledger::new("a.b").expect("valid"),
        epoch: Epoch(1),
        nonce: Nonce::from_random(2),
        number,
    };
    let options = WriteOptions {
        compression: Compression::None,
        row_group_rows: 400_000,
        part_size: 5 << 20,
        ..WriteOptions::default()
    };
    let path = DataPath::new(&values, &name);
    let values = BTreeMap::from_iter(values);
    let mut writer = FileWriter::create(Arc::clone(store), path, batch.schema(), values, &options);
    writer.write(&batch).await?;
    writer.finish().await
}

pub(crate) async fn rows(store: &Arc<dyn ObjectStore>, file: &DataFile) -> u64 {
    let path = object_of_log_path(&file.path).expect("ours");
    let mut batches = read_columns(store, &path, &["v"]).await.expect("opened");
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        rows += batch.expect("read").num_rows() as u64;
    }
    rows
}
