//! Deduplication: D1 to D5.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tidegate_testing::copy_folder;

use crate::support::{Bench, Ended, LONG, Outgoing, Pipeline, Rows, call};

/// Runs several pipelines in one process until they have caught up.
async fn catch_up_together(bench: &Bench, pipelines: &[&Pipeline]) -> Ended {
    let (first, others) = pipelines.split_first().unwrap();
    let mut run = bench.run_command(first).argument("--until-caught-up");
    for other in others {
        run = run.argument("-f").argument(other.write());
    }
    bench.end(run, "together").await
}

/// Stream time is the broker's clock, so W really has to pass.
async fn let_stream_time_pass(window: Duration) {
    tokio::time::sleep(window + Duration::from_millis(50)).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d1_a_copy_within_the_window_is_dropped_and_one_beyond_it_is_a_row() {
    let mut bench = Bench::start("d1").await;
    let hour = bench.pipeline("hour").await;
    let second = hour.clone().renamed("second").set("dedup.window", json!("1s"));
    let field =
        hour.clone().renamed("field").set("dedup.key", json!({"type": "Field", "field": "id"}));
    let keyed = hour.clone().renamed("keyed").set("dedup.onMissingKey", json!("DeadLetter"));
    let all = [&hour, &second, &field, &keyed];
    let subject = hour.subject("x");
    let row =
        |id: &str| Outgoing::new(&subject, format!("{{\"id\": \"{id}\"}}")).header("Event-Id", id);
    let poison = Outgoing::new(&subject, "{\"id\": \"c\", \"n\": {}}").header("Event-Id", "c");
    let unkeyed = Outgoing::new(&subject, "{\"id\": \"u\"}");

    // A poisoned id that comes again corrected is a row.
    let first =
        [row("a"), row("b"), row("a"), poison, row("c"), unkeyed.clone(), unkeyed, row("c")];
    bench.broker.publish(&first).await.unwrap();
    let_stream_time_pass(Duration::from_secs(1)).await;
    bench.broker.publish(&[row("a"), row("c")]).await.unwrap();
    catch_up_together(&bench, &all).await.expect(0);
    // Neither forgets over a restart.
    let_stream_time_pass(Duration::from_secs(1)).await;
    bench.broker.publish(&[row("b"), row("d")]).await.unwrap();
    catch_up_together(&bench, &all).await.expect(0);

    for (pipeline, rows, dead) in [
        (&hour, vec!["a", "b", "c", "u", "u", "d"], vec!["WrongType"]),
        (&second, vec!["a", "b", "c", "u", "u", "a", "c", "b", "d"], vec!["WrongType"]),
        (&field, vec!["a", "b", "c", "u", "d"], vec!["WrongType"]),
        (&keyed, vec!["a", "b", "c", "d"], vec!["WrongType", "MissingKey", "MissingKey"]),
    ] {
        let seen = Rows::of(&pipeline.table).await.unwrap();
        assert_eq!(seen.texts("id"), rows, "{}", pipeline.name);
        assert_eq!(seen.dead_texts("reason"), dead, "{}", pipeline.name);
        bench.verify(pipeline).await.expect(0);
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d5_short_fingerprints_cap_the_guarantee() {
    let mut bench = Bench::start("d5").await;
    let pipeline = bench.pipeline("short").await.set("dedup.keys", json!("Fingerprint"));
    bench.publish_ids(&pipeline.subject("x"), &["a", "b", "a"]).await;
    bench
        .catch_up(&pipeline)
        .await
        .expect(65)
        .says("AtLeastOnce is given: dedup")
        .says("keys: Exact");
    assert!(!pipeline.table.exists());
    let weaker = pipeline.set("guarantee", json!("AtLeastOnce"));
    bench.catch_up(&weaker).await.expect(0);
    assert_eq!(Rows::of(&weaker.table).await.unwrap().texts("id"), ["a", "b"]);
}

fn snapshots(table: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![table.join("_tidegate")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "snapshot") {
                found.push(path);
            }
        }
    }
    found
}

/// Reads everything so that the last batch stays open, and drains: that cuts a window snapshot.
async fn drain_with_an_open_batch(bench: &mut Bench, pipeline: &Pipeline, ids: [&[&str]; 2]) {
    let slow = pipeline.clone().set("sink.flush.maxInterval", json!("10m"));
    let slow = slow.set("sink.flush.idleAfter", json!("10m"));
    let mut worker = bench.serve(&slow, "drained").await;
    let subject = pipeline.subject("x");
    // The first batch after a claim is committed at once (P7).
    bench.publish_ids(&subject, ids[0]).await;
    worker.wait_for_metric("tidegate_read_total", |read| read > 0.0).await;
    bench.publish_ids(&subject, ids[1]).await;
    worker.wait_for_metric("tidegate_buffered_bytes", |bytes| bytes > 0.0).await;
    worker.process.signal("TERM").await.unwrap();
    assert!(worker.process.wait(LONG).await.unwrap().success());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d2_the_window_comes_from_the_snapshot_or_else_from_the_table() {
    let mut bench = Bench::start("d2").await;
    let pipeline = bench.pipeline("window").await;
    drain_with_an_open_batch(&mut bench, &pipeline, [&["a", "b"], &["c", "d"]]).await;
    assert_eq!(snapshots(&pipeline.table).len(), 1);
    let gone = pipeline.clone().into_table("gone");
    let damaged = pipeline.clone().into_table("damaged");
    for copy in [&gone, &damaged] {
        copy_folder(&pipeline.table, &copy.table).unwrap();
    }
    fs::remove_file(&snapshots(&gone.table)[0]).unwrap();
    let path = &snapshots(&damaged.table)[0];
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();

    bench.publish_ids(&pipeline.subject("x"), &["a", "d", "e", "e"]).await;
    for (table, from_snapshot) in [(&pipeline, true), (&gone, false), (&damaged, false)] {
        let ended = bench.catch_up(table).await.expect(0);
        ended.says(&format!("\"from_snapshot\":{from_snapshot}"));
        let seen = Rows::of(&table.table).await.unwrap();
        assert_eq!(seen.texts("id"), ["a", "b", "c", "d", "e"], "{}", table.table.display());
        bench.verify(table).await.expect(0);
    }
    // The next restart reads at most what came above the snapshot's floor.
    bench.publish_ids(&pipeline.subject("x"), &["e", "c"]).await;
    let ended = bench.catch_up(&pipeline).await.expect(0);
    ended.says("\"from_snapshot\":true").says("2 duplicates dropped");
    assert!(!ended.output.contains("\"scanned\":5"), "{}", ended.output);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d2_a_changed_key_starts_a_new_window_and_says_so() {
    let mut bench = Bench::start("d2-key").await;
    let pipeline = bench.pipeline("key").await;
    let subject = pipeline.subject("x");
    let message = |id: &str, event: &str, order: &str| {
        Outgoing::new(&subject, format!("{{\"id\": \"{id}\"}}"))
            .header("Event-Id", event)
            .header("Order-Id", order)
    };
    bench.broker.publish(&[message("a", "1", "9"), message("b", "2", "9")]).await.unwrap();
    let ended = bench.catch_up(&pipeline).await.expect(0);
    assert!(!ended.output.contains("WindowFilling"), "a first window misses nothing");

    let changed = pipeline.set("dedup.key.header", json!("Order-Id"));
    // Order 1 is not event 1, though their texts are equal.
    bench.broker.publish(&[message("c", "3", "1"), message("d", "4", "1")]).await.unwrap();
    bench.catch_up(&changed).await.expect(0).says("WindowFilling");
    let seen = Rows::of(&changed.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "b", "c"]);
    bench.verify(&changed).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d2_deduplication_can_be_added_to_a_table_that_has_rows() {
    let mut bench = Bench::start("d2-later").await;
    let pipeline = bench.pipeline("later").await;
    let without = pipeline.clone().set("guarantee", json!("AtLeastOnce")).set("dedup", json!(null));
    let subject = pipeline.subject("x");
    bench.publish_ids(&subject, &["a", "a"]).await;
    bench.catch_up(&without).await.expect(0);
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "a"]);
    assert!(!seen.rows[0].contains_key("_tg_id"));

    bench.publish_ids(&subject, &["a", "b", "a"]).await;
    bench.catch_up(&pipeline).await.expect(0).says("WindowFilling");
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "a", "a", "b"]);
    assert!(seen.rows[1]["_tg_id"].is_null() && !seen.rows[2]["_tg_id"].is_null());
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d3_a_batch_that_is_lost_does_not_make_duplicates_of_its_own_rows() {
    let mut bench = Bench::start("d3").await;
    let pipeline = bench.pipeline("rewound").await.set("sink.flush.maxRows", json!(5));
    let pipeline = pipeline.set("sink.flush.maxInterval", json!("10m"));
    let pipeline = pipeline.set("sink.flush.idleAfter", json!("10m"));
    let mut worker = bench.serve(&pipeline, "first").await;
    let subject = pipeline.subject("x");
    bench.publish_ids(&subject, &["a", "b"]).await;
    worker.wait_for_metric("tidegate_read_total", |read| read >= 2.0).await;
    bench.publish_ids(&subject, &["c", "d", "c"]).await;
    worker.wait_for_metric("tidegate_buffered_bytes", |bytes| bytes > 0.0).await;

    // A second worker of the same name takes the partition at once, commits nothing (every message is
    // too large for it) and gives it back: the open batch of the first is void, its floor unmoved.
    let other = pipeline.clone().set("decode.onError", json!("Halt"));
    let other = other.set("decode.limits.maxBytes", json!("1"));
    bench.catch_up(&other).await.expect(65).says("TooLarge");
    // The fifth row makes the first worker commit, and notice.
    bench.publish_ids(&subject, &["e", "f", "g"]).await;
    worker.wait_for_metric("tidegate_read_total", |read| read >= 8.0).await;
    worker.process.wait_for_output("partition lost", LONG).await.unwrap();
    bench.publish_ids(&subject, &["d", "h"]).await;
    worker.wait_for_metric("tidegate_buffered_bytes", |bytes| bytes > 0.0).await;
    worker.process.signal("TERM").await.unwrap();
    assert!(worker.process.wait(LONG).await.unwrap().success());
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "b", "c", "d", "e", "f", "g", "h"]);
    bench.verify(&pipeline).await.expect(0).says("2 duplicates");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t3_what_a_narrower_window_let_through_is_no_damage() {
    let mut bench = Bench::start("wide").await;
    let pipeline = bench.pipeline("wide").await.set("dedup.window", json!("1s"));
    bench.publish_ids("wide.x", &["a"]).await;
    bench.catch_up(&pipeline).await.expect(0);
    let_stream_time_pass(Duration::from_secs(1)).await;
    bench.publish_ids("wide.x", &["a", "a"]).await;
    let wider = pipeline.set("dedup.window", json!("1h"));
    // The wider window is filled from the table, and compares from here on.
    bench.catch_up(&wider).await.expect(0).says("2 duplicates");
    let narrow = wider.clone().into_table("narrow").set("dedup.window", json!("1s"));
    bench.catch_up(&narrow).await.expect(0).says("2 rows");
    bench.verify(&narrow).await.expect(0);
    let wider = narrow.set("dedup.window", json!("1h"));
    bench.publish_ids("wide.x", &["a"]).await;
    bench.catch_up(&wider).await.expect(0).says("1 duplicate");
    bench.verify(&wider).await.expect(0).says("no id twice within 1s");
}

/// One id on two subjects of two partitions: outside the promise, and counted by `verify`.
#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn d6_an_id_in_two_partitions_is_two_rows_and_counted() {
    let mut bench = Bench::start("d6").await;
    let declared =
        json!({"type": "Declared", "partitions": 2, "subjectPattern": "two.{partition}.>"});
    let pipeline = Pipeline::new("two", &bench.nats.url(), bench.scratch.path())
        .set("source.jetStream.partitioning", declared);
    bench.create_stream(&pipeline).await;
    bench.publish_ids("two.0.x", &["a", "b", "a"]).await;
    bench.publish_ids("two.1.x", &["b", "c"]).await;
    bench.catch_up(&pipeline).await.expect(0);
    let mut ids = Rows::of(&pipeline.table).await.unwrap().texts("id");
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "b", "c"]);
    let verify = call("verify", &pipeline).argument("--json");
    let answer = bench.end(verify, "verify").await.expect(0).stdout;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["report"]["ids_in_two_partitions"], 1, "{answer}");
}
