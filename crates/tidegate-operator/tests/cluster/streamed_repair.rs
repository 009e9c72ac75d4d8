//! Repairs of a streamed table (B10): two pipelines, real workers, a real database.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_api::RunPhase;
use tidegate_testing::{POSTGRES_DATABASE, PostgresServer};

use super::support::{Bulk as _, Document, Stage, World};

/// Twenty events in each of three hours.
fn event(n: u64) -> Value {
    let (hour, minute) = (n / 20, n % 20 * 3);
    json!({"id": n.to_string(), "n": n, "ts": format!("2026-01-01T0{hour}:{minute:02}:00Z")})
}

fn clicks(world: &World) -> Document {
    let fields = json!([
        {"name": "id", "type": "string", "required": true},
        {"name": "n", "type": "long"},
        {"name": "ts", "type": "timestamp"},
    ]);
    world
        .document("clicks")
        .set("source.jetStream.partitioning", json!({"type": "None"}))
        .set("scaling", json!({"mode": "Fixed"}))
        .set("schema.fields", fields)
        .set("dedup.window", json!("1s"))
        .set("sink.eventTime", json!({"field": "ts", "allowedLateness": "1s"}))
}

fn mend(world: &World) -> Document {
    let source = json!({"type": "Postgres", "postgres": {
        "connection": {"secretRef": {"name": "db"}}, "table": "public.clicks",
        "tls": {"mode": "Disable"},
    }});
    Document::hourly("mend")
        .set("source", source)
        .set("bulk.schedule", Value::Null)
        .set("bulk.repairs", json!({"pipelineRef": {"name": "clicks"}}))
        .set("bulk.incremental.cursorField", json!("ts"))
        .set("bulk.incremental.settle", json!("0s"))
        .set("sink.storage.url", json!(world.scratch.url("clicks")))
}

async fn database(world: &World, stage: &Stage) -> PostgresServer {
    let server = PostgresServer::start(&world.scratch.join("postgres")).await.unwrap();
    let rows: Vec<_> = (0..60).map(|n| event(n).to_string()).collect();
    let load = format!(
        "CREATE TABLE clicks AS SELECT e->>'id' AS id, (e->>'n')::bigint AS n, \
         (e->>'ts')::timestamptz AS ts FROM unnest(ARRAY['{}']::json[]) AS e",
        rows.join("','")
    );
    server.sql(&load).await.unwrap();
    let uri = server.url(POSTGRES_DATABASE);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"},
        "stringData": {"uri": uri}});
    stage.namespace.apply(&secret).await.unwrap();
    server
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn b10_a_run_with_trigger_repair_brings_back_what_the_stream_lost() {
    let stage = Stage::of_processes("mend").await;
    let world = World::around(&stage).await;
    let _database = database(&world, &stage).await;
    let _operator = stage.operator().await;
    let (clicks, mend) = (clicks(&world), mend(&world));
    stage.apply(&mend).await;
    stage.until_condition("mend", "SpecAccepted", "False", "InvalidConfiguration").await;
    stage.apply(&clicks).await;
    stage.until_ready("clicks").await;
    // Each third event of the second hour never arrives.
    let arrived = (0..60).filter(|n| n / 20 != 1 || n % 3 != 0).map(event);
    world.publish_records(&clicks, arrived, 1_000_000).await;
    let url = world.scratch.url("clicks");
    stage.until("the rows are there", async || world.rows(&url, None).await == 53).await;
    // The window in which ids are compared goes by, and the stream goes on.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let last = json!({"id": "60", "n": 60, "ts": "2026-01-01T09:00:00Z"});
    world.publish_records(&clicks, std::iter::once(last), 1_000_000).await;
    stage.until("the last row is there", async || world.rows(&url, None).await == 54).await;

    let hour = json!({"start": "2026-01-01T01:00:00Z", "end": "2026-01-01T02:00:00Z"});
    stage.ask("once", "mend", &json!({"trigger": "Repair", "interval": hour})).await;
    stage.until_phase("once", RunPhase::Succeeded).await;
    let rows = stage.run("once").await.status.unwrap().rows.unwrap();
    assert_eq!((rows.read, rows.committed, rows.replaced), (20, 20, 13));
    stage.until_condition("mend", "SpecAccepted", "True", "Ok").await;
    world.until_rows(&clicks, 61).await;
    assert!(world.verify(&clicks).await.contains("1 repairs: 13 streamed rows"));

    stage.ask("other", "mend", &json!({"trigger": "Manual", "interval": hour})).await;
    stage.until_phase("other", RunPhase::Failed).await;
    let refused = stage.run("other").await.status.unwrap();
    let told = refused.conditions.iter().any(|condition| condition.message.contains("Repair"));
    assert!(told, "{refused:?}");
}
