//! A store that fails, stalls, dies and comes back: the worker goes on by itself.

use std::time::Duration;

use tidegate_testing::readers::Engine;
use tidegate_testing::{Fault, Matcher, Rule};

use crate::lake::{Lake, went_on_by_itself};

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn a_worker_lives_with_a_store_of_which_every_fifth_request_fails() {
    let mut lake = Lake::start("shaky").await;
    let faults = [Fault::Status(503), Fault::Cut, Fault::StoreThenStatus(500), Fault::StoreThenCut];
    let rules = faults.map(|fault| lake.add(Rule::new(Matcher::any(), fault).percent(5)));
    let mut worker = lake.spawn("worker");
    for _ in 0..8 {
        lake.ingest(50, &worker).await;
    }
    lake.drain(&mut worker).await;
    let hits: u64 = rules.iter().map(|rule| lake.proxy.hits(*rule)).sum();
    let requests = lake.proxy.requests();
    assert!(hits * 10 > requests, "{hits} faults in {requests} requests are too few to tell");
    went_on_by_itself(&worker);
    lake.proxy.clear();
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake]).await;
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn requests_that_stall_for_ten_seconds_are_waited_for_or_made_again() {
    let mut lake = Lake::start("slow").await;
    let mut worker = lake.spawn("worker");
    lake.ingest(50, &worker).await;
    let stalled = [
        // Longer than a commit's patience: put again, and the first one finds its version taken.
        (Matcher::commits(), 11),
        (Matcher::method("PUT").suffix(".parquet"), 10),
        (Matcher::method("GET").containing("_delta_log"), 10),
    ];
    for (matcher, seconds) in stalled {
        let stall = Fault::Delay(Duration::from_secs(seconds));
        let rule = lake.add(Rule::new(matcher, stall).times(1));
        lake.ingest(50, &worker).await;
        lake.wait_for_hits(rule, 1, &worker).await;
    }
    lake.ingest(50, &worker).await;
    lake.drain(&mut worker).await;
    went_on_by_itself(&worker);
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake]).await;
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn a_worker_waits_for_a_store_that_was_killed_and_goes_on() {
    let mut lake = Lake::start("dead").await;
    let mut worker = lake.spawn("worker");
    for _ in 0..3 {
        lake.ingest(50, &worker).await;
        lake.s3.kill().await.unwrap();
        let before = lake.proxy.requests();
        lake.publish(50).await;
        // It has met the dead store.
        let tried = async || lake.proxy.requests() >= before + 4;
        tidegate_testing::eventually("requests", crate::support::LONG, tried).await.unwrap();
        lake.s3.restart().await.unwrap();
        lake.wait_for_rows(&worker).await;
    }
    lake.drain(&mut worker).await;
    went_on_by_itself(&worker);
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake]).await;
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn answers_that_are_cut_short_at_resume_are_read_again() {
    let mut lake = Lake::start("short").await;
    lake.publish(200).await;
    lake.catch_up().await.expect(0);
    lake.publish(200).await;
    let cut = [
        (Matcher::method("GET").suffix(".json"), 60),
        (Matcher::method("GET").containing("/_tidegate/"), 20),
    ];
    let rules = cut.map(|(matcher, bytes)| {
        lake.add(Rule::new(matcher, Fault::TruncateAnswer(bytes)).times(2))
    });
    lake.catch_up().await.expect(0);
    for rule in rules {
        assert_eq!(lake.proxy.hits(rule), 2);
    }

    // A listing that breaks off is no listing, and is asked for again.
    lake.publish(200).await;
    let listing = Matcher::method("GET").containing("list-type");
    let rule = lake.add(Rule::new(listing, Fault::TruncateAnswer(200)).times(2));
    lake.catch_up().await.expect(0);
    assert_eq!(lake.proxy.hits(rule), 2);
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake]).await;
}
