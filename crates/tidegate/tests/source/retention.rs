//! Streams and guarantees that go together, and those that do not (P3, X5).

use serde_json::json;

use tidegate_testing::eventually;
use tidegate_testing::readers::Question;

use crate::checks::holds;
use crate::support::{Bench, LONG, Pipeline};

fn weak(bench: &Bench, name: &str, guarantee: &str) -> Pipeline {
    Pipeline::new(name, &bench.nats.url(), bench.scratch.path())
        .set("guarantee", json!(guarantee))
        .set("dedup", serde_json::Value::Null)
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_work_queue_is_refused_for_exactly_once_and_the_weakest_hop_is_named() {
    let mut bench = Bench::start("queue").await;
    let pipeline = Pipeline::new("queue", &bench.nats.url(), bench.scratch.path());
    let pipeline =
        bench.foreign(pipeline, json!({"retention": "workqueue", "deny_delete": true})).await;
    bench.send("queue.a", 1, 10).await;
    let refused = bench.catch_up(&pipeline).await.expect(65);
    refused
        .says("GuaranteeNotMet")
        .says("ExactlyOnce was asked for, the path gives AtLeastOnce: stream: its retention is WorkQueue")
        .says("ask for AtLeastOnce");
    assert_eq!(bench.stream_state(&pipeline).await["messages"], 10);
    assert!(!pipeline.table.join("_delta_log").exists());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s1_a_stream_that_may_lose_messages_is_refused_for_exactly_once() {
    let mut bench = Bench::start("unsafe").await;
    let pipeline = Pipeline::new("unsafe", &bench.nats.url(), bench.scratch.path());
    let pipeline = bench.foreign(pipeline, json!({"discard": "old", "deny_delete": true})).await;
    let refused = bench.catch_up(&pipeline).await.expect(65);
    refused.says("GuaranteeNotMet").says("discards old messages").says("set discard: new");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_work_queue_under_at_least_once_loses_nothing_to_kills_before_and_after_a_commit() {
    let mut bench = Bench::start("jobs").await;
    let pipeline = weak(&bench, "jobs", "AtLeastOnce");
    let pipeline = bench.foreign(pipeline, json!({"retention": "workqueue"})).await;
    bench.send("jobs.a", 1, 100).await;
    bench.catch_up(&pipeline).await.expect(0);
    // Read and not committed; committed and not acknowledged.
    for (step, from) in [("commit.before_put", 101), ("commit.after_put", 201)] {
        bench.send("jobs.a", from, from + 99).await;
        die(&mut bench, &pipeline, step).await;
    }
    bench.send("jobs.a", 301, 400).await;
    bench.catch_up(&pipeline).await.expect(0);
    let seen = Question::about(&pipeline.url()).with_ids().agreed().await.unwrap();
    assert_eq!(seen.distinct_ids, 400, "{} rows", seen.rows);
    // What was committed and not acknowledged came again, and no position may drop it (P3).
    assert_eq!(seen.rows, 600);
    // Everything is acknowledged, and so gone.
    let started = std::time::Instant::now();
    while bench.stream_state(&pipeline).await["messages"] != 0 {
        assert!(started.elapsed() < LONG, "{}", bench.stream_state(&pipeline).await);
    }
    bench.verify(&pipeline).await.expect(2).says("200 rows that were delivered again");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn x5_at_most_once_repeats_nothing_that_a_kill_interrupted() {
    let mut bench = Bench::start("most").await;
    let pipeline = weak(&bench, "most", "AtMostOnce");
    bench.create_stream(&pipeline).await;
    bench.send("most.a", 1, 100).await;
    bench.catch_up(&pipeline).await.expect(0);
    let deaths = [("batch.judged", 101), ("commit.before_put", 201), ("commit.after_put", 301)];
    for (step, from) in deaths {
        bench.send("most.a", from, from + 99).await;
        die(&mut bench, &pipeline, step).await;
    }
    bench.send("most.a", 401, 500).await;
    bench.catch_up(&pipeline).await.expect(0);
    // What was acknowledged and not committed is lost: that is the bargain.
    holds(&pipeline, &[(1, 100), (301, 500)]).await;
}

/// A run that dies at a step. Returns when the broker has noticed: until then it would hand messages to
/// the dead, and under AtMostOnce nobody would ever get them again.
async fn die(bench: &mut Bench, pipeline: &Pipeline, step: &str) {
    let run = bench.run_command(pipeline).die_at(step, 1);
    let mut worker = run.spawn("worker", bench.scratch.path()).unwrap();
    let ended = worker.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), None, "{step}: not killed\n{}", worker.output());
    let list = format!("CONSUMER.LIST.{}", pipeline.name.to_uppercase());
    eventually("nobody waits for messages", LONG, async || {
        let consumers = bench.api(&list, json!({})).await["consumers"].take();
        consumers.as_array().unwrap().iter().all(|consumer| consumer["num_waiting"] == 0)
    })
    .await
    .unwrap();
}
