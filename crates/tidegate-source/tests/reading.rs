//! Reading against a real broker: order, partitions, lost deliveries, cut lines, restarts (S4).

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::proxy::Proxy;
use common::{
    Broker, PATIENCE, STREAM, connect, open, options, partition_options, read_all, read_batch,
    sequences, start_server,
};
use tidegate_source::{
    Fetched, PartitionReader, Partitioning, ReaderOptions, idle_advance, leader_last_sequence,
    partition_filter,
};
use tidegate_types::{Epoch, Position};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn messages_are_handed_on_once_and_in_order() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 3_000).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    let messages = read_all(&mut reader).await;
    assert_eq!(sequences(&messages), (1..=3_000).collect::<Vec<_>>());
    assert_eq!(messages[41].payload.as_ref(), b"{\"n\":42}");
    assert_eq!(messages[41].id.as_deref(), Some(b"id-42".as_slice()));
    assert_eq!(&*messages[41].subject, "clicks.a");
    assert!(messages.windows(2).all(|pair| pair[0].time <= pair[1].time));
    assert_eq!(reader.cursor(), Position(3_000));

    broker.publish("clicks.a", 3_001, 5).await;
    assert_eq!(read_all(&mut reader).await.len(), 5);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn an_idle_answer_carries_the_brokers_time() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    match reader.next(Duration::from_millis(50)).await.expect("an answer") {
        Fetched::Idle { caught_up: true, as_of: Some(time) } => assert!(time.0 > 0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn eight_partitions_hold_every_message_once_and_a_subject_in_one() {
    let partitioning = Partitioning::Subject { partitions: 8 };
    let broker = Broker::with_stream(partitioning.clone()).await;
    for _ in 0..3 {
        broker.publish_subjects(0, 200).await;
    }
    let mut seen = BTreeMap::new();
    let mut home: BTreeMap<String, u32> = BTreeMap::new();
    for k in 0..8 {
        let options = partition_options(k, partition_filter(&partitioning, k));
        let messages = read_all(&mut open(&broker.connection, options, 0).await).await;
        assert!(!messages.is_empty(), "partition {k} got its share of 200 subjects");
        for message in messages {
            assert_eq!(seen.insert(message.sequence, k), None);
            let subject = message.subject.split_once('.').expect("a prefix").1.to_owned();
            assert_eq!(*home.entry(subject).or_insert(k), k);
        }
    }
    assert_eq!(seen.len(), 600);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s4_a_lost_tail_followed_by_silence_is_read_again() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 50).await;
    let proxy = Proxy::start(broker.server.port()).await;
    let connection = connect(&proxy.url()).await;
    proxy.lose(2, 50);
    let mut reader = open(&connection, options(), 0).await;
    let messages = read_all(&mut reader).await;
    assert_eq!(proxy.lost(), 49, "the broker delivered the tail and it went missing");
    assert_eq!(sequences(&messages), (1..=50).collect::<Vec<_>>());
    assert_eq!(connection.reconnects(), 0, "nothing but S4 could notice it");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s4_a_delivery_missing_in_the_middle_is_read_again() {
    let broker = Broker::with_stream(Partitioning::Subject { partitions: 2 }).await;
    broker.publish("clicks.a", 1, 500).await;
    broker.publish_subjects(0, 300).await;
    let proxy = Proxy::start(broker.server.port()).await;
    let connection = connect(&proxy.url()).await;
    let mut all = Vec::new();
    for k in 0..2 {
        proxy.lose(17, 19);
        let mut reader = open(&connection, partition_options(k, Some(format!("{k}.>"))), 0).await;
        all.extend(sequences(&read_all(&mut reader).await));
    }
    all.sort_unstable();
    assert_eq!(proxy.lost(), 6);
    assert_eq!(all, (1..=800).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s4_a_line_cut_while_messages_are_on_it_loses_and_doubles_nothing() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 2_000).await;
    let proxy = Proxy::start(broker.server.port()).await;
    let connection = connect(&proxy.url()).await;
    let mut reader = open(&connection, options(), 0).await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.extend(sequences(&read_batch(&mut reader).await));
        let before = proxy.swallowed();
        proxy.mute();
        // What arrived before is read; then messages are on the line when it is cut.
        loop {
            tokio::select! {
                batch = read_batch(&mut reader) => all.extend(sequences(&batch)),
                () = proxy.swallows_more_than(before) => break,
            }
        }
        proxy.cut();
    }
    all.extend(sequences(&read_all(&mut reader).await));
    assert_eq!(all, (1..=2_000).collect::<Vec<_>>());
    assert!(connection.reconnects() >= 1);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_broker_that_is_killed_and_started_again_is_read_on() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 500).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    let mut all = sequences(&read_batch(&mut reader).await);
    let Broker { server, connection, store, .. } = broker;
    let port = server.port();
    server.kill().await.expect("killed");
    let _server = start_server(store.path().to_owned(), port, "").await;
    all.extend(sequences(&read_all(&mut reader).await));
    assert_eq!(all, (1..=500).collect::<Vec<_>>());
    assert!(connection.reconnects() >= 1);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s4_a_consumer_that_somebody_deletes_is_made_anew_at_the_cursor() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 250).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    let mut all = sequences(&read_batch(&mut reader).await);
    let names = broker.api(&format!("CONSUMER.NAMES.{STREAM}"), serde_json::json!({})).await;
    let name = names["consumers"][0].as_str().expect("one consumer");
    broker.api(&format!("CONSUMER.DELETE.{STREAM}.{name}"), serde_json::json!({})).await;
    all.extend(sequences(&read_all(&mut reader).await));
    assert_eq!(all, (1..=250).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_dropped_call_of_next_loses_nothing() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let mut reader = open(&broker.connection, options(), 0).await;
    let mut all = Vec::new();
    for round in 0..60_u64 {
        broker.publish("clicks.a", round * 30 + 1, 30).await;
        let limit = Duration::from_micros(100 * round);
        if let Ok(fetched) = tokio::time::timeout(limit, reader.next(PATIENCE)).await
            && let Fetched::Messages { messages, .. } = fetched.expect("reading goes well")
        {
            all.extend(sequences(&messages));
        }
    }
    all.extend(sequences(&read_all(&mut reader).await));
    assert_eq!(all, (1..=1_800).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_rewind_reads_the_same_messages_again() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 120).await;
    let mut reader = open(&broker.connection, options(), 20).await;
    let first = read_all(&mut reader).await;
    assert_eq!(sequences(&first), (21..=120).collect::<Vec<_>>());
    reader.seek(Position(20)).await.expect("goes back");
    assert_eq!(reader.cursor(), Position(20));
    assert_eq!(read_all(&mut reader).await, first);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_message_larger_than_the_byte_budget_comes_alone() {
    let broker = Broker::with_stream(Partitioning::None).await;
    let context = async_nats::jetstream::new(broker.raw.clone());
    for size in [10, 10, 300_000, 10, 20_000, 300_000, 300_000, 10] {
        let payload = vec![b'x'; size].into();
        context.publish("clicks.a", payload).await.expect("sent").await.expect("stored");
    }
    let options = ReaderOptions { batch_bytes: 64 << 10, ..options() };
    let mut reader = open(&broker.connection, options, 0).await;
    let messages = read_all(&mut reader).await;
    assert_eq!(sequences(&messages), (1..=8).collect::<Vec<_>>());
    assert_eq!(messages[2].payload.len(), 300_000);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_new_epoch_takes_the_consumer_of_the_old_one_away() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 10).await;
    let _old = open(&broker.connection, options(), 0).await;
    let mut new = open(&broker.connection, ReaderOptions { epoch: Epoch(2), ..options() }, 0).await;
    let names = broker.api(&format!("CONSUMER.NAMES.{STREAM}"), serde_json::json!({})).await;
    let names = names["consumers"].as_array().expect("a list");
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(names[0].as_str().expect("a name").ends_with("-0-e2"));
    assert_eq!(read_all(&mut new).await.len(), 10);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_an_idle_partition_advances_and_raises_no_false_gap() {
    let partitioning =
        Partitioning::Declared { partitions: 2, pattern: "clicks.{partition}".into() };
    let broker = Broker::with_stream(partitioning.clone()).await;
    broker.publish("clicks.0", 1, 100).await;
    let filter = partition_filter(&partitioning, 1);
    let connection = &broker.connection;
    let aged = leader_last_sequence(connection, STREAM).await.expect("an answer");
    let advance = |floor, aged| {
        let filter = filter.clone();
        async move {
            let floor = Position(floor);
            idle_advance(connection, STREAM, filter.as_deref(), floor, aged)
                .await
                .expect("an answer")
        }
    };
    let mut idle = open(connection, partition_options(1, filter.clone()), 0).await;
    assert!(matches!(
        idle.next(Duration::from_millis(50)).await,
        Ok(Fetched::Idle { caught_up: true, .. })
    ));
    let to = advance(0, aged).await.expect("nothing of partition 1 stands before it");
    assert_eq!(to, Position(100));
    idle.advance(to);
    broker.purge_below(90).await;
    broker.publish("clicks.1", 101, 3).await;
    assert_eq!(sequences(&read_all(&mut idle).await), [101, 102, 103]);

    // A message of the partition stands between floor and sample: the floor must not move over it.
    assert_eq!(advance(100, 103).await, None);
    assert_eq!(advance(103, 103).await, None);

    // The rule's other side: without advancing, the purge of others looks like a loss.
    let stale =
        PartitionReader::open(connection, partition_options(1, filter.clone()), Position(0), None);
    assert!(matches!(
        stale.await.map(drop),
        Err(tidegate_source::SourceError::Gap { from: 1, to: 89, .. })
    ));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_message_that_the_client_cannot_read_is_an_error_and_not_a_hang() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 3).await;
    let mut line = tokio::net::TcpStream::connect(("127.0.0.1", broker.server.port()))
        .await
        .expect("the broker is there");
    // A header that is not UTF-8, as a careless client may send it.
    let head = b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n";
    let mut text = b"CONNECT {\"headers\":true,\"verbose\":false}\r\n".to_vec();
    text.extend(format!("HPUB clicks.a {} {}\r\n", head.len(), head.len() + 2).bytes());
    text.extend(head);
    text.extend(b"{}\r\nPING\r\n");
    line.write_all(&text).await.expect("sent");
    let mut answer = [0; 4_096];
    while !String::from_utf8_lossy(&answer).contains("PONG") {
        assert!(line.read(&mut answer).await.expect("an answer") > 0);
    }
    let mut reader = open(&broker.connection, options(), 0).await;
    let mut read = Vec::new();
    let error = loop {
        match tokio::time::timeout(6 * PATIENCE, reader.next(Duration::from_secs(1))).await {
            Ok(Ok(Fetched::Messages { messages, .. })) => read.extend(sequences(&messages)),
            Ok(Ok(idle)) => assert!(matches!(idle, Fetched::Idle { caught_up: false, .. })),
            Ok(Err(error)) => break error,
            Err(_) => panic!("it hangs"),
        }
    };
    assert_eq!(read, [1, 2, 3], "what came before it is handed on");
    assert!(error.is_transient(), "{error:?}");
}
