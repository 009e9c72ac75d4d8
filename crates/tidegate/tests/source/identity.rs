//! Streams that are not what they were (S6).

use serde_json::json;

use crate::checks::{committed, floors, holds};
use crate::support::{Bench, LONG};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_a_stream_made_anew_stops_and_is_read_from_its_start_when_told_so() {
    let mut bench = Bench::start("anew").await;
    let pipeline = bench.pipeline("anew").await;
    bench.send("anew.a", 1, 50).await;
    bench.catch_up(&pipeline).await.expect(0);
    bench.api("STREAM.DELETE.ANEW", json!({})).await;
    bench.create_stream(&pipeline).await;
    // More than were read: the count alone shows nothing.
    bench.send("anew.a", 51, 150).await;

    bench.catch_up(&pipeline).await.expect(65).says("SourceIdentity");
    holds(&pipeline, &[(1, 50)]).await;
    let told = pipeline.clone().set("source.jetStream.onSourceReset", json!("NewIncarnation"));
    bench.catch_up(&told).await.expect(0);
    holds(&pipeline, &[(1, 150)]).await;

    // Both lives are verified; the first one has no source any more.
    let verified = bench.end(crate::support::call("verify", &told), "verify").await.expect(0);
    verified.says("150 records = 150 rows");
    bench.verify(&told).await.expect(2).says("earlier life of the stream");
    // And the new life is the known one now.
    bench.send("anew.a", 151, 160).await;
    bench.catch_up(&pipeline).await.expect(0);
    holds(&pipeline, &[(1, 160)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_a_stream_made_anew_under_a_live_worker_stops_it() {
    let mut bench = Bench::start("live").await;
    let pipeline = bench.pipeline("live").await;
    bench.send("live.a", 1, 50).await;
    let mut worker = bench.spawn_run(&pipeline, "worker");
    committed(&pipeline, 50, &worker).await;
    bench.api("STREAM.DELETE.LIVE", json!({})).await;
    bench.create_stream(&pipeline).await;
    bench.send("live.a", 51, 150).await;
    let ended = worker.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(65), "{}", worker.output());
    // It may look just between the two.
    let said = worker.output();
    assert!(said.contains("SourceIdentity") || said.contains("StreamMissing"), "{said}");
    holds(&pipeline, &[(1, 50)]).await;
    bench.catch_up(&pipeline).await.expect(65).says("SourceIdentity");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_an_older_backup_is_noticed_while_it_is_shorter_and_when_it_has_grown_again() {
    let mut bench = Bench::start("backup").await;
    let pipeline = bench.pipeline("backup").await;
    let backup = bench.scratch.join("copy");
    bench.send("backup.a", 1, 50).await;
    bench.nats.stop().await.unwrap();
    bench.nats.back_up(&backup).unwrap();
    bench.nats.restart().await.unwrap();
    bench.reconnect().await;
    bench.send("backup.a", 51, 100).await;
    bench.catch_up(&pipeline).await.expect(0);
    bench.nats.stop().await.unwrap();
    bench.nats.restore(&backup).unwrap();
    bench.nats.restart().await.unwrap();
    bench.reconnect().await;

    let shorter = bench.catch_up(&pipeline).await.expect(65);
    shorter.says("SourceIdentity").says("ends at 50");
    // Other messages take the places of those that were read.
    bench.send("backup.a", 101, 160).await;
    let grown = bench.catch_up(&pipeline).await.expect(65);
    grown.says("SourceIdentity").says("another message stands at sequence 100");
    holds(&pipeline, &[(1, 100)]).await;

    // Read again from its start; what came before the copy was taken is in the window (D1).
    let told = pipeline.clone().set("source.jetStream.onSourceReset", json!("NewIncarnation"));
    bench.catch_up(&told).await.expect(0);
    holds(&pipeline, &[(1, 160)]).await;
    let verified = bench.verify(&told).await.expect(2);
    assert!(!verified.output.contains("damaged"), "{}", verified.output);
    bench.catch_up(&told).await.expect(0);
    holds(&pipeline, &[(1, 160)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_an_older_backup_under_a_live_worker_stops_it_before_it_commits() {
    let mut bench = Bench::start("swap").await;
    let pipeline = bench.pipeline("swap").await.set("sink.flush.maxInterval", json!("30s"));
    let backup = bench.scratch.join("copy");
    bench.send("swap.a", 1, 50).await;
    bench.nats.stop().await.unwrap();
    bench.nats.back_up(&backup).unwrap();
    bench.nats.restart().await.unwrap();
    bench.reconnect().await;
    let mut worker = bench.serve(&pipeline, "worker").await;
    committed(&pipeline, 50, &worker.process).await;
    // It has read these and not committed them when the stream becomes another one.
    bench.send("swap.a", 51, 100).await;
    worker.wait_for_metric("tidegate_buffered_bytes", |bytes| bytes > 0.0).await;
    bench.nats.kill().await.unwrap();
    bench.nats.restore(&backup).unwrap();
    bench.nats.restart().await.unwrap();
    let ended = worker.process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(65), "{}", worker.process.output());
    assert!(worker.process.output().contains("SourceIdentity"), "{}", worker.process.output());
    assert_eq!(floors(&pipeline), [50]);
    holds(&pipeline, &[(1, 50)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p6_a_new_life_of_the_stream_begins_at_its_start_wherever_the_ledger_began() {
    for (name, start) in
        [("fresh", json!({"type": "New"})), ("late", json!({"type": "Sequence", "sequence": 41}))]
    {
        let mut bench = Bench::start(name).await;
        let pipeline = bench.pipeline(name).await.set("source.jetStream.startFrom", start);
        let subject = pipeline.subject("a");
        bench.send(&subject, 1, 40).await;
        bench.catch_up(&pipeline).await.expect(0);
        bench.send(&subject, 41, 50).await;
        bench.catch_up(&pipeline).await.expect(0);
        holds(&pipeline, &[(41, 50)]).await;

        bench.api(&format!("STREAM.DELETE.{}", name.to_uppercase()), json!({})).await;
        bench.create_stream(&pipeline).await;
        bench.send(&subject, 51, 60).await;
        let told = pipeline.clone().set("source.jetStream.onSourceReset", json!("NewIncarnation"));
        bench.catch_up(&told).await.expect(0);
        holds(&pipeline, &[(41, 60)]).await;
    }
}
