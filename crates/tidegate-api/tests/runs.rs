//! Runs: what is accepted, and what is said about what is not.

mod common;

use common::{RUNS, set};
use serde_json::{Value, json};
use tidegate_api::{
    Documents, IngestionRun, RunPhase, RunTrigger, check, read, read_run, run_schema,
};

fn document(text: &str) -> Value {
    read("f.yaml", text).expect("it is YAML").remove(0)
}

fn checked(document: Value) -> Result<Documents, Vec<String>> {
    check("f.yaml", vec![document])
        .map_err(|violations| violations.iter().map(ToString::to_string).collect())
}

fn accepted(document: Value) -> IngestionRun {
    checked(document).unwrap_or_else(|faults| panic!("{faults:#?}")).runs.remove(0)
}

#[test]
fn runs_are_read_beside_pipelines() {
    let run = accepted(document(RUNS[0]));
    assert_eq!(run.spec.trigger, RunTrigger::Scheduled);
    assert_eq!(run.spec.pipeline_ref.name, "orders");
    let generated = accepted(document(RUNS[1]));
    assert_eq!((generated.metadata.name, generated.spec.dry_run), (None, Some(true)));
    let manual = json!({"pipelineRef": {"name": "orders"}, "trigger": "Manual"});
    let mut document = document(RUNS[0]);
    set(&mut document, "spec", manual);
    assert_eq!(accepted(document).spec.interval, None);
}

#[test]
fn the_documents_leave_no_field_out() {
    let properties = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let used: Vec<_> = RUNS.iter().flat_map(|text| properties(&document(text)["spec"])).collect();
    for name in properties(&run_schema()["properties"]["spec"]["properties"]) {
        assert!(used.contains(&name), "{name}");
    }
}

#[test]
fn faults_name_field_problem_and_remedy() {
    let [interval, range] = RUNS;
    let june = json!({"start": "2026-06-01T00:00:00Z", "end": "2026-06-02T00:00:00Z"});
    let mut repair = document(interval);
    set(&mut repair, "spec.trigger", json!("Repair"));
    assert_eq!(accepted(repair.clone()).spec.trigger, RunTrigger::Repair);
    set(&mut repair, "spec.interval", Value::Null);
    let found = checked(repair).expect_err("of nothing");
    assert!(found[0].contains("a repair is of one interval; write interval"), "{found:?}");
    for (text, path, value, says) in [
        (interval, "spec.range", june.clone(), "spec: a run is one interval, or a range of many"),
        (
            interval,
            "spec.interval",
            Value::Null,
            "spec.trigger: a scheduled run has the interval of its tick",
        ),
        (
            interval,
            "spec.reprocess",
            json!("All"),
            "spec.reprocess: reprocess goes with range only",
        ),
        (interval, "spec.dryRun", json!(false), "spec.dryRun: dryRun goes with range only"),
        (
            interval,
            "spec.trigger",
            json!("Sometimes"),
            "write one of Scheduled, Manual, Backfill, Repair",
        ),
        (interval, "spec.trigger", json!("scheduled"), "did you mean Scheduled?"),
        (interval, "spec.pipelineRef", Value::Null, "spec.pipelineRef: is missing"),
        (interval, "spec.pipelineRef.name", json!("A b"), "is not the name of a Kubernetes object"),
        (
            interval,
            "spec.interval.end",
            json!("2026-06-01T00:00:00Z"),
            "spec.interval: the end does not lie behind",
        ),
        // Instants are compared, not texts.
        (
            interval,
            "spec.interval.end",
            json!("2026-06-01T01:00:00+02:00"),
            "the end does not lie behind",
        ),
        (range, "spec.trigger", json!("Manual"), "spec.trigger: a range is a backfill"),
        (range, "spec.range", Value::Null, "spec.trigger: a backfill is of an interval or a range"),
        (range, "spec.range.start", Value::Null, "spec.range.start: is missing"),
        (range, "spec.reprocess", json!("Some"), "write one of Missing, Failed, All"),
        (
            interval,
            "metadata.name",
            json!("a".repeat(59)),
            "metadata.name: the name is longer than 58 characters",
        ),
        (interval, "metadata.name", json!("A.b"), "metadata.name: the name is not one that a Job"),
        (interval, "metadata.name", Value::Null, "metadata.name: is missing"),
        (
            range,
            "metadata.generateName",
            json!("x".repeat(54)),
            "metadata.name: the name is longer than 58",
        ),
        (interval, "spec.suspend", json!(true), "spec.suspend: is no known field"),
    ] {
        let mut document = document(text);
        set(&mut document, path, value);
        let found = checked(document).expect_err(path);
        assert!(found.iter().any(|line| line.contains(says)), "{path}: {says}\n{found:#?}");
    }
    let mut backfill = document(interval);
    set(&mut backfill, "spec.trigger", json!("Backfill"));
    accepted(backfill);
    let mut zoned = document(interval);
    set(&mut zoned, "spec.interval.end", json!("2026-06-01T02:30:00+02:00"));
    accepted(zoned);
}

#[test]
fn two_runs_of_one_name_are_refused_and_a_pipeline_may_have_it_too() {
    let run = document(RUNS[0]);
    let found = check("f.yaml", vec![run.clone(), run.clone()]).expect_err("twice");
    assert!(found[0].to_string().contains("stands twice in this file"), "{found:?}");
    let mut pipeline = document(common::BULK[1]);
    set(&mut pipeline, "metadata", run["metadata"].clone());
    let both = check("f.yaml", vec![run, pipeline]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!((both.runs.len(), both.pipelines.len()), (1, 1));
    let generated = document(RUNS[1]);
    assert!(check("f.yaml", vec![generated.clone(), generated]).is_ok(), "each gets its own");
}

#[test]
fn objects_of_a_cluster_are_read_with_their_status() {
    let mut stored = document(RUNS[0]);
    set(&mut stored, "spec.novelty", json!(1));
    let rows = json!({"read": 5, "committed": 4, "deadLettered": 1});
    set(&mut stored, "status", json!({"phase": "Running", "rows": rows, "attempt": 2}));
    let run = read_run(&stored).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let status = run.status.expect("it is there");
    assert_eq!((status.phase, status.attempt), (Some(RunPhase::Running), Some(2)));
    assert_eq!(status.rows.map(|rows| (rows.read, rows.replaced)), Some((5, 0)));
    set(&mut stored, "status", json!({"phase": "Novel"}));
    assert_eq!(read_run(&stored).map(|run| run.status), Ok(None));
    set(&mut stored, "spec.trigger", json!("Never"));
    let found = read_run(&stored).expect_err("no trigger");
    assert!(found[0].to_string().starts_with("orders-20260601t010000z: spec.trigger"), "{found:?}");
    for nonsense in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(read_run(&nonsense).is_err(), "{nonsense}");
    }
}
