//! Dividing a table: keys of every kind, and names that try to break out.

use std::collections::BTreeSet;

use tidegate_config::Relation;
use tidegate_extract::{ReadRequest, open};
use tidegate_types::{Explained, Reason};

use crate::ground::{Ground, Read, divided, numbers, of_interval, read};

async fn all(request: ReadRequest) -> Read {
    let snapshot = open(request).await.unwrap();
    let all = read(snapshot.as_ref()).await.unwrap();
    snapshot.close().await;
    all
}

fn sizes(read: &Read) -> Vec<u64> {
    read.counts.iter().map(|chunk| chunk.rows).collect()
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn chunks_are_alike_however_the_keys_are_spread() {
    let ground = Ground::shared().await;
    // Half of the rows lie in a thousandth of the range, the others far apart on both sides of zero.
    ground
        .sql(
            "CREATE TABLE skewed (id BIGINT PRIMARY KEY); INSERT INTO skewed SELECT seq FROM seq_1_to_500; \
             INSERT INTO skewed SELECT -seq * 1000000007 FROM seq_1_to_250; \
             INSERT INTO skewed SELECT seq * 36028797018963967 FROM seq_1_to_250;",
        )
        .await;
    let read = all(divided(ground.table("skewed"), 100, 4)).await;
    assert_eq!(sizes(&read), [100; 10]);
    let estimates: Vec<_> = read.plan.chunks.iter().map(|chunk| chunk.estimated_rows).collect();
    assert_eq!(estimates, [100; 10]);
    assert_eq!(numbers(&read.batches, "id").into_iter().collect::<BTreeSet<_>>().len(), 1_000);
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn rows_of_one_key_stay_together_and_those_without_are_not_forgotten() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE heavy (id BIGINT PRIMARY KEY, shop INT NULL, KEY (shop)); \
             INSERT INTO heavy SELECT seq, CASE WHEN seq <= 500 THEN 7 WHEN seq <= 550 THEN NULL ELSE seq END \
             FROM seq_1_to_1000; UPDATE heavy SET shop = 1 WHERE id = 1000;",
        )
        .await;
    let mut request = divided(ground.table("heavy"), 100, 2);
    request.chunking.field = Some("SHOP".into());
    let read = all(request).await;
    assert_eq!(read.plan.rows, Some(1_000));
    assert_eq!(numbers(&read.batches, "id").into_iter().collect::<BTreeSet<_>>().len(), 1_000);
    let sizes = sizes(&read);
    assert_eq!(sizes.last(), Some(&50), "those without a key");
    assert_eq!(sizes.iter().filter(|size| **size > 100).count(), 1, "{sizes:?}");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn keys_reach_from_end_to_end_of_their_types() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE far (id BIGINT UNSIGNED PRIMARY KEY, n BIGINT NOT NULL, at DATETIME(6) NOT NULL, KEY (at)); \
             INSERT INTO far SELECT 18446744073709551615 - seq + 1, seq, TIMESTAMP('2026-01-01') + INTERVAL seq MICROSECOND FROM seq_1_to_90; \
             INSERT INTO far VALUES (0, 0, '0001-01-01'), (1, 91, '9999-12-31 23:59:59.999999');",
        )
        .await;
    for field in [None, Some("at"), Some("n")] {
        let mut request = divided(ground.table("far"), 10, 2);
        request.chunking.field = field.map(str::to_owned);
        let read = all(request).await;
        assert_eq!(sizes(&read), [10, 10, 10, 10, 10, 10, 10, 10, 10, 2], "{field:?}");
        let seen: BTreeSet<_> = numbers(&read.batches, "n").into_iter().collect();
        assert_eq!(seen, (0..=91).collect());
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn what_has_no_key_or_no_rows_is_one_chunk() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE empty (id BIGINT PRIMARY KEY, name TEXT); CREATE TABLE keyless (n BIGINT); \
             INSERT INTO keyless SELECT seq FROM seq_1_to_50; \
             CREATE TABLE by_name (name VARCHAR(20) PRIMARY KEY, n BIGINT); INSERT INTO by_name VALUES ('a', 1), ('b', 2); \
             CREATE VIEW seen AS SELECT n * 2 AS n FROM keyless;",
        )
        .await;
    for (request, rows) in [
        (ground.table("empty"), 0),
        (ground.table("keyless"), 50),
        (ground.table("by_name"), 2),
        (ground.table("seen"), 50),
        (ground.query("SELECT * FROM keyless WHERE n > 10"), 40),
    ] {
        let read = all(divided(request, 1, 3)).await;
        assert_eq!(sizes(&read), [rows]);
    }
    let mut request = divided(ground.query("SELECT n FROM keyless"), 20, 3);
    request.chunking.field = Some("n".into());
    assert_eq!(sizes(&all(request).await), [20, 20, 10]);
    for (field, says) in [("name", "only whole numbers"), ("nothing", "no column")] {
        let mut request = ground.table("by_name");
        request.chunking.field = Some(field.into());
        let error = ground.refusal(request).await;
        assert_eq!(error.reason(), Reason::InvalidConfiguration);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn names_do_not_break_out_of_their_quotes() {
    let ground = Ground::shared().await;
    ground.sql("CREATE TABLE target (id INT PRIMARY KEY)").await;
    let names =
        ["`; DROP TABLE target; --", "a`b``c", "it's \"1\" ?", "$x :name #", r"\`back", "漢字"];
    for name in names {
        let schema = format!("s{name}");
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let (database, table) = (quoted(&schema), quoted(name));
        let cursor = format!("at {name}");
        ground
            .sql(&format!(
                "CREATE DATABASE {database}; \
                 CREATE TABLE {database}.{table} ({table} BIGINT PRIMARY KEY, {} TIMESTAMP NOT NULL); \
                 INSERT INTO {database}.{table} SELECT seq, '2026-06-01 00:30:00' FROM seq_1_to_20",
                quoted(&cursor)
            ))
            .await;
        let relation = Relation::Table { schema: Some(schema), name: name.to_owned() };
        let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
        let request = of_interval(divided(ground.relation(relation), 5, 2), &cursor, hour);
        let read = all(request).await;
        assert_eq!(sizes(&read), [5; 4], "{name}");
        assert!(read.plan.chunks[0].what.contains(name));
    }
    assert_eq!(ground.sql("SELECT COUNT(*) FROM target").await, "0\n");
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_query_is_one_select_that_writes_nothing() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE safe (id BIGINT PRIMARY KEY); INSERT INTO safe VALUES (1), (2);\n\
             DELIMITER //\n\
             CREATE FUNCTION writes() RETURNS INT DETERMINISTIC \
             BEGIN DELETE FROM safe; RETURN 1; END//\n\
             DELIMITER ;",
        )
        .await;
    for query in [
        "DELETE FROM safe",
        "SELECT 1) AS t; DROP TABLE safe; -- ",
        "SELECT 1; DROP TABLE safe",
        "SELECT 1) AS a UNION SELECT * FROM (SELECT 2",
        "SELECT id FROM safe INTO OUTFILE '/tmp/tidegate-never'",
        "SELECT id FROM safe FOR UPDATE",
        "SELECT writes() AS w",
        "SELECT id FROM safe WHERE id = ?",
        "SELECT id FROM safe WHERE id = :id",
        "SELECT id, id FROM safe",
        "SELECT nothing FROM safe",
        "",
    ] {
        match open(ground.query(query)).await {
            Err(error) => assert_eq!(
                (error.reason(), error.is_transient()),
                (Reason::SourceRefused, false),
                "{query}: {error}"
            ),
            Ok(snapshot) => {
                let outcome = read(snapshot.as_ref()).await;
                // What locks reads all the same.
                let harmless = query.contains("FOR UPDATE");
                assert_eq!(outcome.is_ok(), harmless, "{query}");
                snapshot.close().await;
            }
        }
        assert_eq!(ground.sql("SELECT COUNT(*) FROM safe").await, "2\n", "{query}");
    }
    for query in [
        "SELECT id FROM safe -- all; of them",
        "SELECT id FROM safe;\n",
        "WITH one AS (SELECT id FROM safe) SELECT id FROM one UNION ALL SELECT id FROM one WHERE id < 0",
        "SELECT id FROM safe WHERE ':a' <> '?' /* ? :b */",
    ] {
        assert_eq!(ground.rows(ground.query(query)).await, ["1", "2"], "{query}");
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn rows_are_divided_only_by_what_is_stored() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE stored (id BIGINT PRIMARY KEY, twice BIGINT AS (id * 2) VIRTUAL); \
             INSERT INTO stored (id) SELECT seq FROM seq_1_to_30; \
             CREATE VIEW counted AS SELECT ROW_NUMBER() OVER () AS rn, id FROM stored; \
             CREATE VIEW plain AS SELECT * FROM stored; \
             CREATE VIEW shaken AS SELECT CAST(id + RAND() AS SIGNED) AS rn, id FROM stored; \
             CREATE VIEW deep AS SELECT rn, id FROM shaken",
        )
        .await;
    let by = |mut request: ReadRequest, field: &str| {
        request.chunking.field = Some(field.to_owned());
        divided(request, 10, 2)
    };
    let query = || ground.query("SELECT ROW_NUMBER() OVER () AS rn, id FROM stored");
    let nested =
        "WITH n AS (SELECT ROW_NUMBER() OVER () AS id FROM stored) SELECT id FROM n AS stored";
    for request in [
        by(query(), "rn"),
        by(ground.query("SELECT id FROM (SELECT id FROM stored LIMIT 30) AS stored"), "id"),
        by(ground.query("SELECT id FROM stored UNION ALL SELECT -id FROM stored"), "id"),
        by(ground.query(nested), "id"),
        by(ground.table("counted"), "rn"),
        by(ground.table("shaken"), "rn"),
        by(ground.table("deep"), "rn"),
    ] {
        let error = ground.refusal(request).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
        assert!(error.to_string().contains("is computed"), "{error}");
    }
    for (request, field) in [
        (query(), "ID"),
        (ground.query("WITH n AS (SELECT id FROM stored) SELECT id FROM n"), "id"),
        (ground.table("plain"), "id"),
        (ground.table("stored"), "twice"),
    ] {
        assert_eq!(sizes(&all(by(request, field)).await), [10; 3], "{field}");
    }
}
