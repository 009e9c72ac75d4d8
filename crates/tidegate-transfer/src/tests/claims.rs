//! Who may run an interval: the log decides (B1, B2, B3).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_config::{
    Incremental, NullCursorPolicy, RunPhase, RunReport, Schedule, Trigger, WriteMode,
};
use tidegate_table::ledger::{IntervalKey, RunState};
use tidegate_table::log::CommitKind;
use tidegate_types::{Reason, Span};
use tokio::sync::{Notify, watch};

use super::lake::{Lake, rows_of};
use super::pause::Pause;
use super::source::Fault;
use crate::decide::testing::hours;
use crate::steps::Steps;
use crate::transfer;

#[tokio::test(flavor = "multi_thread")]
async fn b1_an_interval_that_the_log_holds_is_not_run_by_the_schedule_again() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 30, 1));
    let first = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    assert_eq!((first.phase, first.reason.as_str()), (RunPhase::Succeeded, "Ok"));
    assert_eq!((first.generation, first.rows_committed, first.chunks), (1, 30, 3));
    let version = lake.snapshot().await.version();
    // Whatever became of the run's object, and whatever the source has by now.
    lake.database.change(Vec::clear);
    for trigger in [Trigger::Scheduled, Trigger::Backfill] {
        let again = lake.run(trigger, Some(hours(0, 1))).await.expect("nothing to do");
        assert_eq!((again.phase, again.reason.as_str()), (RunPhase::Succeeded, "AlreadyComplete"));
    }
    assert_eq!(lake.snapshot().await.version(), version, "nothing was claimed or committed");
    lake.holds(&rows_of(0, 30, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_sources_secret_is_missing_claims_nothing_and_a_done_one_needs_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::in_folder(folder.path(), WriteMode::ReplaceInterval);
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let real = async |interval| {
        let mut options = lake.options(Trigger::Scheduled, Some(interval));
        options.secrets_dir = Some(folder.path().join("secrets"));
        transfer(options, watch::Sender::new(RunReport::default())).await
    };
    let missing = real(hours(1, 2)).await.expect_err("there is no secret");
    assert_eq!(missing.reason(), Reason::SecretMissing, "{missing}");
    assert_eq!(lake.generation(Some(hours(1, 2))).await, 0, "nothing was begun");
    assert_eq!(real(hours(0, 1)).await.expect("it is done").reason, "AlreadyComplete");
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_an_empty_interval_is_done_too() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(1, 3, 1));
    for (hour, state) in [(0, RunState::DoneEmpty), (1, RunState::Done)] {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
        let known = lake.intervals().await.get(IntervalKey::Of(hours(hour, hour + 1)));
        assert_eq!(known.map(|known| known.state), Some(state));
    }
    let again = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("nothing to do");
    assert_eq!(again.reason, "AlreadyComplete");
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_an_interval_whose_rerun_failed_is_still_held_and_the_schedule_leaves_it_alone() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 30, 1));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    lake.database.fail(0, Fault::Refuses);
    let error = lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect_err("refused");
    assert_eq!(error.reason(), Reason::SourceRefused);
    let scheduled = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("done");
    assert_eq!(scheduled.reason, "AlreadyComplete");
    lake.holds(&rows_of(0, 30, 1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_the_claim_is_in_the_log_before_the_source_is_opened() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 9, 1));
    // The table is made, for which the columns are looked at; no transaction is waited for then.
    lake.set(|config| {
        config.incremental = Some(Incremental {
            cursor_field: "at".into(),
            time_zone: None,
            settle: Span::seconds(0),
            max_wait: Span::seconds(60),
            ignore_roles: Vec::new(),
            on_null_cursor: NullCursorPolicy::Fail,
            rerun_last: 0,
        });
    });
    lake.dies_at(lake.options(Trigger::Scheduled, Some(hours(0, 1))), "run.claimed").await;
    assert_eq!(lake.database.opened.load(Ordering::SeqCst), 1, "opened for its columns alone");
    assert!(lake.database.last_request().incremental.is_none());
    assert_eq!(lake.generation(Some(hours(0, 1))).await, 1);
    lake.dies_at(lake.options(Trigger::Scheduled, Some(hours(0, 1))), "run.claimed").await;
    assert_eq!(lake.database.opened.load(Ordering::SeqCst), 1);
    assert_eq!(lake.generation(Some(hours(0, 1))).await, 2, "no number is given twice");
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let claims = lake.history().await;
    let claims = claims
        .iter()
        .filter(|entry| entry.ours.as_ref().is_some_and(|tag| tag.kind == CommitKind::RunClaim));
    assert_eq!(claims.count(), 3, "each attempt has a claim of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_of_two_runs_of_an_interval_only_the_newer_one_commits() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put(rows_of(0, 60, 1));
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    lake.database.fail(1, waits);
    let older = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(Trigger::Manual, Some(hours(0, 1))).await })
    };
    reached.notified().await;
    // The rows change after the older run has read them.
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    let newer = lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(newer.generation, 2);
    go.notify_one();
    let error = older.await.expect("ended").expect_err("its generation is lost");
    assert_eq!((error.reason(), error.is_transient()), (Reason::GenerationLost, true));
    assert!(error.to_string().contains("generation 1"), "{error}");
    lake.holds(&rows_of(0, 60, 2).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_the_older_one_loses_as_soon_as_the_newer_one_has_claimed() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 10, 1));
    let older = lake.options(Trigger::Manual, Some(hours(0, 1)));
    let reached = Arc::new(Notify::new());
    // It stands before its verification for as long as the newer one needs to claim.
    let (waiting, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&waiting), go: Arc::clone(&go) };
    lake.database.fail(0, waits);
    let (outcome, ()) = tokio::join!(lake.attempt(older, None), async {
        waiting.notified().await;
        let newer = lake.options(Trigger::Manual, Some(hours(0, 1)));
        tokio::select! {
            _ = lake.attempt(newer, Some(("run.claimed", Arc::clone(&reached)))) => {}
            () = reached.notified() => {}
        }
        go.notify_one();
    });
    assert_eq!(outcome.expect_err("lost").reason(), Reason::GenerationLost);
    assert!(lake.rows().await.is_empty());
}

/// The claim is looked at before each try, not only before the first.
#[tokio::test(flavor = "multi_thread")]
async fn b2_a_run_that_is_overtaken_at_its_very_commit_gives_way() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put(rows_of(0, 60, 1));
    let pause = Arc::new(Pause::at("run.before_put"));
    let older = {
        let (lake, pause) = (Arc::clone(&lake), Some(Arc::clone(&pause)));
        tokio::spawn(async move {
            let options = lake.options(Trigger::Manual, Some(hours(0, 1)));
            lake.attempt_with(options, Steps { pause, ..Steps::default() }).await
        })
    };
    pause.reached().await;
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("the newer one");
    pause.go();
    let error = older.await.expect("ended").expect_err("older rows must not come back");
    assert_eq!(error.reason(), Reason::GenerationLost);
    lake.holds(&rows_of(0, 60, 2).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_an_interval_must_lie_on_the_grid() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| {
        let (cron, time_zone) = ("0 */2 * * *".into(), "UTC".into());
        config.schedule = Some(Schedule { cron, time_zone });
    });
    let error = lake.run(Trigger::Manual, Some(hours(1, 2))).await.expect_err("not aligned");
    assert_eq!((error.reason(), error.is_transient()), (Reason::IntervalNotAligned, false));
    lake.run(Trigger::Manual, Some(hours(2, 6))).await.expect("two ticks");
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_what_overlaps_without_containing_is_refused_and_both_are_named() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..6).flat_map(|hour| rows_of(hour, 5, 1)));
    lake.run(Trigger::Manual, Some(hours(2, 4))).await.expect("runs");
    for (start, end) in [(1, 3), (3, 5), (2, 3)] {
        let error = lake.run(Trigger::Manual, Some(hours(start, end))).await.expect_err("overlaps");
        assert_eq!((error.reason(), error.is_transient()), (Reason::IntervalConflict, false));
        let text = error.to_string();
        assert!(text.contains(&hours(start, end).to_string()), "{text}");
        assert!(text.contains(&hours(2, 4).to_string()), "{text}");
    }
    // By the schedule, a part of what is there is there.
    let part = lake.run(Trigger::Scheduled, Some(hours(2, 3))).await.expect("held");
    assert_eq!(part.reason, "AlreadyComplete");
    lake.run(Trigger::Manual, Some(hours(4, 5))).await.expect("beside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_containing_interval_replaces_what_it_contains() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..4).flat_map(|hour| rows_of(hour, 50, 1)));
    for hour in 0..3 {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    let both = lake.run(Trigger::Manual, Some(hours(0, 2))).await.expect("runs");
    assert_eq!((both.rows_committed, both.rows_replaced), (100, 100));
    let expected: Vec<_> =
        rows_of(0, 50, 2).chain(rows_of(1, 50, 2)).chain(rows_of(2, 50, 1)).collect();
    lake.holds(&expected).await;
    let held: Vec<_> = lake.intervals().await.held().collect();
    assert_eq!(held, [hours(0, 2), hours(2, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_contained_run_that_commits_after_the_containing_one_has_lost() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put((0..2).flat_map(|hour| rows_of(hour, 30, 1)));
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    lake.database.fail(0, waits);
    let inner = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(Trigger::Manual, Some(hours(0, 1))).await })
    };
    reached.notified().await;
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    lake.run(Trigger::Manual, Some(hours(0, 2))).await.expect("runs");
    go.notify_one();
    let error = inner.await.expect("ended").expect_err("superseded");
    assert_eq!(error.reason(), Reason::GenerationLost);
    lake.holds(&lake.database.rows(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_containing_run_does_not_take_the_place_of_what_was_read_after_it_began() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put((0..2).flat_map(|hour| rows_of(hour, 30, 1)));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    lake.database.fail(0, waits);
    let outer = {
        let lake = Arc::clone(&lake);
        tokio::spawn(async move { lake.run(Trigger::Manual, Some(hours(0, 2))).await })
    };
    reached.notified().await;
    lake.database.change(|rows| rows.iter_mut().for_each(|row| row.value = 2));
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("newer than what the outer one read");
    go.notify_one();
    let error = outer.await.expect("ended").expect_err("older rows must not come back");
    assert_eq!((error.reason(), error.is_transient()), (Reason::GenerationLost, true));
    lake.holds(&rows_of(0, 30, 2).collect::<Vec<_>>()).await;
    let again = lake.run(Trigger::Manual, Some(hours(0, 2))).await.expect("the next attempt");
    assert_eq!(again.rows_committed, 60);
    lake.holds(&lake.database.rows(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_were_never_committed_stand_in_nobodys_way() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 10, 1));
    for _ in 0..3 {
        lake.dies_at(lake.options(Trigger::Manual, Some(hours(0, 4))), "run.claimed").await;
    }
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("another grid");
    lake.holds(&lake.database.rows(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_finds_what_an_earlier_attempt_of_its_run_committed() {
    for interval in [Some(hours(0, 1)), None] {
        let lake = Lake::new(WriteMode::Append);
        lake.set(|config| {
            if interval.is_some() {
                config.write_mode = WriteMode::ReplaceInterval;
            }
        });
        lake.database.put(rows_of(0, 20, 1));
        let options = lake.options(Trigger::Manual, interval);
        lake.dies_at(options.clone(), "run.after_put").await;
        let again = lake.attempt(options, None).await.expect("nothing to do");
        assert_eq!(again.reason, "AlreadyComplete");
        lake.holds(&rows_of(0, 20, 1).collect::<Vec<_>>()).await;
        let other = lake.run(Trigger::Manual, interval).await.expect("another run of a person");
        assert_eq!((other.reason.as_str(), other.rows_committed), ("Ok", 20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_appended_is_found_behind_the_commits_of_other_runs() {
    let lake = Lake::new(WriteMode::Append);
    lake.database.put(rows_of(0, 20, 1));
    let options = lake.options(Trigger::Manual, None);
    lake.dies_at(options.clone(), "run.after_put").await;
    lake.run(Trigger::Manual, None).await.expect("another run of a person");
    let again = lake.attempt(options, None).await.expect("nothing to do");
    assert_eq!((again.reason.as_str(), again.generation), ("AlreadyComplete", 1));
    assert_eq!(lake.rows().await.len(), 40, "once for each run");
}

#[tokio::test(flavor = "multi_thread")]
async fn appending_never_doubles_an_interval() {
    let lake = Lake::new(WriteMode::Append);
    lake.database.put((0..2).flat_map(|hour| rows_of(hour, 20, 1)));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let again = lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("held");
    assert_eq!(again.reason, "AlreadyComplete");
    assert!(again.message.contains("ReplaceInterval"), "{}", again.message);
    let error = lake.run(Trigger::Manual, Some(hours(0, 2))).await.expect_err("contains it");
    assert_eq!(error.reason(), Reason::IntervalConflict);
    lake.run(Trigger::Manual, Some(hours(1, 2))).await.expect("beside it");
    lake.holds(&lake.database.rows(None)).await;
}
