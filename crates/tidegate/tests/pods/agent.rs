//! The agent says how far the table is, whether workers run or not.

use serde_json::{Value, json};

use crate::pod::{assignment, numbered, partitioned};
use crate::support::{Bench, Pipeline};

fn number(status: &Value, path: &str) -> i64 {
    status[path].as_i64().unwrap_or_else(|| panic!("{path} in {status:#}"))
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn lag_floors_and_completeness_are_known_without_workers() {
    let mut bench = Bench::start("far").await;
    let pipeline = partitioned(Pipeline::new("far", &bench.nats.url(), bench.scratch.path()));
    // It makes the stream, and looks at everything before there is a table.
    let mut agent = bench.agent(&pipeline).await;
    let well = |status: &Value| status["pod"]["state"]["reason"] == "Ok";
    let status = agent.says("all was looked at", well).await;
    assert_eq!(
        (&status["source"]["reason"], &status["sink"]["reason"]),
        (&json!("Ok"), &json!("Ok"))
    );
    assert_eq!(status["guarantee"]["effective"], "ExactlyOnce", "{status:#}");
    assert_eq!(status["durable"]["reason"], "SourceNotDurable", "one replica: {status:#}");
    assert_eq!(agent.serving.get("/readyz").await.unwrap().0, 200);

    bench.broker.publish(&numbered(&pipeline, 0, 100)).await.unwrap();
    let status = agent.says("what waits", |status| status["lag"] == 100).await;
    assert_eq!(status["floors"], json!({}));

    bench.mount(&pipeline, &assignment(1, &[("w", &[0, 1, 2, 3])]));
    let mut worker = bench.worker(&pipeline, "w").await;
    let status = agent.says("nothing waits", |status| status["lag"] == 0).await;
    assert_eq!(status["lagSeconds"], 0);
    assert_eq!(status["floors"].as_object().unwrap().len(), 4);
    assert_eq!(
        (&status["counters"]["read"], &status["counters"]["rows"]),
        (&json!(100), &json!(100))
    );
    assert_eq!(worker.terminate().await, Some(0));

    // At zero workers time goes on.
    let before = agent.says("completeness", |s| s["completeThrough"].is_i64()).await;
    let before = number(&before, "completeThrough");
    let moved = |s: &Value| s["completeThrough"].as_i64().is_some_and(|now| now > before);
    let caught_up = agent.says("it is complete through later", moved).await;
    assert!(number(&caught_up["lastCommit"], "version") > 0);

    bench.broker.publish(&numbered(&pipeline, 100, 130)).await.unwrap();
    let status = agent.says("what waits", |status| status["lag"] == 30).await;
    let stuck = number(&status, "completeThrough");
    let old = |status: &Value| number(status, "lagSeconds") >= 2;
    let status = agent.says("it gets older", old).await;
    assert_eq!(number(&status, "completeThrough"), stuck, "nothing was read meanwhile");
    let metric = agent.serving.metric("tidegate_agent_lag").await;
    assert!((metric - 30.0).abs() < 1e-9, "{metric}");

    // Another agent knows nothing of this one, and takes nothing back that it said.
    agent.serving.process.kill().await.unwrap();
    let agent = bench.agent(&pipeline).await;
    let known = |status: &Value| status["completeThrough"].is_i64();
    let again = number(&agent.says("completeness", known).await, "completeThrough");
    assert!(again >= stuck, "{again} after {stuck}: {} s less", (stuck - again) / 1_000_000);
}
