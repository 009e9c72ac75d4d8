//! One snapshot, however many read it and whatever is written meanwhile (B5).

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use tidegate_extract::open;
use tidegate_testing::{MariaDbOptions, eventually};
use tidegate_types::{Explained, Reason};

use crate::ground::{Ground, divided, numbers, read};

const LONG: Duration = Duration::from_secs(30);

fn arguments(of: &[&str]) -> MariaDbOptions {
    let arguments = of.iter().map(ToString::to_string).collect();
    MariaDbOptions { arguments, ..MariaDbOptions::default() }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn what_is_written_meanwhile_is_not_seen_whatever_the_servers_defaults() {
    // Under READ-COMMITTED there is no snapshot, and the limits would end the transaction.
    let hostile = [
        "--transaction-isolation=READ-COMMITTED",
        "--sql-mode=ANSI_QUOTES,PAD_CHAR_TO_FULL_LENGTH",
        "--autocommit=0",
        "--max-statement-time=1",
        "--idle-transaction-timeout=1",
    ];
    let ground = Ground::own_with(arguments(&hostile)).await;
    ground.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, c CHAR(5)); INSERT INTO t SELECT seq, 'a' FROM seq_1_to_10; COMMIT").await;
    let snapshot = open(divided(ground.table("t"), 4, 2)).await.unwrap();
    let first = snapshot.plan().await.unwrap();
    ground.sql("DELETE FROM t WHERE id < 4; UPDATE t SET c = 'b'; INSERT INTO t VALUES (11, 'n'); COMMIT").await;
    // Longer than the server lets a transaction be idle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(snapshot.plan().await.unwrap(), first);
    let seen = read(snapshot.as_ref()).await.unwrap();
    let ids: BTreeSet<_> = numbers(&seen.batches, "id").into_iter().collect();
    assert_eq!(ids, (1..=10).collect());
    let written = seen.batches.iter().flat_map(crate::ground::shown).all(|row| row.ends_with("|a"));
    assert!(written, "neither updated nor padded");
    snapshot.check().await.unwrap();
    snapshot.close().await;
}

/// Moves money between rows, in the server so that it goes fast, until there is a row in `stop`. The sum
/// never changes. The lesser row is locked first, so that nobody waits in a circle.
const MONEY: &str = "\
    CREATE TABLE money (id BIGINT PRIMARY KEY, money BIGINT NOT NULL); \
    INSERT INTO money SELECT seq, 100 FROM seq_1_to_400; \
    CREATE TABLE stop (id INT PRIMARY KEY);\n\
    DELIMITER //\n\
    CREATE PROCEDURE move_money() BEGIN \
        DECLARE a, b INT; \
        WHILE NOT EXISTS (SELECT * FROM stop) DO \
            SET a = 1 + FLOOR(RAND() * 400), b = 1 + FLOOR(RAND() * 400); \
            START TRANSACTION; \
            UPDATE money SET money = money - 1 WHERE id = LEAST(a, b); \
            UPDATE money SET money = money + 1 WHERE id = GREATEST(a, b); \
            COMMIT; \
        END WHILE; \
    END//\n\
    DELIMITER ;";

/// Opens a few times while money moves, and reads by many readers: the sum is what it always was.
async fn sums_agree(ground: &Ground, rounds: u32) {
    ground.sql(MONEY).await;
    let moving = join_all((0..3).map(|_| ground.server.sql("CALL move_money()")));
    let reading = async {
        for round in 0..rounds {
            let snapshot = open(divided(ground.table("money"), 25, 16)).await.unwrap();
            let seen = read(snapshot.as_ref()).await.unwrap();
            assert_eq!(seen.plan.chunks.len(), 16);
            assert_eq!(
                numbers(&seen.batches, "money").iter().sum::<i64>(),
                40_000,
                "round {round}"
            );
            snapshot.close().await;
        }
        ground.sql("INSERT INTO stop VALUES (1)").await;
    };
    let (moved, ()) = tokio::join!(moving, reading);
    assert!(moved.iter().all(Result::is_ok), "{moved:?}");
    let moved = ground.sql("SELECT COUNT(*) > 300 FROM money WHERE money <> 100").await;
    assert_eq!(moved, "1\n", "money moved");
}

/// Commits that need not wait for the disk come thick and fast.
const FAST: &str = "--innodb-flush-log-at-trx-commit=0";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB; run by make test"]
async fn several_readers_see_the_same_while_others_write() {
    let ground = Ground::own_with(arguments(&[FAST])).await;
    sums_agree(&ground, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB; run by make test"]
async fn where_a_backup_runs_the_tables_lock_does_as_well() {
    let ground = Ground::own_with(arguments(&[FAST])).await;
    let mut backup = ground.server.session().await.unwrap();
    backup.run("BACKUP STAGE START").await.unwrap();
    sums_agree(&ground, 3).await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn who_may_not_hold_commits_back_reads_by_one_connection() {
    let ground = Ground::shared().await;
    ground.sql("CREATE TABLE modest (id BIGINT PRIMARY KEY); INSERT INTO modest SELECT seq FROM seq_1_to_100").await;
    let connections = async |user: &str| {
        let sql =
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}'");
        ground.sql(&sql).await.trim().to_owned()
    };
    for (user, grants, expected) in [
        ("modest", ["SELECT ON shop.*"].as_slice(), "1"),
        ("trusted", ["SELECT ON shop.*", "RELOAD ON *.*"].as_slice(), "3"),
    ] {
        let mut request = divided(ground.table("modest"), 10, 3);
        request.secrets = ground.account(user, grants).await;
        let snapshot = open(request).await.unwrap();
        // Connections that only looked go away in their own time.
        let settled = async || connections(user).await == expected;
        eventually("the connections are those that read", LONG, settled).await.unwrap();
        let seen = read(snapshot.as_ref()).await.unwrap();
        assert_eq!((seen.plan.chunks.len(), seen.plan.rows), (10, Some(100)));
        snapshot.close().await;
        let gone = async || connections(user).await == "0";
        eventually("the connections are gone", LONG, gone).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn nobody_waits_once_the_snapshot_is_open_but_who_alters_the_table() {
    let ground = Ground::shared().await;
    ground
        .sql("CREATE TABLE alter_me (id BIGINT PRIMARY KEY); INSERT INTO alter_me VALUES (1), (2)")
        .await;
    let snapshot = open(divided(ground.table("alter_me"), 1, 2)).await.unwrap();
    ground.sql("INSERT INTO alter_me VALUES (3)").await;
    let altering = tokio::spawn(ground.server.sql("ALTER TABLE alter_me ADD COLUMN more INT"));
    let waits = async || {
        let state = "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE state LIKE '%metadata lock%' AND info LIKE 'ALTER TABLE alter_me%'";
        ground.sql(state).await.trim() == "1"
    };
    eventually("the ALTER waits", LONG, waits).await.unwrap();
    let seen = read(snapshot.as_ref()).await.unwrap();
    assert_eq!(seen.plan.rows, Some(2));
    snapshot.check().await.unwrap();
    snapshot.close().await;
    altering.await.unwrap().unwrap();
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_table_without_snapshots_is_refused() {
    let ground = Ground::shared().await;
    ground.sql("CREATE TABLE old (id INT PRIMARY KEY) ENGINE = MyISAM").await;
    let error = ground.refusal(ground.table("old")).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceRefused, false));
    assert!(error.to_string().contains("MyISAM"), "{error}");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn snapshots_have_names_of_their_own() {
    let ground = Ground::shared().await;
    ground.sql("CREATE TABLE named (id INT PRIMARY KEY)").await;
    let (a, b) =
        (open(ground.table("named")).await.unwrap(), open(ground.table("named")).await.unwrap());
    assert_ne!(a.id(), b.id());
    assert!(a.id().len() > 16 && !a.id().contains(char::is_whitespace), "{}", a.id());
    a.close().await;
    b.close().await;
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn nobody_empties_or_alters_what_a_query_reads() {
    let ground = Ground::shared().await;
    ground
        .sql("CREATE TABLE pinned (id BIGINT PRIMARY KEY); INSERT INTO pinned VALUES (1), (2)")
        .await;
    let snapshot =
        open(ground.query("SELECT MAX(id) AS id FROM pinned GROUP BY id")).await.unwrap();
    for change in ["TRUNCATE pinned", "ALTER TABLE pinned ENGINE = MyISAM", "DROP TABLE pinned"] {
        let change = format!("SET lock_wait_timeout = 1; {change}");
        let error = ground.server.sql(&change).await.expect_err("it waits");
        assert!(error.to_string().contains("Lock wait timeout"), "{error}");
    }
    let seen = read(snapshot.as_ref()).await.unwrap();
    assert_eq!(seen.plan.rows, Some(2));
    snapshot.close().await;
    ground.sql("DROP TABLE pinned").await;
}

/// Puts another table of as many rows in the place of `t`, over and over.
const SWAPS: [&str; 2] = [
    "CREATE OR REPLACE TABLE t (id BIGINT PRIMARY KEY) SELECT seq AS id FROM seq_1_to_1000",
    "CREATE OR REPLACE TABLE t_next (id BIGINT PRIMARY KEY); \
     INSERT INTO t_next SELECT seq FROM seq_1_to_1000; \
     RENAME TABLE t TO t_before, t_next TO t; DROP TABLE t_before",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs MariaDB; run by make test"]
async fn a_table_that_is_replaced_again_and_again_never_looks_empty() {
    let ground = Ground::own_with(arguments(&[FAST])).await;
    for swap in SWAPS {
        ground.sql(SWAPS[0]).await;
        let swaps = format!("{swap}; ").repeat(20);
        let replacing = ground.server.sql(&swaps);
        let reading = async {
            for round in 0..10 {
                let even = round % 2 == 0;
                let request =
                    if even { ground.table("t") } else { ground.query("SELECT id FROM t") };
                let seen = match open(request).await {
                    Ok(snapshot) => read(snapshot.as_ref()).await,
                    Err(error) => Err(error),
                };
                match seen {
                    Ok(seen) => assert_eq!(seen.plan.rows, Some(1_000), "{swap}"),
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        };
        let (replaced, ()) = tokio::join!(replacing, reading);
        replaced.unwrap();
    }
}
