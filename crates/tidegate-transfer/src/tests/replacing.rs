//! What a commit takes out of the table (B4), beside others that commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use tidegate_config::{Trigger, WriteMode};
use tidegate_table::files::layout::{DataPath, FileName, object_of_log_path};
use tidegate_table::files::reader::read_columns;
use tidegate_table::files::{WriteOptions, write_file};
use tidegate_table::log::{CommitKind, CommitRequest, CommitTag, Outcome, RetryPolicy};
use tidegate_types::{ByteSize, Epoch, Ledger, Nonce, PartitionColumn, PartitionTransform, Reason};
use tokio::sync::Notify;

use super::lake::{Lake, rows_of};
use super::source::Fault;
use crate::decide::testing::hours;

#[tokio::test(flavor = "multi_thread")]
async fn b4_a_rerun_takes_the_place_of_its_interval_and_of_nothing_else() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..3).flat_map(|hour| rows_of(hour, 40, 1)));
    for hour in 0..3 {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    lake.database.change(|rows| rows.retain(|row| row.id % 4 != 0 || row.at / 3600 != 1));
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    let again = lake.run(Trigger::Manual, Some(hours(1, 2))).await.expect("runs");
    assert_eq!((again.generation, again.rows_committed, again.rows_replaced), (2, 30, 40));
    let mut expected: Vec<_> = rows_of(0, 40, 1).chain(rows_of(2, 40, 1)).collect();
    expected.extend(lake.database.rows(Some(hours(1, 2))));
    lake.holds(&expected).await;
    assert!(
        lake.rows()
            .await
            .iter()
            .all(|stored| { stored.interval == Some(stored.row.at / 3600 * 3600) })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_losing_most_rows_needs_a_word() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 40, 1));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    lake.database.change(|rows| rows.truncate(19));
    let error = lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect_err("shrinks");
    assert_eq!((error.reason(), error.is_transient()), (Reason::IntervalShrank, false));
    let text = error.to_string();
    assert!(text.contains("40") && text.contains("19") && text.contains("allowShrink"), "{text}");
    lake.holds(&rows_of(0, 40, 1).collect::<Vec<_>>()).await;
    lake.set(|config| config.allow_shrink = true);
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("allowed");
    lake.holds(&lake.database.rows(None)).await;
}

/// Somebody compacts the whole table into one file, as OPTIMIZE does.
async fn optimize(lake: &Lake) {
    let (log, snapshot) = (lake.log(), lake.snapshot().await);
    let files = log.live_files(&snapshot).await.expect("readable");
    let schema = Arc::clone(snapshot.schema());
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut batches = Vec::new();
    for file in &files {
        let path = object_of_log_path(&file.path).expect("ours");
        let read = read_columns(&lake.store.data, &path, &names).await.expect("readable");
        let read: Vec<_> = read.try_collect().await.expect("readable");
        batches.extend(read.into_iter().map(|batch| {
            let columns = batch.columns().to_vec();
            arrow::array::RecordBatch::try_new(Arc::clone(&schema), columns).expect("fits")
        }));
    }
    let stranger = Ledger::new("stranger").expect("valid");
    let nonce = Nonce::from_random(9);
    let name = FileName { ledger: stranger.clone(), epoch: Epoch(1), nonce, number: 0 };
    let path = DataPath::new(&[], &name);
    let store = Arc::clone(&lake.store.data);
    let one = write_file(store, path, schema, &batches, &WriteOptions::default()).await;
    let tag = CommitTag { ledger: stranger, kind: CommitKind::Unknown, nonce };
    let request = CommitRequest {
        adds: vec![one.expect("written")],
        removes: files,
        ..CommitRequest::new(tag)
    };
    let prepared = log.prepare(&snapshot, &request).await.expect("prepared");
    let forever = std::future::pending();
    let outcome = log.settle(&prepared, &RetryPolicy::default(), forever).await;
    assert!(matches!(outcome, Ok(Outcome::Won)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_rows_are_told_by_their_column_and_not_by_their_file() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..3).flat_map(|hour| rows_of(hour, 40, 1)));
    for hour in 0..3 {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    optimize(&lake).await;
    let snapshot = lake.snapshot().await;
    assert_eq!(lake.log().live_files(&snapshot).await.expect("readable").len(), 1);
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    let again = lake.run(Trigger::Manual, Some(hours(1, 2))).await.expect("runs");
    assert_eq!((again.rows_committed, again.rows_replaced), (40, 40));
    let expected: Vec<_> =
        rows_of(0, 40, 1).chain(rows_of(1, 40, 2)).chain(rows_of(2, 40, 1)).collect();
    lake.holds(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_what_is_replaced_is_found_anew_when_another_commit_was_faster() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put((0..2).flat_map(|hour| rows_of(hour, 40, 1)));
    for hour in 0..2 {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    lake.database.fail(0, waits);
    let rerun = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(Trigger::Manual, Some(hours(0, 1))).await })
    };
    reached.notified().await;
    // The files that the run knew at its claim are gone.
    optimize(&lake).await;
    go.notify_one();
    let report = rerun.await.expect("ended").expect("nothing of its own was disturbed");
    assert_eq!(report.rows_replaced, 40);
    let expected: Vec<_> = rows_of(0, 40, 2).chain(rows_of(1, 40, 1)).collect();
    lake.holds(&expected).await;
}

/// Another pipeline adds a row, as a streaming one does.
pub(super) async fn stream_commit(lake: &Lake, number: u32) {
    let (log, snapshot) = (lake.log(), lake.snapshot().await);
    let ledger = Ledger::new("web.clicks").expect("valid");
    let mut random = tidegate_runtime::Random::from_system();
    let tag = CommitTag { ledger, kind: CommitKind::Data, nonce: random.nonce() };
    let name = "tidegate/web.clicks/00000000000000ab/0/floor".to_owned();
    let txns = BTreeMap::from([(name, i64::from(number))]);
    let request = CommitRequest { txns, ..CommitRequest::new(tag) };
    let prepared = log.prepare(&snapshot, &request).await.expect("prepared");
    let forever = std::future::pending();
    log.settle(&prepared, &RetryPolicy::default(), forever).await.expect("settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_other_intervals_and_streams_do_not_disturb_each_other() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put((0..6).flat_map(|hour| rows_of(hour, 40, 1)));
    lake.run(Trigger::Scheduled, Some(hours(5, 6))).await.expect("runs");
    let runs = (0..5).map(|hour| {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await })
    });
    let runs: Vec<_> = runs.collect();
    for number in 1..20 {
        stream_commit(&lake, number).await;
    }
    for run in runs {
        assert_eq!(run.await.expect("ended").expect("runs").reason, "Ok");
    }
    lake.holds(&lake.database.rows(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_to_the_partitions_of_the_table_and_are_replaced_there() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| {
        config.sink.partition_by =
            vec![PartitionColumn { field: "at".into(), transform: PartitionTransform::Hour }];
        config.sink.file.target_size = ByteSize(1);
        config.sink.file.max_open_partitions = 2;
    });
    lake.database.put((0..6).flat_map(|hour| rows_of(hour, 30, 1)));
    for value in [1, 2] {
        lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = value));
        lake.run(Trigger::Manual, Some(hours(0, 6))).await.expect("runs");
        lake.holds(&lake.database.rows(None)).await;
    }
    let snapshot = lake.snapshot().await;
    let files = lake.log().live_files(&snapshot).await.expect("readable");
    let hours: std::collections::BTreeSet<_> =
        files.iter().map(|file| file.partition_values["at_hour"].clone()).collect();
    assert_eq!(hours.len(), 6);
    assert!(files.len() > 12, "small files were asked for: {}", files.len());
}
