//! Chunks of pinned files that an attempt finished are not read again by the next one (B5).

use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_config::{Trigger, WriteMode};
use tidegate_runtime::failpoint::RUN_STEPS;
use tidegate_table::files::layout::kept_chunks;
use tidegate_table::ledger::IntervalKey;
use tidegate_types::Compression;

use super::lake::{Lake, ledger, rows_of};
use super::source::Fault;
use crate::decide::testing::hours;
use crate::options::TransferOptions;

const WRITE_MODES: [WriteMode; 3] =
    [WriteMode::Append, WriteMode::ReplaceInterval, WriteMode::Overwrite];

/// A lake of an hour's rows whose chunks are read one after the other.
fn lake(write_mode: WriteMode) -> Lake {
    let lake = Lake::new(write_mode);
    lake.database.put(rows_of(0, 30, 1));
    lake.set(|config| config.chunking.parallelism = 1);
    list(&lake, "the files");
    lake
}

/// The source's files are these from now on.
fn list(lake: &Lake, files: &str) {
    *lake.database.fingerprint.lock().expect("not poisoned") = Some(files.to_owned());
}

fn hour(lake: &Lake) -> TransferOptions {
    lake.options(Trigger::Manual, Some(hours(0, 1)))
}

/// How many chunks the next attempt reads.
async fn reads(lake: &Lake, options: TransferOptions) -> u32 {
    let before = lake.database.read.load(Ordering::SeqCst);
    let report = lake.attempt(options, None).await.expect("runs");
    assert_eq!((report.chunks, report.chunks_done), (3, 3), "{report:?}");
    assert_eq!((report.rows_read, report.rows_committed), (30, 30), "{report:?}");
    lake.database.read.load(Ordering::SeqCst) - before
}

/// What lies in the hour's folder.
async fn kept(lake: &Lake) -> Vec<Path> {
    let folder = kept_chunks(&ledger(), "0-3600");
    let objects = lake.store.data.list(Some(&folder)).map_ok(|object| object.location);
    objects.try_collect().await.expect("listed")
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_an_attempt_that_dies_is_gone_on_with_where_it_was() {
    for write_mode in WRITE_MODES {
        for step in RUN_STEPS {
            for pass in [1, 2, 3] {
                let lake = lake(write_mode);
                let options = hour(&lake);
                if *step != "run.chunk_written" && pass > 1 {
                    continue;
                }
                lake.dies_at_time(options.clone(), step, pass).await;
                let after = kept(&lake).await.len();
                if lake.is_done(hours(0, 1)).await {
                    lake.attempt(options, None).await.expect("it finds it done");
                } else {
                    let read = reads(&lake, options).await as usize;
                    assert_eq!(read, 3 - after, "{step} {pass}");
                    assert_eq!(kept(&lake).await, [], "{step}");
                }
                lake.holds(&lake.database.rows(None)).await;
            }
        }
    }
}

/// Rows of several attempts are one load's, and their commit says whose number they carry.
#[tokio::test(flavor = "multi_thread")]
async fn b5_the_rows_of_all_attempts_carry_the_number_of_the_first() {
    for write_mode in WRITE_MODES {
        let lake = lake(write_mode);
        let options = hour(&lake);
        for pass in [1, 1] {
            lake.dies_at_time(options.clone(), "run.chunk_written", pass).await;
        }
        assert_eq!(kept(&lake).await.len(), 2);
        assert_eq!(reads(&lake, options).await, 1);
        assert_eq!(lake.sources().await, ["shop.orders/g1"; 30], "{write_mode:?}");
        let known = lake.intervals().await;
        let known = known.get(IntervalKey::Of(hours(0, 1))).expect("done");
        assert_eq!((known.held(), known.held_origin()), (Some(3), Some(1)));
        if write_mode == WriteMode::Append {
            continue;
        }
        // The next load is one of its own again.
        assert_eq!(reads(&lake, hour(&lake)).await, 3);
        assert_eq!(lake.sources().await, ["shop.orders/g4"; 30], "{write_mode:?}");
        lake.holds(&lake.database.rows(None)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_what_depends_on_something_else_by_now_is_read_again() {
    type Change = fn(&Lake);
    let changes: [(&str, Change, u32); 6] = [
        ("nothing", |_| {}, 1),
        ("what says when to commit", |lake| lake.set(|config| config.allow_shrink = true), 1),
        ("the files", |lake| list(lake, "others"), 3),
        (
            "the pipeline",
            |lake| lake.set(|config| config.sink.file.compression = Compression::SNAPPY),
            3,
        ),
        ("the columns", |lake| lake.database.has_more_columns.store(true, Ordering::SeqCst), 3),
        (
            "a source that is not pinned",
            |lake| *lake.database.fingerprint.lock().expect("not poisoned") = None,
            3,
        ),
    ];
    for (what, change, expected) in changes {
        let lake = lake(WriteMode::ReplaceInterval);
        lake.dies_at_time(hour(&lake), "run.chunk_written", 2).await;
        change(&lake);
        assert_eq!(reads(&lake, hour(&lake)).await, expected, "{what}");
        lake.holds(&lake.database.rows(None)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_a_chunk_whose_files_or_outcome_are_not_as_they_were_is_read_again() {
    for damage in ["outcome", "file", "file gone", "outcome gone", "unreadable"] {
        let lake = lake(WriteMode::ReplaceInterval);
        lake.dies_at_time(hour(&lake), "run.chunk_written", 2).await;
        let (store, outcomes) = (&lake.store.data, kept(&lake).await);
        assert_eq!(outcomes.len(), 2);
        let all = store.list(None).map_ok(|object| object.location);
        let all: Vec<Path> = all.try_collect().await.expect("listed");
        let file = all.iter().find(|path| path.as_ref().ends_with(".parquet")).expect("a file");
        match damage {
            "outcome" => {
                let bytes = store.get(&outcomes[0]).await.unwrap().bytes().await.unwrap();
                let mut bytes = bytes.to_vec();
                bytes[20] ^= 1;
                store.put(&outcomes[0], bytes.into()).await.unwrap();
            }
            "file" => _ = store.put(file, vec![0; 100].into()).await.unwrap(),
            "file gone" => store.delete(file).await.unwrap(),
            "outcome gone" => store.delete(&outcomes[1]).await.unwrap(),
            _ => {
                let path = Path::from(format!("{}x", outcomes[0]));
                store.put(&path, vec![0; 100].into()).await.unwrap();
                store.delete(&outcomes[0]).await.unwrap();
            }
        }
        assert_eq!(reads(&lake, hour(&lake)).await, 2, "{damage}");
        lake.holds(&lake.database.rows(None)).await;
    }
}

/// A commit that landed without its attempt's knowing took the files into the table: they are its own.
#[tokio::test(flavor = "multi_thread")]
async fn b5_files_that_are_the_tables_are_never_taken_over() {
    for write_mode in [WriteMode::ReplaceInterval, WriteMode::Overwrite] {
        let lake = lake(write_mode);
        lake.dies_at(hour(&lake), "run.after_put").await;
        assert_eq!(kept(&lake).await.len(), 3);
        assert_eq!(reads(&lake, hour(&lake)).await, 3);
        lake.holds(&lake.database.rows(None)).await;
    }
    // The same where everything is added: the second load is one of its own.
    let lake = lake(WriteMode::Append);
    lake.dies_at(lake.options(Trigger::Manual, None), "run.after_put").await;
    assert_eq!(reads(&lake, lake.options(Trigger::Manual, None)).await, 3);
    let twice = [lake.database.rows(None), lake.database.rows(None)].concat();
    lake.holds(&twice).await;
}

/// What a failed attempt read stays read, dead letters included.
#[tokio::test(flavor = "multi_thread")]
async fn b5_dead_letters_of_kept_chunks_are_the_runs() {
    let lake = lake(WriteMode::ReplaceInterval);
    lake.database.dead_each.store(10, Ordering::SeqCst);
    lake.database.fail(2, Fault::Refuses);
    lake.attempt(hour(&lake), None).await.expect_err("the source refuses");
    assert_eq!(kept(&lake).await.len(), 2);
    let report = lake.attempt(hour(&lake), None).await.expect("runs");
    assert_eq!((report.rows_read, report.rows_committed, report.dead_letters), (30, 27, 3));
    assert_eq!(report.message, "2 of 3 chunks were read by an earlier attempt");
    assert_eq!(lake.dead_letters().await.len(), 3);
}

/// Keeping is a favour: a store that refuses it delays nothing.
#[tokio::test(flavor = "multi_thread")]
async fn b5_a_store_that_fails_keeps_less_and_loses_nothing() {
    let lake = lake(WriteMode::ReplaceInterval);
    lake.mood.percent.store(20, Ordering::SeqCst);
    let options = hour(&lake);
    let mut attempts = 0;
    while let Err(error) = lake.attempt(options.clone(), None).await {
        assert!(error.is_transient(), "{error:?}");
        attempts += 1;
        assert!(attempts < 200, "{error:?}");
    }
    lake.mood.percent.store(0, Ordering::SeqCst);
    lake.holds(&lake.database.rows(None)).await;
}
