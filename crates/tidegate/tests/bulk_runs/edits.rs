//! A pipeline or a source that somebody changed between two runs: what no count would notice is told.

use serde_json::json;

use crate::ground::{day, days_ago};
use crate::postgres::Shop;
use crate::support::Pipeline;

/// Versions of the table.
fn versions(pipeline: &Pipeline) -> usize {
    let log = std::fs::read_dir(pipeline.table.join("_delta_log")).unwrap();
    let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 25 && name.ends_with(".json")).count()
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn b7_a_cursor_that_means_something_else_stops_the_schedule_until_a_person_vouches_for_it() {
    let shop = Shop::open("bulk-cursor").await;
    // A row an hour, in hours of some zone.
    let first = days_ago(3);
    shop.sql(&format!(
        "CREATE TABLE events (id int PRIMARY KEY, created_at timestamp NOT NULL);
         INSERT INTO events SELECT n, timestamptz '{first}' AT TIME ZONE 'UTC' + n * interval '1 hour' \
         FROM generate_series(0, 71) n"
    ))
    .await;
    let zone = |zone| shop.daily("events", 3).set("bulk.incremental.timeZone", json!(zone));
    let (utc, seoul) = (zone("UTC"), zone("Asia/Seoul"));
    let (first, second, third) = (day(3), day(2), day(1));
    shop.ground.backfill(&utc, (&first, &third), &[]).await.expect(0);
    shop.ground.ask("doctor", &utc).await.expect(0);

    let boundary = format!("--from {second}T00:00:00Z --to {third}T00:00:00Z --reprocess All");
    let versions_before = versions(&seoul);
    shop.ground.run(&seoul).await.expect(65).says("in no interval, or in two").says(&boundary);
    shop.ground.ask("plan", &seoul).await.expect(65).says("refused: ").says(&boundary);
    let doctor = shop.ground.ask("doctor", &seoul).await.expect(65);
    doctor.says("failed  table: ").says(&boundary);
    assert_eq!(shop.ground.numbers(&seoul, "id").await, (0..48).collect::<Vec<_>>());
    assert_eq!(versions(&seoul), versions_before, "nothing was claimed");

    let again = ["--reprocess", "All"];
    shop.ground.backfill(&seoul, (&first, &third), &again).await.expect(0);
    shop.ground.ask("plan", &seoul).await.expect(0).says("due now: 1 run");
    shop.ground.run(&seoul).await.expect(0);
    // The first nine hours lie before the first interval by now.
    assert_eq!(shop.ground.numbers(&seoul, "id").await, (9..72).collect::<Vec<_>>());
    shop.ground.ask("doctor", &seoul).await.expect(0);
    shop.ground.ask("verify", &seoul).await.expect(0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn doctor_says_what_every_run_would_be_refused_for_and_nothing_is_claimed() {
    let shop = Shop::open("bulk-edits").await;
    shop.fill_ledger(3, 10).await;
    let ledger = shop.daily("ledger", 3);
    let (first, second) = (day(3), day(2));
    shop.ground.backfill(&ledger, (&first, &second), &[]).await.expect(0);
    shop.ground.ask("doctor", &ledger).await.expect(0).says("ok      columns: ");
    let before = versions(&ledger);

    let parts = json!([{"field": "id", "transform": "Identity"}]);
    let parts = shop.daily("ledger", 3).set("sink.partitionBy", parts);
    let words = "the table is partitioned by";
    shop.ground.run(&parts).await.expect(65).says(words);
    shop.ground.ask("doctor", &parts).await.expect(65).says("failed  columns: ").says(words);

    let other = shop.daily("ledger", 3).set("ledger", json!("default.other"));
    let words = "the table holds rows of ledger default.ledger";
    shop.ground.run(&other).await.expect(65).says(words);
    shop.ground.ask("doctor", &other).await.expect(65).says("failed  table: ").says(words);
    shop.ground.ask("plan", &other).await.expect(65).says(words);

    let declared =
        shop.daily("ledger", 3).columns(&[("id", "string"), ("created_at", "timestamp")]);
    shop.ground.run(&declared).await.expect(65).says("the pipeline's schema does not fit");
    shop.ground.ask("doctor", &declared).await.expect(65);
    assert_eq!(versions(&ledger), before, "nothing was claimed");

    shop.sql("ALTER TABLE ledger ALTER COLUMN amount TYPE text").await;
    shop.ground.ask("doctor", &ledger).await.expect(65).says("failed  columns: ").says("amount");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn a_column_that_is_gone_at_the_source_is_told_and_is_no_failure() {
    let shop = Shop::open("bulk-renamed").await;
    shop.fill_ledger(2, 10).await;
    let ledger = shop.daily("ledger", 2);
    shop.ground.backfill(&ledger, (&day(2), &day(1)), &[]).await.expect(0);
    shop.sql("ALTER TABLE ledger RENAME COLUMN amount TO total").await;
    let told = "which are null in rows of new runs: amount";
    shop.ground.ask("doctor", &ledger).await.expect(0).says(told);
    let run = shop.ground.run(&ledger).await.expect(0);
    run.says("columns of the table are not at the source").says("amount");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn b9_intervals_that_a_load_of_everything_replaced_are_not_asked_about() {
    let shop = Shop::open("bulk-replaced").await;
    shop.fill_ledger(2, 10).await;
    shop.ground.run(&shop.daily("ledger", 2)).await.expect(0);
    let whole = shop.whole("ledger").set("sink.writeMode", json!("Overwrite"));
    shop.ground.run(&whole).await.expect(0).says("20 rows in place of 20");
    let call = shop.ground.call("verify", &whole).argument("--source");
    shop.ground.end(call, "verify").await.expect(0);
}
