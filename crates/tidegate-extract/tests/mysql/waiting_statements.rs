//! Statements that wait before they touch a table of InnoDB (B7): their `NOW()` is older than their
//! transaction.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_extract::{ExtractError, Snapshot, open};
use tidegate_testing::{SqlSession, eventually};
use tidegate_types::{Explained, Reason, Span};
use tokio::task::JoinHandle;

use crate::ground::{Ground, of_interval, read, with};

const PATIENCE: Duration = Duration::from_secs(20);
/// Waits for the lock on `gate` with the time of its beginning.
const INSERT: &str = "INSERT INTO t SELECT 2, NOW(6) FROM gate";

/// A server with a table of one row of the last minutes, another one that is locked, and the lock.
async fn locked() -> (Ground, SqlSession) {
    let ground = Ground::own().await;
    ground
        .sql(
            "CREATE TABLE t (id INT PRIMARY KEY, made TIMESTAMP(6) NULL); \
             INSERT INTO t VALUES (1, NOW(6) - INTERVAL 1 MINUTE); \
             CREATE TABLE gate (n INT); INSERT INTO gate VALUES (1)",
        )
        .await;
    let mut lock = ground.server.session().await.unwrap();
    lock.run("LOCK TABLES gate WRITE").await.unwrap();
    (ground, lock)
}

/// Statements that run beside the test; their connection is given back.
fn beside(mut session: SqlSession, statements: &'static str) -> JoinHandle<SqlSession> {
    tokio::spawn(async move {
        session.run(statements).await.unwrap();
        session
    })
}

/// Returns when a statement with this text is under way, and no earlier than a second after its begin.
async fn waits(ground: &Ground, text: &str) {
    let count = format!(
        "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE info LIKE '{text}%' AND time_ms > 1000"
    );
    let there = async || ground.sql(&count).await.trim() == "1";
    eventually("the statement waits", PATIENCE, there).await.unwrap();
}

/// The hour that ends now, and not a moment later.
fn hour_until_now() -> String {
    hour_until(0)
}

/// The hour that ends so many seconds from now.
fn hour_until(seconds: i64) -> String {
    let end = Timestamp::now().as_second() + seconds;
    let at = |second| Timestamp::from_second(second).unwrap();
    format!("{}/{}", at(end - 3_600), at(end))
}

type Opening = JoinHandle<Result<Box<dyn Snapshot>, ExtractError>>;

fn begin(ground: &Ground, interval: &str) -> Opening {
    tokio::spawn(open(of_interval(ground.table("t"), "made", interval)))
}

async fn is_held_up(opening: &mut Opening) {
    let early = tokio::time::timeout(Duration::from_secs(4), opening).await;
    assert!(early.is_err(), "it went on");
}

async fn rows(opening: Opening) -> Option<u64> {
    let snapshot = opening.await.unwrap().unwrap();
    let rows = read(snapshot.as_ref()).await.unwrap().plan.rows;
    snapshot.close().await;
    rows
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_statement_that_waits_for_a_lock_across_the_end_is_waited_for() {
    let (ground, mut lock) = locked().await;
    let writer = beside(ground.server.session().await.unwrap(), INSERT);
    waits(&ground, "INSERT INTO t").await;
    let mut opening = begin(&ground, &hour_until_now());
    is_held_up(&mut opening).await;
    lock.run("UNLOCK TABLES").await.unwrap();
    writer.await.unwrap();
    assert_eq!(rows(opening).await, Some(2), "the row is of the interval");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn the_transaction_that_such_a_statement_leaves_open_is_waited_for_too() {
    let (ground, mut lock) = locked().await;
    let writer = beside(
        ground.server.session().await.unwrap(),
        "SET autocommit = 0; INSERT INTO t SELECT 2, NOW(6) FROM gate",
    );
    waits(&ground, "INSERT INTO t").await;
    let mut opening = begin(&ground, &hour_until_now());
    is_held_up(&mut opening).await;
    lock.run("UNLOCK TABLES").await.unwrap();
    let mut writer = writer.await.unwrap();
    is_held_up(&mut opening).await;
    writer.run("COMMIT").await.unwrap();
    assert_eq!(rows(opening).await, Some(2));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_transaction_is_waited_for_also_when_its_statement_had_waited_before_anybody_looked() {
    let (ground, mut lock) = locked().await;
    let writer = beside(
        ground.server.session().await.unwrap(),
        "SET autocommit = 0; INSERT INTO t SELECT 2, NOW(6) FROM gate",
    );
    waits(&ground, "INSERT INTO t").await;
    let interval = hour_until_now();
    lock.run("UNLOCK TABLES").await.unwrap();
    let mut writer = writer.await.unwrap();
    let mut opening = begin(&ground, &interval);
    is_held_up(&mut opening).await;
    writer.run("COMMIT").await.unwrap();
    assert_eq!(rows(opening).await, Some(2));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_statement_that_waits_for_a_named_lock_is_waited_for() {
    let (ground, _lock) = locked().await;
    let mut holder = ground.server.session().await.unwrap();
    holder.run("SELECT GET_LOCK('turn', 10)").await.unwrap();
    let writer = beside(
        ground.server.session().await.unwrap(),
        "INSERT INTO t SELECT 2, NOW(6) FROM (SELECT GET_LOCK('turn', 60) AS mine) AS turn",
    );
    waits(&ground, "INSERT INTO t").await;
    let mut opening = begin(&ground, &hour_until_now());
    is_held_up(&mut opening).await;
    holder.run("DO RELEASE_LOCK('turn')").await.unwrap();
    writer.await.unwrap();
    assert_eq!(rows(opening).await, Some(2));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_transaction_that_is_prepared_and_left_while_it_is_waited_for_is_not_forgotten() {
    let (ground, _lock) = locked().await;
    let mut writer = ground.server.session().await.unwrap();
    writer.run("XA START 'x'; INSERT INTO t VALUES (2, NOW(6))").await.unwrap();
    let mut opening = begin(&ground, &hour_until(1));
    is_held_up(&mut opening).await;
    writer.run("XA END 'x'; XA PREPARE 'x'").await.unwrap();
    drop(writer);
    is_held_up(&mut opening).await;
    ground.sql("XA COMMIT 'x'").await;
    assert_eq!(rows(opening).await, Some(2));
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn statements_that_only_read_or_are_of_users_left_out_hold_nothing_up() {
    let (ground, _lock) = locked().await;
    // Reads a table for longer than anybody waits here.
    let _reader = beside(ground.server.session().await.unwrap(), "SELECT id, SLEEP(60) FROM t");
    waits(&ground, "SELECT id, SLEEP").await;
    let impatient = || {
        with(of_interval(ground.table("t"), "made", &hour_until_now()), |i| {
            i.max_wait = Span::seconds(2);
        })
    };
    assert_eq!(ground.rows(impatient()).await.len(), 1);
    let _writer = beside(ground.server.session().await.unwrap(), INSERT);
    waits(&ground, "INSERT INTO t").await;
    let error = ground.refusal(impatient()).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsOpen, true));
    assert!(error.to_string().contains("a statement of connection"), "{error}");
    let ignoring = with(impatient(), |i| i.ignore_roles = vec!["tidegate".into()]);
    assert_eq!(ground.rows(ignoring).await.len(), 1);
}
