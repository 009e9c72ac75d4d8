//! What the source can lose or change under a reader (S1, S2, S6).

mod common;

use std::path::Path;
use std::time::Duration;

use common::{
    Broker, PATIENCE, STREAM, open, options, read_all, read_batch, sequences, start_server,
    try_read_all,
};
use serde_json::json;
use tidegate_source::{
    IdentityFinding, KnownMessage, PartitionReader, Partitioning, ReaderOptions, SourceError,
    known_message, stream_facts,
};
use tidegate_types::Position;

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s1_a_stream_that_allows_deletes_is_refused_for_exactly_once_only() {
    let broker = Broker::start().await;
    broker.foreign_stream(json!({})).await;
    let strict = PartitionReader::open(&broker.connection, options(), Position(0), None).await;
    match strict.map(drop) {
        Err(SourceError::Unsafe { problems, .. }) => {
            assert!(problems.iter().any(|problem| problem.contains("deny_delete")), "{problems:?}");
        }
        other => panic!("{other:?}"),
    }
    open(&broker.connection, ReaderOptions { exactly_once: false, ..options() }, 0).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s1_a_setting_changed_under_an_idle_reader_is_noticed() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    assert_eq!(read_all(&mut reader).await.len(), 0);
    let info = broker.api(&format!("STREAM.INFO.{STREAM}"), json!({})).await;
    let mut config = info["config"].clone();
    config["discard"] = json!("old");
    broker.api(&format!("STREAM.UPDATE.{STREAM}"), config).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let error = loop {
        assert!(tokio::time::Instant::now() < deadline, "the change went unnoticed");
        if let Err(error) = reader.next(Duration::from_millis(50)).await {
            break error;
        }
    };
    assert!(matches!(&error, SourceError::Unsafe { .. }), "{error:?}");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s1_messages_deleted_while_the_reader_lags_are_a_gap() {
    let broker = Broker::start().await;
    broker.foreign_stream(json!({})).await;
    broker.publish("clicks.a", 1, 300).await;
    let lagging = ReaderOptions { exactly_once: false, batch_messages: 20, ..options() };
    let mut reader = open(&broker.connection, lagging, 0).await;
    let mut read = sequences(&read_batch(&mut reader).await);
    for sequence in 200..=203 {
        broker.delete_message(sequence).await;
    }
    let gap = loop {
        match reader.next(PATIENCE).await {
            Ok(tidegate_source::Fetched::Messages { messages, .. }) => {
                read.extend(sequences(&messages));
            }
            Ok(idle) => panic!("{idle:?} after {}", read.len()),
            Err(error) => break error,
        }
    };
    assert!(matches!(gap, SourceError::Gap { from: 200, to: 203, .. }), "{gap:?}");
    let cursor = reader.cursor().0;
    assert!(cursor < 200 && read == (1..=cursor).collect::<Vec<_>>());

    // The user accepts the loss: reading goes on behind it.
    reader.seek(Position(203)).await.expect("goes on");
    assert_eq!(sequences(&read_all(&mut reader).await), (204..=300).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s2_a_purge_of_unread_messages_is_a_gap_with_the_exact_range() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 1_000).await;
    let small = ReaderOptions { batch_messages: 10, ..options() };
    let mut reader = open(&broker.connection, small, 0).await;
    assert_eq!(sequences(&read_batch(&mut reader).await), (1..=10).collect::<Vec<_>>());
    broker.purge_below(501).await;
    let error = try_read_all(&mut reader).await.expect_err("490 messages are gone");
    assert!(matches!(error, SourceError::Gap { from: 11, to: 500, .. }), "{error:?}");
    assert_eq!(reader.cursor(), Position(10), "the cursor did not move over the loss");
    // It stays an error until somebody decides.
    let again = try_read_all(&mut reader).await.expect_err("still gone");
    assert!(matches!(again, SourceError::Gap { from: 11, to: 500, .. }), "{again:?}");
    reader.seek(Position(500)).await.expect("goes on");
    assert_eq!(sequences(&read_all(&mut reader).await), (501..=1_000).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s2_messages_purged_before_the_start_are_a_gap_at_the_start() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 100).await;
    broker.purge_below(51).await;
    let opened = PartitionReader::open(&broker.connection, options(), Position(20), None).await;
    let error = opened.map(drop).expect_err("30 messages are gone");
    assert!(matches!(error, SourceError::Gap { from: 21, to: 50, .. }), "{error:?}");
    open(&broker.connection, options(), 50).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_a_stream_that_is_made_again_under_a_live_reader_is_noticed() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 50).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    assert_eq!(read_all(&mut reader).await.len(), 50);
    broker.api(&format!("STREAM.DELETE.{STREAM}"), json!({})).await;
    tidegate_source::ensure_stream(&broker.connection, &common::spec(Partitioning::None))
        .await
        .expect("made again");
    broker.publish("clicks.a", 1, 60).await;
    let error = try_read_all(&mut reader).await.expect_err("another stream");
    assert!(
        matches!(&error, SourceError::Identity { finding: IdentityFinding::Created { .. }, .. }),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_a_floor_of_another_stream_is_refused_at_the_start() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 50).await;
    let connection = &broker.connection;
    let known = known_message(connection, STREAM, 50).await.expect("an answer").expect("stored");
    let other = KnownMessage { fingerprint: known.fingerprint ^ 1, ..known };
    let open = |cursor, known, created: Option<String>| async move {
        let options = ReaderOptions { created, ..options() };
        PartitionReader::open(connection, options, Position(cursor), known).await.map(drop)
    };
    let facts = stream_facts(connection, STREAM).await.expect("facts");
    open(50, Some(known), Some(facts.created)).await.expect("the right one");
    let finding = |result| match result {
        Err(SourceError::Identity { finding, .. }) => finding,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        finding(open(50, Some(other), None).await),
        IdentityFinding::OtherMessage { sequence: 50 }
    );
    assert_eq!(
        finding(open(51, None, None).await),
        IdentityFinding::EndsBefore { cursor: 51, last: 50 }
    );
    let older = Some("2020-01-01T00:00:00Z".to_owned());
    assert!(matches!(finding(open(50, Some(known), older).await), IdentityFinding::Created { .. }));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_the_fingerprint_of_a_delivery_is_that_of_the_stored_message() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 3).await;
    broker.publish_subjects(0, 1).await;
    let small = ReaderOptions { batch_messages: 1, ..options() };
    let mut reader = open(&broker.connection, small, 0).await;
    for sequence in 1..=4 {
        read_batch(&mut reader).await;
        let stored = known_message(&broker.connection, STREAM, sequence).await.expect("an answer");
        assert!(stored.is_some());
        assert_eq!(reader.last_message(), stored);
    }
}

/// A backup is taken, more is read, and the backup is put back under the live reader. It keeps the
/// creation time, so only positions and fingerprints can tell.
async fn restored_backup(published_after: u64) -> SourceError {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 100).await;
    let Broker { server, connection, store, raw } = broker;
    let port = server.port();
    server.stop().await.expect("stopped");
    let backup = tempfile::tempdir().expect("a temporary folder");
    copy(store.path(), backup.path());

    let server = start_server(store.path().to_owned(), port, "").await;
    let broker = Broker { server, connection, store, raw };
    broker.publish("clicks.a", 101, 50).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    assert_eq!(read_all(&mut reader).await.len(), 150);
    let created = reader.created().to_owned();

    let Broker { server, connection, store, raw } = broker;
    server.kill().await.expect("killed");
    std::fs::remove_dir_all(store.path().join("jetstream")).expect("removed");
    copy(&backup.path().join("jetstream"), &store.path().join("jetstream"));
    let server = start_server(store.path().to_owned(), port, "").await;
    let broker = Broker { server, connection, store, raw };
    if published_after > 0 {
        broker.publish("clicks.a", 1_000, published_after).await;
    }
    let facts = stream_facts(&broker.connection, STREAM).await.expect("facts");
    assert_eq!(facts.created, created, "a restored copy keeps its creation time");
    try_read_all(&mut reader).await.expect_err("an older copy")
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_an_older_backup_under_a_live_reader_is_noticed_by_its_end() {
    let error = restored_backup(0).await;
    assert!(
        matches!(
            error,
            SourceError::Identity {
                finding: IdentityFinding::EndsBefore { cursor: 150, last: 100 },
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_an_older_backup_that_grew_again_is_noticed_by_its_messages() {
    let error = restored_backup(80).await;
    assert!(
        matches!(
            error,
            SourceError::Identity { finding: IdentityFinding::OtherMessage { sequence: 150 }, .. }
        ),
        "{error:?}"
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
