//! Reading by interval: edges, clocks, and transactions that are still open (B7).
//!
//! An open transaction holds up whoever reads a recent interval of the same server, so tests that leave
//! one open have a server of their own.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_config::NullCursorPolicy;
use tidegate_extract::{ReadRequest, open};
use tidegate_testing::MariaDbOptions;
use tidegate_types::{Explained, Reason, Span};

use crate::ground::{Ground, of_interval, read, with};

/// The interval from an hour ago to so many seconds from now.
fn until(seconds: i64) -> String {
    let end = Timestamp::now().as_second() + seconds;
    let at = |second| Timestamp::from_second(second).unwrap();
    format!("{}/{}", at(end - 3_600), at(end))
}

fn impatient(request: ReadRequest) -> ReadRequest {
    with(request, |incremental| incremental.max_wait = Span::seconds(0))
}

/// A table of its own with a few rows of the last minutes.
async fn table(ground: &Ground, name: &str) {
    ground
        .sql(&format!(
            "CREATE TABLE {name} (id INT PRIMARY KEY, made TIMESTAMP(6) NULL); \
             INSERT INTO {name} VALUES (1, NOW(6) - INTERVAL 1 MINUTE)"
        ))
        .await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn the_start_belongs_to_an_interval_and_the_end_to_the_next() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE edges (id INT PRIMARY KEY, made TIMESTAMP(6) NULL, day DATE, local DATETIME(6)); \
             INSERT INTO edges VALUES \
             (1, '2026-06-01 00:59:59.999999', '2026-05-31', '2026-06-01 09:59:59.999999'), \
             (2, '2026-06-01 01:00:00', '2026-06-01', '2026-06-01 10:00:00'), \
             (3, '2026-06-01 01:59:59.999999', '2026-06-01', '2026-06-01 10:59:59.999999'), \
             (4, '2026-06-01 02:00:00', '2026-06-02', '2026-06-01 11:00:00');",
        )
        .await;
    let hour = "2026-06-01T01:00:00Z/2026-06-01T02:00:00Z";
    let query = || ground.query("SELECT id, made, day, local FROM edges");
    let ids = |rows: Vec<String>| rows.iter().map(|row| row[..1].to_owned()).collect::<String>();
    assert_eq!(ids(ground.rows(of_interval(query(), "made", hour)).await), "23");
    let seoul = with(of_interval(query(), "LOCAL", hour), |incremental| {
        incremental.time_zone = Some("Asia/Seoul".into());
    });
    assert_eq!(ids(ground.rows(seoul).await), "23");
    let day = "2026-06-01T00:00:00Z/2026-06-02T00:00:00Z";
    assert_eq!(ids(ground.rows(of_interval(query(), "day", day)).await), "23");
    let error = ground.refusal(of_interval(query(), "day", hour)).await;
    assert!(error.to_string().contains("midnight"), "{error}");
    let error = ground.refusal(of_interval(query(), "id", hour)).await;
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn hours_that_touch_hold_each_local_time_once_when_clocks_are_turned() {
    let ground = Ground::shared().await;
    // Every ten minutes of both nights, the hour that passes twice twice.
    ground.sql("CREATE TABLE nights (id INT AUTO_INCREMENT PRIMARY KEY, local DATETIME)").await;
    let zone = jiff::tz::TimeZone::get("America/New_York").unwrap();
    let nights =
        ["2026-03-08T04:00:00Z", "2026-11-01T03:00:00Z"].map(|at| at.parse::<Timestamp>().unwrap());
    let made = nights.iter().flat_map(|night| (0..48).map(|n| night.as_second() + n * 600));
    let values: Vec<_> = made
        .map(|second| {
            let local = zone.to_datetime(Timestamp::from_second(second).unwrap());
            format!("('{}')", local.strftime("%F %T"))
        })
        .collect();
    ground.sql(&format!("INSERT INTO nights (local) VALUES {}", values.join(", "))).await;
    let mut read = Vec::new();
    for night in nights {
        for hour in 0..8 {
            let start = night.as_second() + hour * 3_600;
            let at = |second| Timestamp::from_second(second).unwrap();
            let interval = format!("{}/{}", at(start), at(start + 3_600));
            let request =
                with(of_interval(ground.table("nights"), "local", &interval), |incremental| {
                    incremental.time_zone = Some("America/New_York".into());
                });
            read.extend(ground.rows(request).await);
        }
    }
    let distinct: std::collections::BTreeSet<_> = read.iter().collect();
    assert_eq!((read.len(), distinct.len()), (96, 96));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn rows_without_a_cursor_are_counted_and_end_the_run_unless_it_is_told_otherwise() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "SET sql_mode = ''; CREATE TABLE bare (id INT PRIMARY KEY, made DATETIME, stamp TIMESTAMP NULL); \
             INSERT INTO bare VALUES (1, '2026-06-01 00:30:00', '2026-06-01 00:30:00'), (2, NULL, NULL), (3, 0, 0);",
        )
        .await;
    let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    for cursor in ["made", "stamp"] {
        let request = || of_interval(ground.table("bare"), cursor, hour);
        let error = ground.refusal(request()).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::NullCursor, false));
        assert!(error.to_string().starts_with("2 rows"), "{error}");
        let ignoring = with(request(), |i| i.on_null_cursor = NullCursorPolicy::Ignore);
        let snapshot = open(ignoring).await.unwrap();
        let read = read(snapshot.as_ref()).await.unwrap();
        assert_eq!((read.plan.rows, read.plan.null_cursors), (Some(1), 2));
        snapshot.close().await;
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_transaction_that_began_before_the_end_is_waited_for_and_its_rows_are_read() {
    let ground = &Ground::own().await;
    table(ground, "late").await;
    let mut writer = ground.server.session().await.unwrap();
    writer.run("START TRANSACTION; INSERT INTO late VALUES (2, NOW(6))").await.unwrap();
    let mut opening = tokio::spawn(open(of_interval(ground.table("late"), "made", &until(2))));
    let early = tokio::time::timeout(Duration::from_secs(5), &mut opening).await;
    assert!(early.is_err(), "the transaction is still open");
    writer.run("COMMIT").await.unwrap();
    let snapshot = opening.await.unwrap().unwrap();
    assert_eq!(read(snapshot.as_ref()).await.unwrap().plan.rows, Some(2));
    snapshot.close().await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_transaction_that_stays_open_ends_the_attempt_by_name() {
    let ground = &Ground::own().await;
    table(ground, "stuck").await;
    let mut writer = ground.server.session().await.unwrap();
    let id = writer.run("SELECT CONNECTION_ID()").await.unwrap().remove(0);
    writer.run("START TRANSACTION; INSERT INTO stuck VALUES (2, NOW(6))").await.unwrap();
    let request = || of_interval(ground.table("stuck"), "made", &until(2));
    let error = ground.refusal(with(request(), |i| i.max_wait = Span::seconds(4))).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsOpen, true));
    let named = format!("connection {} of tidegate", id.trim());
    assert!(error.to_string().contains(&named), "{error} {named}");
    // Of somebody who is left out it is of no account.
    let ignoring = with(request(), |i| i.ignore_roles = vec!["tidegate".into()]);
    assert_eq!(ground.rows(ignoring).await.len(), 1);
    // Long before it began its statement may have begun, and waited.
    let past =
        || of_interval(ground.table("stuck"), "made", "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z");
    assert_eq!(ground.refusal(impatient(past())).await.reason(), Reason::SourceTransactionsOpen);
    writer.run("ROLLBACK").await.unwrap();
    assert!(ground.rows(impatient(past())).await.is_empty());
    // One that only reads adds no rows.
    writer.run("START TRANSACTION READ ONLY; SELECT * FROM stuck").await.unwrap();
    assert_eq!(ground.rows(with(request(), |i| i.max_wait = Span::seconds(4))).await.len(), 1);
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_prepared_transaction_is_open_also_after_a_restart() {
    let mut ground = Ground::own().await;
    table(&ground, "t").await;
    let mut writer = ground.server.session().await.unwrap();
    writer.run("XA START 'transfer'; INSERT INTO t VALUES (2, NOW(6)); XA END 'transfer'; XA PREPARE 'transfer'").await.unwrap();
    let interval = until(1);
    let request = |ground: &Ground| {
        with(of_interval(ground.table("t"), "made", &interval), |i| i.max_wait = Span::seconds(3))
    };
    let error = ground.refusal(request(&ground)).await;
    assert!(error.to_string().contains("prepared transaction transfer"), "{error}");
    // Now it looks as if it had begun after the interval's end.
    ground.server.restart().await.unwrap();
    let error = ground.refusal(request(&ground)).await;
    assert_eq!(error.reason(), Reason::SourceTransactionsOpen);
    assert!(error.to_string().contains("prepared transaction transfer"), "{error}");
    ground.sql("XA COMMIT 'transfer'").await;
    assert_eq!(ground.rows(request(&ground)).await.len(), 2);
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn an_interval_that_is_not_over_is_not_read() {
    let ground = Ground::shared().await;
    table(ground, "early").await;
    let request = || of_interval(ground.table("early"), "made", &until(0));
    let error = ground.refusal(of_interval(ground.table("early"), "made", &until(600))).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsOpen, true));
    let settling = with(request(), |i| i.settle = Span::seconds(600));
    assert_eq!(ground.refusal(settling).await.reason(), Reason::SourceTransactionsOpen);
    assert_eq!(ground.rows(request()).await.len(), 1);
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn without_the_right_to_see_others_no_interval_is_read() {
    let ground = Ground::shared().await;
    table(ground, "unseen").await;
    let mut request = of_interval(ground.table("unseen"), "made", &until(0));
    request.secrets = ground.account("blind", &["SELECT ON shop.*"]).await;
    let error = ground.refusal(request.clone()).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsHidden, false));
    assert!(error.to_string().contains("grant PROCESS"), "{error}");
    (request.interval, request.incremental) = (None, None);
    assert_eq!(ground.rows(request).await.len(), 1, "the whole table needs no more than SELECT");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_server_that_follows_another_reads_no_intervals() {
    async fn hidden(ground: &Ground, says: &str) {
        let error = ground.refusal(of_interval(ground.table("t"), "made", &until(0))).await;
        assert_eq!(error.reason(), Reason::SourceTransactionsHidden);
        assert!(error.to_string().contains(says), "{error}");
    }
    let ground = Ground::own().await;
    table(&ground, "t").await;
    ground.sql("SET GLOBAL read_only = 1").await;
    hidden(&ground, "it is read-only").await;
    ground.sql("SET GLOBAL read_only = 0; CHANGE MASTER TO master_host = '127.0.0.1', master_user = 'x'").await;
    hidden(&ground, "it is a replica").await;
    assert_eq!(ground.rows(ground.table("t")).await.len(), 1, "the whole table is all right");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn the_servers_own_zone_does_not_matter() {
    // Zones by their rules: eleven hours behind UTC, and thirteen before it.
    for zone in ["XYZ+11", "XYZ-13"] {
        let environment = vec![("TZ".to_owned(), zone.to_owned())];
        let ground = Ground::own_with(MariaDbOptions { environment, ..Default::default() }).await;
        table(&ground, "t").await;
        let mut writer = ground.server.session().await.unwrap();
        writer.run("START TRANSACTION; INSERT INTO t VALUES (2, NOW(6))").await.unwrap();
        let error = ground.refusal(with(of_interval(ground.table("t"), "made", &until(1)), |i| {
            i.max_wait = Span::seconds(3);
        }));
        assert_eq!(error.await.reason(), Reason::SourceTransactionsOpen, "{zone}");
        writer.run("COMMIT").await.unwrap();
        let both = of_interval(ground.table("t"), "made", &until(1));
        assert_eq!(ground.rows(both).await.len(), 2, "{zone}");
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_cursor_that_updates_move_is_refused() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE moving (id BIGINT PRIMARY KEY, made TIMESTAMP NOT NULL DEFAULT '2026-06-01 00:30:00', \
             stamp TIMESTAMP NOT NULL DEFAULT '2026-06-01 00:30:00' ON UPDATE CURRENT_TIMESTAMP, \
             local DATETIME DEFAULT '2026-06-01 00:30:00' ON UPDATE CURRENT_TIMESTAMP); \
             INSERT INTO moving (id) VALUES (1); \
             CREATE VIEW moving_seen AS SELECT id, stamp AS at FROM moving; \
             CREATE ALGORITHM = TEMPTABLE VIEW moving_copied AS SELECT id, local FROM moving",
        )
        .await;
    let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    for (request, cursor) in [
        (ground.table("moving"), "STAMP"),
        (ground.table("moving"), "local"),
        (ground.table("moving_seen"), "at"),
        (ground.table("moving_copied"), "local"),
        (ground.query("SELECT id, stamp AS at FROM moving"), "at"),
        (ground.query("SELECT * FROM (SELECT id, local FROM moving LIMIT 9) AS few"), "local"),
    ] {
        let error = ground.refusal(of_interval(request, cursor, hour)).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
        assert!(error.to_string().contains("ON UPDATE"), "{error}");
    }
    assert_eq!(ground.rows(of_interval(ground.table("moving"), "made", hour)).await.len(), 1);
}
