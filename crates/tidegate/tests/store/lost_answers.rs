//! Test number one: the store does what it is asked and the answer never arrives.

use serde_json::{Value, json};
use tidegate_testing::readers::Engine;
use tidegate_testing::{Fault, Matcher, Rule, eventually};

use crate::lake::{Lake, went_on_by_itself};
use crate::support::LONG;

/// What happens to a commit's PUT, and to how many of them.
const FAULTS: [(Fault, u64); 7] = [
    (Fault::StoreThenStatus(500), 3),
    (Fault::StoreThenStatus(503), 1),
    (Fault::StoreThenCut, 3),
    // The client gives up after ten seconds.
    (Fault::StoreThenHang, 1),
    // Refused without having landed: another writer of the same name was met.
    (Fault::Status(409), 2),
    (Fault::Status(500), 2),
    (Fault::Cut, 2),
];

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn p5_a_commit_whose_answer_is_lost_is_neither_doubled_nor_lost() {
    let mut lake = Lake::start("lost").await;
    let mut worker = lake.spawn("worker");
    lake.ingest(50, &worker).await;
    for (fault, times) in FAULTS {
        let rule = lake.add(Rule::new(Matcher::commits(), fault).times(times));
        while lake.proxy.hits(rule) < times {
            lake.ingest(40, &worker).await;
        }
        lake.proxy.clear();
    }
    lake.ingest(50, &worker).await;
    lake.drain(&mut worker).await;

    went_on_by_itself(&worker);
    // No batch was made twice.
    let said = worker.output();
    assert_eq!(said.matches("batch sealed").count(), lake.data_commits().await, "{said}");
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake, Engine::DuckDb]).await;
}

/// What one commit in doubt may cost under AtMostOnce: the messages of its batch.
const BATCH: u64 = 40;

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn x5_a_commit_in_doubt_is_never_repeated_under_at_most_once() {
    let mut lake = Lake::start("most").await;
    let pipeline = lake.pipeline.clone().set("guarantee", json!("AtMostOnce"));
    lake.pipeline = pipeline.set("dedup", Value::Null);
    let mut worker = lake.spawn("worker");
    lake.ingest(50, &worker).await;
    for (doubts, fault) in [(1, Fault::StoreThenCut), (2, Fault::Cut)] {
        lake.add(Rule::new(Matcher::commits(), fault).times(1));
        lake.publish(BATCH).await;
        let given_up = || worker.output().matches("commit in doubt is not repeated").count();
        eventually("the doubt", LONG, async || given_up() >= doubts).await.unwrap();
        lake.proxy.clear();
    }
    // It goes on, and what comes after is there.
    let before = lake.rows().await;
    lake.publish(50).await;
    lake.wait_until_rows(before + 50, &worker).await;
    lake.drain(&mut worker).await;
    let (rows, ids) = lake.rows_and_ids().await;
    assert_eq!(rows, ids, "a row is doubled\n{}", worker.output());
    let lost = lake.published() - rows;
    assert!((1..=BATCH).contains(&lost), "{lost} lost: only what did not land may be");
}
