//! Lists of transactions that somebody freezes by reading them often, or that are too long (B7).

use std::time::Duration;

use jiff::Timestamp;
use tidegate_extract::open;
use tidegate_testing::{MARIADB_USER, MariaDbOptions, eventually};
use tidegate_types::{Explained, Reason, Span};
use tokio::task::JoinHandle;

use crate::ground::{Ground, of_interval, read, with};

/// Reads the list more often than InnoDB renews it, until it is aborted.
async fn poller(ground: &Ground) -> JoinHandle<()> {
    const READ: &str = "SELECT COUNT(*) FROM information_schema.innodb_trx; DO SLEEP(0.03)";
    let mut session = ground.server.session().await.unwrap();
    session.run(READ).await.unwrap();
    tokio::spawn(async move {
        loop {
            session.run(READ).await.unwrap();
        }
    })
}

/// The hour that ends a second from now.
fn hour() -> String {
    let end = Timestamp::now().as_second() + 1;
    let at = |second| Timestamp::from_second(second).unwrap();
    format!("{}/{}", at(end - 3_600), at(end))
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_transaction_that_an_old_list_does_not_show_is_waited_for() {
    let ground = Ground::own().await;
    ground
        .sql(
            "CREATE TABLE t (id INT PRIMARY KEY, made TIMESTAMP(6) NULL); \
             INSERT INTO t VALUES (1, NOW(6) - INTERVAL 1 MINUTE)",
        )
        .await;
    let pollers = [poller(&ground).await, poller(&ground).await, poller(&ground).await];
    let mut writer = ground.server.session().await.unwrap();
    writer.run("START TRANSACTION; INSERT INTO t VALUES (2, NOW(6))").await.unwrap();
    let request = || of_interval(ground.table("t"), "made", &hour());
    let patient = with(request(), |i| i.max_wait = Span::seconds(120));
    let mut opening = tokio::spawn(open(patient));
    let early = tokio::time::timeout(Duration::from_secs(4), &mut opening).await;
    assert!(early.is_err(), "it went on by an old list");
    let error = ground.refusal(with(request(), |i| i.max_wait = Span::seconds(2))).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsOpen, true));
    assert!(error.to_string().contains("reads information_schema.innodb_trx"), "{error}");
    writer.run("COMMIT").await.unwrap();
    pollers.iter().for_each(JoinHandle::abort);
    let snapshot = opening.await.unwrap().unwrap();
    assert_eq!(read(snapshot.as_ref()).await.unwrap().plan.rows, Some(2));
    snapshot.close().await;
}

/// Each of them reads the lists, too.
#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn many_runs_that_wait_at_one_server_do_not_hold_each_other_up() {
    let ground = Ground::own().await;
    ground
        .sql(
            "CREATE TABLE t (id INT PRIMARY KEY, made TIMESTAMP(6) NULL); \
             INSERT INTO t VALUES (1, NOW(6) - INTERVAL 1 MINUTE)",
        )
        .await;
    let hour = hour();
    let opened = (0..12).map(|_| open(of_interval(ground.table("t"), "made", &hour)));
    for snapshot in futures::future::join_all(opened).await {
        snapshot.unwrap().close().await;
    }
}

/// The server has little memory for the list, and lists for each who waits whom he waits behind.
#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_list_that_is_so_long_that_it_may_be_cut_is_not_believed() {
    const WAITING: &str = "150";
    const WANT: &str = "START TRANSACTION; SELECT * FROM t WHERE id = 1 FOR UPDATE";
    let arguments = vec!["--max-connections=400".to_owned()];
    let ground = Ground::own_with(MariaDbOptions { arguments, ..Default::default() }).await;
    ground
        .sql(
            "CREATE TABLE t (id INT PRIMARY KEY, made TIMESTAMP(6) NULL); \
             INSERT INTO t VALUES (1, NOW(6) - INTERVAL 1 MINUTE)",
        )
        .await;
    let mut holder = ground.server.session().await.unwrap();
    holder.run(WANT).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..WAITING.parse().unwrap() {
        let mut session = ground.server.session().await.unwrap();
        waiting.push(tokio::spawn(async move { session.run(WANT).await }));
    }
    let count = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    let all_wait = async || ground.sql(count).await.trim() == WAITING;
    eventually("all of them wait", Duration::from_secs(60), all_wait).await.unwrap();
    // None of them is waited for, so that only the list itself stands in the way.
    let request = |seconds| {
        with(of_interval(ground.table("t"), "made", &hour()), |i| {
            i.max_wait = Span::seconds(seconds);
            i.ignore_roles = vec![MARIADB_USER.to_owned()];
        })
    };
    let error = ground.refusal(request(2)).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsOpen, true));
    assert!(error.to_string().contains("may be cut"), "{error}");
    waiting.iter().for_each(JoinHandle::abort);
    holder.run("ROLLBACK").await.unwrap();
    open(request(120)).await.unwrap().close().await;
}
