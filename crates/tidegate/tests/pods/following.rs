//! Workers follow assignments, and nothing is lost or doubled by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::pod::{assignment, numbered, partitioned};
use crate::support::{Bench, Broker, Pipeline, Rows};

const AT_ONCE: u64 = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// Publishes piece by piece until it is told to stop; how many messages.
async fn load(url: String, pipeline: Pipeline, stop: Arc<AtomicBool>) -> u64 {
    let mut broker = Broker::connect(&url).await.unwrap();
    let mut published = 0;
    while !stop.load(Ordering::Relaxed) {
        let next = numbered(&pipeline, published, published + AT_ONCE);
        broker.publish(&next).await.unwrap();
        published += AT_ONCE;
        tokio::time::sleep(PAUSE).await;
    }
    published
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn partitions_change_hands_under_load_without_a_row_lost_or_doubled() {
    let bench = Bench::start("exchange").await;
    let pipeline = partitioned(Pipeline::new("exchange", &bench.nats.url(), bench.scratch.path()))
        .set("sink.flush.maxInterval", json!("300ms"));
    bench.create_stream(&pipeline).await;
    bench.mount(&pipeline, &assignment(1, &[("a", &[0, 1]), ("b", &[2, 3])]));
    let (a, mut b) = (bench.worker(&pipeline, "a").await, bench.worker(&pipeline, "b").await);
    let stop = Arc::new(AtomicBool::new(false));
    let loading = tokio::spawn(load(bench.nats.url(), pipeline.clone(), Arc::clone(&stop)));
    a.holds(&[0, 1]).await;
    b.holds(&[2, 3]).await;

    for (generation, [of_a, of_b]) in [
        (2, [&[2, 3][..], &[0, 1]]),
        (3, [&[0, 1, 2, 3], &[]]),
        (4, [&[], &[0, 1, 2, 3]]),
        (5, [&[1, 2], &[0, 3]]),
    ] {
        let next = assignment(generation, &[("a", of_a), ("b", of_b)]);
        bench.assign(&[&a, &b], &next).await;
        a.holds(of_a).await;
        b.holds(of_b).await;
    }
    // The mounted one is older, so a worker that starts again goes without until it is told.
    b.serving.process.kill().await.unwrap();
    let mut b = bench.worker(&pipeline, "b").await;
    bench.mount(&pipeline, &assignment(6, &[("a", &[0, 1]), ("b", &[2, 3])]));
    a.holds(&[0, 1]).await;
    b.holds(&[2, 3]).await;
    for pod in [&a, &b] {
        pod.says("it commits", |status| status["counters"]["read"].as_u64() > Some(0)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let published = loading.await.unwrap();

    let agent = bench.agent(&pipeline).await;
    agent.says("everything is in the table", |status| status["lag"] == 0).await;
    let status = a.status().await;
    assert!(status["busySeconds"].as_f64() > Some(0.0), "{status}");
    assert_eq!(status["assignmentGeneration"], 6);
    let mut a = a;
    assert_eq!((a.terminate().await, b.terminate().await), (Some(0), Some(0)));

    bench.verify(&pipeline).await.expect(0);
    let rows = Rows::of(&pipeline.table).await.unwrap();
    let ids = rows.texts("id");
    assert_eq!(ids.len() as u64, published);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len() as u64, published);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn an_assignment_that_cannot_be_followed_is_refused_and_changes_nothing() {
    let bench = Bench::start("refusals").await;
    let pipeline = partitioned(Pipeline::new("refusals", &bench.nats.url(), bench.scratch.path()));
    bench.create_stream(&pipeline).await;
    let mut worker = bench.worker(&pipeline, "a").await;
    let idle = worker.status().await;
    assert_eq!((&idle["ready"], &idle["pod"]["state"]["reason"]), (&json!(true), &json!("Ok")));
    let path = "/assignment";
    let good = assignment(5, &[("a", &[1])]).to_string();
    assert_eq!(worker.post(path, &good).await.0, 200);
    worker.holds(&[1]).await;
    assert_eq!(worker.post(path, &good).await.0, 200, "once more");
    let (status, body) = worker.post(path, &assignment(4, &[("a", &[2])]).to_string()).await;
    assert!(status == 409 && body.contains(r#""generation":5"#), "{status} {body}");
    for (bad, expected) in [
        ("{".to_owned(), 400),
        (assignment(6, &[("a", &[4])]).to_string(), 400),
        (" ".repeat(1 << 20), 413),
    ] {
        assert_eq!(worker.post(path, &bad).await.0, expected, "{:.20}", bad);
    }
    // Another worker's partitions change: nothing happens here.
    let claims = worker.serving.process.output().matches("claimed").count();
    let next = assignment(6, &[("a", &[1]), ("b", &[2])]);
    bench.assign(&[&worker], &next).await;
    worker.says("the new generation", |status| status["assignmentGeneration"] == 6).await;
    worker.holds(&[1]).await;
    assert_eq!(worker.serving.process.output().matches("claimed").count(), claims);
    assert_eq!(worker.terminate().await, Some(0));
}
