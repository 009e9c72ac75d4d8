//! Servers that go away, accounts that are wrong, rows that are too large, readers that lose interest.

use std::time::Duration;

use arrow::array::RecordBatch;
use tidegate_config::{BulkSource, FileRef, TlsMode};
use tidegate_extract::{ExtractError, Piece, ReadRequest, open};
use tidegate_testing::{MariaDbOptions, eventually, workspace};
use tidegate_types::{Explained, Reason};
use tokio::sync::mpsc;

use crate::ground::{CONNECTION, Ground, divided, read};

const LONG: Duration = Duration::from_secs(30);

/// A table that does not fit into the buffers between a server and a reader who stops.
async fn large(ground: &Ground, name: &str) {
    ground
        .sql(&format!(
            "CREATE TABLE {name} (id BIGINT PRIMARY KEY, text VARCHAR(2000)); \
             INSERT INTO {name} SELECT seq, REPEAT('x', 2000) FROM seq_1_to_30000"
        ))
        .await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_server_that_dies_in_the_middle_takes_the_snapshot_along() {
    let mut ground = Ground::own().await;
    large(&ground, "t").await;
    let snapshot = open(ground.table("t")).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let (into, mut from) = mpsc::channel(1);
    let reading = snapshot.read(&plan.chunks[0], into);
    let killing = async {
        assert!(matches!(from.recv().await, Some(Piece::Rows(_))));
        ground.server.kill().await.unwrap();
        while from.recv().await.is_some() {}
    };
    let (outcome, ()) = tokio::join!(reading, killing);
    let error = outcome.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), (Reason::SnapshotLost, true), "{error}");
    assert_eq!(snapshot.check().await.unwrap_err().reason(), Reason::SnapshotLost);
    // A server that is back has other snapshots.
    ground.server.restart().await.unwrap();
    let (into, _from) = mpsc::channel(1);
    let again = snapshot.read(&plan.chunks[0], into).await.unwrap_err();
    assert_eq!(again.reason(), Reason::SnapshotLost);
    snapshot.close().await;
    ground.server.kill().await.unwrap();
    let error = ground.refusal(ground.table("t")).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceUnreachable, true));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_connection_that_was_ended_is_noticed_before_the_commit() {
    let ground = Ground::own().await;
    ground.sql("CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1), (2)").await;
    let snapshot = open(divided(ground.table("t"), 1, 2)).await.unwrap();
    read(snapshot.as_ref()).await.unwrap();
    snapshot.check().await.unwrap();
    let ours = "SELECT MAX(trx_mysql_thread_id) FROM information_schema.innodb_trx";
    let id = ground.sql(ours).await;
    ground.sql(&format!("KILL {id}")).await;
    let error = snapshot.check().await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), (Reason::SnapshotLost, true));
    snapshot.close().await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn wrong_accounts_and_names_are_told_and_passwords_are_not() {
    let ground = Ground::shared().await;
    ground.sql("CREATE TABLE there (id INT PRIMARY KEY)").await;
    let secret = |key: &str, value: &str| {
        let folder = ground.scratch.join(&format!("wrong-{key}"));
        ground.server.write_secret(&folder, CONNECTION).unwrap();
        std::fs::write(folder.join(CONNECTION).join(key), value).unwrap();
        tidegate_runtime::secrets::Secrets::new(Some(folder))
    };
    for (key, value, says) in [
        ("password", "hidden-canary", "Access denied"),
        ("user", "nobody", "Access denied"),
        ("database", "nowhere", "nowhere"),
    ] {
        let request = ReadRequest { secrets: secret(key, value), ..ground.table("there") };
        let error = ground.refusal(request).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::SourceRefused, false), "{key}");
        let text = tidegate_runtime::in_words(&error);
        assert!(text.contains(says) && text.contains("127.0.0.1"), "{text}");
        assert!(!text.contains("hidden-canary") && !format!("{error:?}").contains("hidden-canary"));
    }
    let missing = ground.refusal(ground.table("not_there")).await;
    assert_eq!((missing.reason(), missing.is_transient()), (Reason::SourceRefused, false));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_reader_that_loses_interest_ends_the_reading_and_leaves_the_others() {
    let ground = Ground::own().await;
    large(&ground, "t").await;
    let snapshot = open(divided(ground.table("t"), 15_000, 2)).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let (into, from) = mpsc::channel(1);
    drop(from);
    let given_up = snapshot.read(&plan.chunks[0], into).await;
    assert!(matches!(given_up, Err(ExtractError::Cancelled)), "{given_up:?}");
    // Its connection is closed rather than drained; the other one still sees the same.
    let others = "SELECT COUNT(*) FROM information_schema.processlist \
                  WHERE user = 'tidegate' AND id <> CONNECTION_ID()";
    let only_one = async || ground.sql(others).await.trim() == "1";
    eventually("the connection is gone", LONG, only_one).await.unwrap();
    let again = read(snapshot.as_ref()).await.unwrap();
    assert_eq!(again.plan.rows, Some(30_000));
    assert_eq!(snapshot.check().await.unwrap_err().reason(), Reason::SnapshotLost);
    // A future that is dropped in the middle does not leave half an answer to the next reader either.
    let (into, mut from) = mpsc::channel(1);
    {
        let reading = snapshot.read(&plan.chunks[0], into);
        tokio::pin!(reading);
        tokio::select! {
            _ = &mut reading => panic!("nobody takes what is read"),
            piece = from.recv() => assert!(piece.is_some()),
        }
    }
    assert_eq!(snapshot.plan().await.unwrap_err().reason(), Reason::SnapshotLost);
    snapshot.close().await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn batches_are_bounded_by_rows_and_bytes_and_a_large_row_stands_alone() {
    let arguments = vec!["--max-allowed-packet=128M".to_owned()];
    let options = MariaDbOptions { arguments, ..MariaDbOptions::default() };
    let ground = Ground::own_with(options).await;
    ground
        .sql(
            "CREATE TABLE t (id BIGINT PRIMARY KEY, bytes LONGBLOB); \
             INSERT INTO t SELECT seq, REPEAT('x', 1000) FROM seq_1_to_100; \
             UPDATE t SET bytes = REPEAT('y', 20000000) WHERE id = 50;",
        )
        .await;
    let mut request = ground.table("t");
    (request.batch_rows, request.batch_bytes) = (7, 5_100);
    let snapshot = open(request.clone()).await.unwrap();
    let all = read(snapshot.as_ref()).await.unwrap();
    snapshot.close().await;
    let sizes: Vec<_> = all.batches.iter().map(RecordBatch::num_rows).collect();
    assert!(sizes.iter().all(|rows| *rows <= 5), "{sizes:?}");
    let alone =
        all.batches.iter().find(|batch| batch.get_array_memory_size() > 20_000_000).unwrap();
    assert_eq!(alone.num_rows(), 1);
    ground.sql("UPDATE t SET bytes = REPEAT('y', 70000000) WHERE id = 50").await;
    let error = ground.refusal(request).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::TooLarge, false), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn the_server_must_be_the_one_that_is_trusted() {
    let data = workspace().join("crates/tidegate-source/tests/data/tls");
    let file = |name: &str| data.join(name).display().to_string();
    let arguments = vec![
        format!("--ssl-cert={}", file("server.crt")),
        format!("--ssl-key={}", file("server.key")),
        "--require-secure-transport=1".to_owned(),
    ];
    let ground = Ground::own_with(MariaDbOptions { arguments, ..Default::default() }).await;
    let folder = ground.scratch.join("ca");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(data.join("ca.crt"), folder.join("ca.crt")).unwrap();
    let ask = |mode: TlsMode, ca: Option<&str>| {
        let mut request = ground.query("SELECT @@in_transaction AS held");
        let BulkSource::MySql(source) = &mut request.source else { panic!("another source") };
        source.tls.mode = mode;
        source.tls.ca = ca.map(|key| FileRef { name: "ca".into(), key: key.into() });
        request
    };
    assert_eq!(ground.rows(ask(TlsMode::VerifyFull, Some("ca.crt"))).await, ["1"]);
    let plain = ground.refusal(ask(TlsMode::Disable, None)).await;
    assert_eq!((plain.reason(), plain.is_transient()), (Reason::SourceRefused, false), "{plain}");
    let stranger = ground.refusal(ask(TlsMode::VerifyFull, None)).await;
    assert_eq!((stranger.reason(), stranger.is_transient()), (Reason::SourceRefused, false));
    assert!(stranger.to_string().contains("TLS"), "{stranger}");
    // A server without TLS is not talked to when the pipeline asks for it.
    let open_ground = Ground::shared().await;
    let mut request = open_ground.query("SELECT 1 AS one");
    let BulkSource::MySql(source) = &mut request.source else { panic!("another source") };
    source.tls.mode = TlsMode::VerifyFull;
    let refused = open_ground.refusal(request).await;
    assert!(refused.to_string().contains("offers no TLS"), "{refused}");
}
