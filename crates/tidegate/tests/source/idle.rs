//! Idle partitions (S5) and trimming (S6, S10). The keeper's periods are shortened two hundred times.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tidegate_testing::{TidegateProcess, eventually};

use crate::checks::{committed, floors, holds, numbered, values};
use crate::support::{Bench, Broker, LONG, Pipeline, call};

/// Samples come each 50 ms and age 300 ms; trimming is tried each 150 ms.
const HASTE: &str = "200";

fn hasty(bench: &Bench, pipeline: &Pipeline, name: &str) -> TidegateProcess {
    let run = bench.run_command(pipeline).environment("TIDEGATE_KEEPER_HASTE", HASTE);
    run.spawn(name, bench.scratch.path()).unwrap()
}

/// Whether the stream took the message; if not, because it is full.
async fn store(bench: &mut Bench, n: u64) -> bool {
    let next = numbered("idle.always.the.same", n);
    let body: serde_json::Value = serde_json::from_slice(&next.payload).unwrap();
    let answer = bench.broker.ask(&next.subject, &body).await.unwrap();
    let refused = answer["error"]["description"].as_str();
    assert!(refused.is_none_or(|why| why.contains("maximum bytes")), "{answer}");
    refused.is_none()
}

fn first(state: &serde_json::Value) -> u64 {
    state["first_seq"].as_u64().unwrap()
}

async fn trimmed_to(bench: &mut Bench, pipeline: &Pipeline, least: u64, process: &TidegateProcess) {
    let started = Instant::now();
    loop {
        let begins = first(&bench.stream_state(pipeline).await);
        if begins >= least {
            return;
        }
        assert!(started.elapsed() < LONG, "begins at {begins}, not {least}\n{}", process.output());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_idle_partitions_hold_up_neither_trim_nor_publishers_and_raise_no_false_gap() {
    let mut bench = Bench::start("idle").await;
    // 64 KiB hold some hundreds of these messages; all are of one of eight partitions.
    let pipeline = Pipeline::new("idle", &bench.nats.url(), bench.scratch.path())
        .set(
            "source.jetStream.partitioning",
            json!({"type": "Subject", "partitions": 8, "idSubjectStable": true}),
        )
        .set("source.jetStream.retention", json!({"maxBytes": "64Ki"}))
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    bench.create_stream(&pipeline).await;
    let mut sent = 0;
    for life in 1..=6 {
        // While nobody reads, the stream fills up.
        while store(&mut bench, sent + 1).await {
            sent += 1;
        }
        let mut worker = hasty(&bench, &pipeline, "worker");
        let deadline = Instant::now() + LONG;
        let goal = sent + 200;
        while sent < goal {
            if store(&mut bench, sent + 1).await {
                sent += 1;
            } else {
                assert!(Instant::now() < deadline, "503 for good\n{}", worker.output());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if life % 2 == 0 {
            worker.kill().await.unwrap();
        } else {
            bench.drain(&mut worker).await;
        }
        assert!(!worker.output().contains("SourceGap"), "{}", worker.output());
    }
    bench.catch_up(&pipeline).await.expect(0);
    holds(&pipeline, &[(1, sent)]).await;
    // All eight floors moved, seven of them over messages that were not theirs.
    assert!(floors(&pipeline).into_iter().min().unwrap() > sent / 2, "{:?}", floors(&pipeline));
    bench.verify(&pipeline).await.expect(2);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_an_orderly_end_moves_idle_floors_before_it_gives_them_back() {
    let mut bench = Bench::start("orderly").await;
    let pipeline = Pipeline::new("orderly", &bench.nats.url(), bench.scratch.path())
        .set(
            "source.jetStream.partitioning",
            json!({"type": "Subject", "partitions": 4, "idSubjectStable": true}),
        )
        // No look at idle partitions but the last one.
        .set("sink.flush.maxInterval", json!("10m"));
    bench.create_stream(&pipeline).await;
    bench.send("orderly.one.subject", 1, 100).await;
    let run = bench.run_command(&pipeline).environment("TIDEGATE_KEEPER_HASTE", HASTE);
    let run = run.environment("TIDEGATE_LOG", "info,tidegate_worker::keeper=debug");
    let mut worker = run.spawn("worker", bench.scratch.path()).unwrap();
    committed(&pipeline, 100, &worker).await;
    worker.wait_for_output("a sample of the stream's end has aged", LONG).await.unwrap();
    bench.drain(&mut worker).await;
    assert_eq!(floors(&pipeline), [100; 4]);
    bench.verify(&pipeline).await.expect(0);
}

/// Up to when each partition is complete, in microseconds since 1970, of those that say it.
fn through(pipeline: &Pipeline) -> Vec<i64> {
    let values = values(pipeline);
    let through = values.iter().filter(|(name, _)| name.ends_with("/through"));
    through.map(|(_, through)| *through).collect()
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_idle_partitions_say_how_far_they_are_complete_though_nothing_comes() {
    let mut bench = Bench::start("silent").await;
    let pipeline = Pipeline::new("silent", &bench.nats.url(), bench.scratch.path())
        .set(
            "source.jetStream.partitioning",
            json!({"type": "Subject", "partitions": 4, "idSubjectStable": true}),
        )
        .set("sink.flush.maxInterval", json!("300ms"));
    bench.create_stream(&pipeline).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    bench.send("silent.one.subject", 1, 100).await;
    committed(&pipeline, 100, &worker).await;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let since = i64::try_from(since).unwrap();
    // Floors of the three others move over these.
    bench.send("silent.one.subject", 101, 110).await;
    let all = async || through(&pipeline).iter().filter(|at| **at > since).count() == 4;
    if let Err(error) = eventually("all four are complete up to then", LONG, all).await {
        panic!("{error}: {:?} and not {since}\n{}", through(&pipeline), worker.output());
    }
    bench.drain(&mut worker).await;
    holds(&pipeline, &[(1, 110)]).await;
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s10_a_strangers_consumer_keeps_the_stream_whole_until_it_is_gone() {
    let mut bench = Bench::start("stranger").await;
    let pipeline = bench
        .pipeline("stranger")
        .await
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    let consumer = json!({"stream_name": "STRANGER", "config":
        {"durable_name": "audit", "ack_policy": "explicit", "deliver_policy": "all"}});
    bench.api("CONSUMER.DURABLE.CREATE.STRANGER.audit", consumer).await;
    bench.send("stranger.a", 1, 100).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    committed(&pipeline, 100, &worker).await;
    worker.wait_for_output("TrimBlocked", LONG).await.unwrap();
    assert!(worker.output().contains("consumer audit"), "{}", worker.output());
    assert_eq!(first(&bench.stream_state(&pipeline).await), 1);

    bench.api("CONSUMER.DELETE.STRANGER.audit", json!({})).await;
    // The message at the floor and the one below stay (S6).
    trimmed_to(&mut bench, &pipeline, 99, &worker).await;
    bench.drain(&mut worker).await;
    assert_eq!(first(&bench.stream_state(&pipeline).await), 99);
    bench.send("stranger.a", 101, 110).await;
    bench.catch_up(&pipeline).await.expect(0);
    holds(&pipeline, &[(1, 110)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s10_a_ledger_of_another_table_keeps_the_stream_whole_though_it_does_not_run() {
    let mut bench = Bench::start("second").await;
    let trim = |pipeline: Pipeline| {
        pipeline
            .set("source.jetStream.duplicateWindow", json!("100ms"))
            .set("source.jetStream.trim", json!({"keep": "100ms"}))
    };
    let pipeline = trim(bench.pipeline("second").await);
    let other = pipeline.clone().renamed("other");
    // The other one was there once, and read half of it.
    bench.send("second.a", 1, 50).await;
    bench.catch_up(&other).await.expect(0);
    bench.send("second.a", 51, 100).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    committed(&pipeline, 100, &worker).await;
    worker.wait_for_output("TrimBlocked", LONG).await.unwrap();
    assert!(worker.output().contains("of table file://"), "{}", worker.output());
    bench.drain(&mut worker).await;
    assert_eq!(first(&bench.stream_state(&pipeline).await), 1);
    bench.catch_up(&other).await.expect(0);
    holds(&other, &[(1, 100)]).await;
    holds(&pipeline, &[(1, 100)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_a_trim_right_behind_a_floor_that_moved_is_no_gap() {
    let mut bench = Bench::start("hurry").await;
    let pipeline = Pipeline::new("hurry", &bench.nats.url(), bench.scratch.path())
        .set(
            "source.jetStream.partitioning",
            json!({"type": "Subject", "partitions": 8, "idSubjectStable": true}),
        )
        .set("sink.flush.maxInterval", json!("300ms"))
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    bench.create_stream(&pipeline).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    // Now and then a message of one partition, while the floors of the others move and all is trimmed.
    for n in 1..=60 {
        bench.send(&format!("hurry.user{}", n * 7 % 97), n, n).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.drain(&mut worker).await;
    holds(&pipeline, &[(1, 60)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s5_an_idle_partition_behind_an_accepted_gap_moves_on() {
    let mut bench = Bench::start("stray").await;
    let pipeline = declared(&bench)
        .set("source.jetStream.onGap", json!("RecordAndContinue"))
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    bench.create_stream(&pipeline).await;
    bench.catch_up(&pipeline).await.expect(0);
    // What the second partition had is purged by somebody, and nothing follows there.
    bench.send("stray.1.a", 1, 10).await;
    bench.api("STREAM.PURGE.STRAY", json!({})).await;
    bench.send("stray.0.a", 11, 60).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    trimmed_to(&mut bench, &pipeline, 58, &worker).await;
    bench.drain(&mut worker).await;
    holds(&pipeline, &[(11, 60)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s10_a_ledger_of_the_same_name_in_another_table_is_another_reader() {
    let mut bench = Bench::start("twin").await;
    let pipeline = bench.pipeline("twin").await;
    let twin = pipeline
        .clone()
        .into_table("copy")
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    // Both read at once, with epochs that are equal.
    let mut first_worker = bench.spawn_run(&pipeline, "first");
    bench.send("twin.a", 1, 50).await;
    committed(&pipeline, 50, &first_worker).await;
    let mut second_worker = hasty(&bench, &twin, "second");
    committed(&twin, 50, &second_worker).await;
    bench.send("twin.a", 51, 100).await;
    committed(&pipeline, 100, &first_worker).await;
    committed(&twin, 100, &second_worker).await;
    // One of them rests. Its consumer goes when nobody pulls.
    bench.drain(&mut first_worker).await;
    let consumers = bench.api("CONSUMER.LIST.TWIN", json!({})).await;
    for consumer in consumers["consumers"].as_array().unwrap() {
        if consumer["config"]["metadata"]["tidegate.table"] == pipeline.url() {
            let name = consumer["name"].as_str().unwrap();
            bench.api(&format!("CONSUMER.DELETE.TWIN.{name}"), json!({})).await;
        }
    }
    bench.send("twin.a", 101, 150).await;
    committed(&twin, 150, &second_worker).await;
    second_worker.wait_for_output("TrimBlocked", LONG).await.unwrap();
    bench.drain(&mut second_worker).await;
    assert_eq!(first(&bench.stream_state(&pipeline).await), 1);
    bench.catch_up(&pipeline).await.expect(0);
    holds(&pipeline, &[(1, 150)]).await;
    holds(&twin, &[(1, 150)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s6_floors_of_a_deleted_stream_trim_nothing_of_its_successor() {
    let mut bench = Bench::start("heir").await;
    let pipeline = bench
        .pipeline("heir")
        .await
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    bench.send("heir.a", 1, 100).await;
    let held = bench.run_command(&pipeline).environment("TIDEGATE_HOST", "elsewhere");
    let mut holder = held.spawn("holder", bench.scratch.path()).unwrap();
    committed(&pipeline, 100, &holder).await;
    // One holds the partition and sleeps, the other waits for it and looks after the stream.
    holder.signal("STOP").await.unwrap();
    let waiting = bench.run_command(&pipeline).environment("TIDEGATE_KEEPER_HASTE", "20");
    let mut waiting = waiting.spawn("waiting", bench.scratch.path()).unwrap();
    trimmed_to(&mut bench, &pipeline, 99, &waiting).await;
    let config = bench.api("STREAM.INFO.HEIR", json!({})).await["config"].take();
    bench.api("STREAM.DELETE.HEIR", json!({})).await;
    bench.api("STREAM.CREATE.HEIR", config).await;
    bench.send("heir.a", 101, 150).await;
    waiting.wait_for_output("trimming failed", LONG).await.unwrap();
    waiting.kill().await.unwrap();
    holder.kill().await.unwrap();
    assert_eq!(first(&bench.stream_state(&pipeline).await), 1);
    let told = pipeline.clone().set("source.jetStream.onSourceReset", json!("NewIncarnation"));
    bench.catch_up(&told).await.expect(0);
    holds(&pipeline, &[(1, 150)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s3_a_stray_message_amid_traffic_is_noticed_before_it_is_trimmed() {
    let mut bench = Bench::start("stray").await;
    let pipeline = declared(&bench)
        .set("source.jetStream.duplicateWindow", json!("100ms"))
        .set("source.jetStream.trim", json!({"keep": "100ms"}));
    bench.create_stream(&pipeline).await;
    // Trim comes more often than the look at the subjects.
    let mut worker = hasty(&bench, &pipeline, "worker");
    let traffic = tokio::spawn(busy(Broker::connect(&bench.nats.url()).await.unwrap()));
    trimmed_to(&mut bench, &pipeline, 1_000, &worker).await;
    let stray = bench.send("stray.astray", 0, 0).await[0];
    let ended = worker.wait(LONG).await.unwrap();
    traffic.abort();
    assert_eq!(ended.code(), Some(65), "{}", worker.output());
    assert!(worker.output().contains("SubjectsOutsidePartitions"), "{}", worker.output());
    assert!(first(&bench.stream_state(&pipeline).await) <= stray);
}

/// Messages on both partitions without a rest.
async fn busy(mut broker: Broker) {
    for wave in 0_u64.. {
        let n = |k: u64| 1 + wave * 40 + k;
        let messages: Vec<_> =
            (0..40).map(|k| numbered(&format!("stray.{}.a", k % 2), n(k))).collect();
        broker.publish(&messages).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s3_a_stray_subject_stops_a_finite_run_before_it_reads() {
    let mut bench = Bench::start("stray").await;
    let pipeline = declared(&bench);
    bench.create_stream(&pipeline).await;
    bench.send("stray.0.a", 1, 10).await;
    bench.send("stray.1.a", 11, 20).await;
    bench.send("stray.7.a", 21, 23).await;
    let stopped = bench.catch_up(&pipeline).await.expect(65);
    stopped.says("SubjectsOutsidePartitions").says("3 messages of stream STRAY");
    assert!(!pipeline.table.join("_delta_log").exists());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s3_a_stray_subject_stops_a_running_worker() {
    let mut bench = Bench::start("stray").await;
    let pipeline = declared(&bench);
    bench.create_stream(&pipeline).await;
    bench.send("stray.0.a", 1, 10).await;
    bench.send("stray.1.a", 11, 20).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    committed(&pipeline, 20, &worker).await;
    bench.send("stray.astray", 21, 21).await;
    assert_eq!(worker.wait(LONG).await.unwrap().code(), Some(65), "{}", worker.output());
    assert!(worker.output().contains("SubjectsOutsidePartitions"), "{}", worker.output());
    holds(&pipeline, &[(1, 20)]).await;
    // Plan and validate cannot know; the run says it again.
    bench.end(call("plan", &pipeline), "plan").await.expect(0);
    bench.catch_up(&pipeline).await.expect(65);
}

fn declared(bench: &Bench) -> Pipeline {
    let partitioning =
        json!({"type": "Declared", "partitions": 2, "subjectPattern": "stray.{partition}.>"});
    Pipeline::new("stray", &bench.nats.url(), bench.scratch.path())
        .set("source.jetStream.partitioning", partitioning)
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn idle_waits_find_nothing_to_do() {
    let mut bench = Bench::start("quiet").await;
    let pipeline = bench.pipeline("quiet").await;
    bench.send("quiet.a", 1, 10).await;
    let mut worker = hasty(&bench, &pipeline, "worker");
    committed(&pipeline, 10, &worker).await;
    let version = || crate::support::commits(&pipeline.table).len();
    let before = version();
    // A partition that is read to its end has nowhere to advance to: no commits for nothing.
    let grown = eventually("a commit", Duration::from_secs(3), async || version() > before).await;
    assert!(grown.is_err(), "{} commits after {before}", version());
    bench.drain(&mut worker).await;
}
