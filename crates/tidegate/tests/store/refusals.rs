//! Stores that will not do are refused before anything is read, by name and with what to do.

use serde_json::json;
use tidegate_testing::{Fault, Matcher, Rule};

use crate::lake::{Lake, storage};
use crate::support::Pipeline;

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn a_store_that_ignores_the_condition_of_a_put_is_refused() {
    let mut lake = Lake::start("naive").await;
    lake.publish(10).await;
    lake.add(Rule::new(Matcher::method("PUT"), Fault::StoreThenStatus(200)));
    let ended = lake.catch_up().await.expect(65);
    ended.says("GuaranteeNotMet").says("CommitStoreUnsafe").says("store: ").says("to do: ");

    lake.pipeline = lake.pipeline.clone().set("guarantee", json!("AtLeastOnce"));
    lake.catch_up().await.expect(65).says("CommitStoreUnsafe").says("to do: ");
    assert!(lake.log().await.is_empty(), "a commit was made all the same");
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn wrong_keys_and_missing_buckets_end_with_what_to_do_and_without_the_secret() {
    let mut lake = Lake::start("locked").await;
    let (id, secret) = ("CANARYID7F3A", "canary-secret-5b1e");
    lake.write_secret((id, secret));
    let verbose = lake.run().environment("TIDEGATE_LOG", "trace").argument("--until-caught-up");
    let ended = lake.bench.end(verbose, "run").await.expect(65);
    ended.says("SinkUnreachable").says("its secret allows writing");
    for canary in [id, secret] {
        assert!(!ended.output.contains(canary), "{canary} is in the output");
    }

    std::fs::remove_file(lake.secrets().join("store/AWS_SECRET_ACCESS_KEY")).unwrap();
    let ended = lake.catch_up().await.expect(75);
    ended.says("SecretMissing").says("AWS_SECRET_ACCESS_KEY").says("--secrets-dir");

    lake.write_secret(("test", "test"));
    let elsewhere = storage("s3://nowhere/t", &lake.proxy.endpoint());
    lake.pipeline = lake.pipeline.clone().set("sink.storage", elsewhere);
    // The server would make the bucket; others say that there is none.
    lake.add(Rule::new(Matcher::any().containing("/nowhere"), Fault::Status(404)));
    lake.catch_up()
        .await
        .expect(65)
        .says("s3://nowhere/t")
        .says("injected by a test")
        .says("to do: ");

    // Nobody listens: that may pass.
    lake.proxy.clear();
    lake.s3.kill().await.unwrap();
    lake.catch_up().await.expect(75).says("SinkUnreachable").says("can be reached");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn x6_the_table_of_another_ledger_is_taken_only_when_it_is_shared() {
    let mut bench = crate::support::Bench::start("shared").await;
    let first = bench.pipeline("first").await;
    bench.publish_ids("first.x", &["a", "b"]).await;
    bench.catch_up(&first).await.expect(0);

    let second: Pipeline = bench.pipeline("second").await.into_table("first");
    bench.publish_ids("second.x", &["c", "d", "e"]).await;
    let refused = bench.catch_up(&second).await.expect(65);
    refused.says("LedgerMismatch").says("ledger default.first").says("shared");

    let second = second.set("sink.delta.shared", json!(true));
    bench.catch_up(&second).await.expect(0);
    // The first one was there before, and goes on as ever.
    bench.publish_ids("first.x", &["f"]).await;
    bench.catch_up(&first).await.expect(0);
    bench.verify(&first).await.expect(0).says("3 records = 3 rows");
    bench.verify(&second).await.expect(0).says("3 records = 3 rows");
    let seen = tidegate_testing::readers::Question::about(&first.url()).agreed().await.unwrap();
    assert_eq!((seen.rows, seen.distinct_ids, seen.distinct_identities), (6, 6, 6));
}
