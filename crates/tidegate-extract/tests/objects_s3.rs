//! Files on a real S3 server, through the public interface.

mod files;
mod requests;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use tidegate_config::{AddressingStyle, FileFormat, ObjectSource, S3Options};
use tidegate_extract::{ReadRequest, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_testing::{S3Server, SECRET_KEY};
use tidegate_types::{Explained, Reason};

use files::{parquet, read};
use requests::{objects, secrets_in};

/// The server, a client beside the source's own, and a folder with its keys.
struct Ground {
    server: S3Server,
    store: Arc<AmazonS3>,
    secrets: Secrets,
}

impl Ground {
    async fn new(folder: &Path) -> Self {
        let server = S3Server::start(folder, "lake").await.expect("the server starts");
        server.write_secret(&folder.join("secrets"), "s3").expect("written");
        let store = server.store(None).expect("a client");
        Self { server, store, secrets: secrets_in(&folder.join("secrets")) }
    }

    async fn put(&self, path: &str, bytes: Vec<u8>) {
        self.store.put(&path.into(), bytes.into()).await.expect("stored");
    }

    fn request(&self, format: FileFormat, glob: &str) -> ReadRequest {
        let source = objects(self.server.url("in put"), format, glob);
        let s3 = S3Options {
            endpoint: Some(self.server.endpoint()),
            region: None,
            addressing_style: AddressingStyle::Path,
        };
        let source = ObjectSource { secret: Some("s3".to_owned()), s3, ..source };
        files::request(source, self.secrets.clone())
    }
}

fn text(format: FileFormat, ids: std::ops::Range<i64>) -> Vec<u8> {
    let line = |id| match format {
        FileFormat::Csv => format!("{id}\n"),
        _ => format!("{{\"id\":{id}}}\n"),
    };
    let header = if format == FileFormat::Csv { "id\n" } else { "" };
    (header.to_owned() + &ids.map(line).collect::<String>()).into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs weed; run by make test"]
async fn every_format_is_read_plain_and_packed_by_the_files_of_the_interval() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::new(folder.path()).await;
    let day = "in put/dt=2026-06-01";
    for (format, end) in [(FileFormat::NdJson, "json"), (FileFormat::Csv, "csv")] {
        let content = |from: i64| text(format, from * 100_000..(from + 1) * 100_000);
        ground.put(&format!("{day}/0.{end}"), content(0)).await;
        ground.put(&format!("{day}/1.{end}.gz"), gzip(&content(1))).await;
        ground
            .put(&format!("{day}/2.{end}.zst"), zstd::encode_all(&content(2)[..], 1).unwrap())
            .await;
        ground.put(&format!("in put/dt=2026-06-02/3.{end}"), content(3)).await;
    }
    for part in 0..3 {
        // One that is fetched whole, and two that are read by stretches.
        let rows = [100_000, 1_000_000, 1_000_000][part as usize];
        ground.put(&format!("{day}/{part}.parquet"), parquet(0..rows)).await;
    }
    let of = |count: i64| (count * (count - 1) / 2, count as u64);
    for (format, end, wanted) in [
        (FileFormat::NdJson, "json", of(300_000)),
        (FileFormat::Csv, "csv", of(300_000)),
        (FileFormat::Parquet, "parquet", (of(100_000).0 + 2 * of(1_000_000).0, 2_100_000)),
    ] {
        let request = ground.request(format, &format!("dt=%Y-%m-%d/*.{end}{{,.gz,.zst}}"));
        let snapshot = open(request).await.unwrap();
        assert_eq!(read(snapshot.as_ref()).await.unwrap(), wanted, "{format:?}");
        snapshot.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs weed; run by make test"]
async fn the_listing_is_pinned_and_its_fingerprint_tells_every_change() {
    let folder = tempfile::tempdir().unwrap();
    let ground = Ground::new(folder.path()).await;
    let ground = &ground;
    let puts = (0..1_500).map(|n| async move {
        ground.put(&format!("in put/{n}.json"), text(FileFormat::NdJson, n..n + 1)).await;
    });
    futures::stream::iter(puts).buffer_unordered(32).collect::<Vec<()>>().await;
    let request = || ground.request(FileFormat::NdJson, "*.json");
    let first = open(request()).await.unwrap();
    let again = open(request()).await.unwrap();
    assert_eq!(first.id(), again.id());
    assert_eq!(read(first.as_ref()).await.unwrap(), (1_500 * 1_499 / 2, 1_500));

    ground.put("in put/7.json", text(FileFormat::NdJson, 8..9)).await;
    let changed = open(request()).await.unwrap();
    assert_ne!(first.id(), changed.id());
    let error = read(first.as_ref()).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceChanged, true));
    assert_eq!(read(changed.as_ref()).await.unwrap(), (1_500 * 1_499 / 2 + 1, 1_500));

    ground.store.delete(&"in put/9.json".into()).await.unwrap();
    let error = read(changed.as_ref()).await.unwrap_err();
    assert!(
        error.to_string().contains("9.json") && error.to_string().contains("deleted"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs weed; run by make test"]
async fn wrong_keys_are_a_refusal_and_after_an_outage_the_snapshot_is_as_good_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut ground = Ground::new(folder.path()).await;
    ground.put("in put/a.json", text(FileFormat::NdJson, 0..9)).await;
    let snapshot = open(ground.request(FileFormat::NdJson, "*")).await.unwrap();
    let secret = folder.path().join("secrets/s3/AWS_SECRET_ACCESS_KEY");
    std::fs::write(&secret, "wrong").unwrap();
    let error = open(ground.request(FileFormat::NdJson, "*")).await.err().unwrap();
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceRefused, true));
    std::fs::write(&secret, SECRET_KEY).unwrap();
    ground.server.kill().await.unwrap();
    let error = read(snapshot.as_ref()).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceUnreachable, true));
    ground.server.restart().await.unwrap();
    assert_eq!(read(snapshot.as_ref()).await.unwrap(), (36, 9));
}
