//! Files in stores that stand in for those of Azure and Google, through the public interface.

mod files;
mod requests;

use std::path::Path;

use object_store::ObjectStoreExt;
use tidegate_config::{FileFormat, ObjectSource};
use tidegate_extract::{ReadRequest, open};
use tidegate_testing::{AzureServer, GoogleServer};
use tidegate_types::{Explained, Reason};

use files::{parquet, read};
use requests::{objects, secrets_in};

/// The name of every secret here.
const SECRET: &str = "store";

fn request(
    url: String,
    endpoint: String,
    secrets: &Path,
    format: FileFormat,
    glob: &str,
) -> ReadRequest {
    let (endpoint, secret) = (Some(endpoint), Some(SECRET.to_owned()));
    let source = ObjectSource { endpoint, secret, ..objects(url, format, glob) };
    files::request(source, secrets_in(secrets))
}

fn lines(ids: std::ops::Range<i64>) -> Vec<u8> {
    ids.map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>().into_bytes()
}

/// Numbers of a file that is too large to be fetched whole.
const MANY: std::ops::Range<i64> = 0..3_000_000;
/// Their sum, and how many they are.
const ALL: (i64, u64) = (4_499_998_500_000, 3_000_000);

#[tokio::test]
#[ignore = "needs azurite; run by make test"]
async fn files_in_azure_are_read_and_one_that_changes_ends_the_attempt() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = AzureServer::start(folder.path(), "lake").await.expect("the server starts");
    let secrets = folder.path().join("secrets");
    server.write_secret(&secrets, SECRET).expect("written");
    let store = server.store().expect("a client");
    let put = async |path: &str, bytes: Vec<u8>| {
        store.put(&path.into(), bytes.into()).await.expect("stored");
    };
    put("in put/dt=2026-06-01/a.json", lines(0..1_000)).await;
    put("in put/dt=2026-06-01/b c.json", lines(1_000..2_000)).await;
    put("in put/dt=2026-06-02/a.json", lines(0..9)).await;
    put("in put/big.parquet", parquet(MANY)).await;
    let ask =
        |format, glob| request(server.url("in put"), server.endpoint(), &secrets, format, glob);
    let json = ask(FileFormat::NdJson, "dt=%Y-%m-%d/*.json");
    let snapshot = open(json.clone()).await.expect("opened");
    assert_eq!(read(snapshot.as_ref()).await.expect("read"), (1_999_000, 2_000));
    let big = open(ask(FileFormat::Parquet, "*.parquet")).await.expect("opened");
    assert_eq!(read(big.as_ref()).await.expect("read"), ALL);
    // As many bytes, so that only the version tells.
    put("in put/dt=2026-06-01/a.json", lines(0..1_000)).await;
    let error = read(snapshot.as_ref()).await.expect_err("it changed");
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceChanged, true));
    assert!(error.to_string().contains("dt=2026-06-01/a.json"), "{error}");
    std::fs::write(secrets.join(SECRET).join("AZURE_STORAGE_ACCOUNT_KEY"), "b3RoZXI=")
        .expect("written");
    let error = open(json.clone()).await.err().expect("refused");
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceRefused, true), "{error}");
    std::fs::remove_file(secrets.join(SECRET).join("AZURE_STORAGE_ACCOUNT_KEY")).expect("removed");
    let error = open(json).await.err().expect("refused");
    assert_eq!(error.reason(), Reason::SecretMissing, "{error}");
}

#[tokio::test]
#[ignore = "needs fake-gcs-server; run by make test"]
async fn files_in_google_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = GoogleServer::start(folder.path(), "landing").await.expect("the server starts");
    let secrets = folder.path().join("secrets");
    server.write_secret(&secrets, SECRET).expect("written");
    for (path, bytes) in [
        ("in/dt=2026-06-01/a.json", lines(0..1_000)),
        ("in/dt=2026-06-01/b.json", lines(1_000..2_000)),
        ("in/dt=2026-06-02/a.json", lines(0..9)),
        ("in/big.parquet", parquet(MANY)),
    ] {
        server.put(path, &bytes).await.expect("stored");
    }
    let ask = |format, glob| request(server.url("in"), server.endpoint(), &secrets, format, glob);
    let snapshot = open(ask(FileFormat::NdJson, "dt=%Y-%m-%d/*.json")).await.expect("opened");
    assert_eq!(read(snapshot.as_ref()).await.expect("read"), (1_999_000, 2_000));
    let big = open(ask(FileFormat::Parquet, "*.parquet")).await.expect("opened");
    assert_eq!(read(big.as_ref()).await.expect("read"), ALL);
    server.put("in/dt=2026-06-01/a.json", &lines(0..10)).await.expect("stored");
    let error = read(snapshot.as_ref()).await.expect_err("it changed");
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceChanged, true));
    let account = secrets.join(SECRET).join("GOOGLE_SERVICE_ACCOUNT");
    std::fs::write(account, r#"{"private_key": "hidden"}"#).expect("written");
    let error = open(ask(FileFormat::NdJson, "*")).await.err().expect("refused");
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    assert!(!format!("{error:?} {error}").contains("hidden"), "{error:?}");
}
