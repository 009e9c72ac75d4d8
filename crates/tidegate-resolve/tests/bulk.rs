//! Bulk pipelines: the defaults, and what their parts must be to each other.

mod common;

use std::path::Path;

use serde_json::{Value, json};
use tidegate_api::{CatchupPolicy, IngestionPipeline, Violation};
use tidegate_config::{
    BulkSource, Chunking, CsvOptions, FileCompression, FileFormat, Incremental, NullCursorPolicy,
    Placement, Relation, Schedule, TlsMode, TransferConfig, WriteMode,
};
use tidegate_resolve::{Resolved, catchup_policy, check_evolution, lint_transfer, resolve_in};
use tidegate_types::Span;

use common::pipeline;

fn orders(changes: &[(&str, Value)]) -> IngestionPipeline {
    loading(
        json!({"type": "Postgres", "postgres": {
            "connection": {"secretRef": {"name": "orders-db"}}, "table": "public.orders",
        }}),
        changes,
    )
}

fn files(changes: &[(&str, Value)]) -> IngestionPipeline {
    loading(
        json!({"type": "ObjectStore", "objectStore": {
            "storage": {"url": "file:./landing/"}, "glob": "dt=%Y-%m-%d/*.parquet", "format": "Parquet",
        }}),
        changes,
    )
}

/// A bulk pipeline over a source.
fn loading(source: Value, changes: &[(&str, Value)]) -> IngestionPipeline {
    let document = json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "orders", "namespace": "billing"},
        "spec": {"source": source, "sink": {"storage": {"url": "s3://lake/orders/"}}},
    });
    pipeline(document, changes)
}

fn resolved(pipeline: &IngestionPipeline) -> TransferConfig {
    let resolved = resolve_in(pipeline, Some(Path::new("/home/me")));
    let resolved = resolved.unwrap_or_else(|faults| panic!("{faults:#?}"));
    let config = resolved.into_bulk().expect("it is a bulk pipeline");
    assert_eq!(
        (config.name.as_str(), config.ledger.as_str()),
        ("billing/orders", "billing.orders")
    );
    config
}

fn refused(pipeline: &IngestionPipeline) -> Vec<String> {
    match resolve_in(pipeline, Some(Path::new("/home/me"))) {
        Ok(config) => panic!("{config:#?}"),
        Err(violations) => {
            // A type's own message has its remedy within.
            let remedy = |one: &Violation| one.instead.is_some() || one.field.ends_with(".type");
            assert!(violations.iter().all(remedy), "{violations:#?}");
            violations.iter().map(ToString::to_string).collect()
        }
    }
}

fn hourly() -> (&'static str, Value) {
    ("bulk.schedule", json!({"cron": "0 * * * *"}))
}

fn daily() -> (&'static str, Value) {
    ("bulk.schedule", json!({"cron": "0 0 * * *", "timeZone": "Europe/London"}))
}

fn cursor(more: Value) -> (&'static str, Value) {
    let mut cursor = json!({"cursorField": "created_at", "mutability": "Immutable"});
    for (name, value) in more.as_object().into_iter().flatten() {
        cursor[name] = value.clone();
    }
    ("bulk.incremental", cursor)
}

#[test]
fn the_smallest_pipeline_loads_a_table_whole() {
    let config = resolved(&orders(&[]));
    let BulkSource::Postgres(source) = &config.source else { panic!("{config:?}") };
    assert_eq!(source.connection, "orders-db");
    let table = Relation::Table { schema: Some("public".into()), name: "orders".into() };
    assert_eq!(source.relation, table);
    assert_eq!((source.tls.mode, &source.tls.ca), (TlsMode::VerifyFull, &None));
    assert_eq!((config.fields, config.incremental, config.schedule), (None, None, None));
    let chunking = Chunking { field: None, target_rows: 5_000_000, parallelism: 4 };
    assert_eq!((config.chunking, config.placement), (chunking, Placement::InProcess));
    let pods = resolved(&orders(&[("bulk.chunking.placement", json!("Pods"))]));
    assert_eq!(pods.placement, Placement::Pods);
    assert_eq!(config.write_mode, WriteMode::Overwrite);
    assert_eq!(config.sink.url, "s3://lake/orders");
    assert!(!config.allow_shrink);
}

#[test]
fn rows_of_an_interval_are_replaced_unless_said_otherwise() {
    let config = resolved(&orders(&[
        hourly(),
        cursor(json!({"timeZone": "Asia/Seoul", "ignoreRoles": ["reporting"], "rerunLast": 2})),
    ]));
    assert_eq!(config.write_mode, WriteMode::ReplaceInterval);
    let wanted = Incremental {
        cursor_field: "created_at".into(),
        time_zone: Some("Asia/Seoul".into()),
        settle: Span::seconds(300),
        max_wait: Span::seconds(1_800),
        ignore_roles: vec!["reporting".into()],
        on_null_cursor: NullCursorPolicy::Fail,
        rerun_last: 2,
    };
    assert_eq!(config.incremental, Some(wanted));
    let schedule = Schedule { cron: "0 * * * *".into(), time_zone: "UTC".into() };
    assert_eq!(config.schedule, Some(schedule));
    let append = orders(&[hourly(), cursor(json!({})), ("sink.writeMode", json!("Append"))]);
    assert_eq!(resolved(&append).write_mode, WriteMode::Append);
}

#[test]
fn files_have_intervals_by_their_glob() {
    let config = resolved(&files(&[daily()]));
    let BulkSource::ObjectStore(source) = &config.source else { panic!("{config:?}") };
    assert_eq!(source.url, "file:///home/me/landing");
    assert_eq!((source.format, source.compression), (FileFormat::Parquet, FileCompression::Auto));
    assert_eq!(source.csv, CsvOptions { delimiter: ',', header: true, null: String::new() });
    assert_eq!(config.write_mode, WriteMode::ReplaceInterval);
    let all = files(&[("source.objectStore.glob", json!("100%%/*.parquet"))]);
    assert_eq!(resolved(&all).write_mode, WriteMode::Overwrite);
    // A dump a day: the newest is the table.
    let dumps = files(&[daily(), ("sink.writeMode", json!("Overwrite"))]);
    assert_eq!(resolved(&dumps).write_mode, WriteMode::Overwrite);
}

#[test]
fn a_stream_is_resolved_as_one() {
    let fields = json!([{"name": "id", "type": "string"}]);
    let stream = loading(
        json!({"type": "JetStream", "jetStream": {"stream": "ORDERS"}}),
        &[("schema.fields", fields)],
    );
    assert!(matches!(resolve_in(&stream, None), Ok(Resolved::Stream(_))));
}

#[test]
fn parts_that_do_not_fit_each_other_are_refused_with_a_remedy() {
    let mode = |mode: &str| ("sink.writeMode", json!(mode));
    let fields = |of: &str| {
        (
            "schema.fields",
            json!([{"name": "created_at", "type": of}, {"name": "id", "type": "long"}]),
        )
    };
    let csv = |delimiter: &str| {
        vec![
            hourly(),
            ("source.objectStore.format", json!("CSV")),
            ("source.objectStore.csv", json!({"delimiter": delimiter})),
            ("schema.fields", json!([{"name": "id", "type": "long"}])),
        ]
    };
    let schedule = |schedule: Value| orders(&[("bulk.schedule", schedule)]);
    for (pipeline, says) in [
        (schedule(json!({"cron": "61 * * * *"})), "spec.bulk.schedule.cron: cannot be read"),
        (
            schedule(json!({"cron": "* * * * *"})),
            "spec.bulk.schedule.cron: ticks at 2024-01-01T00:01:00Z and",
        ),
        (schedule(json!({"cron": "0 0 31 2 *"})), "no day is like that"),
        (
            schedule(json!({"cron": "0 * * * *", "timeZone": "Mars/Olympus"})),
            "spec.bulk.schedule.timeZone: \"Mars/Olympus\" is no known time zone",
        ),
        (
            schedule(json!({"cron": "0 * * * *", "startAt": "2026-13-01T00:00:00Z"})),
            "spec.bulk.schedule.startAt: \"2026-13-01T00:00:00Z\" is no instant",
        ),
        (orders(&[mode("ReplaceInterval")]), "every run reads the whole source"),
        (orders(&[hourly(), mode("ReplaceInterval")]), "every run reads the whole source"),
        (
            orders(&[hourly(), cursor(json!({})), mode("Overwrite")]),
            "Overwrite would leave only the newest interval",
        ),
        (orders(&[mode("Append")]), "Append adds the whole source with every run"),
        (
            orders(&[hourly(), cursor(json!({"rerunLast": 1})), mode("Append")]),
            "rerunLast: would add rows twice",
        ),
        (orders(&[("bulk.maxActiveRuns", json!(2))]), "maxActiveRuns: is above 1"),
        (files(&[]), "spec.bulk.schedule: is missing, and the glob is about intervals"),
        (
            files(&[hourly(), ("source.objectStore.glob", json!("%Y/%j/*.csv"))]),
            "glob: has the field %j, which no interval has",
        ),
        (
            files(&[hourly(), ("source.objectStore.glob", json!("%Y%m%d%H%M{a,b/*.csv"))]),
            "glob: has a brace that is not closed",
        ),
        (
            files(&[
                hourly(),
                ("source.objectStore.glob", json!(format!("%Y%m%d%H%M{}", "{a,b,c,d}".repeat(4)))),
            ]),
            "glob: has 60 names for",
        ),
        (
            files(&[hourly(), ("source.objectStore.glob", json!("%Y/../*.csv"))]),
            "glob: has an empty step, . or ..",
        ),
        (files(&[hourly()]), "objectStore.glob: has no day of its own for"),
        (files(&[hourly()]), "write finer fields into it"),
        (
            files(&[
                ("source.objectStore.glob", json!("%Y-%m-%dT%H.parquet")),
                ("bulk.schedule", json!({"cron": "0 * * * *", "timeZone": "Europe/Berlin"})),
            ]),
            "as the clock is turned back; tell the time of files in UTC",
        ),
        (
            files(&[hourly(), ("source.objectStore.glob", json!("%d/*.parquet"))]),
            "objectStore.glob: has a finer field and no %m",
        ),
        (files(&csv("\"")), "csv.delimiter: \"\\\"\" cannot stand between fields"),
        (files(&csv("é")), "csv.delimiter: \"é\" cannot stand"),
        (
            orders(&[hourly(), cursor(json!({})), fields("string")]),
            "cursorField: created_at has the type string; name a column of a type timestamp",
        ),
        (
            orders(&[hourly(), cursor(json!({})), fields("timestamp_ntz")]),
            "incremental.timeZone: is missing, and created_at has no zone itself",
        ),
        (
            orders(&[hourly(), cursor(json!({"timeZone": "Nowhere"}))]),
            "incremental.timeZone: \"Nowhere\" is no known time zone",
        ),
        (orders(&[hourly(), cursor(json!({"maxWait": "0s"}))]), "incremental.maxWait: is zero"),
        (
            orders(&[(
                "bulk.runTemplate.retry.backoff",
                json!({"duration": "1h", "maxDuration": "1m"}),
            )]),
            "backoff.duration: 1h is above maxDuration 1m",
        ),
        (
            orders(&[
                hourly(),
                cursor(json!({})),
                ("bulk.runTemplate", json!({"activeDeadlineSeconds": 2100})),
            ]),
            "activeDeadlineSeconds: 2100s end before settle 5m and maxWait 30m may be over; write more than 2100",
        ),
        (
            orders(&[("schema.fields", json!([{"name": "id", "type": "long", "from": "$.a"}]))]),
            "spec.schema.fields[0].from: leads into JSON",
        ),
        (
            orders(&[("schema.fields", json!([{"name": "id", "type": "lng"}]))]),
            "spec.schema.fields[0].type",
        ),
        (
            orders(&[
                ("schema.fields", json!([{"name": "id", "type": "long"}])),
                ("sink.partitionBy", json!([{"field": "day", "transform": "Day"}])),
            ]),
            "there is no column \"day\"",
        ),
        (
            orders(&[("source.postgres.table", json!("a.b.c"))]),
            "spec.source.postgres.table: \"a.b.c\" has more than two parts",
        ),
    ] {
        let found = refused(&pipeline);
        assert!(found.iter().any(|line| line.contains(says)), "{says}\n{found:#?}");
    }
}

#[test]
fn queries_are_one_statement() {
    let query = |query: &str| {
        let source = json!({"type": "MySQL", "mysql": {
            "connection": {"secretRef": {"name": "db"}}, "query": query, "tls": {"mode": "Disable"},
        }});
        loading(source, &[])
    };
    let config = resolved(&query("\n  SELECT 1 AS one\n"));
    let BulkSource::MySql(source) = &config.source else { panic!("{config:?}") };
    assert_eq!(source.relation, Relation::Query("SELECT 1 AS one".into()));
    assert_eq!(source.tls.mode, TlsMode::Disable);
    assert!(refused(&query("SELECT 1 ; "))[0].contains("mysql.query: ends with a semicolon"));
    assert!(refused(&query("  "))[0].contains("mysql.query: is empty"));
}

#[test]
fn a_cursor_may_be_a_column_that_is_not_written() {
    let fields = ("schema.fields", json!([{"name": "id", "type": "long"}]));
    assert!(resolved(&orders(&[hourly(), cursor(json!({})), fields])).fields.is_some());
    let zoned = ("schema.fields", json!([{"name": "created_at", "type": "date"}]));
    resolved(&orders(&[hourly(), cursor(json!({"timeZone": "UTC"})), zoned]));
}

#[test]
fn whole_loads_catch_up_with_the_newest_only() {
    let policy = |pipeline: &IngestionPipeline| {
        catchup_policy(&pipeline.spec.bulk_or_default(), resolved(pipeline).write_mode)
    };
    assert_eq!(policy(&orders(&[hourly()])), CatchupPolicy::Latest);
    assert_eq!(policy(&orders(&[hourly(), cursor(json!({}))])), CatchupPolicy::All);
    let written = json!({"cron": "0 * * * *", "catchupPolicy": "None"});
    assert_eq!(policy(&orders(&[("bulk.schedule", written)])), CatchupPolicy::None);
}

#[test]
fn an_edit_keeps_what_intervals_in_the_log_are_about() {
    let old = orders(&[hourly(), cursor(json!({}))]).spec;
    let other = json!({"cursorField": "id", "mutability": "Immutable"});
    for (new, field) in [
        (
            orders(&[hourly(), cursor(json!({})), ("source.postgres.table", json!("x"))]),
            "spec.source.postgres",
        ),
        (orders(&[hourly(), ("bulk.incremental", other)]), "spec.bulk.incremental.cursorField"),
        (files(&[hourly()]), "spec.source.type"),
    ] {
        let found = check_evolution(&old, &new.spec).expect_err(field);
        assert!(found.iter().any(|one| one.field == field), "{found:#?}");
    }
    let moved = files(&[hourly(), ("source.objectStore.storage.url", json!("s3://x"))]).spec;
    let found = check_evolution(&files(&[hourly()]).spec, &moved).expect_err("moved");
    assert_eq!(found[0].field, "spec.source.objectStore.storage.url");
    // Everything else may be edited.
    let thirty = json!({"cron": "*/30 * * * *", "timeZone": "Asia/Seoul"});
    let new = orders(&[("bulk.schedule", thirty), ("bulk.allowShrink", json!(true))]).spec;
    assert_eq!(check_evolution(&old, &new), Ok(vec![]));
}

#[test]
fn columns_are_compared_where_both_specs_declare_them() {
    let with = |fields: Value| orders(&[("schema.fields", fields)]).spec;
    let id = json!({"name": "id", "type": "long"});
    let both = json!([id, {"name": "at", "type": "timestamp"}]);
    let (one, two) = (with(json!([id])), with(both));
    assert_eq!(check_evolution(&one, &two), Ok(vec!["at".to_owned()]));
    assert!(check_evolution(&two, &one).is_err(), "a column is gone");
    let open = orders(&[]).spec;
    assert_eq!(check_evolution(&two, &open), Ok(vec![]), "the run compares with the table");
    assert!(check_evolution(&open, &two).is_ok());
}

#[test]
fn a_schedule_that_fills_the_log_is_told_with_its_arithmetic() {
    for (cron, wanted) in [
        ("*/5 * * * *", Some("about 105")),
        ("*/20 * * * *", Some("about 26")),
        ("*/30 * * * *", None),
        ("*/5 0-3 * * *", None),
        ("0 0 1 1 *", None),
    ] {
        let findings =
            lint_transfer(&resolved(&orders(&[("bulk.schedule", json!({"cron": cron}))])));
        assert_eq!(findings.len(), usize::from(wanted.is_some()), "{cron}: {findings:?}");
        let says = findings.iter().map(ToString::to_string).collect::<String>();
        assert!(says.contains(wanted.unwrap_or_default()), "{cron}: {says}");
    }
    assert_eq!(lint_transfer(&resolved(&orders(&[]))), []);
}
