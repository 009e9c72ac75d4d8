//! A commit that the worker gave up lands later: it finds its version taken, or it wins. Never both.

use std::time::Duration;

use tidegate_testing::readers::Engine;
use tidegate_testing::{Fault, Late, Matcher, Rule, TidegateProcess};

use crate::lake::{Lake, went_on_by_itself};
use crate::support::LONG;

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn p5_a_commit_delivered_thirty_seconds_late_finds_its_version_taken() {
    let mut lake = Lake::start("later").await;
    let mut worker = lake.spawn("worker");
    lake.ingest(50, &worker).await;
    let late = Fault::StoreLate(Late::After(Duration::from_secs(30)));
    let rule = lake.add(Rule::new(Matcher::commits(), late).times(1));
    lake.ingest(50, &worker).await;
    assert_eq!(lake.proxy.hits(rule), 1);
    // Life goes on meanwhile.
    while lake.proxy.late_statuses().is_empty() {
        lake.ingest(20, &worker).await;
    }
    assert_eq!(lake.proxy.late_statuses(), [412]);
    lake.ingest(50, &worker).await;
    lake.drain(&mut worker).await;
    went_on_by_itself(&worker);
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake]).await;
}

/// Kills a worker whose commit is on its way and not in the log.
async fn kill_with_a_commit_on_its_way(lake: &mut Lake, mut worker: TidegateProcess) {
    let late = Fault::StoreLate(Late::OnRelease);
    let on_its_way = lake.add(Rule::new(Matcher::commits(), late).times(1));
    let cut_off = lake.add(Rule::new(Matcher::commits(), Fault::Cut));
    lake.publish(50).await;
    lake.wait_for_hits(on_its_way, 1, &worker).await;
    lake.wait_for_hits(cut_off, 2, &worker).await;
    worker.kill().await.unwrap();
    lake.proxy.clear();
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn p5_the_late_commit_of_a_killed_worker_and_its_successor_never_both_win() {
    let mut lake = Lake::start("heir").await;
    let worker = lake.spawn("first");
    lake.ingest(50, &worker).await;

    // The successor was there first.
    kill_with_a_commit_on_its_way(&mut lake, worker).await;
    let worker = lake.spawn("second");
    lake.wait_for_rows(&worker).await;
    lake.proxy.release();
    assert_eq!(lake.late_statuses(1).await, [412]);
    lake.ingest(10, &worker).await;

    // The late commit was there first: the successor reads behind it.
    kill_with_a_commit_on_its_way(&mut lake, worker).await;
    lake.proxy.release();
    assert_eq!(lake.late_statuses(2).await, [412, 200]);
    let worker = lake.spawn("third");
    lake.ingest(10, &worker).await;

    // The late commit comes between the successor's look at the log and its claim.
    kill_with_a_commit_on_its_way(&mut lake, worker).await;
    let wait = Fault::Delay(Duration::from_secs(4));
    let claim = lake.add(Rule::new(Matcher::commits(), wait).times(1));
    let mut worker = lake.spawn("fourth");
    lake.wait_for_hits(claim, 1, &worker).await;
    lake.proxy.release();
    assert_eq!(lake.late_statuses(3).await, [412, 200, 200]);
    lake.ingest(10, &worker).await;

    lake.drain(&mut worker).await;
    lake.nothing_is_lost_or_doubled(&[Engine::Deltalake]).await;
}

/// A start may take seconds between its look at the stream and its look at the log, while another
/// worker commits what the stream got meanwhile. That is no other stream.
#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn s6_a_slow_start_beside_a_live_worker_sees_no_other_stream() {
    let mut lake = Lake::start("slow-start").await;
    let mut worker = lake.spawn("holder");
    lake.ingest(20, &worker).await;
    let wait = Fault::Delay(Duration::from_secs(3));
    let probe = lake.add(Rule::new(Matcher::any().containing("probe-"), wait).times(1));
    let elsewhere = lake.run().environment("TIDEGATE_HOST", "elsewhere");
    let mut slow = elsewhere.spawn("slow", lake.bench.scratch.path()).unwrap();
    lake.wait_for_hits(probe, 1, &slow).await;
    lake.ingest(30, &worker).await;
    slow.wait_for_output("\"opened\"", LONG).await.unwrap();
    assert!(!slow.output().contains("SourceIdentity"), "{}", slow.output());
    slow.kill().await.unwrap();
    lake.drain(&mut worker).await;
    lake.nothing_is_lost_or_doubled(&[Engine::DuckDb]).await;
}
