//! Secrets are used and never told.

use std::net::Ipv4Addr;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use tidegate_testing::{Fault, Matcher, Rule, ask_http, eventually, free_port};

use crate::lake::Lake;
use crate::support::LONG;

const ID: &str = "CANARYID51C0";
const SECRET: &str = "canary-secret-9d2f";

async fn get(port: u16, path: &str) -> String {
    let server = (Ipv4Addr::LOCALHOST, port).into();
    ask_http(server, ("GET", path), &[], &[]).await.unwrap().1
}

#[tokio::test]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn the_keys_of_the_store_stand_in_no_log_no_metric_and_no_commit() {
    let mut lake = Lake::start_for("quiet", (ID, SECRET)).await;
    let port = free_port().unwrap();
    let run = lake.run().environment("TIDEGATE_LOG", "trace");
    let run = run.argument("--listen").argument(format!("127.0.0.1:{port}"));
    let mut worker = run.spawn("worker", lake.bench.scratch.path()).unwrap();
    lake.ingest(50, &worker).await;
    // Faults are told at length.
    let rule = lake.add(Rule::new(Matcher::any(), Fault::Status(500)).times(5));
    lake.ingest(50, &worker).await;
    lake.wait_for_hits(rule, 5, &worker).await;
    let counted = async || get(port, "/metrics").await.contains("tidegate_rows_total");
    eventually("the metrics", LONG, counted).await.unwrap();
    let metrics = get(port, "/metrics").await + &get(port, "/readyz").await;
    lake.drain(&mut worker).await;

    let store = lake.bench.scratch.join("s3");
    let told = [("logs", worker.output()), ("metrics", metrics), ("commits", commits(&lake).await)];
    for (what, text) in told {
        assert!(text.len() > 100, "{what} are too short to tell: {text}");
        for canary in [ID, SECRET] {
            assert!(!text.contains(canary), "{canary} stands in the {what}; see {store:?}");
        }
    }
}

/// The table's log as text, read with the keys.
async fn commits(lake: &Lake) -> String {
    let store = lake.s3.store(None).unwrap();
    let mut text = String::new();
    for version in 0.. {
        let path = Path::from(format!("quiet/_delta_log/{version:020}.json"));
        let Ok(found) = store.get(&path).await else { break };
        text += std::str::from_utf8(&found.bytes().await.unwrap()).unwrap();
    }
    text
}
