//! Data flows while everything around it changes: real agents, workers, broker and S3 store.

use serde_json::json;
use tidegate_testing::{ACCESS_KEY, S3Server, SECRET_KEY, eventually};

use super::support::{LONG, Stage, World};

/// Published slowly, while everything changes.
const MESSAGES: u64 = 6000;
/// The rest is published while there is no operator.
const ALL: u64 = 7000;

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn edits_kills_and_new_workers_lose_and_double_nothing() {
    let stage = Stage::of_processes("flow").await;
    let world = World::around(&stage).await;
    let store = S3Server::start(&world.scratch.join("s3"), "lake").await.unwrap();
    let mut operator = stage.process("operator").await;
    let document = world
        .document("clicks")
        .set("sink.storage", json!({
            "url": store.url("clicks"), "secretRef": {"name": "lake"},
            "s3": {"endpoint": store.endpoint(), "region": "us-east-1", "addressingStyle": "Path"},
        }))
        .set("scaling", json!({"mode": "Fixed"}))
        .set("replicas", json!(2));
    stage.apply(&document).await;
    // The Secret comes late, and nobody has to be told.
    stage.until_condition("clicks", "SinkReachable", "False", "SecretMissing").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lake"},
        "stringData": {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}});
    stage.namespace.apply(&secret).await.unwrap();
    stage.until_ready("clicks").await;

    let publishing = world.publish_at(&document, 0..MESSAGES, 400);
    let meanwhile = async {
        committed(&stage, 1).await;
        stage.node.kill("clicks-worker-0").await.unwrap();
        committed(&stage, MESSAGES / 6).await;
        // Pods are replaced.
        stage.edit("clicks", &json!({"sink": {"file": {"targetSize": "64Mi"}}})).await.unwrap();
        committed(&stage, MESSAGES / 3).await;
        // Partitions change hands.
        stage.edit("clicks", &json!({"replicas": 4})).await.unwrap();
        stage.until_workers("clicks", 4).await;
        operator.kill().await.unwrap();
        stage.delete_pod("clicks-worker-1").await;
        let before = world.rows(&store.url("clicks"), Some(&store.endpoint())).await;
        world.publish(&document, MESSAGES..ALL).await;
        eventually("rows come without an operator", LONG, async || {
            world.rows(&store.url("clicks"), Some(&store.endpoint())).await > before
        })
        .await
        .unwrap();
        operator = stage.process("operator-2").await;
        stage.edit("clicks", &json!({"replicas": 1})).await.unwrap();
        stage.until_workers("clicks", 1).await;
    };
    tokio::join!(publishing, meanwhile);
    world.until_rows_at(&store.url("clicks"), Some(&store.endpoint()), ALL).await;
    stage.until_ready("clicks").await;
}

/// The agent counts at least so many rows.
async fn committed(stage: &Stage, least: u64) {
    stage
        .until(&format!("{least} rows are counted"), async || {
            // The status is refreshed once a minute only.
            let pods = stage.pods("clicks", "agent").await;
            let mut rows = 0;
            for pod in pods {
                let name = pod.metadata.name.unwrap();
                rows =
                    rows.max(stage.report(&name).await["counters"]["rows"].as_u64().unwrap_or(0));
            }
            rows >= least
        })
        .await;
}
