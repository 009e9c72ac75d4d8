//! What goes with a pipeline and what stays.

use serde_json::json;

use crate::pod::numbered;
use crate::support::{Bench, Pipeline};

const ALL: &[&str] = &["--delete-stream", "--delete-data"];

async fn filled(bench: &mut Bench, pipeline: &Pipeline) {
    let mut messages = numbered(pipeline, 0, 50);
    messages.push(crate::support::Outgoing::new(&pipeline.subject("x"), "no record"));
    bench.broker.publish(&messages).await.unwrap();
    bench.catch_up(pipeline).await.expect(0);
}

async fn stream_exists(bench: &mut Bench, stream: &str) -> bool {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    bench.broker.ask(&subject, &json!({})).await.unwrap()["error"].is_null()
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path.display().to_string()),
        }
    }
    files
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn stream_and_table_go_when_nobody_else_uses_them() {
    let mut bench = Bench::start("going").await;
    let pipeline = bench.pipeline("going").await;
    filled(&mut bench, &pipeline).await;
    assert!(files_below(&pipeline.table.join("_dead_letters")).len() > 1);
    let (code, message) = bench.cleanup(&pipeline, ALL).await;
    assert_eq!((code, message), (Some(0), json!({"reason": "Ok", "left": []})));
    assert!(!stream_exists(&mut bench, "GOING").await);
    assert_eq!(files_below(&pipeline.table), [""; 0]);
    let again = bench.cleanup(&pipeline, ALL).await;
    assert_eq!(again, (Some(0), json!({"reason": "Ok", "left": []})));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn what_somebody_else_uses_stays_and_is_named() {
    let mut bench = Bench::start("staying").await;
    let pipeline = bench.pipeline("staying").await;
    filled(&mut bench, &pipeline).await;
    // A second ledger on the stream, and a file in the table's folder that is nobody's.
    let other = pipeline.clone().renamed("other");
    bench.catch_up(&other).await.expect(0);
    std::fs::write(pipeline.table.join("notes.txt"), "x").unwrap();
    let (code, message) = bench.cleanup(&pipeline, ALL).await;
    assert_eq!((code, &message["reason"]), (Some(65), &json!("DeletionIncomplete")), "{message}");
    let left = message["left"].to_string();
    assert!(left.contains("stream STAYING: ledger default.other"), "{left}");
    assert!(left.contains("1 objects that are not the table's, such as notes.txt"), "{left}");
    assert!(stream_exists(&mut bench, "STAYING").await);
    assert_eq!(
        files_below(&pipeline.table),
        [pipeline.table.join("notes.txt").display().to_string()]
    );
    // The one that is gone keeps nobody from anything any more.
    let (code, message) = bench.cleanup(&other, ALL).await;
    assert_eq!((code, &message["left"]), (Some(0), &json!([])), "{message}");
    assert!(!stream_exists(&mut bench, "STAYING").await);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_broker_that_is_gone_holds_up_the_end_only_until_the_deadline() {
    let mut bench = Bench::start("deadline").await;
    let pipeline = bench.pipeline("deadline").await;
    filled(&mut bench, &pipeline).await;
    bench.nats.kill().await.unwrap();
    let (code, message) = bench.cleanup(&pipeline, &[ALL, &["--deadline", "2s"]].concat()).await;
    assert_eq!((code, &message["reason"]), (Some(75), &json!("DeletionIncomplete")), "{message}");
    let left = message["left"].to_string();
    assert!(left.contains("stream DEADLINE: "), "{left}");
    assert_eq!(files_below(&pipeline.table), [""; 0], "the table went all the same");
}
