//! Sources of files: what an interval was loaded from is remembered (B8).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_config::{
    BadFilePolicy, BulkSource, CsvOptions, FileCompression, FileFormat, Incremental,
    NullCursorPolicy, ObjectSource, S3Options, Schedule, SourceSays, TransferConfig, Trigger,
    WriteMode,
};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{Reason, Span};

use super::lake::{Lake, rows_of};
use super::source::{MemorySources, Row};
use crate::decide::testing::hours;
use crate::recount::ask;

pub(super) fn immutable() -> Incremental {
    Incremental {
        cursor_field: "at".into(),
        time_zone: None,
        settle: Span::default(),
        max_wait: Span::seconds(60),
        ignore_roles: Vec::new(),
        on_null_cursor: NullCursorPolicy::Fail,
        rerun_last: 0,
    }
}

fn files() -> BulkSource {
    BulkSource::ObjectStore(ObjectSource {
        url: "file:///orders".into(),
        secret: None,
        endpoint: None,
        s3: S3Options::default(),
        glob: "dt=%Y-%m-%d/*.csv".into(),
        format: FileFormat::Csv,
        compression: FileCompression::Auto,
        csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
        on_bad_file: BadFilePolicy::Fail,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_files_that_appear_later_are_told_and_a_person_decides() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.source = files());
    lake.database.put(rows_of(0, 20, 1));
    let listing = |text: &str| {
        *lake.database.fingerprint.lock().expect("not poisoned") = Some(text.to_owned());
    };
    listing("one file");
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let same = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("nothing to do");
    assert_eq!(same.reason, "AlreadyComplete");
    listing("two files");
    lake.database.put(rows_of(0, 20, 1).map(|row| Row { id: row.id + 50, ..row }));
    let stale = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("nothing is done");
    assert_eq!((stale.reason.as_str(), stale.version), ("IntervalStale", None));
    assert_eq!(lake.rows().await.len(), 20);
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs again");
    lake.holds(&lake.database.rows(None)).await;
    let same = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("nothing to do");
    assert_eq!(same.reason, "AlreadyComplete");
}

/// Whoever looks sees it, without a run.
#[tokio::test(flavor = "multi_thread")]
async fn b8_late_files_are_found_by_a_listing_of_the_newest_intervals() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.source = files());
    let listing = |text: &str| {
        *lake.database.fingerprint.lock().expect("not poisoned") = Some(text.to_owned());
    };
    let recount = async |most| {
        let sources = MemorySources(Arc::clone(&lake.database));
        let (config, known) = (lake.config(), lake.intervals().await);
        ask(&config, &Secrets::new(None), &sources, &known, most).await
    };
    listing("first");
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    listing("second");
    lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect("runs");
    let found = recount(10).await;
    let says: Vec<_> = found.answers.iter().map(|one| one.says.clone()).collect();
    assert_eq!(says, [SourceSays::SameFiles, SourceSays::OtherFiles]);
    assert_eq!(found.stale().collect::<Vec<_>>(), [Some(hours(0, 1))]);
    // A run that is made again and fails takes nothing away, and the files are no better for it.
    lake.dies_at(lake.options(Trigger::Manual, Some(hours(0, 1))), "run.planned").await;
    assert_eq!(recount(10).await.stale().collect::<Vec<_>>(), [Some(hours(0, 1))]);
    let newest = recount(1).await;
    assert_eq!((newest.answers.len(), newest.left_out, newest.stale().count()), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_counts_the_rows_of_each_interval_and_what_cannot_be_asked_is_said() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.incremental = Some(immutable()));
    lake.database.put(rows_of(0, 20, 1).chain(rows_of(1, 5, 1)));
    for hour in [0, 1] {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    lake.database.put(rows_of(1, 1, 2).map(|row| Row { id: row.id + 50, ..row }));
    let sources = MemorySources(Arc::clone(&lake.database));
    let (config, known) = (lake.config(), lake.intervals().await);
    let found = ask(&config, &Secrets::new(None), &sources, &known, 10).await;
    let says: Vec<_> = found.answers.iter().map(|one| one.says.clone()).collect();
    assert_eq!(says, [SourceSays::Rows(6), SourceSays::Rows(20)]);
    // Loads that add to each other cannot be told apart.
    let append = TransferConfig { write_mode: WriteMode::Append, incremental: None, ..config };
    let found = ask(&append, &Secrets::new(None), &sources, &known, 10).await;
    assert!(found.answers.is_empty(), "{found:?}");
}

/// The intervals' rows are not the log's last word any more.
#[tokio::test(flavor = "multi_thread")]
async fn b3_intervals_that_a_load_of_everything_replaced_are_not_counted_again() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.incremental = Some(immutable()));
    lake.database.put(rows_of(0, 20, 1));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let daily = lake.config();
    lake.set(|config| {
        config.incremental = None;
        config.write_mode = WriteMode::Overwrite;
    });
    lake.run(Trigger::Manual, None).await.expect("loads everything");
    let (sources, known) = (MemorySources(Arc::clone(&lake.database)), lake.intervals().await);
    let found = ask(&daily, &Secrets::new(None), &sources, &known, 10).await;
    assert!(found.answers.is_empty(), "{found:?}");
}

/// A day without a file of a source that declares no columns must not hold up the days behind it.
#[tokio::test(flavor = "multi_thread")]
async fn an_interval_without_files_is_done_once_the_table_has_its_columns() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.set(|config| config.source = files());
    lake.database.says_columns.store(true, Ordering::SeqCst);
    let error = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect_err("no table yet");
    assert_eq!((error.reason(), error.is_transient()), (Reason::TableMismatch, false));
    lake.database.put(rows_of(0, 20, 1));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let empty = lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect("has no file");
    assert_eq!((empty.rows_committed, empty.version.is_some()), (0, true));
    let same = lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect("nothing to do");
    assert_eq!(same.reason, "AlreadyComplete");
    lake.holds(&lake.database.rows(None)).await;
}

/// What validation would have refused; the log may hold intervals of an older specification.
#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_has_no_files_of_its_own_is_refused() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 20, 1));
    lake.set(|config| {
        config.source = files();
        config.schedule = Some(Schedule { cron: "0 * * * *".into(), time_zone: "UTC".into() });
    });
    // The day's files are those of the interval in which it ends.
    let error = lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect_err("the day's files");
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    lake.set(|config| {
        let BulkSource::ObjectStore(source) = &mut config.source else { return };
        source.glob = "%Y-%m-%dT%H/*.csv".into();
    });
    lake.run(Trigger::Manual, Some(hours(0, 2))).await.expect("two ticks have two hours' files");
    lake.set(|config| {
        let BulkSource::ObjectStore(source) = &mut config.source else { return };
        source.glob = "100%%/*.csv".into();
    });
    lake.run(Trigger::Manual, Some(hours(0, 2))).await.expect("no time in the names");
}

/// A run, the look for late files and everybody else ask by one request.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_told_on_the_schedules_clock_by_whoever_asks() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 20, 1));
    *lake.database.fingerprint.lock().expect("not poisoned") = Some("one file".to_owned());
    lake.set(|config| {
        config.source = files();
        let (cron, time_zone) = ("0 9 * * *".into(), "Asia/Seoul".into());
        config.schedule = Some(Schedule { cron, time_zone });
    });
    lake.run(Trigger::Manual, Some(hours(0, 24))).await.expect("the day in Seoul");
    assert_eq!(lake.database.last_request().time_zone.as_deref(), Some("Asia/Seoul"));
    let sources = MemorySources(Arc::clone(&lake.database));
    let (config, known) = (lake.config(), lake.intervals().await);
    let found = ask(&config, &Secrets::new(None), &sources, &known, 10).await;
    assert_eq!(found.answers.len(), 1);
    let asked = lake.database.last_request();
    assert_eq!(
        (asked.time_zone.as_deref(), asked.interval),
        (Some("Asia/Seoul"), Some(hours(0, 24)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_has_not_ended_waits_for_its_tick() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    let error = lake.run(Trigger::Backfill, Some(hours(1_000_000, 1_000_001))).await;
    let error = error.expect_err("in the year 2084");
    assert_eq!((error.reason(), error.is_transient()), (Reason::WaitingForTick, true));
}
