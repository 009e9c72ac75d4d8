//! Bulk pipelines: what is accepted, and what is said about what is not.

mod common;

use common::{BULK, FULL, REPAIR, set};
use serde_json::{Value, json};
use tidegate_api::{
    ChunkPlacement, IngestionPipeline, SourceType, check, read, read_pipeline, schema,
};
use tidegate_types::Span;

fn document(text: &str) -> Value {
    read("f.yaml", text).expect("it is YAML").remove(0)
}

fn violations(document: &Value) -> Vec<String> {
    match check("f.yaml", vec![document.clone()]) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(ToString::to_string).collect(),
    }
}

fn accepted(document: Value) -> IngestionPipeline {
    let found = check("f.yaml", vec![document]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    found.pipelines.into_iter().next().expect("one document")
}

#[test]
fn documents_of_every_source_are_accepted() {
    let types = BULK.map(|text| {
        let pipeline = accepted(document(text));
        assert!(pipeline.spec.is_bulk());
        pipeline.spec.source.source_type
    });
    use SourceType::{MySQL, ObjectStore, Postgres};
    assert_eq!(types, [Postgres, Postgres, MySQL, ObjectStore, ObjectStore]);
    assert!(!accepted(document(FULL)).spec.is_bulk());
    let repairs = accepted(document(REPAIR)).spec.bulk_or_default().repairs.expect("it repairs");
    assert_eq!(repairs.pipeline_ref.name, "clicks");
}

#[test]
fn a_pipeline_that_says_nothing_about_runs_has_the_defaults() {
    let bulk = accepted(document(BULK[1])).spec.bulk_or_default();
    assert_eq!((bulk.chunking.target_rows, bulk.chunking.parallelism), (5_000_000, 4));
    assert_eq!(bulk.chunking.placement, ChunkPlacement::InProcess);
    assert_eq!((bulk.max_active_runs, bulk.run_template.retry.limit), (1, 3));
    assert_eq!(bulk.run_template.retry.backoff.max_duration, Span::seconds(600));
    assert!(bulk.schedule.is_none() && bulk.incremental.is_none() && !bulk.allow_shrink);
    let mut written = document(BULK[1]);
    set(&mut written, "spec.bulk", json!({}));
    assert_eq!(accepted(written).spec.bulk, Some(bulk), "an empty map says the same");
}

/// The API server fills in the definition's defaults, a laptop those of the types.
#[test]
fn a_cluster_and_a_laptop_fill_in_the_same_defaults() {
    let schedule = json!({"cron": "0 * * * *"});
    let cursor = json!({"cursorField": "at", "mutability": "Immutable"});
    for (text, path, value) in [
        (BULK[1], "spec.bulk", json!({})),
        (BULK[1], "spec.bulk", json!({"schedule": schedule, "incremental": cursor})),
        (BULK[1], "spec.bulk", json!({"runTemplate": {"retry": {"backoff": {"factor": 3}}}})),
        (BULK[2], "spec.source.mysql.tls", json!({"caRef": {"name": "ca"}})),
        (BULK[3], "spec.source.objectStore.csv", json!({})),
    ] {
        let mut document = document(text);
        set(&mut document, "spec.sink.writeMode", Value::Null);
        set(&mut document, path, value);
        // Once for each level: this evaluator does not reach into maps that are defaults themselves.
        let by_cluster = (0..8)
            .fold(document.clone(), |document, _| kube_cel::apply_defaults(schema(), &document));
        let by_laptop = serde_json::to_value(accepted(document)).expect("plain");
        assert_eq!(by_cluster["spec"], by_laptop["spec"], "{path}");
    }
}

#[test]
fn faults_name_field_problem_and_remedy() {
    let [ledger, orders, parts, trips, _] = BULK;
    let table = [
        (orders, "spec.source.postgres", Value::Null, "needs the member postgres"),
        (
            orders,
            "spec.source.mysql",
            json!({"connection": {"secretRef": {"name": "x"}}, "table": "x"}),
            "needs the member mysql, and no other type has it",
        ),
        (orders, "spec.source.type", json!("Mysql"), "did you mean MySQL?"),
        (orders, "spec.source.type", json!("ObjectStore"), "needs the member objectStore"),
        (
            orders,
            "spec.source.postgres.table",
            json!("orders"),
            "postgres: a database source is a table or a query; write one",
        ),
        (
            orders,
            "spec.source.postgres.query",
            Value::Null,
            "a database source is a table or a query",
        ),
        (orders, "spec.source.postgres.connection", Value::Null, "connection: is missing"),
        (
            orders,
            "spec.source.postgres.tls",
            json!({"mode": "Disable", "caRef": {"name": "x"}}),
            "tls.caRef: caRef has no effect",
        ),
        (ledger, "spec.source.postgres.table", json!("a\nb"), "is not the name of a table"),
        (trips, "spec.source.objectStore.glob", json!("/x/*.csv"), "is not a pattern of paths"),
        (
            trips,
            "spec.source.objectStore.format",
            json!("Csv"),
            "did you mean CSV? write one of CSV, NDJSON, Parquet",
        ),
        (
            trips,
            "spec.source.objectStore.format",
            json!("NDJSON"),
            "objectStore.csv: csv goes with format CSV only",
        ),
        (
            trips,
            "spec.source.objectStore.csv",
            json!({"delimiter": ";;"}),
            "has 2 characters, more than 1",
        ),
        (trips, "spec.source.objectStore.storage.url", json!("ftp://x/y"), "is not the address of"),
        (
            trips,
            "spec.source.objectStore.storage.url",
            json!("file:///x"),
            "storage.s3: s3 has no effect on files",
        ),
        (
            trips,
            "spec.source.objectStore.storage.endpoint",
            json!("http://store:9000"),
            "storage.endpoint: endpoint goes with gs:// and abfss:// addresses only",
        ),
        (
            trips,
            "spec.source.objectStore.storage.url",
            json!("abfss://lake:key@shop.dfs.core.windows.net/x"),
            "is not the address of a folder with files",
        ),
        (trips, "spec.sink.storage.url", json!("gs://lake/x"), "is not the address of a table"),
        (
            trips,
            "spec.schema",
            Value::Null,
            "spec.schema: CSV and NDJSON files do not say which types",
        ),
        (
            trips,
            "spec.bulk.incremental",
            json!({"cursorField": "at", "mutability": "Immutable"}),
            "bulk.incremental: files have no cursor",
        ),
        (
            trips,
            "spec.bulk.chunking",
            json!({"field": "id"}),
            "bulk.chunking: files are divided by themselves",
        ),
        (
            parts,
            "spec.bulk",
            json!({"chunking": {"placement": "Pods"}}),
            "bulk.chunking: a snapshot of MySQL belongs to the connections that opened it",
        ),
        (ledger, "spec.bulk.chunking.placement", json!("Pod"), "did you mean Pods?"),
        (
            ledger,
            "spec.bulk.schedule",
            Value::Null,
            "bulk.incremental: incremental reads the rows of an interval",
        ),
        (
            ledger,
            "spec.bulk.schedule.cron",
            json!("@daily"),
            "'@daily' is not a cron expression; write five fields",
        ),
        (ledger, "spec.bulk.schedule.cron", json!("0 * * * * *"), "is not a cron expression"),
        (ledger, "spec.bulk.schedule.timeZone", json!("+09:00"), "is not a time zone"),
        (
            ledger,
            "spec.bulk.schedule.dependsOn",
            json!([{"name": "a"}, {"name": "a"}]),
            "a stands twice",
        ),
        (ledger, "spec.bulk.schedule.catchupPolicy", json!("Al"), "did you mean All?"),
        (ledger, "spec.bulk.incremental.mutability", json!("Mutable"), "did you mean Immutable?"),
        (
            ledger,
            "spec.bulk.incremental.mutability",
            Value::Null,
            "mutability: is missing; write mutability: Immutable",
        ),
        (ledger, "spec.bulk.incremental.ignoreRoles", json!(["a", "a"]), "a stands twice"),
        (ledger, "spec.bulk.maxActiveRuns", json!(0), "0 is out of range; write 1 to 16"),
        (ledger, "spec.bulk.chunking.parallelism", json!(33), "33 is out of range; write 1 to 32"),
        (ledger, "spec.bulk.runTemplate.retry.backoff.factor", json!(0), "write 1 to 10"),
        (ledger, "spec.bulk.runTemplate.activeDeadlineSeconds", json!(59), "write 60 to 2592000"),
        (ledger, "spec.bulk.placement", json!("Pods"), "is no known field"),
        (
            ledger,
            "spec.sink.writeMode",
            json!("Merge"),
            "write one of Append, ReplaceInterval, Overwrite",
        ),
        (
            REPAIR,
            "spec.bulk.incremental",
            Value::Null,
            "bulk.repairs: a repair reads the rows of an interval; write incremental",
        ),
        (
            REPAIR,
            "spec.bulk.schedule",
            json!({"cron": "0 * * * *"}),
            "bulk.schedule: repairs are made when somebody asks for them",
        ),
        (REPAIR, "spec.bulk.repairs", json!({}), "repairs.pipelineRef: is missing"),
        (FULL, "spec.sink.eventTime.afterRepair", json!("Apend"), "did you mean Append?"),
        // What only streams have.
        (orders, "spec.dedup", json!({}), "spec.dedup: dedup compares messages of a stream"),
        (orders, "spec.filter", json!({"cel": "true"}), "spec.filter: filter is for messages"),
        (
            orders,
            "spec.decode",
            json!({"coercion": "Lossless"}),
            "spec.decode: of decode only onError",
        ),
        (
            orders,
            "spec.decode",
            json!({"limits": {"maxBytes": "2Mi"}}),
            "spec.decode: of decode only onError",
        ),
        (
            orders,
            "spec.schema",
            json!({"unknownFields": "Capture"}),
            "schema.unknownFields: unknownFields is for messages",
        ),
        (
            orders,
            "spec.sink.flush",
            json!({"maxInterval": "5s"}),
            "spec.sink.flush: flush has no effect on runs",
        ),
        (
            orders,
            "spec.sink.eventTime",
            json!({"field": "at"}),
            "sink.eventTime: eventTime has no effect on runs",
        ),
        (
            orders,
            "spec.deadLetter",
            json!({"breaker": {"maxPercent": 5}}),
            "the breaker has no effect on runs",
        ),
        (
            orders,
            "spec.scaling",
            json!({"mode": "Fixed"}),
            "spec.scaling: scaling is about workers",
        ),
        (
            orders,
            "spec.scaling",
            json!({"maxReplicas": 3}),
            "spec.scaling: scaling is about workers",
        ),
        (orders, "spec.replicas", json!(2), "spec.replicas: replicas is about workers"),
        (
            orders,
            "spec.template",
            json!({"agentResources": {}}),
            "spec.template: a bulk pipeline has no agent",
        ),
        (
            orders,
            "spec.deletionPolicy",
            json!({"data": "Delete"}),
            "deletionPolicy.data: the table of a bulk pipeline is not deleted with it",
        ),
        (
            orders,
            "spec.deletionPolicy",
            json!({"stream": "Delete"}),
            "only a stream that Tidegate keeps",
        ),
        // What only runs have.
        (FULL, "spec.bulk", json!({}), "spec.bulk: bulk is about runs, and a stream has none"),
        (FULL, "spec.sink.writeMode", json!("Append"), "sink.writeMode: writeMode is about runs"),
    ];
    for (text, path, value, says) in table {
        let mut document = document(text);
        set(&mut document, path, value.clone());
        let found = violations(&document);
        assert!(
            found.iter().any(|line| line.contains(says)),
            "{path}: {value}: {says}\n{found:#?}"
        );
        let remedy = |line: &String| line.contains("; ") || line.contains(", more than ");
        assert!(found.iter().all(remedy), "a remedy: {found:#?}");
    }
}

#[test]
fn what_streams_have_may_stand_there_with_its_default() {
    for (path, value) in [
        ("spec.scaling", json!({"mode": "Lag", "minReplicas": 0, "targetDrain": "1m"})),
        ("spec.sink.flush", json!({"maxRows": 2_000_000})),
        ("spec.decode", json!({"onError": "Halt", "coercion": "None"})),
        ("spec.deletionPolicy", json!({"data": "Retain", "stream": "Retain"})),
        ("spec.objectives", json!({"freshness": "2h"})),
        ("spec.template", json!({"resources": {"limits": {"memory": "1Gi"}}})),
        ("spec.schema", json!({"evolution": "Frozen"})),
    ] {
        let mut document = document(BULK[1]);
        set(&mut document, path, value);
        assert_eq!(violations(&document), Vec::<String>::new(), "{path}");
    }
}

/// The names of scheduled runs are made of it.
#[test]
fn the_name_of_a_bulk_pipeline_leaves_room_for_a_time() {
    let says = |text: &str, length: usize| {
        let mut document = document(text);
        set(&mut document, "metadata.name", json!("a".repeat(length)));
        violations(&document).join("\n")
    };
    assert_eq!(says(BULK[1], 41), "");
    assert!(says(BULK[1], 42).contains("metadata.name: the name is longer than 41 characters"));
    assert_eq!(says(FULL, 45), "");
}

#[test]
fn objects_of_a_cluster_are_read_with_their_schedule() {
    let mut stored = document(BULK[0]);
    let schedule = json!({"completeThrough": "2026-06-01T00:00:00Z", "active": 1, "missed": 0});
    set(&mut stored, "status", json!({"schedule": schedule}));
    let pipeline = read_pipeline(&stored).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let schedule = pipeline.status.and_then(|status| status.schedule).expect("it is there");
    assert_eq!((schedule.active, schedule.next_tick), (1, None));
    assert!(schedule.complete_through.is_some());
}
