//! Runs whose attempts are the real command, over files.

use std::path::PathBuf;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tidegate_api::{IngestionRun, RunPhase};

use super::support::{Bulk as _, Document, Hours, Stage};

/// A folder of files, and a document that loads them.
struct Files {
    input: PathBuf,
    document: Document,
}

impl Files {
    fn new(stage: &Stage, name: &str, glob: &str) -> Self {
        let folder = stage.node.folder().join(name);
        let (input, table) = (folder.join("input"), folder.join("table"));
        std::fs::create_dir_all(&input).unwrap();
        std::fs::create_dir_all(&table).unwrap();
        let url = |path: &PathBuf| json!(format!("file://{}", path.display()));
        let files = json!({"storage": {"url": url(&input)}, "glob": glob, "format": "CSV"});
        let fields = json!([{"name": "id", "type": "string"}, {"name": "n", "type": "long"}]);
        let document = Document::hourly(name)
            .set("source", json!({"type": "ObjectStore", "objectStore": files}))
            .set("schema", json!({"fields": fields}))
            .set("sink", json!({"storage": {"url": url(&table)}}))
            .set("bulk.incremental", Value::Null);
        Self { input, document }
    }

    fn write(&self, file: &str, rows: &[&str]) {
        let text = format!("id,n\n{}\n", rows.join("\n"));
        std::fs::write(self.input.join(file), text).unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn files_become_rows_and_another_run_takes_their_place() {
    let stage = Stage::of_processes("files").await;
    let _operator = stage.operator().await;
    let files = Files::new(&stage, "orders", "*.csv");
    files.write("first.csv", &["a,1", "b,2"]);
    stage.apply(&files.document.clone().set("bulk.schedule", Value::Null)).await;
    stage.ask("first", "orders", &json!({"trigger": "Manual"})).await;
    stage.until_phase("first", RunPhase::Succeeded).await;
    let rows = async |run: &str| {
        let rows = stage.run(run).await.status.unwrap().rows.unwrap();
        (rows.read, rows.committed, rows.replaced)
    };
    assert_eq!(rows("first").await, (2, 2, 0));
    stage.namespace.kubectl(&["wait", "--for=condition=Verified", "irun/first"]).await.unwrap();

    files.write("second.csv", &["c,3"]);
    stage.ask("second", "orders", &json!({"trigger": "Manual"})).await;
    stage.until_phase("second", RunPhase::Succeeded).await;
    assert_eq!(rows("second").await, (3, 3, 2));

    // A record that cannot be a row is set aside, and counted.
    files.write("third.csv", &["d,4,too,many"]);
    stage.ask("third", "orders", &json!({"trigger": "Manual"})).await;
    stage.until_phase("third", RunPhase::Succeeded).await;
    assert_eq!(rows("third").await, (4, 3, 3));

    // Or it stops the run, and the table stays as it was.
    stage.edit("orders", &json!({"decode": {"onError": "Halt"}})).await.unwrap();
    stage.until_ready("orders").await;
    // Of two that end in one second the better one speaks for the pipeline.
    let third = stage.run("third").await.status.unwrap().completion_time.unwrap().0;
    let later = async || Timestamp::now().as_second() > third.as_second();
    stage.until("the second is over", later).await;
    stage.ask("fourth", "orders", &json!({"trigger": "Manual"})).await;
    stage.until_phase("fourth", RunPhase::Failed).await;
    stage.until_condition("orders", "Ready", "False", "RunFailed").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn the_past_is_fetched_by_the_log_and_never_twice() {
    let stage = Stage::of_processes("past").await;
    let operator = stage.operator().await;
    let files = Files::new(&stage, "orders", "%Y-%m-%dT%H.csv");
    let hours = Hours::of(Timestamp::now());
    for hour in -5..0 {
        let name = hours.at(hour, 0).strftime("%Y-%m-%dT%H.csv").to_string();
        files.write(&name, &[&format!("h{hour},1")]);
    }
    let start = json!(hours.at(-5, 0).to_string());
    stage.apply(&files.document.clone().set("bulk.schedule.startAt", start)).await;
    let complete = |schedule: &tidegate_api::ScheduleStatus| {
        schedule.complete_through.as_ref().is_some_and(|time| time.0 >= hours.at(0, 0))
    };
    stage.until_schedule("orders", complete).await;
    let runs = stage.runs().await;
    let read: u64 =
        runs.iter().filter_map(|run| Some(run.status.as_ref()?.rows.as_ref()?.read)).sum();
    assert_eq!(read, 5, "{:?}", runs.iter().map(|run| run.name_any()).collect::<Vec<_>>());
    operator.stop().await.unwrap();

    let runs = stage.namespace.api::<IngestionRun>();
    runs.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let _operator = stage.operator().await;
    let dry = json!({
        "trigger": "Backfill", "range": hours.stretch(-6, 0), "dryRun": true,
    });
    stage.ask("plan", "orders", &dry).await;
    stage.until_phase("plan", RunPhase::Succeeded).await;
    let plan = stage.run("plan").await.status.unwrap().children.unwrap();
    assert_eq!(
        (plan.total, plan.skipped),
        (1, 5),
        "the log knows what the objects do not: {plan:?}"
    );
}

/// B8: nobody loads it unasked, and nobody else in a cluster would see it.
#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn b8_a_file_that_comes_late_is_told_by_the_next_run_and_mended_by_hand() {
    let stage = Stage::of_processes("late").await;
    let _operator = stage.operator().await;
    let files = Files::new(&stage, "orders", "%Y-%m-%dT%H*.csv");
    let hours = Hours::of(Timestamp::now());
    let file = |hour: i64, suffix: &str| {
        format!("{}{suffix}.csv", hours.at(hour, 0).strftime("%Y-%m-%dT%H"))
    };
    for hour in -3..0 {
        files.write(&file(hour, ""), &[&format!("h{hour},1")]);
    }
    let start = json!(hours.at(-3, 0).to_string());
    stage.apply(&files.document.clone().set("bulk.schedule.startAt", start)).await;
    let complete = |schedule: &tidegate_api::ScheduleStatus| {
        schedule.complete_through.as_ref().is_some_and(|time| time.0 >= hours.at(0, 0))
    };
    stage.until_schedule("orders", complete).await;
    stage.until_condition("orders", "IntervalsCurrent", "True", "Ok").await;

    files.write(&file(-2, "-late"), &["late,1"]);
    let look = json!({"trigger": "Scheduled", "interval": hours.stretch(-1, 0)});
    stage.ask("look", "orders", &look).await;
    stage.until_phase("look", RunPhase::Succeeded).await;
    assert_eq!(stage.run("look").await.status.unwrap().rows.map(|rows| rows.committed), Some(0));
    stage.until_condition("orders", "IntervalsCurrent", "False", "IntervalStale").await;
    let told = ["get", "events", "--field-selector", "reason=IntervalStale", "-o", "name"];
    let told =
        async || stage.namespace.kubectl(&told).await.is_ok_and(|told| !told.trim().is_empty());
    stage.until("it is an Event", told).await;

    // Of two that end in one second the worse one speaks for the pipeline.
    let look = stage.run("look").await.status.unwrap().completion_time.unwrap().0;
    let later = async || Timestamp::now().as_second() > look.as_second();
    stage.until("the second is over", later).await;
    let mend = json!({"trigger": "Manual", "interval": hours.stretch(-2, -1)});
    stage.ask("mend", "orders", &mend).await;
    stage.until_phase("mend", RunPhase::Succeeded).await;
    assert_eq!(stage.run("mend").await.status.unwrap().rows.map(|rows| rows.committed), Some(2));
    stage.until_condition("orders", "IntervalsCurrent", "True", "Ok").await;
}
