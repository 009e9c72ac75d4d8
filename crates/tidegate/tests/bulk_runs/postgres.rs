//! Tables of PostgreSQL: whole, day by day, over an open transaction, after a change of mind.

use jiff::{Timestamp, ToSpan, Unit};
use serde_json::{Value, json};
use tidegate_testing::{POSTGRES_DATABASE, PostgresServer, eventually, free_port};

use crate::ground::{Ground, at_once, configuration, daily, day, days_ago, within_day};
use crate::support::{LONG, Pipeline, Rows, Serving};

/// A server, and a folder.
pub(crate) struct Shop {
    pub(crate) ground: Ground,
    pub(crate) server: PostgresServer,
}

impl Shop {
    pub(crate) async fn open(name: &str) -> Self {
        let ground = Ground::new(name);
        let server = PostgresServer::start(&ground.scratch.join("postgres")).await.unwrap();
        ground.secret("shop-db", "uri", &server.url(POSTGRES_DATABASE));
        Self { ground, server }
    }

    pub(crate) async fn sql(&self, statements: &str) -> String {
        self.server.sql(statements).await.unwrap()
    }

    /// The table of that name, whole.
    pub(crate) fn whole(&self, table: &str) -> Pipeline {
        let source = json!({"type": "Postgres", "postgres": {
            "connection": {"secretRef": {"name": "shop-db"}},
            "table": format!("public.{table}"),
            "tls": {"mode": "Disable"},
        }});
        at_once(Pipeline::bulk(table, &source, self.ground.path()))
    }

    /// The table of that name, day by day from the given number of days ago on.
    pub(crate) fn daily(&self, table: &str, first: i64) -> Pipeline {
        daily(self.whole(table), first)
            .set("bulk.incremental.cursorField", json!("created_at"))
            .set("bulk.incremental.mutability", json!("Immutable"))
            .set("bulk.incremental.settle", json!("0s"))
    }

    /// A ledger with `rows` entries on each of the last days, so many of them; ids count up from 1.
    pub(crate) async fn fill_ledger(&self, days: i64, rows: i64) {
        let first = within_day(days, 0);
        self.sql(&format!(
            "CREATE TABLE ledger (id bigint PRIMARY KEY, amount numeric(12, 2) NOT NULL, \
             created_at timestamptz NOT NULL);
             INSERT INTO ledger SELECT d * {rows} + n, (d * {rows} + n) / 100.0, \
             timestamptz '{first}' + d * interval '1 day' + n * interval '1 second' \
             FROM generate_series(0, {days} - 1) d, generate_series(1, {rows}) n"
        ))
        .await;
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn a_table_comes_over_whole_and_again_when_it_changed() {
    let shop = Shop::open("bulk-whole").await;
    shop.sql("CREATE TABLE orders (id int PRIMARY KEY, state text, total numeric(12, 2))").await;
    shop.sql("INSERT INTO orders VALUES (1, 'new', 1.10), (2, NULL, 2.20), (3, 'old', 3.30)").await;
    let orders = shop.whole("orders");
    shop.ground.run(&orders).await.expect(0).says("default/orders: 3 rows, from 1 chunk");
    shop.sql("DELETE FROM orders WHERE id = 1; UPDATE orders SET total = 99.99 WHERE id = 2").await;
    shop.ground.run(&orders).await.expect(0).says("default/orders: 2 rows in place of 3");
    let seen = Rows::of(&orders.table).await.unwrap();
    // An updated row stands behind the others at the source.
    assert_eq!(seen.texts("total"), ["3.30", "99.99"]);
    assert_eq!(seen.texts("state"), ["old", "null"]);
    shop.ground.ask("verify", &orders).await.expect(0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn days_that_went_by_are_run_once_and_later_ones_with_the_next_call() {
    let shop = Shop::open("bulk-days").await;
    shop.fill_ledger(4, 10).await;
    // As if the calls before had been made the day before yesterday.
    let ledger = shop.daily("ledger", 4);
    let (first, second) = (day(4), day(2));
    let past = shop.ground.backfill(&ledger, (&first, &second), &[]).await.expect(0);
    past.says("2 of 2 intervals to run").says("default/ledger: 2 runs done, 20 rows.");
    assert_eq!(shop.ground.numbers(&ledger, "id").await, (1..=20).collect::<Vec<_>>());

    shop.ground.ask("plan", &ledger).await.expect(0).says("due now: 2 runs");
    let due = shop.ground.run(&ledger).await.expect(0);
    due.says("default/ledger: 2 runs done, 20 rows.");
    assert_eq!(shop.ground.numbers(&ledger, "id").await, (1..=40).collect::<Vec<_>>());
    shop.ground.run(&ledger).await.expect(0).says("nothing is due");
    shop.ground.ask("verify", &ledger).await.expect(0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run by make test"]
async fn verify_asks_the_source_how_many_rows_each_day_has() {
    let shop = Shop::open("bulk-recount").await;
    shop.fill_ledger(3, 10).await;
    let ledger = shop.daily("ledger", 3);
    shop.ground.run(&ledger).await.expect(0);
    let ask = async || {
        let call = shop.ground.call("verify", &ledger).argument("--source");
        shop.ground.end(call, "verify").await
    };
    ask().await.expect(0).says("3 intervals against the source as it is now");
    // A row that came after its day was loaded is in the source and not in the table.
    let late = within_day(2, 5);
    shop.sql(&format!("INSERT INTO ledger VALUES (100, 1, '{late}')")).await;
    let missing = ask().await.expect(1);
    missing.says("the source has 11 rows, the table 10 with its dead letters");
    let that_day = (day(2), day(1));
    let that_day = (that_day.0.as_str(), that_day.1.as_str());
    missing.says(&format!(
        "--reprocess All --from {}T00:00:00Z --to {}T00:00:00Z",
        that_day.0, that_day.1
    ));
    shop.ground.backfill(&ledger, that_day, &["--reprocess", "All"]).await.expect(0);
    ask().await.expect(0);
    // What is gone from the source since is no fault of the table.
    shop.sql("DELETE FROM ledger WHERE id = 100").await;
    ask().await.expect(2).says("the source has 10 rows by now, the table 11");
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn a_day_that_lost_its_rows_is_refused_until_that_is_allowed() {
    let shop = Shop::open("bulk-shrink").await;
    shop.fill_ledger(2, 10).await;
    let ledger = shop.daily("ledger", 2);
    shop.ground.run(&ledger).await.expect(0);
    shop.sql("DELETE FROM ledger WHERE id > 12").await;
    let (yesterday, today) = (day(1), day(0));
    let again = (yesterday.as_str(), today.as_str());
    let refused = shop.ground.backfill(&ledger, again, &["--reprocess", "All"]).await.expect(65);
    refused.says("10 rows").says("would have 2").says("allowShrink");
    assert_eq!(shop.ground.numbers(&ledger, "id").await, (1..=20).collect::<Vec<_>>());
    let allowed = ledger.set("bulk.allowShrink", json!(true));
    shop.ground.backfill(&allowed, again, &["--reprocess", "All"]).await.expect(0);
    assert_eq!(shop.ground.numbers(&allowed, "id").await, (1..=12).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn the_newest_days_are_done_again_with_the_next_one_when_that_is_wanted() {
    let shop = Shop::open("bulk-rerun").await;
    shop.fill_ledger(3, 10).await;
    let ledger = shop.daily("ledger", 3).set("bulk.incremental.rerunLast", json!(1));
    let (first, second) = (day(3), day(1));
    shop.ground.backfill(&ledger, (&first, &second), &[]).await.expect(0);
    let late = within_day(2, 5);
    shop.sql(&format!("INSERT INTO ledger VALUES (100, 1, '{late}')")).await;
    shop.ground.run(&ledger).await.expect(0).says("11 rows in place of 10");
    let expected: Vec<i64> = (1..=30).chain([100]).collect();
    assert_eq!(shop.ground.numbers(&ledger, "id").await, expected);
    shop.ground.ask("verify", &ledger).await.expect(0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run by make test"]
async fn what_the_database_refuses_is_told_with_what_to_do_and_without_the_password() {
    let shop = Shop::open("bulk-refused").await;
    shop.sql("CREATE TABLE orders (id int)").await;
    let missing = shop.whole("order");
    shop.ground.run(&missing).await.expect(65).says("order").says("to do:");
    let doctor = shop.ground.ask("doctor", &missing).await.expect(65);
    doctor.says("failed  source:").says("ok      store:");

    let nobody = shop.server.url_as("nobody", "s3cr3t", POSTGRES_DATABASE);
    shop.ground.secret("shop-db", "uri", &nobody);
    let ended = shop.ground.run(&shop.whole("orders")).await.expect(65);
    assert!(!ended.output.contains("s3cr3t"), "{}", ended.output);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn a_server_killed_in_the_middle_of_reading_costs_one_attempt_and_no_row() {
    let mut shop = Shop::open("bulk-killed").await;
    shop.sql(
        "CREATE TABLE big AS SELECT n AS id, repeat('x', 200) AS text FROM generate_series(1, 200000) n;
         ALTER TABLE big ADD PRIMARY KEY (id)",
    )
    .await;
    let big = shop.whole("big").set("bulk.chunking.targetRows", json!(20_000));
    let retry = json!({"limit": 5, "backoff": {"duration": "1s", "factor": 1}});
    let big = big.set("bulk.runTemplate.retry", retry);
    let run = shop.ground.call("run", &big).argument("--until-caught-up");
    // The run stands still behind its first chunk while the server goes down and comes up again.
    let mut process = run.freeze_at("run.chunk_read", 1).spawn("run", shop.ground.path()).unwrap();
    process.stopped(LONG).await.unwrap();
    shop.server.kill().await.unwrap();
    shop.server.restart().await.unwrap();
    process.signal("CONT").await.unwrap();
    let ended = process.wait(LONG * 2).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", process.output());
    assert!(process.output().contains("the run is tried again"), "{}", process.output());
    assert_eq!(shop.ground.numbers(&big, "id").await, (1..=200_000).collect::<Vec<_>>());
    shop.ground.ask("verify", &big).await.expect(0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run by make test"]
async fn a_pipeline_kept_running_waits_for_its_next_tick_and_leaves_when_told() {
    let shop = Shop::open("bulk-kept").await;
    shop.fill_ledger(2, 10).await;
    let run = shop.ground.call("run", &shop.daily("ledger", 2));
    let mut process = run.spawn("run", shop.ground.path()).unwrap();
    process.wait_for_output("everything that is due is done", LONG).await.unwrap();
    assert!(process.output().matches(": 10 rows, from").count() == 2, "{}", process.output());
    process.signal("TERM").await.unwrap();
    let ended = process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", process.output());
    assert!(process.output().contains("2 runs done, 20 rows"), "{}", process.output());
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run by make test"]
async fn b7_a_transaction_open_across_the_intervals_end_is_waited_for_and_its_rows_belong_to_it() {
    let shop = Shop::open("bulk-open").await;
    shop.fill_ledger(2, 10).await;
    // Without a schedule an interval may end when the test wants it to.
    let mut config: Value = serde_json::from_str(&configuration(&shop.daily("ledger", 2))).unwrap();
    config["schedule"] = Value::Null;
    let config = shop.ground.write("config.json", config.to_string());
    let mut session = shop.server.session(POSTGRES_DATABASE).unwrap();
    session.run("BEGIN; INSERT INTO ledger VALUES (1000, 5, now())").await.unwrap();
    let end = Timestamp::now().checked_add(2.seconds()).unwrap().round(Unit::Second).unwrap();
    let port = free_port().unwrap();
    let run = shop
        .ground
        .pod("transfer", &config, "termination-log")
        .argument("--port")
        .argument(port.to_string())
        .argument("--trigger")
        .argument("Scheduled")
        .argument("--run")
        .argument("ledger-x")
        .argument("--interval")
        .argument(format!("{}/{end}", days_ago(2)));
    eventually("the interval is over", LONG, async || Timestamp::now() > end).await.unwrap();
    let process = run.spawn("run", shop.ground.path()).unwrap();
    let mut serving = Serving { process, port };
    // It is claimed and waits; what is committed meanwhile belongs to it as well.
    let claimed = async || {
        let status = serving.get("/status").await.map(|(_, body)| body).unwrap_or_default();
        status.contains("\"generation\":1") && status.contains("Planning")
    };
    eventually("the run is claimed", LONG, claimed).await.unwrap();
    serving.process.wait_for_output("interval's end are still open", LONG).await.unwrap();
    session.run("COMMIT").await.unwrap();
    let ended = serving.process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", serving.process.output());
    let report = shop.ground.last_word("termination-log");
    assert_eq!(report["rowsCommitted"], 21, "{report}");
}
