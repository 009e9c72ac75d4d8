use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tidegate_extract::{ExtractError, Plan, Snapshot, open};
use tidegate_testing::eventually;
use tidegate_types::{Explained as _, Reason};
use tokio::sync::mpsc;

use crate::support::{Database, chunked, of_interval, read, read_chunks, refused, rows, values};

/// The rows of each chunk, and the sum of a column over all.
async fn shares(snapshot: &dyn Snapshot, plan: &Plan, column: &str) -> (Vec<usize>, i64) {
    let chunks = read_chunks(snapshot, plan).await.unwrap();
    let sums = chunks.iter().map(|chunk| {
        let column = chunk.column_by_name(column).unwrap().as_primitive::<Int64Type>();
        column.iter().flatten().sum::<i64>()
    });
    (chunks.iter().map(|chunk| chunk.num_rows()).collect(), sums.sum())
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn an_empty_table_has_columns_and_no_chunks() {
    let database = Database::with("empty", "CREATE TABLE t (a int8, b text)").await;
    let snapshot = open(database.table("t")).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    assert_eq!((plan.rows, plan.chunks.len()), (Some(0), 0));
    assert_eq!(snapshot.columns().fields().len(), 2);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn blocks_and_keys_divide_all_rows_evenly_each_once() {
    let database = Database::with(
        "divided",
        "CREATE TABLE t AS SELECT i::int8 AS a, i::text AS name, repeat('x', 50) AS pad FROM generate_series(1, 100000) AS i; \
         CREATE TABLE keyed (a int8 PRIMARY KEY, b int8) PARTITION BY RANGE (a); \
         CREATE TABLE k1 PARTITION OF keyed FOR VALUES FROM (0) TO (60000); \
         CREATE TABLE k2 PARTITION OF keyed FOR VALUES FROM (60000) TO (200000); \
         INSERT INTO keyed SELECT i, i FROM generate_series(1, 100000) AS i; \
         CREATE VIEW v AS SELECT a FROM t;",
    )
    .await;
    let sum = 100_000 * 100_001 / 2;
    for (request, by, count) in [
        (database.table("t"), "blocks", 8),
        (chunked(database.table("t"), 0, Some("a")), "keys", 8),
        (chunked(database.table("t"), 0, Some("name")), "keys", 8),
        (database.table("keyed"), "keys", 8),
        (chunked(database.table("v"), 0, Some("a")), "keys", 8),
        (database.table("v"), "all", 1),
        (database.query("SELECT a FROM t"), "all", 1),
        (chunked(database.query("SELECT a FROM t"), 0, Some("a")), "keys", 8),
    ] {
        let field = request.chunking.field.clone();
        let snapshot = open(chunked(request, 12_500, field.as_deref())).await.unwrap();
        let plan = snapshot.plan().await.unwrap();
        assert_eq!(plan.rows, Some(100_000));
        let ways: BTreeSet<_> =
            plan.chunks.iter().map(|chunk| chunk.bounds["by"].as_str().unwrap()).collect();
        assert_eq!((ways.into_iter().collect::<Vec<_>>(), plan.chunks.len()), (vec![by], count));
        let (rows, total) = shares(&*snapshot, &plan, "a").await;
        assert_eq!((rows.iter().sum::<usize>(), total), (100_000, sum), "{by} {field:?}");
        if count > 1 {
            assert!(
                rows.iter().all(|rows| (11_000..14_000).contains(rows)),
                "{by} {field:?} {rows:?}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_skewed_key_gives_even_chunks_and_a_single_value_one() {
    let database = Database::with(
        "skewed",
        "CREATE TABLE t AS SELECT (2 ^ (i / 2000.0))::int8 AS a FROM generate_series(1, 100000) AS i; \
         INSERT INTO t SELECT NULL FROM generate_series(1, 100); \
         CREATE TABLE same AS SELECT 7::int8 AS a FROM generate_series(1, 1000) AS i; ANALYZE;",
    )
    .await;
    let snapshot = open(chunked(database.table("t"), 10_010, Some("a"))).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let chunks = read_chunks(&*snapshot, &plan).await.unwrap();
    let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.num_rows()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 100_100);
    assert!(
        sizes.len() == 10 && sizes.iter().all(|rows| (7_000..13_000).contains(rows)),
        "{sizes:?}"
    );
    let snapshot = open(chunked(database.table("same"), 100, Some("a"))).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let (rows, sum) = shares(&*snapshot, &plan, "a").await;
    assert_eq!((rows.iter().max(), sum), (Some(&1000), 7000));
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn one_row_may_be_larger_than_a_batch() {
    let database = Database::with(
        "large",
        "CREATE TABLE t (a int8, b bytea); INSERT INTO t VALUES (1, 'x'); \
         INSERT INTO t SELECT 2, decode(repeat('ab', 50000000), 'hex'); INSERT INTO t VALUES (3, 'y');",
    )
    .await;
    let all = rows(database.table("t")).await.unwrap();
    let sizes: Vec<_> = all.column(1).as_binary::<i32>().iter().map(|b| b.unwrap().len()).collect();
    assert_eq!(sizes, [1, 50_000_000, 1]);
    assert_eq!(all.column(1).as_binary::<i32>().value(1)[49_999_999], 0xab);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_row_that_is_too_large_is_refused_with_its_place() {
    let database = Database::with(
        "too_large",
        "CREATE TABLE one (a int8, b text); INSERT INTO one VALUES (1, 'x'); \
         INSERT INTO one SELECT 2, repeat('y', 70000000); \
         CREATE TABLE two (a int8, b text, c text, d int8); \
         INSERT INTO two SELECT 1, repeat('y', 40000000), repeat('z', 40000000), 2; \
         CREATE TABLE fits (a int8, b text, c text); \
         INSERT INTO fits SELECT 1, repeat('y', 30000000), repeat('z', 30000000)",
    )
    .await;
    database.forget("uri");
    let port = database.port().to_string();
    for (key, value) in [
        ("user", "tidegate"),
        ("password", "pg-canary"),
        ("database", "too_large"),
        ("port", &port),
    ] {
        database.secret(key, value);
    }
    for (host, one, both) in [
        ("127.0.0.1", "row 1, column \"b\"", "row 0, column \"c\""),
        // The client takes messages whole there, and a row is looked at then.
        (&database.socket_folder(), "row 1, column \"b\"", "row 0: "),
    ] {
        database.secret("host", host);
        assert_eq!(rows(database.table("fits")).await.unwrap().num_rows(), 1);
        for (table, place) in [("one", one), ("two", both)] {
            let error = rows(database.table(table)).await.unwrap_err();
            assert_eq!(
                (error.reason(), error.is_transient()),
                (Reason::TooLarge, false),
                "{error}"
            );
            let text = error.to_string();
            assert!(text.contains(place) && text.contains("larger than 64 MiB"), "{text}");
        }
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn what_is_written_meanwhile_is_not_seen_by_any_chunk() {
    let database = Database::with(
        "growing",
        "CREATE TABLE t AS SELECT i::int8 AS a FROM generate_series(1, 10000) AS i",
    )
    .await;
    let snapshot = open(chunked(database.table("t"), 1000, None)).await.unwrap();
    database.sql("INSERT INTO t SELECT i FROM generate_series(10001, 60000) AS i").await;
    let plan = snapshot.plan().await.unwrap();
    assert_eq!(plan.rows, Some(10_000));
    let first = read(&*snapshot, &plan, 0).await.unwrap();
    database.sql("UPDATE t SET a = -a; DELETE FROM t WHERE a > -500").await;
    let (rows, sum) = shares(&*snapshot, &plan, "a").await;
    assert_eq!((rows.iter().sum::<usize>(), sum), (10_000, 10_000 * 10_001 / 2));
    // A chunk is read again as it was.
    assert_eq!(read(&*snapshot, &plan, 0).await.unwrap(), first);
    snapshot.check().await.unwrap();
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_table_that_is_emptied_and_filled_meanwhile_is_read_as_filled() {
    let database =
        Database::with("emptied", "CREATE TABLE t (a int8); INSERT INTO t VALUES (1)").await;
    let mut session = database.session();
    session.run("BEGIN; TRUNCATE t; INSERT INTO t VALUES (5)").await.unwrap();
    let reading = tokio::spawn(rows(database.table("t")));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'emptied' \
         AND application_name LIKE 'tidegate/%' AND wait_event_type = 'Lock'";
    let waits = async || database.sql(waits).await == "1";
    eventually("the reader waits for the lock", Duration::from_secs(30), waits).await.unwrap();
    session.run("COMMIT").await.unwrap();
    // A snapshot from before would show neither the old row nor the new one.
    assert_eq!(values(&reading.await.unwrap().unwrap(), "a"), ["5"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn time_limits_of_the_database_do_not_end_a_long_read() {
    let database = Database::new("limits").await;
    database
        .sql(
            "ALTER DATABASE limits SET statement_timeout = '1s'; \
             ALTER DATABASE limits SET idle_in_transaction_session_timeout = '500ms'",
        )
        .await;
    let all = rows(database.query("SELECT 1::int8 AS a FROM pg_sleep(1.5)")).await.unwrap();
    assert_eq!(all.num_rows(), 1);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_role_that_may_read_some_columns_reads_those() {
    let database = Database::with(
        "some_columns",
        "CREATE TABLE t (a int8, hidden text); INSERT INTO t VALUES (1, 'x'); \
         CREATE ROLE some_columns LOGIN PASSWORD 'pw'; GRANT SELECT (a) ON t TO some_columns;",
    )
    .await;
    database.secret("uri", &database.url_as("some_columns", "pw"));
    assert_eq!(values(&rows(database.query("SELECT a FROM t")).await.unwrap(), "a"), ["1"]);
    let error = refused(database.query("SELECT a, hidden FROM t")).await;
    assert_eq!(error.reason(), Reason::SourceRefused);
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn intervals_of_a_cursor_take_every_row_once() {
    let database = Database::with(
        "cursor_chunks",
        "CREATE TABLE t AS SELECT i::int8 AS a, '2026-06-01Z'::timestamptz + i * interval '1 second' AS at \
         FROM generate_series(0, 86399) AS i; CREATE INDEX ON t (at); ALTER TABLE t ALTER at SET NOT NULL;",
    )
    .await;
    let mut total = 0;
    for hour in 0..24 {
        let end = if hour == 23 {
            "2026-06-02T00:00:00Z".to_owned()
        } else {
            format!("2026-06-01T{:02}:00:00Z", hour + 1)
        };
        let interval = format!("2026-06-01T{hour:02}:00:00Z/{end}");
        let request = chunked(of_interval(database.table("t"), "at", &interval), 1000, None);
        let snapshot = open(request).await.unwrap();
        let plan = snapshot.plan().await.unwrap();
        assert_eq!((plan.rows, plan.chunks.len()), (Some(3600), 4));
        assert_eq!(plan.chunks[0].bounds["column"], "at");
        let (rows, sum) = shares(&*snapshot, &plan, "a").await;
        assert_eq!(rows.iter().sum::<usize>(), 3600);
        total += sum;
    }
    assert_eq!(total, 86_399 * 86_400 / 2);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_reader_ends_when_nobody_takes_the_rows() {
    let database = Database::with(
        "cancelled",
        "CREATE TABLE t AS SELECT i::int8 AS a FROM generate_series(1, 1000000) AS i",
    )
    .await;
    let snapshot = open(database.table("t")).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let stop = async {
        receiver.recv().await.unwrap();
        receiver.close();
        while receiver.recv().await.is_some() {}
    };
    let (read, ()) = tokio::join!(snapshot.read(&plan.chunks[0], sender), stop);
    assert!(matches!(read, Err(ExtractError::Cancelled)), "{read:?}");
}
