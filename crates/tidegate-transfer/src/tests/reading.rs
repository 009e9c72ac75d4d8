//! Chunks, counts and what happens when reading fails (B5, B6).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use tidegate_config::{RunPhase, RunReport, Trigger, WriteMode};
use tidegate_types::Reason;
use tokio::sync::{Notify, watch};

use super::lake::{Lake, rows_of};
use super::pause::Pause;
use super::source::Fault;
use crate::decide::testing::hours;
use crate::steps::Steps;

const HOUR: (Trigger, i64) = (Trigger::Scheduled, 0);

fn filled() -> Lake {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(HOUR.1, 60, 1));
    lake
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_a_chunk_that_breaks_off_is_read_again_alone_and_only_the_winner_is_named() {
    let lake = filled();
    lake.database.fail(1, Fault::Breaks);
    lake.database.fail(1, Fault::Breaks);
    let report = lake.run(HOUR.0, Some(hours(0, 1))).await.expect("runs");
    assert_eq!((report.rows_read, report.rows_committed), (60, 60));
    assert_eq!((report.chunks_done, report.chunks, report.generation), (3, 3, 1));
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
    assert_eq!(lake.database.opened.load(Ordering::SeqCst), 2, "columns, then one snapshot");
    assert_eq!(lake.database.closed.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_no_two_attempts_write_under_one_name() {
    let lake = filled();
    lake.set(|config| config.allow_shrink = true);
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
        let snapshot = lake.snapshot().await;
        let files = lake.log().live_files(&snapshot).await.expect("readable");
        assert_eq!(files.len(), 3);
        assert!(files.into_iter().all(|file| names.insert(file.path)), "a name came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_the_attempt_and_the_table_is_as_it_was() {
    let lake = filled();
    lake.database.fail(2, Fault::Refuses);
    let error = lake.run(HOUR.0, Some(hours(0, 1))).await.expect_err("refused");
    assert_eq!((error.reason(), error.exit_code()), (Reason::SourceRefused, 65));
    assert!(lake.rows().await.is_empty());
    assert_eq!(lake.database.closed.load(Ordering::SeqCst), 2, "the snapshot is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_a_lost_snapshot_ends_the_attempt_and_the_next_reads_everything_anew() {
    let lake = filled();
    lake.database.fail(0, Fault::Breaks);
    lake.database.lost.store(true, Ordering::SeqCst);
    let error = lake.run(HOUR.0, Some(hours(0, 1))).await.expect_err("lost");
    assert_eq!((error.reason(), error.exit_code()), (Reason::SnapshotLost, 75));
    lake.database.lost.store(false, Ordering::SeqCst);
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    let report = lake.run(HOUR.0, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(report.generation, 2);
    lake.holds(&rows_of(0, 60, 2).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_a_snapshot_that_is_lost_after_the_last_row_ends_the_attempt_too() {
    let lake = Arc::new(filled());
    let options = lake.options(HOUR.0, Some(hours(0, 1)));
    let reached = Arc::new(Notify::new());
    // The last chunk is read; before the run verifies, the source goes away.
    let (waiting, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(0, Fault::Waits { reached: Arc::clone(&waiting), go: Arc::clone(&go) });
    drop(reached);
    let run = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.attempt(options, None).await })
    };
    waiting.notified().await;
    lake.database.lost.store(true, Ordering::SeqCst);
    go.notify_one();
    let error = run.await.expect("ended").expect_err("lost");
    assert_eq!(error.reason(), Reason::SnapshotLost);
    assert!(lake.rows().await.is_empty());
}

/// All rows are there, and nobody knows of what.
#[tokio::test(flavor = "multi_thread")]
async fn b5_a_snapshot_that_is_lost_between_the_last_row_and_the_commit_ends_the_attempt_too() {
    let lake = Arc::new(filled());
    let pause = Arc::new(Pause::at("run.before_verify"));
    let run = {
        let (lake, pause) = (Arc::clone(&lake), Some(Arc::clone(&pause)));
        tokio::spawn(async move {
            let options = lake.options(HOUR.0, Some(hours(0, 1)));
            lake.attempt_with(options, Steps { pause, ..Steps::default() }).await
        })
    };
    pause.reached().await;
    lake.database.lost.store(true, Ordering::SeqCst);
    pause.go();
    let error = run.await.expect("ended").expect_err("lost");
    assert_eq!((error.reason(), error.exit_code()), (Reason::SnapshotLost, 75));
    assert!(lake.rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_a_chunk_is_not_read_again_under_a_snapshot_that_is_gone() {
    let lake = filled();
    lake.database.chunks.store(1, Ordering::SeqCst);
    (0..3).for_each(|_| lake.database.fail(0, Fault::Breaks));
    lake.database.lost.store(true, Ordering::SeqCst);
    let error = lake.run(HOUR.0, Some(hours(0, 1))).await.expect_err("lost");
    assert_eq!(error.reason(), Reason::SnapshotLost);
    assert_eq!(lake.database.faults_left(), 2, "one reading, and none after it");
}

/// What an earlier reading wrote may still be on its way to the store when a later one writes.
#[tokio::test(flavor = "multi_thread")]
async fn b6_no_two_readings_of_a_chunk_write_under_one_name() {
    let lake = filled();
    lake.database.fail(1, Fault::SwallowsRow);
    lake.run(HOUR.0, Some(hours(0, 1))).await.expect("runs");
    let written: Vec<_> = lake.store.data.list(None).try_collect().await.expect("listed");
    let files = written.iter().filter(|file| file.location.as_ref().ends_with(".parquet"));
    assert_eq!(files.count(), 4, "three that count, and one that nobody names");
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_source_counted_and_nobody_read_keep_the_run_from_committing() {
    let lake = filled();
    lake.database.miscounts.store(1, Ordering::SeqCst);
    let error = lake.run(HOUR.0, Some(hours(0, 1))).await.expect_err("a row too many");
    assert_eq!(error.reason(), Reason::CountMismatch);
    assert!(error.to_string().contains("59") && error.to_string().contains("60"), "{error}");
    assert!(lake.rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_says_more_than_it_handed_over_is_found_out() {
    let lake = filled();
    (0..5).for_each(|_| lake.database.fail(1, Fault::SwallowsRow));
    let error = lake.run(HOUR.0, Some(hours(0, 1))).await.expect_err("a row is missing");
    assert_eq!(error.reason(), Reason::CountMismatch);
    assert!(error.to_string().contains("chunk 1"), "{error}");
    assert!(lake.rows().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_rows_that_come_while_a_run_reads_belong_to_the_next_one() {
    let lake = Arc::new(filled());
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(0, Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) });
    let before = lake.database.rows(None);
    let run = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(HOUR.0, Some(hours(0, 1))).await })
    };
    reached.notified().await;
    lake.database.put(rows_of(0, 60, 9).map(|row| super::source::Row { id: -1 - row.id, ..row }));
    go.notify_one();
    run.await.expect("ended").expect("runs");
    lake.holds(&before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_told_to_stop_stops_and_commits_nothing() {
    let lake = Arc::new(filled());
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(0, Fault::Waits { reached: Arc::clone(&reached), go });
    let options = lake.options(HOUR.0, Some(hours(0, 1)));
    let cancel = options.cancel.clone();
    let run = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.attempt(options, None).await })
    };
    reached.notified().await;
    cancel.cancel();
    let error = run.await.expect("ended").expect_err("stopped");
    assert_eq!((error.reason(), error.exit_code()), (Reason::Interrupted, 75));
    assert!(lake.rows().await.is_empty());
    lake.run(HOUR.0, Some(hours(0, 1))).await.expect("the next attempt");
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_nothing_is_committed() {
    let lake = filled();
    lake.run(HOUR.0, Some(hours(5, 6))).await.expect("the table is there");
    let options = lake.options(HOUR.0, Some(hours(0, 1)));
    let (waiting, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(0, Fault::Waits { reached: Arc::clone(&waiting), go: Arc::clone(&go) });
    let (outcome, ()) = tokio::join!(lake.attempt(options, None), async {
        waiting.notified().await;
        lake.mood.full.store(true, Ordering::SeqCst);
        go.notify_one();
    });
    let error = outcome.expect_err("full");
    assert_eq!((error.reason(), error.exit_code()), (Reason::ResourceExhausted, 75));
    lake.mood.full.store(false, Ordering::SeqCst);
    assert!(lake.rows().await.is_empty());
    lake.run(HOUR.0, Some(hours(0, 1))).await.expect("there is room again");
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

/// A store that takes nothing would otherwise keep the run from hearing that it is to stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_make_its_table_leaves_when_it_is_told_to() {
    let lake = filled();
    lake.mood.full.store(true, Ordering::SeqCst);
    let options = lake.options(HOUR.0, Some(hours(0, 1)));
    let cancel = options.cancel.clone();
    let stopped_while_it_tries = async {
        while lake.mood.turned_away.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let attempt = tokio::time::timeout(Duration::from_secs(20), lake.attempt(options, None));
    let (outcome, ()) = tokio::join!(attempt, stopped_while_it_tries);
    let error = outcome.expect("it leaves").expect_err("there is no table");
    assert_eq!((error.reason(), error.exit_code()), (Reason::Interrupted, 75));
    lake.mood.full.store(false, Ordering::SeqCst);
    lake.run(HOUR.0, Some(hours(0, 1))).await.expect("the next attempt makes it");
    lake.holds(&rows_of(0, 60, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_says_of_itself_ends_with_what_it_did() {
    let lake = filled();
    let report = lake.run(HOUR.0, Some(hours(0, 1))).await.expect("runs");
    let version = lake.snapshot().await.version();
    let expected = RunReport {
        phase: RunPhase::Succeeded,
        reason: "Ok".into(),
        generation: 1,
        chunks_done: 3,
        chunks: 3,
        rows_read: 60,
        rows_committed: 60,
        version: Some(version),
        ..RunReport::default()
    };
    assert_eq!(report, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_fails_the_run_and_its_report_says_so() {
    let lake = filled();
    let mut options = lake.options(HOUR.0, Some(hours(0, 1)));
    options.config.sink.url = "no address".into();
    let progress = watch::Sender::new(RunReport::default());
    let report = progress.subscribe();
    let error = crate::transfer(options, progress).await.expect_err("no address");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    let report = report.borrow();
    assert_eq!((report.phase, report.reason.as_str()), (RunPhase::Failed, "InvalidConfiguration"));
    assert!(report.message.contains("no address"), "{}", report.message);
}
