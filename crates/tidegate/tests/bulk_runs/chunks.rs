//! Chunks that processes of their own read, as the pods of an Indexed Job do.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_testing::{TidegateCommand, TidegateProcess, eventually, free_port};

use crate::ground::{Ground, configuration};
use crate::postgres::Shop;
use crate::support::{Ended, LONG, Pipeline, Serving};

/// One pipeline as its pods see it.
struct Pods<'a> {
    ground: &'a Ground,
    pipeline: Pipeline,
    config: PathBuf,
}

impl<'a> Pods<'a> {
    fn new(ground: &'a Ground, pipeline: Pipeline) -> Self {
        let pipeline = pipeline.set("bulk.chunking.placement", json!("Pods"));
        let config = ground.write("config.json", configuration(&pipeline));
        Self { ground, pipeline, config }
    }

    fn call(&self, subcommand: &str, word: &str) -> TidegateCommand {
        self.ground.pod(subcommand, &self.config, word)
    }

    /// An attempt, once its chunks wait; with what tells it from others.
    async fn coordinator(&self, name: &str, port: u16) -> (Serving, String) {
        let call = self
            .call("transfer", name)
            .argument("--port")
            .argument(port.to_string())
            .argument("--trigger")
            .argument("Manual")
            .argument("--run")
            .argument("big-x");
        let process = call.spawn(name, self.ground.path()).unwrap();
        let serving = Serving { process, port };
        let planned = async || !status(&serving).await["desk"].is_null();
        eventually("the chunks wait", LONG, planned).await.unwrap();
        let nonce = status(&serving).await["desk"]["nonce"].as_str().unwrap().to_owned();
        (serving, nonce)
    }

    fn reader(&self, port: u16, nonce: &str, chunk: u32) -> TidegateCommand {
        self.call("transfer-chunk", &format!("reader-{chunk}"))
            .argument("--port")
            .argument("0")
            .argument("--coordinator")
            .argument(format!("http://127.0.0.1:{port}"))
            .argument("--nonce")
            .argument(nonce)
            .environment("JOB_COMPLETION_INDEX", &chunk.to_string())
    }

    async fn read(&self, port: u16, nonce: &str, chunk: u32) -> Ended {
        self.ground.end(self.reader(port, nonce, chunk), &format!("reader-{chunk}")).await
    }

    fn spawn(&self, reader: TidegateCommand, name: &str) -> TidegateProcess {
        reader.spawn(name, self.ground.path()).unwrap()
    }

    fn report(&self, name: &str) -> Value {
        self.ground.last_word(name)
    }
}

async fn status(serving: &Serving) -> Value {
    let answer = serving.get("/status").await.map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(&answer).unwrap_or_default()
}

/// A table of 60000 rows that is read in some five chunks.
async fn big(name: &str) -> Shop {
    let shop = Shop::open(name).await;
    shop.sql(
        "CREATE TABLE big AS SELECT n AS id, repeat('x', 50) AS text FROM generate_series(1, 60000) n;
         ALTER TABLE big ADD PRIMARY KEY (id); ANALYZE big",
    )
    .await;
    shop
}

fn pods(shop: &Shop) -> Pods<'_> {
    let pipeline = shop.whole("big").set("bulk.chunking.targetRows", json!(12_000));
    Pods::new(&shop.ground, pipeline)
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn b6_a_reader_that_is_killed_is_replaced_alone_and_every_row_is_there_once() {
    let shop = big("chunks-killed").await;
    let pods = pods(&shop);
    let port = free_port().unwrap();
    let (mut coordinator, nonce) = pods.coordinator("coordinator", port).await;
    let chunks = status(&coordinator).await["chunks"].as_u64().unwrap();
    let chunks = u32::try_from(chunks).unwrap();
    assert!(chunks > 2, "{chunks}");
    // What comes now is not of the snapshot.
    shop.sql("INSERT INTO big VALUES (70000, 'late'); UPDATE big SET text = 'y'").await;
    let mut killed =
        pods.spawn(pods.reader(port, &nonce, 1).freeze_at("run.chunk_read", 1), "killed");
    killed.stopped(LONG).await.unwrap();
    for chunk in (0..chunks).filter(|chunk| *chunk != 1) {
        pods.read(port, &nonce, chunk).await.expect(0);
    }
    let report = status(&coordinator).await;
    assert_eq!(report["chunksDone"], chunks - 1, "{report}");
    assert_eq!(report["phase"], "Running", "{report}");
    killed.kill().await.unwrap();
    pods.read(port, &nonce, 1).await.expect(0);
    let ended = coordinator.process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", coordinator.process.output());
    let report = pods.report("coordinator");
    assert_eq!(report["rowsCommitted"], 60_000, "{report}");
    let all: Vec<i64> = (1..=60_000).collect();
    assert_eq!(pods.ground.numbers(&pods.pipeline, "id").await, all);
    pods.ground.ask("verify", &pods.pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs PostgreSQL and the Python readers; run by make test"]
async fn b5_readers_of_a_lost_coordinator_leave_and_do_not_reach_the_next_one() {
    let shop = big("chunks-lost").await;
    let pods = pods(&shop);
    let port = free_port().unwrap();
    let (mut first, old) = pods.coordinator("first", port).await;
    pods.read(port, &old, 0).await.expect(0);
    let mut zombie =
        pods.spawn(pods.reader(port, &old, 1).freeze_at("run.chunk_read", 1), "zombie");
    zombie.stopped(LONG).await.unwrap();
    first.process.kill().await.unwrap();
    // Another row: what the first attempt read must not come back.
    shop.sql("DELETE FROM big WHERE id <= 30000").await;
    let (mut second, nonce) = pods.coordinator("second", port).await;
    assert_ne!(old, nonce);
    zombie.signal("CONT").await.unwrap();
    let ended = zombie.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(65), "{}", zombie.output());
    assert_eq!(pods.report("reader-1")["reason"], "GenerationLost");
    pods.read(port, &old, 2).await.expect(65);
    let chunks = status(&second).await["chunks"].as_u64().unwrap();
    for chunk in 0..u32::try_from(chunks).unwrap() {
        pods.read(port, &nonce, chunk).await.expect(0);
    }
    let ended = second.process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(0), "{}", second.process.output());
    assert_eq!(pods.report("second")["generation"], 2);
    let all: Vec<i64> = (30_001..=60_000).collect();
    assert_eq!(pods.ground.numbers(&pods.pipeline, "id").await, all);
}

#[tokio::test]
#[ignore = "needs PostgreSQL; run by make test"]
async fn b5_a_reader_finds_the_snapshot_gone_when_the_server_was_started_again() {
    let mut shop = big("chunks-restart").await;
    let port = free_port().unwrap();
    let (mut coordinator, nonce) = pods(&shop).coordinator("coordinator", port).await;
    shop.server.kill().await.unwrap();
    shop.server.restart().await.unwrap();
    let pods = pods(&shop);
    let ended = pods.read(port, &nonce, 0).await.expect(75);
    ended.says("was started at");
    // The coordinator notices by itself, before its readers are given up.
    let ended = coordinator.process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(75), "{}", coordinator.process.output());
    assert_eq!(pods.report("coordinator")["reason"], "SnapshotLost");
}

#[tokio::test]
async fn a_chunk_that_no_reader_can_read_ends_the_attempt_with_its_name() {
    let ground = Ground::new("chunks-refused");
    let line = format!("{},text\n", "1".repeat(17));
    for name in ["a", "b"] {
        // Larger than what is gathered into one chunk.
        ground.write(&format!("files/{name}.csv"), format!("id,t\n{}", line.repeat(200_000)));
    }
    ground.write("files/c.csv", format!("id,t\n{}no number,text\n", line.repeat(200_000)));
    let source = json!({"type": "ObjectStore", "objectStore": {
        "storage": {"url": ground.scratch.url("files")}, "glob": "*.csv", "format": "CSV",
    }});
    let pipeline = Pipeline::bulk("lines", &source, ground.path())
        .columns(&[("id", "long"), ("t", "string")])
        .set("decode.onError", json!("Halt"));
    let pods = Pods::new(&ground, pipeline);
    let port = free_port().unwrap();
    let (mut coordinator, nonce) = pods.coordinator("coordinator", port).await;
    assert_eq!(status(&coordinator).await["chunks"], 3);
    pods.read(port, &nonce, 0).await.expect(0);
    pods.read(port, &nonce, 2).await.expect(65);
    let ended = coordinator.process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(65), "{}", coordinator.process.output());
    let report = pods.report("coordinator");
    assert_eq!(report["reason"], "WrongType", "{report}");
    assert!(report["message"].as_str().unwrap().starts_with("chunk 2 (c.csv): "), "{report}");
}
