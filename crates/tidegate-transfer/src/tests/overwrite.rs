//! Loads that take the place of everything (B9).

use std::sync::Arc;

use tidegate_config::{Trigger, WriteMode};
use tidegate_types::{Ledger, Reason};
use tokio::sync::Notify;

use super::lake::{Lake, rows_of};
use super::source::Fault;
use crate::decide::testing::hours;

#[tokio::test(flavor = "multi_thread")]
async fn a_load_takes_the_place_of_all_earlier_ones() {
    let lake = Lake::new(WriteMode::Overwrite);
    for value in 1..4 {
        lake.database.change(|rows| *rows = rows_of(0, 50 + value, value).collect());
        lake.run(Trigger::Scheduled, Some(hours(value, value + 1))).await.expect("runs");
        // A source without an incremental cursor is read as a whole, whatever the interval.
        let expected: Vec<_> = lake.database.rows(Some(hours(value, value + 1)));
        lake.holds(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_of_two_loads_of_different_ticks_the_older_cannot_take_the_newer_ones_place() {
    let lake = Arc::new(Lake::new(WriteMode::Overwrite));
    lake.database.put(rows_of(0, 30, 1));
    lake.run(Trigger::Manual, None).await.expect("runs");
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    lake.database.fail(0, waits);
    let older = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(Trigger::Scheduled, Some(hours(0, 1))).await })
    };
    reached.notified().await;
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    lake.run(Trigger::Manual, None).await.expect("another tick, newer");
    go.notify_one();
    let error = older.await.expect("ended").expect_err("one counter for all");
    assert_eq!(error.reason(), Reason::GenerationLost);
    lake.holds(&rows_of(0, 30, 2).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_only_rows_of_the_pipeline_are_replaced() {
    let lake = Lake::new(WriteMode::Overwrite);
    lake.set(|config| config.sink.delta.shared = true);
    lake.database.put(rows_of(0, 30, 1));
    lake.run(Trigger::Manual, None).await.expect("runs");
    lake.set(|config| config.ledger = Ledger::new("shop.returns").expect("valid"));
    lake.database.change(|rows| *rows = rows_of(1, 20, 1).collect());
    lake.run(Trigger::Manual, None).await.expect("another pipeline beside it");
    lake.database.change(|rows| *rows = rows_of(1, 21, 2).collect());
    lake.run(Trigger::Manual, None).await.expect("again");
    let expected: Vec<_> = rows_of(0, 30, 1).chain(rows_of(1, 21, 2)).collect();
    lake.holds(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x6_a_table_of_another_pipeline_is_refused_unless_it_is_shared() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 30, 1));
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
    lake.set(|config| config.ledger = Ledger::new("shop.returns").expect("valid"));
    let error = lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect_err("not its table");
    assert_eq!((error.reason(), error.is_transient()), (Reason::LedgerMismatch, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_a_table_that_a_stream_fills_is_never_overwritten() {
    let lake = Lake::new(WriteMode::Overwrite);
    lake.set(|config| config.sink.delta.shared = true);
    lake.database.put(rows_of(0, 30, 1));
    lake.run(Trigger::Manual, None).await.expect("runs");
    super::replacing::stream_commit(&lake, 7).await;
    let error = lake.run(Trigger::Manual, None).await.expect_err("refused");
    assert_eq!((error.reason(), error.is_transient()), (Reason::LedgerMismatch, false));
    assert!(error.to_string().contains("web.clicks"), "{error}");
    lake.set(|config| config.write_mode = WriteMode::ReplaceInterval);
}
