//! Runs by the schedule, and what it does after it was not followed for a while.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tidegate_api::{IngestionPipeline, IngestionRun, RunPhase};

use super::support::{Bulk as _, Document, Hours, Stage, TestClock};

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_tick_makes_a_run_and_the_run_an_attempt() {
    let stage = Stage::of_stand_ins("tick").await;
    let clock = TestClock::default();
    let _operator = stage.operator_by(&clock).await;
    stage.apply(&Document::hourly("orders")).await;
    stage.until_ready("orders").await;
    let hours = Hours::of(Timestamp::now());
    stage.until_schedule("orders", |it| it.last_scheduled_tick.is_some()).await;
    assert!(stage.runs().await.is_empty(), "nothing is due yet");
    let namespace = &stage.namespace;
    let list = ListParams::default();
    assert!(namespace.api::<StatefulSet>().list(&list).await.unwrap().items.is_empty());
    assert!(namespace.api::<Deployment>().list(&list).await.unwrap().items.is_empty());

    clock.set(hours.at(1, 0));
    let name = hours.run("orders", 0);
    stage.until_phase(&name, RunPhase::Succeeded).await;
    namespace
        .kubectl(&["wait", "--for=condition=Complete", &format!("irun/{name}")])
        .await
        .unwrap();
    assert_eq!(stage.read("orders"), [hours.interval(0)]);
    let tick = hours.at(1, 0);
    stage
        .until_schedule("orders", |it| {
            let at = |time: &Option<_>| {
                time.as_ref().map(|it: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| it.0)
            };
            at(&it.last_scheduled_tick) == Some(tick)
                && at(&it.complete_through) == Some(tick)
                && at(&it.next_tick) == Some(hours.at(2, 0))
        })
        .await;

    let run = stage.run(&name).await;
    let pipeline = stage.pipeline("orders").await;
    assert_eq!(run.owner_references()[0].uid, pipeline.uid().unwrap());
    let status = run.status.unwrap();
    assert_eq!((status.attempt, status.rows.unwrap().committed), (Some(1), 100));
    let job = namespace.api::<Job>().get(&format!("{name}-g1")).await.unwrap();
    assert_eq!(job.owner_references()[0].name, name);
    let shown = namespace.kubectl(&["get", "irun"]).await.unwrap();
    for words in ["orders", "Scheduled", "Succeeded", "1/1", "100"] {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
    stage.until_condition("orders", "CaughtUp", "True", "Ok").await;
}

/// An operator is away for six hours, of which somebody else did two. What is read afterwards?
async fn after_an_outage(name: &str, policy: &str) -> (Stage, Hours, Vec<String>) {
    let stage = Stage::of_stand_ins(name).await;
    let clock = TestClock::default();
    let operator = stage.operator_by(&clock).await;
    let hours = Hours::of(Timestamp::now());
    stage
        .apply(&Document::hourly("orders").set("bulk.schedule.catchupPolicy", json!(policy)))
        .await;
    stage.until_schedule("orders", |it| it.last_scheduled_tick.is_some()).await;
    operator.stop().await.unwrap();

    for hour in [1, 3] {
        stage.node.mark_done("orders", &hours.interval(hour));
    }
    clock.set(hours.at(6, 30));
    let operator = stage.operator_by(&clock).await;
    let tick = hours.at(6, 0);
    stage
        .until_schedule("orders", |it| {
            let last = it.last_scheduled_tick.as_ref().map(|time| time.0);
            last == Some(tick) && it.missed == 0 && it.active == 0
        })
        .await;
    stage
        .until("all runs are over", async || {
            let runs = stage.runs().await;
            runs.iter().all(|run| {
                let phase = run.status.as_ref().and_then(|status| status.phase);
                phase == Some(RunPhase::Succeeded)
            })
        })
        .await;
    operator.stop().await.unwrap();
    let read = stage.read("orders");
    (stage, hours, read)
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn after_an_outage_all_runs_exactly_what_is_missing() {
    let (stage, hours, read) = after_an_outage("all", "All").await;
    assert_eq!(read, [0, 2, 4, 5].map(|hour| hours.interval(hour)));
    assert_eq!(stage.node.transfers("orders").len(), 4, "and asks for nothing that is done");
    let schedule = stage.pipeline("orders").await.status.unwrap().schedule.unwrap();
    assert_eq!(schedule.complete_through.map(|time| time.0), Some(hours.at(6, 0)));
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn after_an_outage_latest_runs_the_newest_alone() {
    let (_stage, hours, read) = after_an_outage("latest", "Latest").await;
    assert_eq!(read, [hours.interval(5)]);
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn after_an_outage_none_runs_nothing() {
    let (stage, _, read) = after_an_outage("none", "None").await;
    assert_eq!(read, Vec::<String>::new());
    assert!(stage.runs().await.is_empty());
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_start_in_the_past_fetches_the_past_and_a_restored_cluster_does_not_fetch_it_again() {
    let stage = Stage::of_stand_ins("restored-runs").await;
    let clock = TestClock::default();
    let hours = Hours::of(Timestamp::now());
    let start = hours.at(-5, 0).to_string();
    let operator = stage.operator_by(&clock).await;
    let document = Document::hourly("orders").set("bulk.schedule.startAt", json!(start));
    stage.apply(&document).await;
    let complete = |schedule: &tidegate_api::ScheduleStatus| {
        schedule.complete_through.as_ref().map(|time| time.0) == Some(hours.at(0, 0))
    };
    stage.until_schedule("orders", complete).await;
    let wanted: Vec<String> = (-5..0).map(|hour| hours.interval(hour)).collect();
    assert_eq!(stage.read("orders"), wanted);
    operator.stop().await.unwrap();

    // The objects are those of a backup, without runs and without a status.
    let runs = stage.namespace.api::<IngestionRun>();
    runs.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let pipelines: Api<IngestionPipeline> = stage.namespace.api();
    let nothing = Patch::Merge(json!({"status": null}));
    pipelines.patch_status("orders", &PatchParams::default(), &nothing).await.unwrap();
    let status = stage.pipeline("orders").await.status;
    assert!(status.is_none_or(|status| status.schedule.is_none()));
    let _operator = stage.operator_by(&clock).await;
    stage.until_schedule("orders", complete).await;
    assert_eq!(stage.read("orders"), wanted);
    assert_eq!(stage.node.transfers("orders").len(), wanted.len(), "no run was even made");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_pipeline_that_is_deleted_and_made_anew_runs_what_nobody_ran_meanwhile() {
    let stage = Stage::of_stand_ins("made-anew").await;
    let clock = TestClock::default();
    let hours = Hours::of(Timestamp::now());
    let through = async |hour: i64| {
        let complete = |schedule: &tidegate_api::ScheduleStatus| {
            schedule.complete_through.as_ref().map(|time| time.0) == Some(hours.at(hour, 0))
        };
        stage.until_schedule("orders", complete).await;
    };
    // Its first life, hours ago.
    clock.set(hours.at(-4, 10));
    let operator = stage.operator_by(&clock).await;
    let start = json!(hours.at(-8, 0).to_string());
    stage.apply(&Document::hourly("orders").set("bulk.schedule.startAt", start)).await;
    through(-4).await;
    let wanted: Vec<String> = (-8..-4).map(|hour| hours.interval(hour)).collect();
    assert_eq!(stage.read("orders"), wanted);
    stage.namespace.kubectl(&["delete", "ipl", "orders"]).await.unwrap();
    stage.until("its runs are collected", async || stage.runs().await.is_empty()).await;
    operator.stop().await.unwrap();

    // A run of another cluster did one hour meanwhile.
    stage.node.mark_done("orders", &hours.interval(-2));
    clock.set(hours.at(0, 10));
    let _operator = stage.operator_by(&clock).await;
    stage.apply(&Document::hourly("orders")).await;
    through(0).await;
    let wanted: Vec<String> =
        (-8..0).filter(|hour| *hour != -2).map(|hour| hours.interval(hour)).collect();
    assert_eq!(stage.read("orders"), wanted, "each once");
    assert_eq!(stage.node.transfers("orders").len(), wanted.len(), "no other run was made");

    // An hour later what the log said is forgotten, but for where it begins.
    let again = json!({"bulk": {"incremental": {"rerunLast": 1}}});
    stage.edit("orders", &again).await.unwrap();
    stage
        .until("the edit is taken in", async || {
            let object = stage.pipeline("orders").await;
            let seen = object.status.and_then(|status| status.observed_generation);
            seen.is_some() && seen == object.metadata.generation
        })
        .await;
    clock.set(hours.at(1, 10));
    through(1).await;
    let name = format!("{}-r1", hours.run("orders", 0));
    stage.until_phase(&name, RunPhase::Succeeded).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_interval_waits_for_the_pipelines_that_it_depends_on() {
    let stage = Stage::of_stand_ins("depends").await;
    let clock = TestClock::default();
    let _operator = stage.operator_by(&clock).await;
    let hours = Hours::of(Timestamp::now());
    let needs = json!([{"name": "customers"}]);
    stage.apply(&Document::hourly("orders").set("bulk.schedule.dependsOn", needs)).await;
    stage.until_schedule("orders", |it| it.last_scheduled_tick.is_some()).await;
    clock.set(hours.at(1, 0));
    let name = hours.run("orders", 0);
    stage.until_reason(&name, "WaitingForDependency").await;

    let start = hours.at(0, 0).to_string();
    let customers = Document::hourly("customers").set("bulk.schedule.startAt", json!(start));
    stage.node.hold("customers", true);
    stage.apply(&customers).await;
    let other = hours.run("customers", 0);
    stage.until_phase(&other, RunPhase::Running).await;
    stage.until_reason(&name, "WaitingForDependency").await;
    assert!(stage.read("orders").is_empty());
    stage.node.hold("customers", false);
    stage.until_phase(&other, RunPhase::Succeeded).await;
    stage.until_phase(&name, RunPhase::Succeeded).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn while_suspended_no_run_begins_and_what_is_active_ends() {
    let stage = Stage::of_stand_ins("suspended").await;
    let clock = TestClock::default();
    let _operator = stage.operator_by(&clock).await;
    let hours = Hours::of(Timestamp::now());
    stage.apply(&Document::hourly("orders").set("bulk.maxActiveRuns", json!(4))).await;
    stage.until_schedule("orders", |it| it.last_scheduled_tick.is_some()).await;
    stage.node.hold("orders", true);
    clock.set(hours.at(1, 0));
    let first = hours.run("orders", 0);
    stage.until_phase(&first, RunPhase::Running).await;

    stage.edit("orders", &json!({"suspend": true})).await.unwrap();
    stage.until_condition("orders", "Ready", "False", "Suspended").await;
    clock.set(hours.at(3, 0));
    let past = json!({"trigger": "Manual", "interval": hours.stretch(-9, -8)});
    stage.ask("by-hand", "orders", &past).await;
    stage.until_reason("by-hand", "Suspended").await;
    stage.node.hold("orders", false);
    stage.until_phase(&first, RunPhase::Succeeded).await;
    assert_eq!(stage.runs().await.len(), 2, "no tick was taken");

    stage.edit("orders", &json!({"suspend": false})).await.unwrap();
    for name in [hours.run("orders", 1), hours.run("orders", 2), "by-hand".to_owned()] {
        stage.until_phase(&name, RunPhase::Succeeded).await;
    }
    let wanted: Vec<String> = [-9, 0, 1, 2].map(|hour| hours.interval(hour)).into();
    assert_eq!(stage.read("orders"), wanted);
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn objects_of_old_runs_go_and_the_schedule_forgets_nothing() {
    let stage = Stage::of_stand_ins("history").await;
    let clock = TestClock::default();
    let _operator = stage.operator_by(&clock).await;
    let hours = Hours::of(Timestamp::now());
    let start = hours.at(-4, 0).to_string();
    let document = Document::hourly("orders")
        .set("bulk.schedule.startAt", json!(start))
        .set("bulk.successfulRunsHistoryLimit", json!(1));
    stage.apply(&document).await;
    let complete = |schedule: &tidegate_api::ScheduleStatus| {
        schedule.complete_through.as_ref().map(|time| time.0) == Some(hours.at(0, 0))
    };
    stage.until_schedule("orders", complete).await;
    clock.advance(61);
    stage.until("one run is left", async || stage.runs().await.len() == 1).await;
    let jobs = stage.namespace.api::<Job>();
    stage
        .until("and the Jobs of the others are gone", async || {
            let jobs = jobs.list(&ListParams::default()).await.unwrap();
            jobs.items.len() == 1
        })
        .await;
    assert_eq!(stage.node.transfers("orders").len(), 4);
    let schedule = stage.pipeline("orders").await.status.unwrap().schedule.unwrap();
    assert!(complete(&schedule), "{schedule:?}");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_idle_schedule_costs_no_writes() {
    let stage = Stage::of_stand_ins("idle-runs").await;
    let clock = TestClock::default();
    let operator = stage.operator_by(&clock).await;
    stage.apply(&Document::hourly("orders")).await;
    stage.until_ready("orders").await;
    stage.until_schedule("orders", |it| it.last_scheduled_tick.is_some()).await;
    // What was found out while it began may be written once more.
    operator.tap.quiet(Duration::from_secs(3)).await;
    let version = async || stage.pipeline("orders").await.resource_version();
    let before = version().await;
    // It is looked at again and again meanwhile, which another pipeline's being ready shows.
    for name in ["one", "two"] {
        stage.apply(&Document::hourly(name)).await;
        stage.until_ready(name).await;
        stage.until_schedule(name, |it| it.last_scheduled_tick.is_some()).await;
    }
    let annotate: Value = json!({"metadata": {"annotations": {"a": "b"}}});
    let _: IngestionPipeline = stage.namespace.merge("two", &annotate).await.unwrap();
    assert_eq!(version().await, before);
    operator.stop().await.unwrap();
}
