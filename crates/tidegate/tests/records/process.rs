//! `tidegate run` as a program: finite runs, signals, the endpoint.

use serde_json::json;

use crate::support::{Bench, LONG, Rows};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_finite_run_ends_on_an_empty_stream_on_copies_and_on_poison_alone() {
    let mut bench = Bench::start("finite").await;
    let pipeline = bench.pipeline("finite").await;
    let subject = pipeline.subject("x");
    for _ in 0..2 {
        bench.catch_up(&pipeline).await.expect(0).says("nothing new to read");
    }
    let poison = [("p", "{"), ("q", "{")];
    bench.publish(&subject, &poison).await;
    bench.catch_up(&pipeline).await.expect(0).says("2 dead letters");
    bench.publish_ids(&subject, &["a"]).await;
    bench.catch_up(&pipeline).await.expect(0).says("1 row in 1 file");
    bench.publish_ids(&subject, &["a", "a"]).await;
    bench.catch_up(&pipeline).await.expect(0).says("2 duplicates dropped");
    bench.catch_up(&pipeline).await.expect(0).says("nothing new to read");
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!((seen.rows.len(), seen.dead.len()), (1, 2));
    bench
        .verify(&pipeline)
        .await
        .expect(0)
        .says("5 records = 1 rows + 2 dead letters + 2 duplicates");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn pipelines_of_several_files_run_in_one_process_and_one_that_fails_stops_no_other() {
    let mut bench = Bench::start("several").await;
    let good = bench.pipeline("good").await;
    let bad = bench.pipeline("bad").await.set("decode.onError", json!("Halt"));
    let resting = bench.pipeline("resting").await.set("suspend", json!(true));
    bench.publish_ids(&good.subject("x"), &["a", "b"]).await;
    bench.publish(&bad.subject("x"), &[("p", "{")]).await;
    bench.publish_ids(&resting.subject("x"), &["a"]).await;
    let run = bench.run_command(&good).argument("-f").argument(bad.write());
    let run = run.argument("-f").argument(resting.write()).argument("--until-caught-up");
    let ended = bench.end(run, "several").await.expect(65);
    ended.says("default/good: read 2 messages").says("default/bad stopped");
    ended.says("default/resting: suspended, nothing is run");
    assert_eq!(Rows::of(&good.table).await.unwrap().texts("id"), ["a", "b"]);
    assert!(!resting.table.exists());
    bench.catch_up(&resting).await.expect(0).says("suspended");
    assert!(!resting.table.exists());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_signal_drains_and_commits_and_a_second_one_leaves_at_once() {
    let mut bench = Bench::start("signals").await;
    let pipeline = bench.pipeline("signals").await;
    let pipeline = pipeline.set("sink.flush.maxInterval", json!("10m"));
    let pipeline = pipeline.set("sink.flush.idleAfter", json!("10m"));
    let subject = pipeline.subject("x");
    let mut round = 0;
    for (signals, code) in [(vec!["INT"], 0), (vec!["TERM"], 0), (vec!["TERM", "INT"], 130)] {
        let mut worker = bench.serve(&pipeline, signals[0]).await;
        // Written out, and open: the first batch after a claim is committed at once, later ones wait.
        bench.publish_ids(&subject, &[&format!("committed {round}")]).await;
        worker.wait_for_metric("tidegate_read_total", |read| read > 0.0).await;
        bench.publish_ids(&subject, &[&format!("open {round}")]).await;
        worker.wait_for_metric("tidegate_buffered_bytes", |bytes| bytes > 0.0).await;
        // Both from one shell: the second comes long before a commit can be made.
        let kills: Vec<_> = signals
            .iter()
            .map(|signal| format!("kill -{signal} {}", worker.process.process_id()))
            .collect();
        let sent =
            tokio::process::Command::new("sh").args(["-c", &kills.join("; ")]).status().await;
        assert!(sent.unwrap().success());
        let ended = worker.process.wait(LONG).await.unwrap();
        assert_eq!(ended.code(), Some(code), "{signals:?}: {}", worker.process.output());
        round += 1;
        if code == 0 {
            let seen = Rows::of(&pipeline.table).await.unwrap();
            assert_eq!(seen.rows.len(), 2 * round, "{signals:?} left something open behind");
        }
    }
    let before = Rows::of(&pipeline.table).await.unwrap().rows.len();
    assert!((5..=6).contains(&before), "{before} rows; all but what was left behind at the end");
    bench.catch_up(&pipeline).await.expect(0);
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!((seen.rows.len(), seen.dead.len()), (6, 0));
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn the_endpoint_tells_the_truth() {
    let mut bench = Bench::start("endpoint").await;
    let pipeline = bench.pipeline("endpoint").await.set("filter.cel", json!("record.id != 'no'"));
    bench.nats.freeze().await.unwrap();
    let mut worker = bench.serve(&pipeline, "worker").await;
    // It runs, and can do nothing yet.
    assert_eq!(worker.get("/livez").await.unwrap().0, 200);
    assert_eq!(worker.get("/readyz").await.unwrap().0, 503);
    bench.nats.thaw().await.unwrap();
    worker.wait_for_metric("tidegate_ready", |ready| ready == 1.0).await;
    assert_eq!(worker.get("/readyz").await.unwrap().0, 200);

    let subject = pipeline.subject("x");
    bench.publish_ids(&subject, &["a", "b", "a", "no"]).await;
    bench.publish(&subject, &[("p", "{")]).await;
    worker.wait_for_metric("tidegate_read_total", |read| read == 5.0).await;
    for (name, value) in [
        ("tidegate_rows_total", 2.0),
        ("tidegate_duplicates_total", 1.0),
        ("tidegate_filtered_total", 1.0),
        ("tidegate_dead_letters_total", 1.0),
        ("tidegate_floor", 5.0),
        ("tidegate_window_ids", 2.0),
        ("tidegate_lag", 0.0),
        ("tidegate_buffered_bytes", 0.0),
    ] {
        worker.wait_for_metric(name, |is| is == value).await;
    }
    let (_, body) = worker.get("/metrics").await.unwrap();
    assert!(body.contains("reason=\"Malformed\""), "{body}");
    assert!(body.trim_end().ends_with("# EOF"), "not OpenMetrics");
    worker.process.signal("TERM").await.unwrap();
    assert!(worker.process.wait(LONG).await.unwrap().success());
}
