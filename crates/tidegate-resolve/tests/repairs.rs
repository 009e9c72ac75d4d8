//! Pipelines that repair others (B10): what is found of the other one, and what must be the same in both.

mod common;

use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_config::{Repairs, WriteMode};
use tidegate_resolve::{check_evolution, find_among, resolve_among, resolve_in};
use tidegate_types::{AfterRepairPolicy, Ledger, Span};

use common::pipeline;

fn clicks(changes: &[(&str, Value)]) -> IngestionPipeline {
    let document = json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "clicks", "namespace": "web"},
        "spec": {
            "source": {"type": "JetStream", "jetStream": {
                "servers": ["nats://nats:4222"], "stream": "CLICKS", "subjects": ["clicks.>"],
                "partitioning": {"type": "Subject", "partitions": 8, "idSubjectStable": true},
            }},
            "schema": {"fields": [{"name": "ts", "type": "timestamp"}, {"name": "n", "type": "long"}]},
            "dedup": {"window": "3h"},
            "sink": {
                "storage": {"url": "s3://lake/clicks"},
                "partitionBy": [{"field": "ts", "transform": "Day"}],
                "eventTime": {"field": "ts", "allowedLateness": "90m"},
            },
        },
    });
    pipeline(document, changes)
}

fn mend(changes: &[(&str, Value)]) -> IngestionPipeline {
    let document = json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "mend", "namespace": "web"},
        "spec": {
            "source": {"type": "Postgres", "postgres": {
                "connection": {"secretRef": {"name": "db"}}, "table": "public.clicks",
            }},
            "bulk": {
                "repairs": {"pipelineRef": {"name": "clicks"}},
                "incremental": {"cursorField": "ts", "mutability": "Immutable"},
            },
            "sink": {
                "storage": {"url": "s3://lake/clicks"},
                "partitionBy": [{"field": "ts", "transform": "Day"}],
            },
        },
    });
    pipeline(document, changes)
}

/// The faults of `mend` beside `clicks`.
fn faults(mend: &IngestionPipeline, clicks: &IngestionPipeline) -> Vec<String> {
    let others = |name: &str| (name == "clicks").then(|| clicks.clone());
    match resolve_among(mend, None, &others) {
        Ok(_) => Vec::new(),
        Err(violations) => {
            assert!(violations.iter().all(|one| one.instead.is_some()), "{violations:#?}");
            violations.iter().map(ToString::to_string).collect()
        }
    }
}

#[test]
fn b10_a_run_knows_what_it_needs_of_the_streamed_pipeline() {
    let others = |name: &str| (name == "clicks").then(|| clicks(&[]));
    let config = resolve_among(&mend(&[]), None, &others).expect("they fit").into_bulk();
    let config = config.expect("of runs");
    assert_eq!(config.write_mode, WriteMode::ReplaceInterval);
    let expected = Repairs {
        pipeline: "web/clicks".to_owned(),
        ledger: Ledger::new("web.clicks").expect("valid"),
        event_time: "ts".to_owned(),
        allowed_lateness: Span::seconds(90 * 60),
        window: Some(Span::seconds(3 * 3600)),
        partitions: 8,
    };
    assert_eq!(config.repairs, Some(expected));
    let text = serde_json::to_string(&config.repairs).expect("plain");
    assert_eq!(serde_json::from_str::<Option<Repairs>>(&text).expect("the same"), config.repairs);
}

#[test]
fn b10_nobody_resolves_a_repair_without_the_pipeline_that_it_repairs() {
    let found = resolve_in(&mend(&[]), None).expect_err("it would replace nothing");
    assert!(found[0].to_string().contains("no pipeline \"clicks\""), "{found:?}");
}

#[test]
fn b10_what_does_not_fit_is_named_with_its_field() {
    let by_day = json!([{"field": "ts", "transform": "Day"}]);
    let untimed = json!({"storage": {"url": "s3://lake/clicks"}, "partitionBy": by_day});
    let cases = [
        (
            mend(&[("sink.storage.url", json!("s3://lake/other"))]),
            clicks(&[]),
            "spec.sink.storage.url: is not the table of web/clicks",
        ),
        (
            mend(&[("sink.partitionBy", json!([]))]),
            clicks(&[]),
            "spec.sink.partitionBy: is not that of web/clicks",
        ),
        (
            mend(&[("ledger", json!("web.clicks"))]),
            clicks(&[]),
            "spec.ledger: is that of web/clicks too",
        ),
        (
            mend(&[("bulk.incremental.cursorField", json!("at"))]),
            clicks(&[]),
            "spec.bulk.incremental.cursorField: is at",
        ),
        (
            mend(&[("bulk.incremental.rerunLast", json!(1))]),
            clicks(&[]),
            "spec.bulk.incremental.rerunLast: goes with a schedule",
        ),
        (
            mend(&[("sink.writeMode", json!("Append"))]),
            clicks(&[]),
            "spec.sink.writeMode: Append would add rows",
        ),
        (
            mend(&[("sink.writeMode", json!("Overwrite"))]),
            clicks(&[]),
            "spec.sink.writeMode: Overwrite would leave",
        ),
        (mend(&[]), clicks(&[("sink", untimed)]), "does not say which column is the event's time"),
        (mend(&[]), clicks(&[("sink.eventTime.field", json!("n"))]), "cannot be used"),
    ];
    for (mend, clicks, says) in &cases {
        let found = faults(mend, clicks);
        assert!(found.iter().any(|line| line.contains(says)), "{says}: {found:#?}");
    }
    assert_eq!(faults(&mend(&[]), &clicks(&[])), Vec::<String>::new());
    let by_day = json!([{"field": "ts", "transform": "Identity"}]);
    let dates = json!([{"name": "ts", "type": "date"}]);
    let mend = mend(&[("sink.partitionBy", by_day.clone())]);
    let clicks = clicks(&[("schema.fields", dates), ("sink.partitionBy", by_day)]);
    let found = faults(&mend, &clicks);
    assert!(found.iter().any(|line| line.contains("partitioned by its event time")), "{found:#?}");
}

#[test]
fn b10_a_bulk_pipeline_is_not_repaired_and_repairs_are_not_edited() {
    let itself = mend(&[]);
    let others = |_: &str| Some(itself.clone());
    let found = resolve_among(&itself, None, &others).expect_err("no stream");
    assert!(found[0].to_string().contains("is a bulk pipeline"), "{found:?}");
    let other = mend(&[("bulk.repairs.pipelineRef.name", json!("other"))]);
    let found = check_evolution(&itself.spec, &other.spec).expect_err("whom it repairs");
    assert!(found[0].to_string().contains("spec.bulk.repairs"), "{found:?}");
}

#[test]
fn what_comes_after_a_repair_is_a_dead_letter_unless_told_otherwise() {
    for (changes, expected) in [
        (vec![], AfterRepairPolicy::DeadLetter),
        (vec![("sink.eventTime.afterRepair", json!("Append"))], AfterRepairPolicy::Append),
    ] {
        let config = resolve_in(&clicks(&changes), None).expect("valid").into_stream();
        let event_time = config.expect("a stream").sink.event_time.expect("there is one");
        assert_eq!(event_time.after_repair, expected);
    }
}

#[test]
fn pipelines_name_each_other_within_a_namespace_and_none_is_the_default_one() {
    let within = |namespace: Option<&str>| {
        let mut pipeline = clicks(&[]);
        pipeline.metadata.namespace = namespace.map(str::to_owned);
        pipeline
    };
    for (beside, of_it, found) in [
        (None, Some("default"), true),
        (Some("default"), None, true),
        (None, None, true),
        (Some("web"), Some("web"), true),
        (Some("web"), None, false),
        (None, Some("web"), false),
    ] {
        let all = [within(of_it)];
        let there = find_among(&all, &within(beside), "clicks").is_some();
        assert_eq!(there, found, "{beside:?} {of_it:?}");
        assert!(find_among(&all, &within(of_it), "mend").is_none());
    }
}
