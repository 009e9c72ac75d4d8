//! Records that are no rows: they follow the run's commit (P4, B6a).

use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_config::{Trigger, WriteMode};
use tidegate_table::dead_letter::FOLDER;
use tidegate_types::Reason;

use super::lake::{Lake, rows_of};
use super::source::Row;
use crate::decide::testing::hours;

fn filled(each: u32) -> Lake {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.allow_shrink = true);
    lake.database.put(rows_of(0, 60, 1).map(|row| Row { id: row.id + 1, ..row }));
    lake.database.dead_each.store(each, Ordering::SeqCst);
    lake
}

#[tokio::test(flavor = "multi_thread")]
async fn b6a_rows_and_dead_letters_together_are_what_was_read() {
    let lake = filled(10);
    let report = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    assert_eq!((report.rows_read, report.rows_committed, report.dead_letters), (60, 54, 6));
    let letters = lake.dead_letters().await;
    assert_eq!(letters.len(), 6);
    assert!(letters.contains(&("row 10".to_owned(), 1)), "{letters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b6a_a_rerun_takes_the_place_of_the_dead_letters_too_when_it_has_none() {
    let lake = filled(10);
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    lake.database.dead_each.store(30, Ordering::SeqCst);
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(lake.dead_letters().await, [("row 30".to_owned(), 2), ("row 60".to_owned(), 2)]);
    lake.database.dead_each.store(0, Ordering::SeqCst);
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(lake.dead_letters().await, []);
    lake.holds(&lake.database.rows(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_dead_letters_of_an_attempt_that_died_behind_its_commit_come_with_the_next() {
    for (step, again) in [
        ("run.after_put", Trigger::Scheduled),
        ("run.before_dead_letters", Trigger::Scheduled),
        ("run.after_put", Trigger::Manual),
    ] {
        let lake = filled(10);
        lake.dies_at(lake.options(Trigger::Scheduled, Some(hours(0, 1))), step).await;
        assert_eq!(lake.dead_letters().await.len(), 0, "{step}");
        let report = lake.run(again, Some(hours(0, 1))).await.expect("runs");
        let generation = if again == Trigger::Manual { 2 } else { 1 };
        assert_eq!(report.generation, generation, "{step}");
        let letters = lake.dead_letters().await;
        assert_eq!(letters.len(), 6, "{step}");
        let expected = i64::try_from(generation).expect("small");
        assert!(letters.iter().all(|(_, of)| *of == expected), "{step}: {letters:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_dead_letters_of_an_attempt_that_never_committed_are_never_seen() {
    let lake = filled(10);
    lake.dies_at(lake.options(Trigger::Scheduled, Some(hours(0, 1))), "run.before_put").await;
    lake.database.dead_each.store(0, Ordering::SeqCst);
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(lake.dead_letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_runs_go_on_when_somebody_removed_the_dead_letters() {
    let lake = filled(10);
    lake.database.put(rows_of(1, 60, 1).map(|row| Row { id: row.id + 1, ..row }));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let letters = lake.store.below(FOLDER);
    let objects: Vec<_> = letters.data.list(None).try_collect().await.expect("listed");
    for object in objects {
        letters.data.delete(&object.location).await.expect("deleted");
    }
    lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect("goes on");
    assert_eq!(lake.dead_letters().await.len(), 6, "those of its own");
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(lake.dead_letters().await.len(), 12, "and of what is loaded again");
}

/// The stop may come while the commit is under way; who is ready first is decided anew each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_committed_run_without_dead_letters_is_done_though_it_is_told_to_stop() {
    let lake = filled(0);
    for _ in 0..20 {
        let options = lake.options(Trigger::Manual, Some(hours(0, 1)));
        let report = lake.told_to_stop_at("run.after_put", options).await.expect("committed");
        assert_eq!(report.reason, "Ok");
    }
    // Those of its own are left to the next run.
    lake.database.dead_each.store(10, Ordering::SeqCst);
    let options = lake.options(Trigger::Manual, Some(hours(0, 1)));
    let outcome = lake.told_to_stop_at("run.after_put", options).await;
    assert_eq!(outcome.expect_err("told to stop").reason(), Reason::DeadLetterCommitPending);
}
