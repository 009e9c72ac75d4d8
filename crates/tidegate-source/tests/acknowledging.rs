//! WorkQueue and Interest streams, and AtMostOnce (X5).

mod common;

use std::time::Duration;

use common::{Broker, PATIENCE, STREAM, open, options, read_all, read_batch, sequences};
use serde_json::json;
use tidegate_source::{
    Fetched, PartitionReader, Partitioning, ReadMode, ReaderOptions, stream_facts,
};

fn work_queue() -> ReaderOptions {
    ReaderOptions {
        mode: ReadMode::AckAfterCommit,
        exactly_once: false,
        batch_messages: 20,
        ack_wait: Duration::from_secs(1),
        ..options()
    }
}

/// Reads `count` messages and returns the receipt of each batch.
async fn read_some(
    reader: &mut PartitionReader,
    count: usize,
) -> (Vec<u64>, Vec<tidegate_source::Receipt>) {
    let (mut read, mut receipts) = (Vec::new(), Vec::new());
    while read.len() < count {
        match reader.next(PATIENCE).await.expect("reading goes well") {
            Fetched::Messages { messages, receipt, .. } => {
                read.extend(sequences(&messages));
                receipts.push(receipt);
            }
            idle @ Fetched::Idle { .. } => panic!("{idle:?} after {}", read.len()),
        }
    }
    (read, receipts)
}

async fn messages_left(broker: &Broker) -> u64 {
    stream_facts(&broker.connection, STREAM).await.expect("facts").messages
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p3_a_work_queue_keeps_what_was_not_committed() {
    let broker = Broker::start().await;
    broker.foreign_stream(json!({"retention": "workqueue"})).await;
    broker.publish("clicks.a", 1, 60).await;
    let mut reader = open(&broker.connection, work_queue(), 0).await;
    let (mut read, receipts) = read_some(&mut reader, 1).await;
    let first_batch = read.len() as u64;
    read.extend(read_some(&mut reader, 60 - read.len()).await.0);
    assert_eq!(read, (1..=60).collect::<Vec<_>>());
    assert_eq!(messages_left(&broker).await, 60, "nothing leaves before its commit");
    reader.acknowledge(receipts[0]).await.expect("acknowledged");
    let acknowledged = first_batch;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while messages_left(&broker).await != 60 - acknowledged {
        assert!(tokio::time::Instant::now() < deadline, "{}", messages_left(&broker).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(reader);

    // The worker is gone; the next one gets what was not acknowledged, and no position drops it.
    let mut next = open(&broker.connection, work_queue(), 0).await;
    let mut again = read_some(&mut next, usize::try_from(60 - acknowledged).expect("small")).await;
    again.0.sort_unstable();
    assert_eq!(again.0, (acknowledged + 1..=60).collect::<Vec<_>>());
    assert!(matches!(
        next.next(Duration::from_millis(50)).await,
        Ok(Fetched::Idle { caught_up: true, .. })
    ));
    next.acknowledge(*again.1.last().expect("a batch")).await.expect("acknowledged");
    while messages_left(&broker).await > 0 {
        assert!(tokio::time::Instant::now() < deadline + PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn x5_at_most_once_acknowledges_before_it_hands_on() {
    let broker = Broker::with_stream(Partitioning::None).await;
    broker.publish("clicks.a", 1, 50).await;
    let at_most_once = || ReaderOptions {
        mode: ReadMode::AckOnReceipt,
        exactly_once: false,
        batch_messages: 20,
        ..options()
    };
    let mut reader = open(&broker.connection, at_most_once(), 0).await;
    let first = sequences(&read_batch(&mut reader).await);
    assert_eq!(first[0], 1);
    // Killed before it wrote anything: what was handed on never comes again.
    drop(reader);
    let mut next = open(&broker.connection, at_most_once(), 0).await;
    let rest = sequences(&read_all(&mut next).await);
    assert!(!rest.is_empty());
    assert!(rest.iter().all(|sequence| !first.contains(sequence)), "{rest:?}");
}
