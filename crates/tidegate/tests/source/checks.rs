//! What these tests share beyond the fixtures: streams that are not ours, and the log's positions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testing::readers::{Question, TableReading};
use tidegate_testing::{TidegateProcess, eventually};

use crate::support::{Bench, Broker, LONG, Outgoing, Pipeline, commits};

/// One `txn` value of a commit: the last parts of its name, and the value.
type Values = BTreeMap<String, i64>;

impl Bench {
    /// A request to the JetStream API that must succeed.
    pub(crate) async fn api(&mut self, subject: &str, body: Value) -> Value {
        let answer = self.broker.ask(&format!("$JS.API.{subject}"), &body).await.unwrap();
        assert!(answer.get("error").is_none(), "{subject}: {answer}");
        answer
    }

    /// A stream that tidegate did not make, and the pipeline that reads it as it is.
    pub(crate) async fn foreign(&mut self, pipeline: Pipeline, settings: Value) -> Pipeline {
        let stream = pipeline.name.to_uppercase();
        let mut config = json!({"name": stream, "subjects": [pipeline.subject(">")],
            "storage": "file", "discard": "new", "retention": "limits", "num_replicas": 1});
        for (key, value) in settings.as_object().expect("settings are an object") {
            config[key] = value.clone();
        }
        self.api(&format!("STREAM.CREATE.{stream}"), config).await;
        pipeline.set("source.jetStream.subjects", Value::Null)
    }

    /// Messages numbered `from` to `to` on one subject.
    pub(crate) async fn send(&mut self, subject: &str, from: u64, to: u64) -> Vec<u64> {
        let messages: Vec<_> = (from..=to).map(|n| numbered(subject, n)).collect();
        self.broker.publish(&messages).await.unwrap()
    }

    /// Connects again, after the broker was away.
    pub(crate) async fn reconnect(&mut self) {
        self.broker = Broker::connect(&self.nats.url()).await.unwrap();
    }

    pub(crate) async fn stream_state(&mut self, pipeline: &Pipeline) -> Value {
        let stream = pipeline.name.to_uppercase();
        self.api(&format!("STREAM.INFO.{stream}"), json!({})).await["state"].take()
    }

    /// An orderly end of a process.
    pub(crate) async fn drain(&self, process: &mut TidegateProcess) {
        process.signal("TERM").await.unwrap();
        assert!(process.wait(LONG).await.unwrap().success(), "{}", process.output());
    }
}

/// `{"id": "m<n>", "n": n}` under the id `m<n>`.
pub(crate) fn numbered(subject: &str, n: u64) -> Outgoing {
    let id = format!("m{n:05}");
    Outgoing::new(subject, format!("{{\"id\": \"{id}\", \"n\": {n}}}")).header("Event-Id", &id)
}

/// A pipeline's table through an engine that is not ours: no row doubled, by identity and by id.
pub(crate) async fn rows(pipeline: &Pipeline) -> TableReading {
    let seen = Question::about(&pipeline.url()).with_ids().agreed().await.unwrap();
    assert_eq!(seen.rows, seen.distinct_identities, "a message is two rows");
    assert_eq!(seen.rows, seen.distinct_ids, "an id is two rows");
    seen
}

/// Exactly the messages of these ranges, each once.
pub(crate) async fn holds(pipeline: &Pipeline, ranges: &[(u64, u64)]) {
    let mut expected: Vec<_> =
        ranges.iter().flat_map(|(from, to)| *from..=*to).map(|n| format!("m{n:05}")).collect();
    expected.sort();
    assert_eq!(rows(pipeline).await.ids, expected);
}

/// The newest value of every name in the log of the table; empty while there is none.
pub(crate) fn values(pipeline: &Pipeline) -> Values {
    let mut values = Values::new();
    if !pipeline.table.join("_delta_log").is_dir() {
        return values;
    }
    for line in commits(&pipeline.table).iter().flat_map(|commit| commit.lines()) {
        let Ok(action) = serde_json::from_str::<Value>(line) else { continue };
        if let (Some(name), Some(value)) =
            (action["txn"]["appId"].as_str(), action["txn"]["version"].as_i64())
        {
            values.insert(name.to_owned(), value);
        }
    }
    values
}

/// The newest floor of every partition, over all incarnations.
pub(crate) fn floors(pipeline: &Pipeline) -> Vec<u64> {
    let values = values(pipeline);
    let floors = values.iter().filter(|(name, _)| name.ends_with("/floor"));
    floors.map(|(_, floor)| u64::try_from(*floor).unwrap()).collect()
}

/// The sum over all partitions of a counter such as `rows`.
pub(crate) fn counted(pipeline: &Pipeline, counter: &str) -> i64 {
    let ending = format!("/{counter}");
    values(pipeline).iter().filter(|(name, _)| name.ends_with(&ending)).map(|(_, v)| v).sum()
}

/// Waits until so many rows are committed.
pub(crate) async fn committed(pipeline: &Pipeline, rows: i64, process: &TidegateProcess) {
    committed_within(pipeline, rows, LONG, process).await;
}

pub(crate) async fn committed_within(
    pipeline: &Pipeline,
    rows: i64,
    limit: Duration,
    process: &TidegateProcess,
) {
    let there = async || counted(pipeline, "rows") >= rows;
    if let Err(error) = eventually(&format!("{rows} rows"), limit, there).await {
        panic!("{error}: {} rows\n{}", counted(pipeline, "rows"), process.output());
    }
}
