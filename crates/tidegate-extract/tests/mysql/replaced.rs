//! Tables that are put in another one's place while a run begins (B5).

use std::time::Duration;

use tidegate_extract::{ReadRequest, open};
use tidegate_testing::{SqlSession, eventually};

use crate::ground::{Ground, divided, of_interval, read};

const LONG: Duration = Duration::from_secs(30);
/// A table, and the copy of it that a tool fills which alters tables online.
const TABLES: &str = "\
    CREATE OR REPLACE TABLE t (id BIGINT PRIMARY KEY, made TIMESTAMP(6) NOT NULL DEFAULT '2026-06-01 00:30:00'); \
    INSERT INTO t (id) SELECT seq FROM seq_1_to_1000; \
    CREATE OR REPLACE TABLE t_new LIKE t; INSERT INTO t_new SELECT * FROM t WHERE id <= 900; \
    DROP TABLE IF EXISTS t_old";
const HOUR: &str = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
/// Connections that wait for one who holds a table.
const LOCKED: &str = "state LIKE '%metadata lock%'";

async fn counted(ground: &Ground, what: &str) -> u32 {
    let count = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE {what}");
    ground.sql(&count).await.trim().parse().unwrap()
}

/// How many rows a run sees that begins while the copy takes the table's place. The table always has all.
async fn rows_across_the_change(
    ground: &Ground,
    [writer, tool]: &mut [SqlSession; 2],
    request: ReadRequest,
) -> Option<u64> {
    ground.sql(TABLES).await;
    writer.run("START TRANSACTION; INSERT INTO beside VALUES (1)").await.unwrap();
    let opening = tokio::spawn(open(request));
    // It has looked at the table then.
    let waits = async || counted(ground, "user = 'reader'").await >= 2;
    eventually("the run waits for the writer", LONG, waits).await.unwrap();
    tool.run("LOCK TABLES t WRITE, t_new WRITE").await.unwrap();
    writer.run("COMMIT").await.unwrap();
    let locked = async || counted(ground, &format!("user = 'reader' AND {LOCKED}")).await > 0;
    eventually("the run waits for the tool", LONG, locked).await.unwrap();
    tool.run("INSERT INTO t_new SELECT * FROM t WHERE id > 900").await.unwrap();
    let mut renaming = ground.server.session().await.unwrap();
    let rename =
        tokio::spawn(async move { renaming.run("RENAME TABLE t TO t_old, t_new TO t").await });
    let queued = async || counted(ground, &format!("info LIKE 'RENAME%' AND {LOCKED}")).await > 0;
    eventually("the change is queued", LONG, queued).await.unwrap();
    tool.run("UNLOCK TABLES").await.unwrap();
    let snapshot = opening.await.unwrap().unwrap();
    let rows = read(snapshot.as_ref()).await.unwrap().plan.rows;
    snapshot.close().await;
    rename.await.unwrap().unwrap();
    rows
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_table_whose_copy_takes_its_place_meanwhile_is_read_whole() {
    let ground = &Ground::own().await;
    ground.sql("CREATE TABLE beside (n INT)").await;
    let grants = ["SELECT, LOCK TABLES ON shop.*", "PROCESS, RELOAD ON *.*"];
    let secrets = ground.account("reader", &grants).await;
    let mut sessions =
        [ground.server.session().await.unwrap(), ground.server.session().await.unwrap()];
    let by_id = |mut request: ReadRequest| {
        request.chunking.field = Some("id".to_owned());
        request
    };
    let query = || ground.query("SELECT id, made FROM t");
    for (request, what) in [
        (query(), "a query"),
        (ground.table("t"), "a table"),
        (divided(ground.table("t"), 100, 4), "a table over several connections"),
        (divided(by_id(query()), 100, 4), "a query over several connections"),
    ] {
        let request =
            ReadRequest { secrets: secrets.clone(), ..of_interval(request, "made", HOUR) };
        let rows = rows_across_the_change(ground, &mut sessions, request).await;
        assert_eq!(rows, Some(1_000), "{what}");
    }
}
