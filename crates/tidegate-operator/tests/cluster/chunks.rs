//! Chunks that pods of their own read.

use std::path::PathBuf;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use tidegate_api::{IngestionRunStatus, RunPhase};

use super::support::{Bulk as _, Document, Stage};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Rows of one file. It is larger than what is gathered into one chunk.
const ROWS: usize = 300_000;
/// What stops a reader behind its last row, and what does not.
const FAILPOINT: &str = "TIDEGATE_FAILPOINT";
const FROZEN: &str = "run.chunk_read:1:freeze";
const FREE: &str = "none";

/// A pipeline over files that are a chunk each.
async fn files(stage: &Stage, name: &str, count: usize) -> PathBuf {
    let folder = stage.node.folder().join(name);
    let (input, table) = (folder.join("input"), folder.join("table"));
    std::fs::create_dir_all(&input).unwrap();
    std::fs::create_dir_all(&table).unwrap();
    for file in 0..count {
        let rows = (0..ROWS).map(|n| format!("row-{file}-{n:07},{n}\n"));
        let text: String = std::iter::once("id,n\n".to_owned()).chain(rows).collect();
        std::fs::write(input.join(format!("{file}.csv")), text).unwrap();
    }
    let url = |path: &PathBuf| json!(format!("file://{}", path.display()));
    let source = json!({"storage": {"url": url(&input)}, "glob": "*.csv", "format": "CSV"});
    let fields = json!([{"name": "id", "type": "string"}, {"name": "n", "type": "long"}]);
    let document = Document::hourly(name)
        .set("source", json!({"type": "ObjectStore", "objectStore": source}))
        .set("schema", json!({"fields": fields}))
        .set("sink", json!({"storage": {"url": url(&table)}}))
        .set("bulk.incremental", Value::Null)
        .set("bulk.schedule", Value::Null)
        .set("bulk.chunking", json!({"placement": "Pods", "parallelism": 2}))
        .set("template", json!({"terminationGracePeriodSeconds": 10}));
    stage.apply(&document).await;
    input
}

/// Readers of this name stand still behind their last row.
fn freeze(stage: &Stage, name: &str) {
    // A process stops itself by the program `kill`.
    stage.node.set_environment(name, "PATH", &std::env::var("PATH").unwrap());
    stage.node.set_environment(name, FAILPOINT, FROZEN);
}

async fn jobs_of_readers(stage: &Stage) -> Vec<Job> {
    let labels = "app.kubernetes.io/component=transfer-chunk";
    let list = ListParams::default().labels(labels);
    stage.namespace.api::<Job>().list(&list).await.unwrap().items
}

/// The readers of a chunk, dead ones too.
async fn readers(stage: &Stage, pipeline: &str, chunk: usize) -> Vec<Pod> {
    let pods = stage.pods(pipeline, "transfer-chunk").await;
    let index = chunk.to_string();
    pods.into_iter().filter(|pod| pod.labels().get(INDEX) == Some(&index)).collect()
}

async fn status(stage: &Stage, run: &str) -> IngestionRunStatus {
    stage.run(run).await.status.unwrap_or_default()
}

async fn until_progress(stage: &Stage, run: &str, progress: &str) {
    stage
        .until(&format!("run {run} has {progress} chunks"), async || {
            let chunks = status(stage, run).await.chunks;
            chunks.is_some_and(|chunks| chunks.progress == progress)
        })
        .await;
}

async fn until_no_readers(stage: &Stage, pipeline: &str) {
    stage
        .until("the readers are gone", async || {
            jobs_of_readers(stage).await.is_empty()
                && stage.pods(pipeline, "transfer-chunk").await.is_empty()
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_reader_that_is_killed_is_replaced_alone_and_nothing_is_left_behind() {
    let stage = Stage::of_processes("chunk-killed").await;
    let _operator = stage.operator().await;
    files(&stage, "orders", 3).await;
    freeze(&stage, "first-g1-chunks-1");
    stage.ask("first", "orders", &json!({"trigger": "Manual"})).await;
    until_progress(&stage, "first", "2/3").await;
    assert_eq!(status(&stage, "first").await.phase, Some(RunPhase::Running));
    let [job] = &jobs_of_readers(&stage).await[..] else { panic!("one Job") };
    let spec = job.spec.as_ref().unwrap();
    assert_eq!((spec.completions, spec.parallelism), (Some(3), Some(2)));
    let [frozen] = &readers(&stage, "orders", 1).await[..] else { panic!("one reader") };
    stage.node.set_environment("first-g1-chunks-1", FAILPOINT, FREE);
    stage.node.kill(&frozen.name_any()).await.unwrap();
    let killed = async || {
        let end = readers(&stage, "orders", 1).await;
        end.len() > 1
    };
    stage.until("another reader is made", killed).await;
    for chunk in [0, 2] {
        assert_eq!(readers(&stage, "orders", chunk).await.len(), 1, "chunk {chunk}");
    }
    stage.until_phase("first", RunPhase::Succeeded).await;
    let run = status(&stage, "first").await;
    let rows = run.rows.unwrap();
    assert_eq!((run.attempt, rows.read, rows.committed), (Some(1), 900_000, 900_000));
    assert_eq!(run.chunks.unwrap().progress, "3/3");
    until_no_readers(&stage, "orders").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn readers_go_with_their_coordinator_and_the_next_attempt_has_its_own() {
    let stage = Stage::of_processes("chunk-lost").await;
    let _operator = stage.operator().await;
    files(&stage, "orders", 2).await;
    freeze(&stage, "run-g1-chunks");
    stage.ask("run", "orders", &json!({"trigger": "Manual"})).await;
    stage
        .until("both readers are at work", async || {
            let readers = stage.pods("orders", "transfer-chunk").await;
            let logs = readers.iter().map(|pod| stage.node.log(&pod.name_any()));
            logs.filter(|log| log.contains("listening")).count() == 2
        })
        .await;
    // They stand still behind their last row at the latest, so that none of them is done.
    let [coordinator] = &stage.pods("orders", "transfer").await[..] else { panic!("one") };
    stage.node.kill(&coordinator.name_any()).await.unwrap();
    stage.until_phase("run", RunPhase::Succeeded).await;
    let run = status(&stage, "run").await;
    assert_eq!((run.attempt, run.generation), (Some(2), Some(2)));
    assert_eq!(run.rows.unwrap().committed, 600_000);
    until_no_readers(&stage, "orders").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_chunk_that_nobody_can_read_fails_the_run_at_once_and_is_named() {
    let stage = Stage::of_processes("chunk-bad").await;
    let _operator = stage.operator().await;
    let input = files(&stage, "orders", 2).await;
    stage.edit("orders", &json!({"decode": {"onError": "Halt"}})).await.unwrap();
    let mut text = std::fs::read_to_string(input.join("1.csv")).unwrap();
    text.push_str("last,no number\n");
    std::fs::write(input.join("1.csv"), text).unwrap();
    stage.until_ready("orders").await;
    stage.ask("run", "orders", &json!({"trigger": "Manual"})).await;
    stage.until_phase("run", RunPhase::Failed).await;
    let run = status(&stage, "run").await;
    assert_eq!(run.attempt, Some(1), "another attempt would read the same");
    let ready = run.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert!(ready.message.starts_with("chunk 1 (1.csv): "), "{}", ready.message);
    until_no_readers(&stage, "orders").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_coordinator_is_told_that_its_readers_were_given_up() {
    let stage = Stage::of_stand_ins("chunk-told").await;
    let operator = stage.operator().await;
    let document = Document::hourly("orders")
        .set("bulk.schedule", Value::Null)
        .set("bulk.incremental", Value::Null)
        .set("bulk.chunking", json!({"placement": "Pods"}));
    stage.apply(&document).await;
    let desk = json!({"desk": {"nonce": "00000000000000ab", "parallelism": 3}, "chunks": 5});
    stage.node.say("run-g1", &desk);
    stage.node.hold("run", true);
    let said = json!({
        "phase": "Failed", "reason": "SourceRefused", "message": "permission denied",
        "generation": 1, "chunksDone": 0, "chunks": 1, "rowsRead": 0, "rowsCommitted": 0,
        "deadLetters": 0, "rowsReplaced": 0,
    });
    stage.node.end("run-g1-chunks-2", 65, &said.to_string());
    stage.ask("run", "orders", &json!({"trigger": "Manual"})).await;
    let coordinator = async || {
        let pods = stage.pods("orders", "transfer").await;
        pods.first().map(|pod| pod.name_any()).unwrap_or_default()
    };
    let told = async || stage.node.posted(&coordinator().await).is_some();
    stage.until("the coordinator is told", told).await;
    let told = stage.node.posted(&coordinator().await).unwrap();
    let shown = told["nonce"].as_str().unwrap();
    let token = shown.strip_prefix("00000000000000ab").unwrap();
    assert_eq!((token.len(), &told["chunk"]), (32, &json!(2)), "{told}");
    assert_eq!(told["permanent"], json!("SourceRefused"), "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(message.contains("SourceRefused: permission denied"), "{message}");
    assert_eq!(status(&stage, "run").await.attempt, Some(1), "the coordinator ends it itself");

    // An operator that comes back makes no second Job, and takes the old one away with its attempt.
    let uids = async || -> Vec<_> {
        jobs_of_readers(&stage).await.iter().filter_map(|job| job.uid()).collect()
    };
    let made = uids().await;
    assert_eq!(made.len(), 1);
    operator.stop().await.unwrap();
    stage.node.forget_posted(&coordinator().await);
    let _operator = stage.operator().await;
    let told = async || stage.node.posted(&coordinator().await).is_some();
    stage.until("the coordinator is told again", told).await;
    assert_eq!(uids().await, made);
    stage.node.end(&coordinator().await, 75, &said.to_string());
    stage
        .until("the second attempt begins", async || status(&stage, "run").await.attempt == Some(2))
        .await;
    stage
        .until("the first one's readers are gone", async || {
            jobs_of_readers(&stage).await.is_empty()
        })
        .await;
}
