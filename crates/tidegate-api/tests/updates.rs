//! What cannot be changed on an accepted pipeline.

mod common;

use common::{BULK, FULL, REPAIR, set};
use serde_json::{Value, json};
use tidegate_api::{IngestionPipeline, check, read, validate_update};

fn pipeline(change: Option<(&str, Value)>) -> IngestionPipeline {
    changed(FULL, change)
}

fn changed(text: &str, change: Option<(&str, Value)>) -> IngestionPipeline {
    let mut document = read("f.yaml", text).expect("it is YAML").remove(0);
    if let Some((path, value)) = change {
        set(&mut document, path, value);
    }
    let documents = check("f.yaml", vec![document]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    documents.pipelines.into_iter().next().expect("one document")
}

#[test]
fn what_positions_and_files_depend_on_cannot_be_changed() {
    let stream = "spec.source.jetStream";
    let declared =
        json!({"type": "Declared", "partitions": 8, "subjectPattern": "clicks.{partition}.>"});
    let table = [
        ("spec.ledger".to_owned(), json!("analytics.other"), "spec.ledger: ledger cannot"),
        ("spec.ledger".to_owned(), Value::Null, "spec.ledger: ledger cannot"),
        (format!("{stream}.stream"), json!("OTHER"), "the stream cannot be changed"),
        (format!("{stream}.partitioning.partitions"), json!(16), "partitioning cannot"),
        (format!("{stream}.partitioning"), declared, "partitioning cannot"),
        (format!("{stream}.partitioning"), Value::Null, "partitioning cannot"),
        ("spec.sink.storage.url".to_owned(), json!("s3://lake/x"), "address cannot be changed"),
        ("spec.sink.partitionBy".to_owned(), Value::Null, "partitionBy cannot"),
        (
            "spec.sink.partitionBy".to_owned(),
            json!([{"field": "ts", "transform": "Month"}]),
            "partitionBy cannot",
        ),
    ];
    for (path, value, says) in table {
        let new = pipeline(Some((&path, value)));
        let found = validate_update(&pipeline(None), &new).expect_err(&path);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(lines.iter().any(|line| line.contains(says)), "{path}: {lines:?}");
    }
}

#[test]
fn the_rest_may_be_changed() {
    assert_eq!(validate_update(&pipeline(None), &pipeline(None)), Ok(()));
    for (path, value) in [
        ("spec.suspend", json!(true)),
        ("spec.guarantee", json!("AtLeastOnce")),
        ("spec.source.jetStream.servers", json!(["nats://other:4222"])),
        ("spec.source.jetStream.retention", json!({"maxAge": "96h"})),
        ("spec.source.jetStream.partitioning.idSubjectStable", json!(false)),
        ("spec.sink.flush.maxInterval", json!("5s")),
        ("spec.dedup.window", json!("2h")),
        ("spec.filter", Value::Null),
        ("spec.schema.fields.0.from", json!("$.key")),
        ("spec.deletionPolicy", json!({"data": "Delete"})),
        ("spec.serviceAccountName", Value::Null),
        ("spec.objectives", Value::Null),
        ("spec.replicas", json!(0)),
        ("spec.scaling", json!({"mode": "External"})),
        ("spec.template.resources.limits.memory", json!("2Gi")),
        ("spec.template.labels", json!({"team": "other"})),
    ] {
        let new = pipeline(Some((path, value)));
        assert_eq!(validate_update(&pipeline(None), &new), Ok(()), "{path}");
    }
}

#[test]
fn a_ledger_cannot_be_set_later() {
    let old = pipeline(Some(("spec.ledger", Value::Null)));
    assert!(validate_update(&old, &pipeline(None)).is_err());
}

#[test]
fn what_intervals_in_the_log_are_about_cannot_be_changed() {
    let [ledger, orders, parts, trips, _] = BULK;
    let query = json!({"connection": {"secretRef": {"name": "x"}}, "query": "SELECT 1"});
    for (text, path, value, says) in [
        (ledger, "spec.source.postgres.table", json!("public.other"), "table and query cannot"),
        (ledger, "spec.source.postgres", query, "table and query cannot"),
        (orders, "spec.source.postgres.query", json!("SELECT 2"), "table and query cannot"),
        (parts, "spec.source.mysql.table", json!("shop.other"), "table and query cannot"),
        (trips, "spec.source.objectStore.storage.url", json!("s3://x/y"), "address of the files"),
        (ledger, "spec.bulk.incremental.cursorField", json!("id"), "the cursor cannot"),
    ] {
        let old = changed(text, None);
        let found = validate_update(&old, &changed(text, Some((path, value)))).expect_err(path);
        assert!(found[0].to_string().contains(says), "{path}: {found:?}");
    }
    let found = validate_update(&changed(orders, None), &changed(parts, None)).expect_err("type");
    assert!(found.iter().any(|one| one.to_string().contains("type of the source")), "{found:?}");
    for (text, path, value) in [
        (ledger, "spec.bulk.schedule.cron", json!("*/30 * * * *")),
        (ledger, "spec.bulk.incremental", Value::Null),
        (orders, "spec.bulk", json!({"schedule": {"cron": "0 0 * * *"}})),
        (ledger, "spec.source.postgres.connection.secretRef.name", json!("other-db")),
        (trips, "spec.source.objectStore.glob", json!("%Y/%m/%d/*.csv")),
        (orders, "spec.sink.writeMode", Value::Null),
    ] {
        let new = changed(text, Some((path, value)));
        assert_eq!(validate_update(&changed(text, None), &new), Ok(()), "{path}");
    }
}

#[test]
fn whom_a_pipeline_repairs_cannot_be_changed() {
    let repair = changed(REPAIR, None);
    assert_eq!(validate_update(&repair, &repair), Ok(()));
    let other = changed(REPAIR, Some(("spec.bulk.repairs.pipelineRef.name", json!("other"))));
    let found = validate_update(&repair, &other).expect_err("another pipeline");
    assert!(
        found.iter().any(|one| one.to_string().contains("whom a pipeline repairs")),
        "{found:?}"
    );
}
