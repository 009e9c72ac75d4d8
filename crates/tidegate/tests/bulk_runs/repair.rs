//! Repairs: an interval of a streamed table is read again from the database that holds the truth (B10).

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testing::{TidegateCommand, eventually};

use crate::ground::at_once;
use crate::postgres::Shop;
use crate::support::{Bench, Ended, LONG, Outgoing, Pipeline, Rows, commits};

/// What is repaired.
const HOUR: (&str, &str) = ("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z");
/// The one before.
const HOUR_BEFORE: (&str, &str) = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
/// The window in which ids are compared is four seconds of the broker's time.
const WINDOW: Duration = Duration::from_millis(4_100);

/// A database with 20 events in each of three hours, and a stream that lost some of the second one.
struct Ground {
    bench: Bench,
    shop: Shop,
    clicks: Pipeline,
    mend: Pipeline,
}

fn event(n: i64) -> (String, String) {
    let (hour, minute) = (n / 20, n % 20 * 3);
    let at = format!("2026-01-01T0{hour}:{minute:02}:00Z");
    (format!("e{n:02}"), at)
}

impl Ground {
    async fn new(name: &str) -> Self {
        let (bench, shop) = (Bench::start(name).await, Shop::open(name).await);
        let clicks = bench.pipeline("clicks").await;
        let clicks = clicks.columns(&[("id", "string"), ("n", "long"), ("ts", "timestamp")]);
        let clicks = clicks
            .set("dedup.window", json!("4s"))
            .set("sink.eventTime", json!({"field": "ts", "allowedLateness": "1s"}))
            .set("sink.partitionBy", json!([{"field": "ts", "transform": "Day"}]));
        let mut mend = at_once(shop.whole("clicks"))
            .renamed("mend")
            .set("sink.storage.url", json!(clicks.url()))
            .set("sink.partitionBy", json!([{"field": "ts", "transform": "Day"}]))
            .set("sink.writeMode", json!("ReplaceInterval"))
            .set("bulk.repairs.pipelineRef.name", json!("clicks"))
            .set("bulk.incremental.cursorField", json!("ts"))
            .set("bulk.incremental.mutability", json!("Immutable"))
            .set("bulk.incremental.settle", json!("0s"));
        mend.table.clone_from(&clicks.table);
        let ground = Self { bench, shop, clicks, mend };
        ground.fill().await;
        ground
    }

    async fn fill(&self) {
        self.shop.sql("CREATE TABLE clicks (id text, n bigint, ts timestamptz)").await;
        for n in 0..60 {
            let (id, at) = event(n);
            self.shop.sql(&format!("INSERT INTO clicks VALUES ('{id}', {n}, '{at}')")).await;
        }
    }

    async fn publish(&mut self, id: &str, n: i64, at: &str) {
        let text = json!({"id": id, "n": n, "ts": at}).to_string();
        let message = Outgoing::new(&self.clicks.subject("x"), text).header("Event-Id", id);
        self.bench.broker.publish(&[message]).await.unwrap();
    }

    /// Streams everything but each third event of the second hour, and lets the window pass.
    async fn stream_with_losses(&mut self) {
        for n in (0..60).filter(|n| n / 20 != 1 || n % 3 != 0) {
            let (id, at) = event(n);
            self.publish(&id, n, &at).await;
        }
        self.bench.catch_up(&self.clicks).await.expect(0);
        tokio::time::sleep(WINDOW).await;
    }

    /// One more message, behind which the stream has passed the second hour.
    async fn pass(&mut self, id: &str) {
        self.publish(id, 99, "2026-01-01T09:00:00Z").await;
    }

    fn mending(&self, (from, to): (&str, &str), further: &[&str]) -> TidegateCommand {
        let call = self.shop.ground.call("backfill", &self.mend);
        let call = call.argument("-f").argument(self.clicks.write());
        let call = call.argument("--from").argument(from).argument("--to").argument(to);
        further.iter().fold(call, |call, word| call.argument(word))
    }

    async fn repair(&self, further: &[&str]) -> Ended {
        self.shop.ground.end(self.mending(HOUR, further), "repair").await
    }

    /// Both ledgers of the table.
    async fn verify(&self) -> Ended {
        let call = self.shop.ground.call("verify", &self.mend);
        let call = call.argument("-f").argument(self.clicks.write()).argument("--source");
        self.shop.ground.end(call, "verify").await
    }

    async fn rows(&self) -> Rows {
        Rows::of(&self.clicks.table).await.unwrap()
    }

    /// The ids in the table, sorted, as deltalake and DuckDB see them.
    async fn ids(&self) -> Vec<String> {
        let mut ids = self.rows().await.texts("id");
        ids.sort_unstable();
        ids
    }

    fn records(&self) -> Vec<PathBuf> {
        let folder = self.clicks.table.join("_tidegate/default.clicks");
        let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("record-"))
            .collect()
    }
}

/// Every event of the database, and further ones.
fn all_and(further: &[&str]) -> Vec<String> {
    let all = (0..60).map(|n| event(n).0);
    let mut ids: Vec<_> = all.chain(further.iter().map(|id| (*id).to_owned())).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
#[ignore = "needs nats-server, PostgreSQL and the Python readers; run by make test"]
async fn b10_lost_rows_come_back_from_the_source_and_what_is_late_is_set_aside() {
    let mut ground = Ground::new("repair").await;
    ground.repair(&[]).await.expect(65).says("could be repaired");
    ground.stream_with_losses().await;
    assert_eq!(ground.ids().await.len(), 53, "the stream lost some");
    ground.repair(&[]).await.expect(75).says("dedup.window");
    ground.pass("pass-1").await;
    ground.bench.catch_up(&ground.clicks).await.expect(0);

    let plan = ground.repair(&["--dry-run"]).await.expect(0);
    plan.says("1 of 1 interval to run");
    assert!(ground.records().is_empty(), "nothing was done");
    ground.repair(&[]).await.expect(0).says("20 rows in place of 13");
    assert_eq!(ground.ids().await, all_and(&["pass-1"]));
    let proved = ground.verify().await.expect(0);
    proved.says("1 repairs: 13 streamed rows taken out").says(" + 13 repaired");
    ground.repair(&[]).await.expect(0).says("0 of 1 interval to run");

    // What the stream still brings for the hour is a dead letter; for others it is a row.
    ground.publish("late", 1, "2026-01-01T01:30:00Z").await;
    ground.publish("old", 1, "2026-01-01T00:30:00Z").await;
    ground.bench.catch_up(&ground.clicks).await.expect(0);
    assert_eq!(ground.ids().await, all_and(&["pass-1", "old"]));
    assert_eq!(ground.rows().await.dead_texts("reason"), ["IntervalRepaired"]);
    ground.verify().await.expect(0);

    // The pipeline may say otherwise; the next repair takes such rows out again.
    let rows_too = ground.clicks.clone().set("sink.eventTime.afterRepair", json!("Append"));
    ground.publish("late-2", 1, "2026-01-01T01:31:00Z").await;
    ground.bench.catch_up(&rows_too).await.expect(0);
    assert_eq!(ground.ids().await, all_and(&["pass-1", "old", "late-2"]));
    ground.verify().await.expect(0);
    tokio::time::sleep(WINDOW).await;
    ground.pass("pass-2").await;
    ground.bench.catch_up(&rows_too).await.expect(0);
    ground.repair(&["--reprocess", "All"]).await.expect(0).says("20 rows in place of 21");
    assert_eq!(ground.ids().await, all_and(&["pass-1", "pass-2", "old"]));
    ground.verify().await.expect(0).says("2 repairs: 14 streamed rows taken out");
}

/// A worker stands still at a step of its second commit. What it reads for the repaired hour was published
/// before the repair, or is read by a worker that does not know of it yet.
async fn repaired_while_a_worker_stands_at(step: &str) {
    let mut ground = Ground::new("repair-between").await;
    ground.stream_with_losses().await;
    let run = ground.bench.run_command(&ground.clicks).freeze_at(step, 2);
    let mut worker = run.spawn("worker", ground.bench.scratch.path()).unwrap();
    ground.pass("pass").await;
    let committed = async || ground.ids().await.contains(&"pass".to_owned());
    eventually("the first batch is committed", LONG, committed).await.unwrap();
    // Of another hour, so that its commit is no matter of the repair.
    let landed = step == "commit.after_put";
    if landed {
        ground.publish("old", 1, "2026-01-01T00:30:00Z").await;
    } else {
        ground.publish("late", 1, "2026-01-01T01:30:00Z").await;
    }
    worker.stopped(LONG).await.unwrap();
    if landed {
        ground.publish("late", 1, "2026-01-01T01:30:00Z").await;
    }

    ground.repair(&[]).await.expect(0).says("20 rows in place of 13");
    worker.signal("CONT").await.unwrap();
    let set_aside = async || !ground.rows().await.dead.is_empty();
    eventually("the record is judged again", LONG, set_aside).await.unwrap();
    worker.signal("TERM").await.unwrap();
    assert!(worker.wait(LONG).await.unwrap().success(), "{}", worker.output());
    assert!(worker.output().contains("judged again"), "{}", worker.output());
    let others: &[&str] = if landed { &["pass", "old"] } else { &["pass"] };
    assert_eq!(ground.ids().await, all_and(others));
    assert_eq!(ground.rows().await.dead_texts("reason"), ["IntervalRepaired"]);
    ground.verify().await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server, PostgreSQL and the Python readers; run by make test"]
async fn b10_a_batch_that_was_read_before_a_repair_is_judged_again() {
    repaired_while_a_worker_stands_at("commit.before_put").await;
}

#[tokio::test]
#[ignore = "needs nats-server, PostgreSQL and the Python readers; run by make test"]
async fn b10_a_batch_that_follows_a_commit_before_a_repair_is_judged_again() {
    repaired_while_a_worker_stands_at("commit.after_put").await;
}

/// A worker that knows of a repair hears of the next one too.
#[tokio::test]
#[ignore = "needs nats-server, PostgreSQL and the Python readers; run by make test"]
async fn b10_a_worker_learns_of_one_repair_after_the_other_while_it_runs() {
    let mut ground = Ground::new("repair-twice").await;
    ground.stream_with_losses().await;
    ground.pass("pass-1").await;
    ground.bench.catch_up(&ground.clicks).await.expect(0);
    let run = ground.bench.run_command(&ground.clicks);
    let mut worker = run.spawn("worker", ground.bench.scratch.path()).unwrap();
    let mut others = vec!["pass-1"];
    let repairs = [
        (HOUR, "13", "01:30", "late-1", "pass-2"),
        (HOUR_BEFORE, "20", "00:30", "late-2", "pass-3"),
    ];
    for (number, (hour, replaced, at, late, pass)) in (1..).zip(repairs) {
        let mending = ground.mending(hour, &[]);
        let repaired = ground.shop.ground.end(mending, "repair").await;
        repaired.expect(0).says(&format!("20 rows in place of {replaced}"));
        ground.publish(late, 1, &format!("2026-01-01T{at}:00Z")).await;
        let set_aside = async || ground.rows().await.dead.len() == number;
        eventually("what is late is set aside", LONG, set_aside).await.unwrap();
        tokio::time::sleep(WINDOW).await;
        ground.pass(pass).await;
        others.push(pass);
        let committed = async || ground.ids().await.contains(&pass.to_owned());
        eventually("the stream goes on", LONG, committed).await.unwrap();
    }
    worker.signal("TERM").await.unwrap();
    assert!(worker.wait(LONG).await.unwrap().success(), "{}", worker.output());
    assert_eq!(ground.ids().await, all_and(&others));
    assert_eq!(ground.rows().await.dead_texts("reason"), ["IntervalRepaired"; 2]);
    ground.verify().await.expect(0).says("2 repairs: 33 streamed rows taken out");
}

#[tokio::test]
#[ignore = "needs nats-server, PostgreSQL and the Python readers; run by make test"]
async fn b10_a_repair_killed_at_its_commit_is_made_once_and_a_spoilt_record_is_found() {
    for step in ["run.before_put", "run.after_put"] {
        let mut ground = Ground::new("repair-killed").await;
        ground.stream_with_losses().await;
        ground.pass("pass").await;
        ground.bench.catch_up(&ground.clicks).await.expect(0);
        let died = ground.shop.ground.end(ground.mending(HOUR, &[]).die_at(step, 1), "died").await;
        assert_eq!(died.code, None, "killed");
        ground.repair(&["--reprocess", "All"]).await.expect(0);
        assert_eq!(ground.ids().await, all_and(&["pass"]), "{step}");
        ground.verify().await.expect(0);

        let named = newest_record(&ground);
        let text = std::fs::read_to_string(&named).unwrap();
        std::fs::write(&named, text.replace("\\\"rows\\\":20", "\\\"rows\\\":21")).unwrap();
        ground.verify().await.expect(1).says("repairs: a record cannot be used");
        std::fs::remove_file(&named).unwrap();
        ground.verify().await.expect(1).says("repairs: a record cannot be used");
    }
}

/// Every action of the log, the oldest first.
fn actions(ground: &Ground) -> Vec<Value> {
    let commits = commits(&ground.clicks.table);
    let lines = commits.iter().flat_map(|commit| commit.lines());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Somebody writes these actions into the log.
fn tamper(ground: &Ground, actions: &[Value]) {
    let version = commits(&ground.clicks.table).len();
    let path = ground.clicks.table.join(format!("_delta_log/{version:020}.json"));
    let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

#[tokio::test]
#[ignore = "needs nats-server, PostgreSQL and the Python readers; run by make test"]
async fn b10_counters_and_rows_that_contradict_the_records_are_found() {
    let mut ground = Ground::new("repair-contradicted").await;
    ground.stream_with_losses().await;
    ground.pass("pass").await;
    ground.bench.catch_up(&ground.clicks).await.expect(0);
    ground.repair(&[]).await.expect(0);
    ground.verify().await.expect(0);

    let all = actions(&ground);
    let is_counter = |action: &&Value| {
        action["txn"]["appId"].as_str().is_some_and(|app| app.ends_with("/superseded"))
    };
    let counter = all.iter().rfind(is_counter).expect("the repair counted").clone();
    let mut other = counter.clone();
    other["txn"]["version"] = json!(14);
    tamper(&ground, &[other]);
    let found = ground.verify().await.expect(1);
    found.says("counts 14 rows as superseded, the records took out 13");
    tamper(&ground, &[counter]);
    ground.verify().await.expect(0);

    let removed = all.iter().rfind(|action| action["remove"].is_object()).expect("a file went");
    let path = &removed["remove"]["path"];
    let added = all.iter().find(|action| action["add"]["path"] == *path).expect("it came once");
    tamper(&ground, std::slice::from_ref(added));
    let found = ground.verify().await.expect(1);
    found.says("was repaired when partition").says("is still there");
}

/// The record that the log names.
fn newest_record(ground: &Ground) -> PathBuf {
    let named = commits(&ground.clicks.table).into_iter().rev().find_map(|commit| {
        let actions = commit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut records = actions.filter(|a| a["txn"]["appId"] == "tidegate/default.clicks/rec");
        records.next()?["txn"]["version"].as_i64()
    });
    let nonce = format!("{:016x}", named.expect("a repair was committed"));
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(&nonce);
    ground.records().into_iter().find(name).expect("its record")
}
