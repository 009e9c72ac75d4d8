//! Names mean what they meant when they were locked: renaming a schema waits for no reader of its tables.

use tidegate_extract::{ExtractError, ReadRequest, Snapshot, join, open};
use tidegate_types::{Explained as _, Reason};
use tokio::sync::mpsc;

use crate::support::{Database, chunked, read, read_chunks, rows};

/// What the new table is, and when it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Made and filled in the transaction that swaps.
    Younger,
    /// There, with all rows, before the snapshot was taken.
    Older,
}

/// Where one schema takes the place of another while it is read.
struct Swapped {
    database: Database,
    number: usize,
}

impl Swapped {
    async fn new(name: &str) -> Self {
        Self { database: Database::new(name).await, number: 0 }
    }

    /// Fills another schema; its name.
    async fn fill(&mut self, next: Next) -> String {
        self.number += 1;
        let schema = format!("s{}", self.number);
        let filled = format!(
            "CREATE SCHEMA {schema}; \
             CREATE TABLE {schema}.t AS SELECT i::int8 AS a FROM generate_series(1, 1000) AS i; \
             CREATE VIEW {schema}.v AS SELECT a FROM {schema}.t"
        );
        self.database.sql(&filled).await;
        if next == Next::Older {
            self.database.sql(&made(&schema)).await;
        }
        schema
    }

    /// A table, a view of it, and a query, in the schema.
    fn requests(&self, schema: &str) -> [ReadRequest; 3] {
        let query = format!("SELECT a FROM {schema}.t");
        let database = &self.database;
        [database.table_in(schema, "t"), database.table_in(schema, "v"), database.query(&query)]
    }

    /// It goes through at once: the locks of who reads do not stop it.
    async fn swap(&self, schema: &str, next: Next) {
        let made = if next == Next::Younger { made(schema) } else { String::new() };
        let swap = format!(
            "BEGIN; {made}; ALTER SCHEMA {schema} RENAME TO {schema}_old; \
             ALTER SCHEMA {schema}_next RENAME TO {schema}; COMMIT"
        );
        self.database.sql(&swap).await;
    }
}

fn made(schema: &str) -> String {
    format!(
        "CREATE SCHEMA {schema}_next; CREATE TABLE {schema}_next.t AS TABLE {schema}.t; \
         CREATE VIEW {schema}_next.v AS SELECT a FROM {schema}_next.t"
    )
}

fn assert_changed<T>(outcome: Result<T, ExtractError>, what: &str) {
    let Err(error) = outcome else { panic!("{what}: it read another table") };
    let found = (error.reason(), error.is_transient());
    assert_eq!(found, (Reason::SourceChanged, true), "{what}: {error}");
    assert!(error.to_string().contains("came to mean another table"), "{what}: {error}");
}

/// Swaps the schema for each kind of source under a snapshot, and hands both to `look` before and after.
async fn swapped_between(
    name: &str,
    look: impl AsyncFn(&dyn Snapshot, ReadRequest, &Swapped, &str, Next),
) {
    let mut swapped = Swapped::new(name).await;
    for next in [Next::Younger, Next::Older] {
        for kind in 0..3 {
            let schema = swapped.fill(next).await;
            let request = swapped.requests(&schema)[kind].clone();
            let snapshot = open(request.clone()).await.unwrap();
            look(&*snapshot, request.clone(), &swapped, &schema, next).await;
            snapshot.check().await.unwrap();
            snapshot.close().await;
            assert_eq!(rows(request).await.unwrap().num_rows(), 1000, "the next attempt");
        }
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_schema_that_is_swapped_before_the_plan_is_noticed() {
    swapped_between("swapped_before", async |snapshot, request, swapped, schema, next| {
        swapped.swap(schema, next).await;
        assert_changed(snapshot.plan().await, &format!("{:?} {next:?}", request.source));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_schema_that_is_swapped_before_a_chunk_is_noticed() {
    swapped_between("swapped_after", async |snapshot, request, swapped, schema, next| {
        let plan = snapshot.plan().await.unwrap();
        assert_eq!(plan.rows, Some(1000));
        swapped.swap(schema, next).await;
        let what = format!("{:?} {next:?}", request.source);
        assert_changed(read(snapshot, &plan, 0).await, &what);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_schema_that_is_swapped_before_a_pod_joins_is_noticed() {
    swapped_between("swapped_joining", async |snapshot, request, swapped, schema, next| {
        let ticket = snapshot.ticket().unwrap();
        let plan = snapshot.plan().await.unwrap();
        let joined = join(request.clone(), ticket.clone()).await.unwrap();
        assert_eq!(read_chunks(&*joined, &plan).await.unwrap()[0].num_rows(), 1000);
        swapped.swap(schema, next).await;
        let what = format!("{:?} {next:?}", request.source);
        assert_changed(read(&*joined, &plan, 0).await, &what);
        assert_changed(join(request, ticket).await.map(drop), &what);
        joined.close().await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_schema_that_is_swapped_back_before_a_chunk_ends_is_noticed() {
    let filled = "CREATE SCHEMA s; \
         CREATE TABLE s.t AS SELECT i::int8 AS a FROM generate_series(1, 50000) AS i; \
         CREATE SCHEMA s_next; CREATE TABLE s_next.t AS TABLE s.t";
    let database = Database::with("swapped_back", filled).await;
    let rename = async |from: &str, to: &str, next: &str| {
        let swap = format!("ALTER SCHEMA s RENAME TO {to}; ALTER SCHEMA {from} RENAME TO {next}");
        database.sql(&format!("BEGIN; {swap}; COMMIT")).await;
    };
    let snapshot = open(database.table_in("s", "t")).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    rename("s_next", "s_old", "s").await;
    // The reader is not done before its pieces are taken.
    let (into, mut pieces) = mpsc::channel(1);
    let back = async {
        pieces.recv().await.unwrap();
        rename("s_old", "s_next", "s").await;
        while pieces.recv().await.is_some() {}
    };
    let (outcome, ()) = tokio::join!(snapshot.read(&plan.chunks[0], into), back);
    assert_changed(outcome, "swapped back");
    assert_eq!(read_chunks(&*snapshot, &plan).await.unwrap()[0].num_rows(), 50_000);
    snapshot.close().await;
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn what_is_added_to_what_is_read_is_no_other_table() {
    let database = Database::with(
        "added",
        "CREATE TABLE t AS SELECT i::int8 AS a FROM generate_series(0, 2799) AS i; \
         CREATE TABLE parted (a int8) PARTITION BY RANGE (a); \
         CREATE TABLE p0 PARTITION OF parted FOR VALUES FROM (0) TO (1000); \
         CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (1000) TO (3000) PARTITION BY RANGE (a); \
         CREATE TABLE p10 PARTITION OF p1 FOR VALUES FROM (1000) TO (2900); \
         INSERT INTO parted TABLE t; \
         CREATE TABLE parent (a int8); CREATE TABLE child () INHERITS (parent); INSERT INTO child TABLE t; \
         CREATE VIEW v AS SELECT a FROM parted; \
         CREATE FUNCTION elsewhere() RETURNS int8 VOLATILE LANGUAGE plpgsql \
         AS 'BEGIN RETURN (SELECT count(*) FROM t); END'",
    )
    .await;
    let requests = [
        database.table("t"),
        database.table("parted"),
        database.table("parent"),
        database.table("v"),
        database.query("SELECT a FROM v WHERE a >= 1000 OR a < 1000"),
        database.query("SELECT a, elsewhere() AS n FROM parent"),
        // Partitions that a chunk does not look into are held all the same.
        chunked(database.table("parted"), 100, Some("a")),
    ];
    let mut opened = Vec::new();
    for request in requests {
        let snapshot = open(request).await.unwrap();
        let plan = snapshot.plan().await.unwrap();
        assert_eq!(plan.rows, Some(2800));
        opened.push((snapshot, plan));
    }
    database
        .sql(
            "CREATE INDEX ON t (a); \
             CREATE TABLE p2 (a int8); ALTER TABLE parted ATTACH PARTITION p2 FOR VALUES FROM (3000) TO (4000); \
             CREATE TABLE p11 (a int8); ALTER TABLE p1 ATTACH PARTITION p11 FOR VALUES FROM (2900) TO (3000); \
             CREATE TABLE more (a int8); ALTER TABLE more INHERIT parent; \
             INSERT INTO parted VALUES (2901), (3001); INSERT INTO more VALUES (1)",
        )
        .await;
    for (snapshot, plan) in opened {
        let chunks = read_chunks(&*snapshot, &plan).await.unwrap();
        let rows: usize = chunks.iter().map(|chunk| chunk.num_rows()).sum();
        assert_eq!(rows, 2800);
        assert_eq!(snapshot.plan().await.unwrap().rows, Some(2800));
        snapshot.close().await;
    }
}

/// To the snapshot such a table looks empty, and no lock of the holder's kept it.
#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_table_that_only_a_function_reads_and_that_is_emptied_meanwhile_is_noticed() {
    let database = Database::with(
        "functions",
        "CREATE TABLE t AS SELECT i::int8 AS a FROM generate_series(1, 1000) AS i; \
         CREATE FUNCTION all_of_t() RETURNS SETOF int8 STABLE LANGUAGE plpgsql \
         AS 'BEGIN RETURN QUERY SELECT a FROM t; END'",
    )
    .await;
    let request = database.query("SELECT a FROM all_of_t() AS a");
    let refill = "BEGIN; TRUNCATE t; INSERT INTO t SELECT generate_series(1, 4000); COMMIT";
    let snapshot = open(request.clone()).await.unwrap();
    database.sql(refill).await;
    let refused = snapshot.plan().await.map(drop).unwrap_err();
    assert_eq!((refused.reason(), refused.is_transient()), (Reason::SourceChanged, true));
    assert!(refused.to_string().contains("reads public.t by a function"), "{refused}");
    snapshot.close().await;
    let snapshot = open(request.clone()).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    assert_eq!(plan.rows, Some(4000));
    database.sql("INSERT INTO t VALUES (0); DELETE FROM t WHERE a > 1000; ANALYZE t").await;
    let chunks = read_chunks(&*snapshot, &plan).await.unwrap();
    assert_eq!(chunks[0].num_rows(), 4000, "the snapshot's rows");
    database.sql(refill).await;
    let refused = read(&*snapshot, &plan, 0).await.map(drop).unwrap_err();
    assert_eq!((refused.reason(), refused.is_transient()), (Reason::SourceChanged, true));
    snapshot.close().await;
    assert_eq!(rows(request).await.unwrap().num_rows(), 4000, "the next attempt");
}
