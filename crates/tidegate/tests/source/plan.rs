//! `tidegate plan` before, between and after runs.

use crate::checks::{committed, holds};
use crate::support::{Bench, Ended, Pipeline, call};

async fn plan(bench: &Bench, pipeline: &Pipeline) -> Ended {
    bench.end(call("plan", pipeline), "plan").await.expect(0)
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_plan_says_what_would_be_made_and_from_where_reading_would_go_on() {
    let mut bench = Bench::start("plan").await;
    let pipeline = Pipeline::new("plan", &bench.nats.url(), bench.scratch.path());
    let before = plan(&bench, &pipeline).await;
    before.says("create stream PLAN for [plan.>]").says("create table file://");
    before.says("guarantee ExactlyOnce asked for, ExactlyOnce given");
    // It was only said.
    assert!(!pipeline.table.join("_delta_log").exists());
    let info = bench.broker.ask("$JS.API.STREAM.INFO.PLAN", &serde_json::json!({})).await.unwrap();
    assert_eq!(info["error"]["code"], 404, "{info}");

    bench.create_stream(&pipeline).await;
    bench.send("plan.a", 1, 100).await;
    plan(&bench, &pipeline)
        .await
        .says("keep stream PLAN (100 messages, 1 to 100)")
        .says("partition 0: begin at sequence 1 (100 messages wait)");
    bench.catch_up(&pipeline).await.expect(0);
    bench.send("plan.a", 101, 150).await;
    let between = plan(&bench, &pipeline).await;
    between.says("append to table file://").says("at version");
    between.says("partition 0: go on at sequence 101 (50 messages wait)");

    // Killed, it still holds the partition; a plan changes nothing of that.
    let mut worker = bench.spawn_run(&pipeline, "worker");
    committed(&pipeline, 150, &worker).await;
    worker.kill().await.unwrap();
    let versions = crate::support::commits(&pipeline.table).len();
    let held = plan(&bench, &pipeline).await;
    held.says("partition 0: go on at sequence 151 (0 messages wait, held by a worker)");
    assert_eq!(crate::support::commits(&pipeline.table).len(), versions);
    bench.catch_up(&pipeline).await.expect(0);
    plan(&bench, &pipeline).await.says("go on at sequence 151 (0 messages wait)");
    holds(&pipeline, &[(1, 150)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_plan_tells_what_a_stream_made_anew_would_mean() {
    let mut bench = Bench::start("reset").await;
    let pipeline = bench.pipeline("reset").await;
    bench.send("reset.a", 1, 20).await;
    bench.catch_up(&pipeline).await.expect(0);
    bench.api("STREAM.DELETE.RESET", serde_json::json!({})).await;
    bench.create_stream(&pipeline).await;
    let refused = bench.end(call("plan", &pipeline), "plan").await.expect(65);
    refused.says("is not the one that the table's log knows");
}
