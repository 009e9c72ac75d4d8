//! What is read stays as it is, and is there: locks before the snapshot, no rows hidden, no rows elsewhere.

use std::time::Duration;

use tidegate_extract::{ReadRequest, open};
use tidegate_testing::{POSTGRES_DATABASE, eventually};
use tidegate_types::{Explained as _, Reason};
use tokio::time::timeout;

use crate::support::{Database, chunked, fields, of_interval, read, refused, rows, values};

const LONG: Duration = Duration::from_secs(30);

/// Begins `refresh` and leaves it open, starts reading, and commits when the reading waits for it; how
/// many rows were read.
async fn rows_of_a_refresh(database: &Database, request: ReadRequest, refresh: &str) -> usize {
    let mut session = database.session();
    session.run(&format!("BEGIN; {refresh}")).await.unwrap();
    let reading = tokio::spawn(rows(request));
    let waits = async || {
        let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name LIKE 'tidegate/%' AND wait_event_type = 'Lock'";
        database.sql(waiting).await == "t"
    };
    eventually("the reading waits", LONG, waits).await.unwrap();
    session.run("COMMIT").await.unwrap();
    reading.await.unwrap().unwrap().num_rows()
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_refresh_that_goes_on_never_makes_anything_look_empty() {
    let database = Database::with(
        "refreshed",
        "CREATE TABLE t (a int8, b text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 2800) AS i; \
         CREATE VIEW v AS SELECT a FROM t WHERE b = 'x'; \
         CREATE TABLE parted (a int8) PARTITION BY RANGE (a); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (3000); \
         INSERT INTO parted SELECT a FROM t; \
         CREATE TABLE parent (a int8); CREATE TABLE child () INHERITS (parent); \
         INSERT INTO child SELECT a FROM t; \
         CREATE ROLE refreshed_some LOGIN PASSWORD 'pw'; GRANT SELECT (a) ON t TO refreshed_some; \
         CREATE ROLE refreshed_view LOGIN PASSWORD 'pw'; GRANT SELECT ON v TO refreshed_view;",
    )
    .await;
    let as_role = |role: &str| database.secret("uri", &database.url_as(role, "pw"));
    let (reload, part, child) = (
        "TRUNCATE t; INSERT INTO t SELECT i, 'x' FROM generate_series(1, 2800) AS i",
        "TRUNCATE part; INSERT INTO part SELECT i FROM generate_series(1, 2800) AS i",
        "TRUNCATE child; INSERT INTO child SELECT i FROM generate_series(1, 2800) AS i",
    );
    let rewrite = "ALTER TABLE t ADD COLUMN chance float8 DEFAULT random()";
    let swap = "CREATE TABLE next AS TABLE t; DROP TABLE t CASCADE; ALTER TABLE next RENAME TO t";
    let query = database.query("SELECT a FROM t");
    let cases = [
        ("tidegate", database.table("t"), reload),
        ("tidegate", query.clone(), reload),
        ("tidegate", query.clone(), rewrite),
        ("tidegate", database.query("SELECT a FROM v"), reload),
        ("tidegate", database.table("parted"), part),
        ("tidegate", database.query("SELECT a FROM parted"), part),
        ("tidegate", database.query("SELECT a FROM parent"), child),
        ("refreshed_view", database.table("v"), reload),
        ("refreshed_some", query, reload),
        (
            "refreshed_some",
            ReadRequest { fields: fields(&[("a", "long")]), ..database.table("t") },
            reload,
        ),
        ("tidegate", chunked(database.table("t"), 1000, None), swap),
    ];
    for (role, request, refresh) in cases {
        match role {
            "tidegate" => database.secret("uri", &database.url()),
            role => as_role(role),
        }
        let what = format!("{role} {:?} {refresh}", request.source);
        assert_eq!(rows_of_a_refresh(&database, request, refresh).await, 2800, "{what}");
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn nobody_empties_or_rewrites_what_is_read() {
    let database = Database::with(
        "locked",
        "CREATE TABLE t (a int8, b text); INSERT INTO t VALUES (1); CREATE VIEW v AS SELECT a FROM t; \
         CREATE ROLE locked_some LOGIN PASSWORD 'pw'; GRANT SELECT (a) ON t TO locked_some",
    )
    .await;
    let mut session = database.session();
    session.run("SET lock_timeout = '100ms'").await.unwrap();
    for (role, request) in [
        (None, database.table("t")),
        (None, database.table("v")),
        (None, database.query("SELECT a FROM t")),
        (Some("locked_some"), database.query("SELECT a FROM t")),
    ] {
        let uri = role.map_or_else(|| database.url(), |role| database.url_as(role, "pw"));
        database.secret("uri", &uri);
        let snapshot = open(request).await.unwrap();
        session.run("TRUNCATE t").await.unwrap();
        assert_eq!(session.run("SELECT count(*) FROM t").await.unwrap(), ["1"]);
        assert_eq!(snapshot.plan().await.unwrap().rows, Some(1));
        snapshot.check().await.unwrap();
        snapshot.close().await;
    }
    session.run("TRUNCATE t").await.unwrap();
    assert_eq!(session.run("SELECT count(*) FROM t").await.unwrap(), ["0"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_lock_is_waited_for_a_minute_and_then_named() {
    let database = Database::with("kept", "CREATE TABLE t (a int8)").await;
    let mut session = database.session();
    session.run("BEGIN; LOCK TABLE t").await.unwrap();
    let error = refused(database.query("SELECT a FROM t")).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceChanged, true), "{error}");
    assert!(error.to_string().contains("somebody alters, empties or locks"), "{error}");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_load_gives_way_to_who_wants_the_table_for_himself() {
    let database =
        Database::with("wanted", "CREATE TABLE t (a int8); INSERT INTO t VALUES (1)").await;
    let snapshot = open(database.table("t")).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let mut session = database.session();
    let altering =
        tokio::spawn(async move { session.run("ALTER TABLE t ADD COLUMN b int8").await });
    let waits = async || {
        let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() \
             AND query LIKE 'ALTER TABLE%' AND wait_event_type = 'Lock'";
        database.sql(waiting).await == "t"
    };
    eventually("the ALTER waits", LONG, waits).await.unwrap();
    for error in [
        timeout(LONG, read(&*snapshot, &plan, 0)).await.expect("at once").expect_err("it waits"),
        timeout(LONG, snapshot.plan()).await.expect("at once").expect_err("it waits"),
    ] {
        // A reason with which no chunk is tried again under the snapshot.
        assert_eq!(
            (error.reason(), error.is_transient()),
            (Reason::SourceChanged, true),
            "{error}"
        );
    }
    snapshot.close().await;
    altering.await.unwrap().unwrap();
    assert_eq!(rows(database.table("t")).await.unwrap().num_columns(), 2);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn rows_that_a_policy_hides_are_refused_rather_than_missed() {
    let database = Database::with(
        "policies",
        "CREATE TABLE t (a int8, tenant int8); INSERT INTO t SELECT i, i % 2 FROM generate_series(1, 100) AS i; \
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY one ON t USING (tenant = 0); \
         CREATE VIEW one_tenant AS SELECT a FROM t WHERE tenant = 0; \
         CREATE ROLE filtered LOGIN PASSWORD 'pw'; GRANT SELECT ON t, one_tenant TO filtered; \
         CREATE ROLE unfiltered LOGIN PASSWORD 'pw' BYPASSRLS; GRANT SELECT ON t TO unfiltered;",
    )
    .await;
    database.secret("uri", &database.url_as("filtered", "pw"));
    for request in [database.table("t"), database.query("SELECT a FROM t")] {
        let error = refused(request).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::SourceRefused, false));
        assert!(error.to_string().contains("BYPASSRLS"), "{error}");
    }
    assert_eq!(rows(database.table("one_tenant")).await.unwrap().num_rows(), 50);
    database.secret("uri", &database.url_as("unfiltered", "pw"));
    assert_eq!(rows(database.table("t")).await.unwrap().num_rows(), 100);
    database.secret("uri", &database.url());
    assert_eq!(rows(database.table("t")).await.unwrap().num_rows(), 100);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn what_lies_on_another_server_has_no_snapshot_here() {
    let database = Database::new("elsewhere").await;
    let (port, text) = (database.port(), r#"Node Type: "Foreign Scan""#);
    database
        .sql(&format!(
            "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw \
             OPTIONS (host '127.0.0.1', port '{port}', dbname '{POSTGRES_DATABASE}'); \
             CREATE USER MAPPING FOR tidegate SERVER far OPTIONS (user 'tidegate', password 'pg-canary'); \
             CREATE FOREIGN TABLE far (oid oid) SERVER far OPTIONS (schema_name 'pg_catalog', table_name 'pg_class'); \
             CREATE VIEW v AS SELECT count(*) AS n FROM far; \
             CREATE TABLE parted (oid oid) PARTITION BY RANGE (oid); \
             CREATE TABLE near PARTITION OF parted FOR VALUES FROM (0) TO (100); \
             CREATE FOREIGN TABLE away PARTITION OF parted FOR VALUES FROM (100) TO (200) SERVER far; \
             CREATE TABLE t (a text); INSERT INTO t VALUES ('{text}')"
        ))
        .await;
    for request in [
        database.table("far"),
        database.table("v"),
        database.table("parted"),
        database.query("SELECT a FROM t WHERE EXISTS (SELECT FROM far)"),
    ] {
        let error = refused(request).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::SourceRefused, false));
        assert!(error.to_string().contains("from its own server"), "{error}");
    }
    // The partitions that lie here, and what only speaks of such things.
    rows(database.table("near")).await.unwrap();
    let speaks = database.query(&format!("SELECT a FROM t WHERE a = '{text}'"));
    assert_eq!(values(&rows(speaks).await.unwrap(), "a"), [text]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn rows_are_divided_only_by_what_is_stored() {
    let database = Database::with(
        "divided_by",
        "CREATE TABLE t AS SELECT i::int8 AS a FROM generate_series(1, 3000) AS i; \
         CREATE MATERIALIZED VIEW kept AS SELECT row_number() OVER () AS rn FROM t; \
         CREATE VIEW inner_one AS SELECT row_number() OVER () AS rn, a FROM t; \
         CREATE VIEW outer_one AS SELECT rn, a AS id FROM inner_one",
    )
    .await;
    let by = |request, field| chunked(request, 1000, Some(field));
    for request in [
        by(database.query("SELECT row_number() OVER () AS rn, a FROM t"), "rn"),
        by(database.query("SELECT n FROM (SELECT rn AS n FROM inner_one) AS s"), "n"),
        by(database.table("inner_one"), "rn"),
        by(database.table("outer_one"), "rn"),
    ] {
        let error = refused(request).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
        assert!(error.to_string().contains("is computed"), "{error}");
    }
    for request in [
        by(database.table("kept"), "rn"),
        by(database.table("outer_one"), "id"),
        by(database.query("WITH w AS (SELECT id FROM outer_one) SELECT id FROM w"), "id"),
    ] {
        let snapshot = open(request.clone()).await.unwrap();
        assert_eq!(snapshot.plan().await.unwrap().chunks.len(), 3);
        snapshot.close().await;
        assert_eq!(rows(request).await.unwrap().num_rows(), 3000);
    }
    // Rows without a key are in a chunk too, whatever the parent promises.
    let nulls = "CREATE TABLE parent (a int8 NOT NULL); CREATE TABLE child () INHERITS (parent); \
         ALTER TABLE child ALTER a DROP NOT NULL; INSERT INTO child SELECT a FROM t; \
         INSERT INTO child VALUES (NULL)";
    database.sql(nulls).await;
    assert_eq!(rows(by(database.table("parent"), "a")).await.unwrap().num_rows(), 3001);
    // What an order is not said of begins where another reader is.
    let setting = database.query("SELECT current_setting('synchronize_seqscans') AS s");
    assert_eq!(values(&rows(setting).await.unwrap(), "s"), ["off"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn rows_that_a_refresh_brings_have_no_intervals() {
    let database = Database::with(
        "refreshes",
        "CREATE TABLE t (a int8, at timestamptz); CREATE MATERIALIZED VIEW m AS SELECT * FROM t; \
         CREATE VIEW v AS SELECT * FROM m",
    )
    .await;
    let day = "2026-06-01T00:00:00Z/2026-06-02T00:00:00Z";
    let query = database.query("SELECT at FROM v JOIN t USING (a, at)");
    for request in [database.table("m"), database.table("v"), query] {
        let error = refused(of_interval(request.clone(), "at", day)).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
        assert!(error.to_string().contains("materialised view m,"), "{error}");
        rows(request).await.unwrap();
    }
    rows(of_interval(database.table("t"), "at", day)).await.unwrap();
}
