//! A run that dies anywhere, over a store that fails: the next attempt ends with the same table.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_config::{Trigger, WriteMode};
use tidegate_runtime::failpoint::RUN_STEPS;
use tidegate_types::Reason;
use tokio_util::sync::CancellationToken;

use super::lake::{Lake, rows_of};
use super::pause::Pause;
use crate::decide::testing::hours;
use crate::options::TransferOptions;
use crate::steps::Steps;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_between_any_two_steps_is_finished_by_its_next_attempt() {
    for write_mode in [WriteMode::Append, WriteMode::ReplaceInterval, WriteMode::Overwrite] {
        for step in RUN_STEPS {
            for again in [false, true] {
                let lake = Lake::new(write_mode);
                lake.database.put(rows_of(0, 30, 1));
                if again && write_mode != WriteMode::Append {
                    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
                    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
                }
                let options = lake.options(Trigger::Manual, Some(hours(0, 1)));
                lake.dies_at(options.clone(), step).await;
                // Readers see the old rows or the new ones.
                let seen = lake.rows().await;
                let values: std::collections::BTreeSet<_> =
                    seen.iter().map(|stored| stored.row.value).collect();
                assert!(values.len() <= 1 && [0, 30].contains(&seen.len()), "{step}");
                lake.attempt(options, None).await.expect("the next attempt");
                lake.holds(&lake.database.rows(None)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_commit_landed_without_an_answer_knows_that_it_did() {
    let lake = Arc::new(Lake::new(WriteMode::Append));
    lake.database.put(rows_of(0, 30, 1));
    lake.run(Trigger::Scheduled, Some(hours(5, 6))).await.expect("the table is there");
    // The claim's answer is lost, then that of the commit.
    lake.mood.hide_commit.store(true, Ordering::SeqCst);
    let pause = Arc::new(Pause::at("run.before_put"));
    let run = {
        let (lake, pause) = (Arc::clone(&lake), Some(Arc::clone(&pause)));
        tokio::spawn(async move {
            let options = lake.options(Trigger::Scheduled, Some(hours(0, 1)));
            lake.attempt_with(options, Steps { pause, ..Steps::default() }).await
        })
    };
    pause.reached().await;
    let claimed = !lake.mood.hide_commit.swap(true, Ordering::SeqCst);
    assert!(claimed, "the claim's answer was lost");
    pause.go();
    run.await.expect("ended").expect("runs");
    assert!(!lake.mood.hide_commit.load(Ordering::SeqCst), "the commit's answer was lost");
    lake.holds(&lake.database.rows(None)).await;
    assert_eq!(lake.generation(Some(hours(0, 1))).await, 1, "the claim was recognised");
}

/// Absent is not "not landed" (P5).
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_to_stop_while_its_commit_is_in_doubt_leaves_the_doubt_to_the_next_attempt()
{
    let lake = Arc::new(Lake::new(WriteMode::Append));
    lake.database.put(rows_of(0, 30, 1));
    let options = lake.options(Trigger::Manual, Some(hours(0, 1)));
    let pause = Arc::new(Pause::at("run.before_put"));
    let run = {
        let (lake, options) = (Arc::clone(&lake), options.clone());
        let steps = Steps { pause: Some(Arc::clone(&pause)), ..Steps::default() };
        tokio::spawn(async move { lake.attempt_with(options, steps).await })
    };
    pause.reached().await;
    lake.mood.silent.store(true, Ordering::SeqCst);
    options.cancel.cancel();
    pause.go();
    let error = run.await.expect("ended").expect_err("nobody knows");
    assert_eq!((error.reason(), error.exit_code()), (Reason::CommitInDoubt, 75));
    lake.mood.silent.store(false, Ordering::SeqCst);
    let next = TransferOptions { cancel: CancellationToken::new(), ..options };
    let report = lake.attempt(next, None).await.expect("it looks");
    assert_eq!(report.reason, "AlreadyComplete");
    lake.holds(&lake.database.rows(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_one_call_in_five_delays_runs_and_nothing_else() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..4).flat_map(|hour| rows_of(hour, 40, 1)));
    lake.mood.percent.store(20, Ordering::SeqCst);
    for (hour, value) in [(0, 1), (1, 1), (2, 1), (0, 2), (3, 1), (1, 2)] {
        lake.database.change(|rows| {
            let of = |row: &&mut super::source::Row| row.at / 3600 == hour;
            rows.iter_mut().filter(of).for_each(|row| row.value = value);
        });
        let options = lake.options(Trigger::Manual, Some(hours(hour, hour + 1)));
        let mut attempts = 0;
        while let Err(error) = lake.attempt(options.clone(), None).await {
            assert!(error.is_transient(), "{error:?}");
            attempts += 1;
            assert!(attempts < 200, "{error:?}");
        }
    }
    assert!(lake.mood.failed.swap(0, Ordering::SeqCst) > 10, "the store did fail");
    lake.mood.percent.store(0, Ordering::SeqCst);
    lake.holds(&lake.database.rows(None)).await;
}
