//! Publishing and the embedded server.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{Broker, STREAM, binary, spec, start_server};
use tidegate_source::embedded::{EmbeddedOptions, EmbeddedServer};
use tidegate_source::{
    ConnectOptions, Connection, Credentials, Partitioning, PublishOptions, Publisher, SourceError,
    StreamSpec, TlsFiles, ensure_stream, stream_facts, trim,
};
use tidegate_types::Reason;

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn ids_that_the_broker_knows_are_counted_as_duplicates() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let mut publisher = Publisher::new(&broker.connection, PublishOptions::default());
    for number in 0..3_000 {
        let id = format!("id-{}", number % 2_500);
        publisher.publish("clicks.a", "{}".into(), Some(&id)).await.expect("sent");
    }
    let report = publisher.finish().await.expect("stored");
    assert_eq!((report.stored, report.duplicates, report.last_sequence), (2_500, 500, 2_500));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_full_stream_slows_the_publisher_until_it_is_trimmed() {
    let broker = Broker::start().await;
    let small = StreamSpec { max_bytes: Some(40_000), ..spec(Partitioning::None) };
    ensure_stream(&broker.connection, &small).await.expect("made");
    let connection = broker.connection.clone();
    let publishing = tokio::spawn(async move {
        let options = PublishOptions { window: 10, ..PublishOptions::default() };
        let mut publisher = Publisher::new(&connection, options);
        for number in 0..100 {
            let id = number.to_string();
            publisher.publish("clicks.a", vec![b'x'; 1_000].into(), Some(&id)).await?;
        }
        publisher.finish().await
    });
    let mut trimmed = 0;
    while !publishing.is_finished() {
        let facts = stream_facts(&broker.connection, STREAM).await.expect("facts");
        assert!(facts.bytes <= 40_000);
        if facts.messages > 30 {
            trimmed +=
                trim(&broker.connection, STREAM, facts.last_sequence).await.expect("trimmed");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = publishing.await.expect("no panic").expect("all stored");
    assert_eq!(report.stored, 100);
    assert!(report.retries > 0 && trimmed > 0, "{report:?} {trimmed}");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_message_that_cannot_be_stored_is_given_up_in_time() {
    let broker = Broker::start().await;
    let options =
        PublishOptions { give_up_after: Duration::from_millis(300), ..PublishOptions::default() };
    let mut publisher = Publisher::new(&broker.connection, options);
    publisher.publish("nobody.listens", "{}".into(), None).await.expect("only sent");
    let error = publisher.finish().await.expect_err("no stream takes it");
    assert!(
        matches!(&error, SourceError::NotPublished { attempts, .. } if *attempts > 1),
        "{error:?}"
    );
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_publisher_outlives_a_restart_of_the_broker_without_doubling() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let Broker { server, connection, store, .. } = broker;
    let port = server.port();
    let publishing = tokio::spawn({
        let connection = connection.clone();
        async move {
            let mut publisher = Publisher::new(&connection, PublishOptions::default());
            for number in 0..20_000 {
                let id = number.to_string();
                publisher.publish("clicks.a", "{}".into(), Some(&id)).await?;
            }
            publisher.finish().await
        }
    });
    while stream_facts(&connection, STREAM).await.expect("facts").messages < 500 {
        assert!(!publishing.is_finished(), "it ended early");
    }
    server.kill().await.expect("killed");
    assert!(!publishing.is_finished(), "nothing was on its way any more");
    let _server = start_server(store.path().to_owned(), port, "").await;
    publishing.await.expect("no panic").expect("all stored");
    let facts = stream_facts(&connection, STREAM).await.expect("facts");
    assert_eq!(facts.messages, 20_000);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn wrong_credentials_are_refused_at_once_and_right_ones_work() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let users = "authorization { user: worker, password: canary }";
    let server = start_server(store.path().to_owned(), 0, users).await;
    let connect = |password: &str| {
        let credentials =
            Credentials::UserPassword { user: "worker".into(), password: password.into() };
        Connection::connect(ConnectOptions {
            servers: vec![server.url()],
            credentials: Some(credentials),
            ..ConnectOptions::default()
        })
    };
    connect("canary").await.expect("right");
    let started = std::time::Instant::now();
    let error = connect("wrong-canary").await.expect_err("wrong");
    assert!(matches!(error, SourceError::CredentialsRefused { .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "no retries");
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_broker_that_is_not_there_is_unreachable_after_a_few_attempts() {
    let error = Connection::connect(ConnectOptions {
        servers: vec!["nats://127.0.0.1:1".into()],
        ..ConnectOptions::default()
    })
    .await
    .expect_err("nobody there");
    assert_eq!(error.reason(), Reason::SourceUnreachable);
    assert!(error.is_transient());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_server_that_was_left_behind_is_stopped_before_its_store_is_used_again() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let first = start_server(store.path().to_owned(), 0, "").await;
    let left_behind = first.process_id().expect("it runs");
    // As after a SIGKILL of the parent: nobody stops the child.
    std::mem::forget(first);
    let second = start_server(store.path().to_owned(), 0, "").await;
    let state = std::fs::read_to_string(format!("/proc/{left_behind}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    second.stop().await.expect("stopped");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn an_embedded_server_keeps_its_streams_over_a_stop_and_reports_a_bad_configuration() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let server = start_server(store.path().to_owned(), 0, "").await;
    let connection = common::connect(&server.url()).await;
    ensure_stream(&connection, &spec(Partitioning::None)).await.expect("made");
    server.stop().await.expect("stopped");
    let server = start_server(store.path().to_owned(), 0, "").await;
    let connection = common::connect(&server.url()).await;
    stream_facts(&connection, STREAM).await.expect("still there");
    server.stop().await.expect("stopped");

    let options = EmbeddedOptions {
        binary: binary(),
        store_dir: store.path().to_owned(),
        port: 0,
        extra_config: "no such { thing".into(),
    };
    let error = EmbeddedServer::start(options).await.expect_err("refused");
    assert!(error.to_string().contains("it ended with"), "{error}");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn tls_with_a_private_authority_and_a_client_certificate() {
    let store = tempfile::tempdir().expect("a temporary folder");
    let files = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        files.join("server.crt"),
        files.join("server.key"),
        files.join("ca.crt"),
    );
    let server = start_server(store.path().to_owned(), 0, &tls).await;
    let connect = |tls: Option<TlsFiles>| {
        let servers = vec![server.url().replace("nats://", "tls://")];
        Connection::connect(ConnectOptions { servers, tls, ..ConnectOptions::default() })
    };
    let client = Some((files.join("client.crt"), files.join("client.key")));
    let authorities = Some(files.join("ca.crt"));
    let both = TlsFiles { authorities: authorities.clone(), client: client.clone() };
    let connection = connect(Some(both)).await.expect("trusted on both sides");
    ensure_stream(&connection, &spec(Partitioning::None)).await.expect("made");
    connect(Some(TlsFiles { authorities, client: None })).await.expect_err("no certificate");
    let nobody = TlsFiles { authorities: None, client };
    connect(Some(nobody.clone())).await.expect_err("not trusted");
    let private = std::fs::read(files.join("ca.crt")).expect("the authority");
    let beside = |tls: TlsFiles| {
        let servers = vec![server.url().replace("nats://", "tls://")];
        Connection::connect(ConnectOptions {
            servers,
            tls: Some(tls),
            private_authorities: Some(private.clone()),
            ..ConnectOptions::default()
        })
    };
    beside(nobody).await.expect("trusted beside the system's");
    let other = TlsFiles { authorities: Some(files.join("client.crt")), client: None };
    beside(other).await.expect_err("the pipeline's own authorities are the only ones");
}
