//! What the tests against a real broker share.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod proxy;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_source::embedded::{EmbeddedOptions, EmbeddedServer};
use tidegate_source::{
    CheckPeriods, ConnectOptions, Connection, Fetched, PartitionReader, Partitioning,
    PublishOptions, Publisher, ReaderOptions, SourceError, StreamSpec, ensure_stream,
};
use tidegate_types::{Epoch, Ledger, Message, PartitionId, Position};

pub(crate) const STREAM: &str = "CLICKS";
pub(crate) const TABLE: &str = "file:///lake/clicks";
/// Long enough for every wait that is expected to bring something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A broker of the test's own, with a raw client beside the connection under test.
pub(crate) struct Broker {
    pub(crate) server: EmbeddedServer,
    pub(crate) connection: Connection,
    pub(crate) raw: async_nats::Client,
    pub(crate) store: TempDir,
}

/// The program: on PATH, or where the test set-up puts it.
pub(crate) fn binary() -> Option<PathBuf> {
    let prepared =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/nats-server");
    prepared.is_file().then_some(prepared)
}

pub(crate) async fn start_server(store: PathBuf, port: u16, extra_config: &str) -> EmbeddedServer {
    let extra_config = extra_config.to_owned();
    let options = EmbeddedOptions { binary: binary(), store_dir: store, port, extra_config };
    EmbeddedServer::start(options).await.expect("nats-server starts")
}

pub(crate) async fn connect(url: &str) -> Connection {
    let options = ConnectOptions {
        servers: vec![url.to_owned()],
        client_name: "test".into(),
        ..ConnectOptions::default()
    };
    Connection::connect(options).await.expect("the broker is there")
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let store = tempfile::tempdir().expect("a temporary folder");
        let server = start_server(store.path().to_owned(), 0, "").await;
        let connection = connect(&server.url()).await;
        let raw = async_nats::connect(server.url()).await.expect("the broker is there");
        Self { server, connection, raw, store }
    }

    /// A broker with the usual stream.
    pub(crate) async fn with_stream(partitioning: Partitioning) -> Self {
        let broker = Self::start().await;
        ensure_stream(&broker.connection, &spec(partitioning)).await.expect("the stream is made");
        broker
    }

    /// A request to the JetStream API, past the code under test.
    pub(crate) async fn api(&self, subject: &str, request: Value) -> Value {
        let context = async_nats::jetstream::new(self.raw.clone());
        let answer: Value = context.request(subject.to_owned(), &request).await.expect("an answer");
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    /// A stream that is not ours.
    pub(crate) async fn foreign_stream(&self, more: Value) {
        let mut config = json!({"name": STREAM, "subjects": ["clicks.>"], "storage": "file",
            "discard": "new", "num_replicas": 1, "retention": "limits"});
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        self.api(&format!("STREAM.CREATE.{STREAM}"), config).await;
    }

    pub(crate) async fn purge_below(&self, sequence: u64) {
        self.api(&format!("STREAM.PURGE.{STREAM}"), json!({"seq": sequence})).await;
    }

    pub(crate) async fn delete_message(&self, sequence: u64) {
        self.api(&format!("STREAM.MSG.DELETE.{STREAM}"), json!({"seq": sequence})).await;
    }

    /// Publishes `count` messages to `subject`, numbered from `first`.
    pub(crate) async fn publish(&self, subject: &str, first: u64, count: u64) {
        let mut publisher = Publisher::new(&self.connection, PublishOptions::default());
        for number in first..first + count {
            let (payload, id) = (format!("{{\"n\":{number}}}"), format!("id-{number}"));
            publisher.publish(subject, payload.into(), Some(&id)).await.expect("sent");
        }
        let report = publisher.finish().await.expect("stored");
        assert_eq!(report.stored, count);
    }

    /// Publishes to many subjects, one message each.
    pub(crate) async fn publish_subjects(&self, first: u64, count: u64) {
        let mut publisher = Publisher::new(&self.connection, PublishOptions::default());
        for number in first..first + count {
            let subject = format!("clicks.user{number}");
            publisher.publish(&subject, "{}".into(), None).await.expect("sent");
        }
        publisher.finish().await.expect("stored");
    }
}

pub(crate) fn spec(partitioning: Partitioning) -> StreamSpec {
    StreamSpec {
        name: STREAM.into(),
        subjects: vec!["clicks.>".into()],
        partitioning,
        max_bytes: None,
        max_age: None,
        replicas: 1,
        duplicate_window: Duration::from_secs(120),
    }
}

pub(crate) fn ledger() -> Ledger {
    Ledger::new("analytics.clicks").expect("valid")
}

/// Options with short periods.
pub(crate) fn options() -> ReaderOptions {
    ReaderOptions {
        epoch: Epoch(1),
        id_header: Some("Nats-Msg-Id".into()),
        batch_messages: 100,
        periods: CheckPeriods {
            recheck: Duration::from_millis(200),
            caught_up: Duration::from_millis(1),
            pull_expiry: Duration::from_secs(2),
            delivery_grace: Duration::from_millis(250),
        },
        ..ReaderOptions::new(STREAM, ledger(), TABLE)
    }
}

pub(crate) fn partition_options(k: u32, filter: Option<String>) -> ReaderOptions {
    ReaderOptions { partition: PartitionId(k), filter, ..options() }
}

pub(crate) async fn open(
    connection: &Connection,
    options: ReaderOptions,
    cursor: u64,
) -> PartitionReader {
    PartitionReader::open(connection, options, Position(cursor), None).await.expect("opens")
}

/// Reads until the reader says that it is caught up.
pub(crate) async fn read_all(reader: &mut PartitionReader) -> Vec<Message> {
    try_read_all(reader).await.expect("reading goes well")
}

/// Reads until the reader says that it is caught up, or fails with what cannot pass by itself.
pub(crate) async fn try_read_all(
    reader: &mut PartitionReader,
) -> Result<Vec<Message>, SourceError> {
    let deadline = tokio::time::Instant::now() + 3 * PATIENCE;
    let mut all = Vec::new();
    loop {
        assert!(tokio::time::Instant::now() < deadline, "not caught up after {}", all.len());
        match reader.next(Duration::from_millis(100)).await {
            Ok(Fetched::Messages { messages, .. }) => all.extend(messages),
            Ok(Fetched::Idle { caught_up: true, .. }) => return Ok(all),
            Ok(Fetched::Idle { .. }) => {}
            Err(error) if error.is_transient() => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The next batch.
pub(crate) async fn read_batch(reader: &mut PartitionReader) -> Vec<Message> {
    match reader.next(PATIENCE).await.expect("reading goes well") {
        Fetched::Messages { messages, .. } => messages,
        idle @ Fetched::Idle { .. } => panic!("{idle:?}"),
    }
}

pub(crate) fn sequences(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.sequence).collect()
}

pub(crate) fn floors(entries: &[(&str, u64)]) -> BTreeMap<String, Position> {
    entries.iter().map(|(ledger, floor)| ((*ledger).to_owned(), Position(*floor))).collect()
}
