//! Filter, lateness, and verdicts that differ from one release to the next.

use jiff::{Timestamp, ToSpan};
use serde_json::json;

use crate::support::{Bench, LONG, Rows, call};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn the_filter_drops_and_counts_and_a_failure_of_it_is_a_dead_letter() {
    let mut bench = Bench::start("filter").await;
    let pipeline = bench.pipeline("filter").await.set("filter.cel", json!("record.n > 10"));
    let subject = pipeline.subject("x");
    let records = [
        ("a", "{\"id\": \"kept\", \"n\": 11}"),
        ("b", "{\"id\": \"dropped\", \"n\": 10}"),
        ("c", "{\"id\": \"failing\"}"),
        // What was filtered never enters the window: the same id again is a row (D1).
        ("b", "{\"id\": \"kept too\", \"n\": 12}"),
    ];
    bench.publish(&subject, &records).await;
    bench.catch_up(&pipeline).await.expect(0).says("1 record filtered out");
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["kept", "kept too"]);
    assert_eq!(seen.dead_texts("reason"), ["FilterFailed"]);
    bench.verify(&pipeline).await.expect(0).says("1 filtered");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_filter_that_names_no_column_is_refused_before_anything_is_made() {
    let bench = Bench::start("filter-error").await;
    let pipeline = bench.pipeline("fault").await;
    for (cel, named) in
        [("record.m > 10", "\"m\""), ("record.n >", "column 11"), ("record.n", "true or false")]
    {
        let wrong = pipeline.clone().set("filter.cel", json!(cel));
        let validate = tidegate_testing::TidegateCommand::new("validate").unwrap();
        let validate = validate.argument(wrong.write());
        bench.end(validate, "validate").await.expect(65).says(named).says("filter.cel");
        bench.catch_up(&wrong).await.expect(65).says(named);
        assert!(!wrong.table.exists(), "{cel}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn late_records_are_dead_letters_or_rows_by_policy() {
    let mut bench = Bench::start("late").await;
    let columns = [("id", "string"), ("at", "timestamp")];
    let rule = |policy: &str| json!({"field": "at", "allowedLateness": "1h", "latePolicy": policy});
    let strict = bench.pipeline("late").await.columns(&columns);
    let lenient = strict.clone().renamed("lenient").set("sink.eventTime", rule("Append"));
    let strict = strict.set("sink.eventTime", rule("DeadLetter"));
    let now = Timestamp::now();
    let record = |id: &str, at: Timestamp| format!("{{\"id\": \"{id}\", \"at\": \"{at}\"}}");
    let texts = [
        record("now", now),
        record("nearly late", now - 50.minutes()),
        record("late", now - 61.minutes()),
        record("far ahead", now + 70.minutes()),
        record("a little ahead", now + 50.minutes()),
        "{\"id\": \"timeless\"}".to_owned(),
    ];
    let ids = ["1", "2", "3", "4", "5", "6"];
    let records: Vec<_> = ids.into_iter().zip(texts.iter().map(String::as_str)).collect();
    bench.publish(&strict.subject("x"), &records).await;
    bench.catch_up(&strict).await.expect(0);
    bench.catch_up(&lenient).await.expect(0);
    let seen = Rows::of(&strict.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["now", "nearly late", "a little ahead", "timeless"]);
    assert_eq!(seen.dead_texts("reason"), ["TooLate", "TooFarAhead"]);
    let seen = Rows::of(&lenient.table).await.unwrap();
    assert_eq!((seen.rows.len(), seen.dead.len()), (6, 0));
}

/// The records of the two tests below: under the first release the second one is bad.
const JUDGED_TWICE: [(&str, &str); 3] = [
    ("a", "{\"id\": \"a\", \"n\": 1}"),
    ("b", "{\"id\": \"b\", \"n\": \"2\"}"),
    ("c", "{\"id\": \"c\", \"n\": 3}"),
];

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p1_a_verdict_without_its_commit_never_becomes_visible() {
    let mut bench = Bench::start("p4-orphan").await;
    let pipeline = bench.pipeline("orphan").await;
    bench.publish(&pipeline.subject("x"), &JUDGED_TWICE).await;
    let dying = bench.run_command(&pipeline).die_at("dead_letters.file_written", 1);
    assert_eq!(bench.end(dying, "dying").await.code, None, "not killed");

    let next = pipeline.set("decode.coercion", json!("Lossless"));
    bench.catch_up(&next).await.expect(0);
    let seen = Rows::of(&next.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "b", "c"]);
    assert!(seen.dead.is_empty(), "a verdict of the killed worker shows beside the row");
    bench.verify(&next).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s7_a_committed_verdict_stands_whatever_the_next_release_thinks() {
    let mut bench = Bench::start("s7").await;
    let pipeline = bench.pipeline("stands").await;
    bench.publish(&pipeline.subject("x"), &JUDGED_TWICE).await;
    let dying = bench.run_command(&pipeline).die_at("commit.after_put", 1);
    assert_eq!(bench.end(dying, "dying").await.code, None, "not killed");
    let before = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!((before.texts("id").len(), before.dead.len()), (2, 0), "not between the commits");
    bench.verify(&pipeline).await.expect(2).says("dead-letter commits are pending");

    let next = pipeline.set("decode.coercion", json!("Lossless"));
    bench.catch_up(&next).await.expect(0);
    let seen = Rows::of(&next.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "c"]);
    assert_eq!(seen.dead_texts("reason"), ["WrongType"]);
    bench.verify(&next).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p4_a_dead_letter_table_that_lags_is_caught_up_without_new_messages() {
    let mut bench = Bench::start("p4-lag").await;
    let pipeline = bench.pipeline("lag").await;
    bench.publish(&pipeline.subject("x"), &JUDGED_TWICE).await;
    let dying = bench.run_command(&pipeline).die_at("dead_letters.before_commit", 1);
    assert_eq!(bench.end(dying, "dying").await.code, None, "not killed");
    let mut worker = bench.spawn_run(&pipeline, "next");
    let dead = pipeline.table.join("_dead_letters/_delta_log/00000000000000000001.json");
    tidegate_testing::eventually("the dead letters' commit", LONG, async || dead.exists())
        .await
        .unwrap();
    worker.signal("TERM").await.unwrap();
    assert!(worker.wait(LONG).await.unwrap().success());
    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(
        (seen.texts("id"), seen.dead_texts("reason")),
        (vec!["a".into(), "c".into()], vec!["WrongType".into()])
    );
    let verify = call("verify", &pipeline);
    bench.end(verify, "verify").await.expect(0);
}
