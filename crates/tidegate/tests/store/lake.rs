//! A table on a real S3 server, reached through a proxy that misbehaves by rule.

use std::collections::BTreeSet;
use std::path::PathBuf;

use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use serde_json::{Value, json};
use tidegate_testing::readers::{Engine, Question};
use tidegate_testing::{
    ACCESS_KEY, FaultProxy, Rule, RuleId, S3Server, SECRET_KEY, TidegateCommand, TidegateProcess,
    eventually, write_secret,
};

use crate::support::{Bench, Ended, LONG, Pipeline, call};

const BUCKET: &str = "lake";
/// What a worker tells: the steps of its batches, and every trouble.
const LOG: &str = "warn,tidegate=info,tidegate_worker=debug";

/// A broker, an S3 server, a proxy between the worker and the server, and one pipeline.
pub(crate) struct Lake {
    pub(crate) bench: Bench,
    pub(crate) s3: S3Server,
    pub(crate) proxy: FaultProxy,
    pub(crate) pipeline: Pipeline,
    published: u64,
    log: Vec<Entry>,
}

/// One version of the table's log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    kind: String,
    nonce: String,
    rows: u64,
    floors: Vec<i64>,
}

impl Lake {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_for(name, (ACCESS_KEY, SECRET_KEY)).await
    }

    /// With this user of the S3 server: the id and the secret.
    pub(crate) async fn start_for(name: &str, user: (&str, &str)) -> Self {
        let bench = Bench::start(name).await;
        let s3 = S3Server::start_for(&bench.scratch.join("s3"), BUCKET, user).await.unwrap();
        let proxy = FaultProxy::start(s3.address(), 7).await.unwrap();
        let pipeline = Pipeline::new(name, &bench.nats.url(), bench.scratch.path());
        let pipeline = pipeline.set("sink.storage", storage(&s3.url(name), &proxy.endpoint()));
        bench.create_stream(&pipeline).await;
        let lake = Self { bench, s3, proxy, pipeline, published: 0, log: Vec::new() };
        lake.write_secret(user);
        lake
    }

    /// The secret that the pipeline names.
    pub(crate) fn write_secret(&self, (id, secret): (&str, &str)) {
        // Editors leave a newline at the end.
        let secret = format!("{secret}\n");
        let keys = [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", &secret)];
        write_secret(&self.secrets(), "store", &keys).unwrap();
    }

    pub(crate) fn secrets(&self) -> PathBuf {
        self.bench.scratch.join("secrets")
    }

    pub(crate) fn run(&self) -> TidegateCommand {
        let run = self.bench.run_command(&self.pipeline).argument("--secrets-dir");
        run.argument(self.secrets()).environment("TIDEGATE_LOG", LOG)
    }

    pub(crate) fn spawn(&self, name: &str) -> TidegateProcess {
        self.run().spawn(name, self.bench.scratch.path()).unwrap()
    }

    /// A finite run to its end.
    pub(crate) async fn catch_up(&self) -> Ended {
        self.bench.end(self.run().argument("--until-caught-up"), "run").await
    }

    pub(crate) async fn publish(&mut self, count: u64) {
        let ids: Vec<_> =
            (self.published..self.published + count).map(|n| format!("e{n}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let subject = self.pipeline.subject("x");
        self.bench.publish_ids(&subject, &ids).await;
        self.published += count;
    }

    pub(crate) fn published(&self) -> u64 {
        self.published
    }

    /// Publishes, and waits until all of it is in the table.
    pub(crate) async fn ingest(&mut self, count: u64, worker: &TidegateProcess) {
        self.publish(count).await;
        self.wait_for_rows(worker).await;
    }

    pub(crate) async fn wait_for_rows(&mut self, worker: &TidegateProcess) {
        self.wait_until_rows(self.published, worker).await;
    }

    pub(crate) async fn wait_until_rows(&mut self, wanted: u64, worker: &TidegateProcess) {
        let started = std::time::Instant::now();
        while self.rows().await < wanted {
            let rows = self.rows().await;
            assert!(started.elapsed() < LONG, "{rows} of {wanted} rows\n{}", worker.output());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Waits until the rule was applied so often.
    pub(crate) async fn wait_for_hits(&self, rule: RuleId, hits: u64, worker: &TidegateProcess) {
        let hit = async || self.proxy.hits(rule) >= hits;
        if let Err(error) = eventually("the fault", LONG, hit).await {
            panic!("{error}: {} hits\n{}", self.proxy.hits(rule), worker.output());
        }
    }

    /// What the store answered to the late requests, once there are so many.
    pub(crate) async fn late_statuses(&self, count: usize) -> Vec<u16> {
        let all = async || self.proxy.late_statuses().len() >= count;
        eventually("the late request", LONG, all).await.unwrap();
        self.proxy.late_statuses()
    }

    pub(crate) fn add(&self, rule: Rule) -> RuleId {
        self.proxy.add(rule)
    }

    /// Rows that the log counts.
    pub(crate) async fn rows(&mut self) -> u64 {
        self.log().await.iter().map(|entry| entry.rows).sum()
    }

    /// The log as it lies in the store, read around the proxy. Entries never change, so each is read
    /// once.
    pub(crate) async fn log(&mut self) -> &[Entry] {
        let store = self.s3.store(None).unwrap();
        while let Some(entry) = entry(&store, &self.pipeline.name, self.log.len()).await {
            self.log.push(entry);
        }
        &self.log
    }

    /// How many commits brought rows.
    pub(crate) async fn data_commits(&mut self) -> usize {
        self.log().await.iter().filter(|entry| entry.kind == "data").count()
    }

    /// Asks the worker to leave, and wants it to have gone well.
    pub(crate) async fn drain(&self, worker: &mut TidegateProcess) {
        worker.signal("TERM").await.unwrap();
        let code = worker.wait(LONG).await.unwrap().code();
        assert_eq!(code, Some(0), "{}", worker.output());
    }

    /// Every published id is one row; engines that we did not write and `verify` say so, and the log
    /// has each commit once.
    pub(crate) async fn nothing_is_lost_or_doubled(&mut self, engines: &[Engine]) {
        let question = Question::about(&self.s3.url(&self.pipeline.name)).engines(engines);
        let seen = question.endpoint(&self.s3.endpoint()).agreed().await.unwrap();
        let found =
            (seen.rows, seen.distinct_ids, seen.distinct_identities, seen.dead_letters.rows);
        let published = self.published;
        assert_eq!(found, (published, published, published, 0));
        self.verify().await.expect(0);
        let log = self.log().await;
        let nonces: BTreeSet<_> = log.iter().map(|entry| &entry.nonce).collect();
        assert_eq!(nonces.len(), log.len(), "a commit stands in the log twice: {log:#?}");
        // A claim repeats the floor, a batch moves it.
        let floors =
            log.iter().filter(|entry| entry.kind == "data").flat_map(|entry| &entry.floors);
        assert!(floors.is_sorted_by(|a, b| a < b), "{log:#?}");
    }

    /// Rows and distinct ids, as an engine that we did not write reads them.
    pub(crate) async fn rows_and_ids(&self) -> (u64, u64) {
        let question = Question::about(&self.s3.url(&self.pipeline.name));
        let seen = question.engines(&[Engine::DuckDb]).endpoint(&self.s3.endpoint());
        let seen = seen.agreed().await.unwrap();
        (seen.rows, seen.distinct_ids)
    }

    /// `tidegate verify --source`, around the proxy.
    async fn verify(&self) -> Ended {
        let endpoint = json!(self.s3.endpoint());
        let direct = self.pipeline.clone().set("sink.storage.s3.endpoint", endpoint);
        let verify = call("verify", &direct).argument("--source").argument("--secrets-dir");
        self.bench.end(verify.argument(self.secrets()), "verify").await
    }
}

/// Whether one and the same worker did it all: it claimed once and lost nothing.
pub(crate) fn went_on_by_itself(worker: &TidegateProcess) {
    let said = worker.output();
    assert_eq!(said.matches("\"claimed\"").count(), 1, "{said}");
    assert!(!said.contains("partition lost"), "{said}");
}

/// The sink's storage.
pub(crate) fn storage(url: &str, endpoint: &str) -> Value {
    json!({
        "url": url,
        "secretRef": {"name": "store"},
        "s3": {"endpoint": endpoint, "region": "us-east-1", "addressingStyle": "Path"},
    })
}

async fn entry(store: &AmazonS3, table: &str, version: usize) -> Option<Entry> {
    let path = Path::from(format!("{table}/_delta_log/{version:020}.json"));
    let bytes = store.get(&path).await.ok()?.bytes().await.ok()?;
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Some(Entry::parse(&text))
}

impl Entry {
    fn parse(text: &str) -> Self {
        let mut entry = Self { kind: String::new(), nonce: String::new(), rows: 0, floors: vec![] };
        for action in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let tags = &action["commitInfo"]["tags"];
            if tags.is_object() {
                entry.kind = tags["tidegate.kind"].as_str().unwrap().to_owned();
                entry.nonce = tags["tidegate.nonce"].as_str().unwrap().to_owned();
            }
            if let Some(stats) = action["add"]["stats"].as_str() {
                let stats: Value = serde_json::from_str(stats).unwrap();
                entry.rows += stats["numRecords"].as_u64().unwrap();
            }
            let name = action["txn"]["appId"].as_str().unwrap_or_default();
            if name.ends_with("/floor") {
                entry.floors.extend(action["txn"]["version"].as_i64());
            }
        }
        entry
    }
}
