//! Messages that vanish: at the source before they were read (S1, S2), and on the wire (S4).

use serde_json::json;
use tidegate_testing::{Traffic, WireProxy};

use crate::checks::{committed, holds};
use crate::support::{Bench, LONG};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s2_a_purge_of_unread_messages_stops_with_the_exact_range_until_told_to_go_on() {
    let mut bench = Bench::start("gap").await;
    let pipeline = bench.pipeline("gap").await;
    bench.send("gap.a", 1, 100).await;
    bench.catch_up(&pipeline).await.expect(0);
    bench.send("gap.a", 101, 200).await;
    bench.api("STREAM.PURGE.GAP", json!({"seq": 151})).await;

    for _ in 0..2 {
        let stopped = bench.catch_up(&pipeline).await.expect(65);
        stopped.says("SourceGap").says("messages 101 to 150 of stream GAP are gone");
        holds(&pipeline, &[(1, 100)]).await;
    }
    let told = pipeline.clone().set("source.jetStream.onGap", json!("RecordAndContinue"));
    let went_on = bench.catch_up(&told).await.expect(0);
    went_on.says("\"from\":101,\"to\":150").says("SourceGap");
    holds(&pipeline, &[(1, 100), (151, 200)]).await;
    // Once accepted, it is no news, and what came before it cannot be recounted.
    let again = bench.catch_up(&told).await.expect(0);
    assert!(!again.output.contains("SourceGap"), "{}", again.output);
    bench.verify(&told).await.expect(2);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s1_messages_deleted_while_the_worker_lags_stop_it_after_what_it_had_and_cost_no_others() {
    let mut bench = Bench::start("deleted").await;
    let proxy = WireProxy::start(([127, 0, 0, 1], bench.nats.port()).into()).await.unwrap();
    let pipeline =
        crate::support::Pipeline::new("deleted", &proxy.nats_url(), bench.scratch.path())
            .set("guarantee", json!("AtLeastOnce"))
            .set("sink.flush.maxInterval", json!("1m"));
    let pipeline = bench.foreign(pipeline, json!({})).await;
    bench.send("deleted.a", 1, 100).await;
    let mut worker = bench.spawn_run(&pipeline, "worker");
    committed(&pipeline, 100, &worker).await;

    // It is cut off; meanwhile messages come, and some of them go.
    proxy.set(Traffic::Refuse);
    proxy.cut();
    bench.send("deleted.a", 101, 200).await;
    for sequence in 151..=160 {
        bench.api("STREAM.MSG.DELETE.DELETED", json!({"seq": sequence})).await;
    }
    proxy.set(Traffic::Pass);
    let ended = worker.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(65), "{}", worker.output());
    let said = worker.output();
    assert!(said.contains("messages 151 to 160 of stream DELETED are gone"), "{said}");
    holds(&pipeline, &[(1, 100)]).await;

    // Told to go on, it leaves out what is gone and nothing else.
    let told = pipeline.clone().set("source.jetStream.onGap", json!("RecordAndContinue"));
    bench.catch_up(&told).await.expect(0).says("\"from\":151,\"to\":160");
    holds(&pipeline, &[(1, 150), (161, 200)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s4_a_tail_lost_on_the_wire_before_a_silence_arrives() {
    let mut bench = Bench::start("tail").await;
    let proxy = WireProxy::start(([127, 0, 0, 1], bench.nats.port()).into()).await.unwrap();
    let pipeline = crate::support::Pipeline::new("tail", &proxy.nats_url(), bench.scratch.path());
    bench.create_stream(&pipeline).await;
    bench.send("tail.a", 1, 100).await;
    let mut worker = bench.spawn_run(&pipeline, "worker");
    committed(&pipeline, 100, &worker).await;

    for round in 1..=3 {
        let before = proxy.swallowed();
        proxy.set(Traffic::SwallowAnswers);
        bench.send("tail.a", 100 * round + 1, 100 * round + 100).await;
        // All of it was delivered into nowhere: each message has more than 60 bytes.
        let swallowed = async || proxy.swallowed() - before > 6_000;
        tidegate_testing::eventually("the tail is lost", LONG, swallowed).await.unwrap();
        proxy.set(Traffic::Pass);
        if round != 2 {
            proxy.cut();
        }
        // Nothing more is published, and once not even a reconnect gives a hint.
        committed(&pipeline, 100 * i64::try_from(round).unwrap() + 100, &worker).await;
    }
    bench.drain(&mut worker).await;
    holds(&pipeline, &[(1, 400)]).await;
    bench.verify(&pipeline).await.expect(0);
}
