//! Files in stores that stand in for those of Azure and Google, through the public interface.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, CsvOptions, FileCompression, FileFormat, ObjectSource,
    S3Options,
};
use tidegate_extract::{ExtractError, Piece, ReadRequest, Snapshot, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_testing::{AzureServer, GoogleServer};
use tidegate_types::{BadRowPolicy, Explained, Field, Reason};
use tokio::sync::mpsc;

/// The name of every secret here.
const SECRET: &str = "store";

fn request(
    url: String,
    endpoint: String,
    secrets: &Path,
    format: FileFormat,
    glob: &str,
) -> ReadRequest {
    let source = ObjectSource {
        url,
        secret: Some(SECRET.into()),
        endpoint: Some(endpoint),
        s3: S3Options::default(),
        glob: glob.into(),
        format,
        compression: FileCompression::Auto,
        csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
        on_bad_file: BadFilePolicy::Fail,
    };
    let id = Field {
        name: "id".into(),
        data_type: "long".parse().expect("valid"),
        required: true,
        from: None,
    };
    ReadRequest {
        source: BulkSource::ObjectStore(source),
        secrets: Secrets::new(Some(secrets.to_path_buf())),
        application: "tidegate/test".into(),
        fields: Some(vec![id]),
        interval: Some("2026-06-01T00:00:00Z/2026-06-02T00:00:00Z".parse().expect("valid")),
        incremental: None,
        chunking: Chunking { field: None, target_rows: 1_000_000, parallelism: 2 },
        on_error: BadRowPolicy::DeadLetter,
        on_bad_file: BadFilePolicy::Fail,
        batch_rows: 16 << 10,
        batch_bytes: 1 << 20,
    }
}

/// The sum of all ids and how many there are.
async fn read(snapshot: &dyn Snapshot) -> Result<(i64, u64), ExtractError> {
    let (mut sum, mut rows) = (0, 0);
    for chunk in snapshot.plan().await?.chunks {
        let (into, mut pieces) = mpsc::channel(2);
        let add = async {
            while let Some(piece) = pieces.recv().await {
                let Piece::Rows(batch) = piece else { panic!("no dead records") };
                sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            }
        };
        let (counts, ()) = tokio::join!(snapshot.read(&chunk, into), add);
        rows += counts?.rows;
    }
    Ok((sum, rows))
}

fn lines(ids: std::ops::Range<i64>) -> Vec<u8> {
    ids.map(|id| format!("{{\"id\":{id}}}\n")).collect::<String>().into_bytes()
}

/// Three million numbers, too large to be fetched whole.
fn parquet() -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3_000_000));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("a file")
}

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
    put("in put/big.parquet", parquet()).await;
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
        ("in/big.parquet", parquet()),
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
