//! A broker that goes away and comes back.

use std::time::Duration;

use serde_json::json;
use tidegate_testing::eventually;

use crate::checks::{committed, counted, holds};
use crate::support::{Bench, Pipeline};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_broker_killed_while_it_is_read_costs_nothing_and_no_restart() {
    let mut bench = Bench::start("away").await;
    let pipeline = Pipeline::new("away", &bench.nats.url(), bench.scratch.path()).set(
        "source.jetStream.partitioning",
        // Some of them idle: those look at the stream by themselves.
        json!({"type": "Subject", "partitions": 4, "idSubjectStable": true}),
    );
    bench.create_stream(&pipeline).await;
    let run = bench.run_command(&pipeline).environment("TIDEGATE_KEEPER_HASTE", "100");
    let mut worker = run.spawn("worker", bench.scratch.path()).unwrap();
    let mut sent = 0;
    for round in 0..4_u64 {
        bench.send("away.a", sent + 1, sent + 500).await;
        sent += 500;
        if round % 2 == 0 {
            // In the middle of it.
            let begun = async || counted(&pipeline, "rows") > i64::try_from(sent).unwrap() - 500;
            eventually("reading", Duration::from_secs(30), begun).await.unwrap();
        }
        bench.nats.kill().await.unwrap();
        if round == 1 {
            // Longer than one request and its repetitions take.
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
        bench.nats.restart().await.unwrap();
        bench.reconnect().await;
        committed(&pipeline, i64::try_from(sent).unwrap(), &worker).await;
    }
    assert!(worker.exit_status().unwrap().is_none());
    assert!(!worker.output().contains("starts again"), "{}", worker.output());
    bench.drain(&mut worker).await;
    holds(&pipeline, &[(1, sent)]).await;
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_broker_that_is_not_there_ends_a_run_with_what_to_do() {
    let mut bench = Bench::start("gone").await;
    let pipeline = bench.pipeline("gone").await;
    bench.nats.kill().await.unwrap();
    let ended = bench.catch_up(&pipeline).await.expect(75);
    ended.says("unable to reach the broker").says("see that the broker runs");
}
