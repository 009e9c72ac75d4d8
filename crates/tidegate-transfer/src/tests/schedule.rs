//! The log is the calendar (B1): what is due, what a backfill would do, what is done.

use jiff::Timestamp;
use tidegate_config::{Schedule, Trigger, WriteMode};
use tidegate_schedule::CatchUp;

use super::lake::{Lake, rows_of};
use super::source::Fault;
use crate::decide::testing::hours;
use crate::decide::{DueRun, Reprocess};
use crate::{DueQuery, backfill_plan, calendar, due_runs};

fn hourly(lake: &Lake) {
    lake.set(|config| {
        config.schedule = Some(Schedule { cron: "0 * * * *".into(), time_zone: "UTC".into() });
    });
}

async fn due(lake: &Lake, now: i64) -> Vec<i64> {
    let query = DueQuery {
        catch_up: CatchUp::All,
        start_at: None,
        created: None,
        delay_seconds: 0,
        limit: 100,
    };
    let now = Timestamp::from_second(now * 3600 + 60).expect("in range");
    let due = due_runs(&lake.config(), None, &query, now).await.expect("readable");
    due.now.iter().map(|run| run.interval.start_second() / 3600).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_what_is_due_follows_from_the_log_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::in_folder(folder.path(), WriteMode::ReplaceInterval);
    hourly(&lake);
    lake.database.put((0..20).flat_map(|hour| rows_of(hour, 5, 1)));
    assert_eq!(due(&lake, 10).await, [9], "a table that is not there yet begins with the newest");
    for hour in [9, 11] {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    lake.database.fail(0, Fault::Refuses);
    lake.run(Trigger::Scheduled, Some(hours(12, 13))).await.expect_err("refused");
    assert_eq!(due(&lake, 14).await, [10, 12, 13]);
    let known = calendar(&lake.config(), None, None).await.expect("readable");
    assert_eq!(known.done, [hours(9, 10), hours(11, 12)]);
    assert_eq!(known.tried, [hours(12, 13)]);
    let part = calendar(&lake.config(), None, Some(hours(11, 13))).await.expect("readable");
    assert_eq!(part.done, [hours(11, 12)]);
}

/// The rows of the run before are still there; a person decides.
#[tokio::test(flavor = "multi_thread")]
async fn b1_an_interval_whose_rerun_failed_is_not_due_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::in_folder(folder.path(), WriteMode::ReplaceInterval);
    hourly(&lake);
    lake.database.put(rows_of(0, 5, 1));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    lake.database.fail(0, Fault::Refuses);
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect_err("refused");
    assert_eq!(due(&lake, 1).await, Vec::<i64>::new());
}

/// It was begun before anything was done, so that it belongs to the schedule.
#[tokio::test(flavor = "multi_thread")]
async fn b1_a_first_interval_that_failed_is_due_also_when_a_later_one_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::in_folder(folder.path(), WriteMode::ReplaceInterval);
    hourly(&lake);
    lake.database.fail(0, Fault::Refuses);
    lake.run(Trigger::Scheduled, Some(hours(8, 9))).await.expect_err("refused");
    lake.run(Trigger::Scheduled, Some(hours(9, 10))).await.expect("runs");
    assert_eq!(due(&lake, 11).await, [8, 10]);
}

/// What failed when it was done again is failed for the plan, for the calendar and for the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_done_interval_whose_rerun_failed_is_planned_and_then_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::in_folder(folder.path(), WriteMode::ReplaceInterval);
    hourly(&lake);
    lake.database.put(rows_of(0, 5, 1));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    lake.database.fail(0, Fault::Refuses);
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect_err("refused");
    let known = calendar(&lake.config(), None, None).await.expect("readable");
    assert_eq!((known.done, known.tried), (vec![hours(0, 1)], vec![hours(0, 1)]));
    let plan = backfill_plan(&lake.config(), None, hours(0, 2), Reprocess::Failed).await;
    let planned: Vec<_> = plan.expect("planned").runs().collect();
    assert_eq!(planned, [DueRun { interval: hours(0, 1), again: true }]);
    lake.database.put((5..8).map(|n| super::source::Row { id: n, at: n, value: 2 }));
    for run in planned {
        let mut options = lake.options(Trigger::Backfill, Some(run.interval));
        options.rerun = run.again;
        let report = lake.attempt(options, None).await.expect("runs");
        assert_eq!((report.reason.as_str(), report.rows_replaced), ("Ok", 5));
    }
    lake.holds(&lake.database.rows(None)).await;
    let plan = backfill_plan(&lake.config(), None, hours(0, 2), Reprocess::Failed).await;
    assert_eq!(plan.expect("planned").runs().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_shows_what_it_would_do_before_anything_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::in_folder(folder.path(), WriteMode::ReplaceInterval);
    let range = hours(0, 3);
    let error = backfill_plan(&lake.config(), None, range, Reprocess::Missing).await;
    assert!(error.expect_err("no ticks").to_string().contains("bulk.schedule"));
    hourly(&lake);
    lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect("runs");
    let plan = backfill_plan(&lake.config(), None, range, Reprocess::Missing).await;
    let plan = plan.expect("planned");
    let planned: Vec<_> = plan.runs().map(|run| run.interval).collect();
    assert_eq!(planned, [hours(0, 1), hours(2, 3)]);
    assert_eq!(lake.history().await.len(), lake.snapshot().await.version() as usize + 1);
}
