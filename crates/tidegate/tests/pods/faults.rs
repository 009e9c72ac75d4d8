//! What pods say and do while something is wrong, and that they need no restart when it is well again.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testing::{NatsOptions, NatsServer, eventually, write_secret};

use crate::pod::{assignment, numbered, partitioned};
use crate::support::{Bench, Outgoing, Pipeline, Rows};

fn reason(status: &Value) -> &str {
    status["pod"]["state"]["reason"].as_str().unwrap()
}

fn message(status: &Value) -> &str {
    status["pod"]["state"]["message"].as_str().unwrap()
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_broker_that_goes_away_and_comes_back_is_told_and_outlived() {
    let mut bench = Bench::start("away").await;
    let pipeline = partitioned(Pipeline::new("away", &bench.nats.url(), bench.scratch.path()));
    bench.create_stream(&pipeline).await;
    bench.mount(&pipeline, &assignment(1, &[("w", &[0, 1, 2, 3])]));
    bench.broker.publish(&numbered(&pipeline, 0, 100)).await.unwrap();
    let (agent, worker) = (bench.agent(&pipeline).await, bench.worker(&pipeline, "w").await);
    agent.says("nothing waits", |status| status["lag"] == 0).await;

    bench.nats.kill().await.unwrap();
    let status =
        agent.says("the source is gone", |s| s["source"]["reason"] == "SourceUnreachable").await;
    assert!(!status["source"]["message"].as_str().unwrap().is_empty());
    // The table's half goes on.
    assert_eq!(
        (&status["sink"]["reason"], &status["counters"]["rows"]),
        (&json!("Ok"), &json!(100))
    );
    assert_eq!(status["floors"].as_object().unwrap().len(), 4);
    assert_eq!(status["lag"], Value::Null);
    assert_eq!(agent.serving.get("/readyz").await.unwrap().0, 503);
    assert_eq!(agent.serving.get("/livez").await.unwrap().0, 200);
    worker.says("the source is gone", |status| reason(status) == "SourceUnreachable").await;

    bench.nats.restart().await.unwrap();
    bench.broker = crate::support::Broker::connect(&bench.nats.url()).await.unwrap();
    bench.broker.publish(&numbered(&pipeline, 100, 200)).await.unwrap();
    let all = |status: &Value| status["counters"]["rows"] == 200 && reason(status) == "Ok";
    agent.says("everything is in the table", all).await;
    worker.says("it is well again", |status| reason(status) == "Ok").await;
    assert_eq!(Rows::of(&pipeline.table).await.unwrap().rows.len(), 200);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn secrets_that_are_missing_or_wrong_are_named_and_read_again() {
    let mut bench = Bench::start("secrets").await;
    let folder = bench.scratch.join("guarded");
    let configuration = "authorization { token: \"right\" }".to_owned();
    let options = NatsOptions { configuration, ..NatsOptions::default() };
    let nats = NatsServer::start_with(&folder, &options).await.unwrap();
    bench.nats = nats;
    let pipeline = Pipeline::new("guarded", &bench.nats.url(), bench.scratch.path())
        .set("source.jetStream.credentials", json!({"secretRef": {"name": "nats"}}));
    bench.mount(&pipeline, &assignment(1, &[("w", &[0])]));
    let (agent, mut worker) = (bench.agent(&pipeline).await, bench.worker(&pipeline, "w").await);
    for pod in [&agent, &worker] {
        let status = pod.says("what is missing", |status| reason(status) == "SecretMissing").await;
        assert!(status["pod"]["state"]["message"].as_str().unwrap().contains("nats"), "{status:#}");
        assert_eq!(pod.serving.get("/readyz").await.unwrap().0, 503);
    }
    let secrets = bench.secrets(&pipeline);
    let mount = |token: &str| write_secret(&secrets, "nats", &[("token", token)]).unwrap();
    mount("canary-wrong");
    for pod in [&agent, &worker] {
        let refused = |status: &Value| reason(status) == "SourceUnreachable";
        let status = pod.says("the refusal", refused).await;
        let message = message(&status);
        assert!(message.contains("refused the credentials"), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
    mount("right");
    agent.says("it is let in", |status| reason(status) == "Ok").await;
    worker.holds(&[0]).await;

    // The token is replaced while they are connected: the broker lets nobody in with the old one.
    let configuration = "authorization { token: \"newer\" }".to_owned();
    let options = NatsOptions { configuration, port: Some(bench.nats.port()) };
    bench.nats.stop().await.unwrap();
    bench.nats = NatsServer::start_with(&folder, &options).await.unwrap();
    for pod in [&agent, &worker] {
        pod.says("the refusal", |status| message(status).contains("credentials")).await;
    }
    mount("newer");
    agent.says("it is let in", |status| reason(status) == "Ok").await;
    worker.holds(&[0]).await;
    worker.says("it is well again", |status| reason(status) == "Ok").await;
    assert_eq!(worker.terminate().await, Some(0));
    assert!(!worker.serving.process.output().contains("canary"));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_configuration_that_cannot_be_read_ends_the_pod_with_file_and_field() {
    let bench = Bench::start("unreadable").await;
    let file = bench.scratch.join("pipeline.json");
    let left = bench.scratch.join("termination-log");
    std::fs::write(&file, r#"{"name": "a/b", "ledger": "a.b", "guarantee": "Perfect"}"#).unwrap();
    for (subcommand, arguments) in
        [("worker", &["--name", "w", "--assignment", "x"][..]), ("agent", &[])]
    {
        let mut command = tidegate_testing::TidegateCommand::new(subcommand)
            .unwrap()
            .argument("--config")
            .argument(&file)
            .environment("TIDEGATE_TERMINATION_LOG", left.to_str().unwrap());
        for argument in arguments {
            command = command.argument(argument);
        }
        bench.end(command, subcommand).await.expect(65).says("pipeline.json").says("guarantee");
        let message: Value = serde_json::from_slice(&std::fs::read(&left).unwrap()).unwrap();
        assert_eq!(message["reason"], "InvalidConfiguration", "{message}");
        assert!(message["message"].as_str().unwrap().contains("Perfect"), "{message}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_message_that_no_partition_reads_stops_workers_and_holds_completeness() {
    let mut bench = Bench::start("stray").await;
    let declared = json!({
        "type": "Declared", "partitions": 2, "subjectPattern": "stray.{partition}.>",
    });
    let pipeline = Pipeline::new("stray", &bench.nats.url(), bench.scratch.path())
        .set("source.jetStream.partitioning", declared);
    bench.create_stream(&pipeline).await;
    bench.mount(&pipeline, &assignment(1, &[("w", &[0, 1])]));
    let (agent, worker) = (bench.agent(&pipeline).await, bench.worker(&pipeline, "w").await);
    worker.holds(&[0, 1]).await;
    let known = |status: &Value| status["completeThrough"].is_i64();
    let first = agent.says("completeness", known).await["completeThrough"].as_i64();
    agent.says("it rises", |status| status["completeThrough"].as_i64() > first).await;

    let astray = Outgoing::new("stray.astray", json!({"id": "x", "n": 1}).to_string());
    bench.broker.publish(&[astray]).await.unwrap();
    let stray = "SubjectsOutsidePartitions";
    worker.says("it stops", |status| reason(status) == stray).await;
    let held = agent.says("it complains", |status| status["source"]["reason"] == stray).await;
    // It looks four times a second.
    let moved = async || agent.status().await["completeThrough"] != held["completeThrough"];
    let moved = eventually("it rises", Duration::from_secs(2), moved).await;
    assert!(moved.is_err(), "{:#}", agent.status().await);

    let purge = json!({"filter": "stray.astray"});
    bench.broker.ask("$JS.API.STREAM.PURGE.STRAY", &purge).await.unwrap();
    let moved = |status: &Value| {
        status["source"]["reason"] == "Ok"
            && status["completeThrough"].as_i64() > held["completeThrough"].as_i64()
    };
    agent.says("it is complete through later", moved).await;
}
