//! Runs that people ask for, and what becomes of them.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};
use tidegate_api::RunPhase;

use super::support::{Bulk as _, Document, Hours, Stage, TestClock};

fn report(reason: &str, message: &str) -> String {
    json!({
        "phase": "Failed", "reason": reason, "message": message, "generation": 1, "chunksDone": 0,
        "chunks": 4, "rowsRead": 0, "rowsCommitted": 0, "deadLetters": 0, "rowsReplaced": 0,
    })
    .to_string()
}

fn manual(hours: Hours, hour: i64) -> Value {
    json!({"trigger": "Manual", "interval": hours.stretch(hour, hour + 1)})
}

/// A stage with an hourly pipeline that is ready.
async fn orders(name: &str, change: impl FnOnce(Document) -> Document) -> (Stage, Hours) {
    let stage = Stage::of_stand_ins(name).await;
    let hours = Hours::of(Timestamp::now());
    // Whatever is done of the past: the schedule does not ask for it.
    let document =
        Document::hourly("orders").set("bulk.schedule.startAt", json!(hours.at(0, 0).to_string()));
    stage.apply(&change(document)).await;
    (stage, hours)
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_interval_that_is_done_is_run_again_when_a_person_asks() {
    let (stage, hours) = orders("rerun", |it| it).await;
    let _operator = stage.operator().await;
    stage.node.mark_done("orders", &hours.interval(-3));
    stage.ask("again", "orders", &manual(hours, -3)).await;
    stage.until_phase("again", RunPhase::Succeeded).await;
    assert_eq!(stage.read("orders"), [hours.interval(-3)]);
    let backfill = json!({"trigger": "Backfill", "interval": hours.stretch(-3, -2)});
    stage.ask("fill", "orders", &backfill).await;
    stage.until_reason("fill", "AlreadyComplete").await;
    assert_eq!(stage.read("orders").len(), 1, "a backfill leaves alone what is done");
    stage.namespace.kubectl(&["wait", "--for=condition=Complete", "irun/fill"]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_passing_failure_is_tried_again_and_a_lasting_one_is_told() {
    let (stage, hours) = orders("retries", |it| it).await;
    let _operator = stage.operator().await;
    stage.node.end("flaky-g1", 75, &report("SourceUnreachable", "no answer"));
    stage.node.end("flaky-g2", 137, "");
    stage.ask("flaky", "orders", &manual(hours, -2)).await;
    stage.until_phase("flaky", RunPhase::Succeeded).await;
    let status = stage.run("flaky").await.status.unwrap();
    assert_eq!((status.attempt, status.next_attempt_time), (Some(3), None));

    stage.node.end("hopeless", 75, &report("SourceUnreachable", "no answer"));
    stage.ask("hopeless", "orders", &manual(hours, -2)).await;
    stage.until_phase("hopeless", RunPhase::Failed).await;
    let status = stage.run("hopeless").await.status.unwrap();
    assert_eq!(status.attempt, Some(3), "the limit is two more");

    stage.node.end("refused", 65, &report("SourceRefused", "permission denied for orders"));
    stage.ask("refused", "orders", &manual(hours, -1)).await;
    stage.until_reason("refused", "SourceRefused").await;
    stage.until_phase("refused", RunPhase::Failed).await;
    assert_eq!(stage.run("refused").await.status.unwrap().attempt, Some(1));
    // The run before this one failed too.
    stage
        .until("the pipeline says so", async || {
            let ready = stage.condition("orders", "Ready").await;
            ready.is_some_and(|ready| {
                ready.reason == "RunFailed" && ready.message.contains("permission denied")
            })
        })
        .await;

    // Somebody gives the right, and asks again.
    stage.ask("mended", "orders", &manual(hours, -1)).await;
    stage.until_phase("mended", RunPhase::Succeeded).await;
    stage.until_condition("orders", "Ready", "True", "Ok").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn only_so_many_runs_are_active_and_never_two_of_one_interval() {
    let (stage, hours) = orders("limit", |it| it.set("bulk.maxActiveRuns", json!(2))).await;
    let _operator = stage.operator().await;
    stage.node.hold("run", true);
    for (name, hour) in [("run-a", -5), ("run-b", -4), ("run-c", -3)] {
        stage.ask(name, "orders", &manual(hours, hour)).await;
        stage.until("it is looked at", async || stage.run(name).await.status.is_some()).await;
    }
    stage.ask("run-d", "orders", &manual(hours, -5)).await;
    stage.until_phase("run-a", RunPhase::Running).await;
    stage.until_phase("run-b", RunPhase::Running).await;
    stage.until_reason("run-c", "RunLimitReached").await;
    stage.until_reason("run-d", "RunLimitReached").await;
    let pods = stage.pods("orders", "transfer").await;
    assert_eq!(pods.len(), 2, "{:?}", pods.iter().map(|pod| pod.name_any()).collect::<Vec<_>>());
    let status = stage.run("run-a").await.status.unwrap();
    assert_eq!(status.chunks.map(|chunks| chunks.progress).as_deref(), Some("9/16"));
    stage.until_schedule("orders", |it| it.active == 2).await;
    stage.node.hold("run", false);
    for name in ["run-a", "run-b", "run-c", "run-d"] {
        stage.until_phase(name, RunPhase::Succeeded).await;
    }
    let mut read = vec![hours.interval(-5), hours.interval(-5)];
    read.extend([-4, -3].map(|hour| hours.interval(hour)));
    assert_eq!(stage.read("orders"), read);
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_backfill_that_comes_with_its_pipeline_does_not_make_the_schedule_any_older() {
    let stage = Stage::of_stand_ins("fill-at-once").await;
    let hours = Hours::of(Timestamp::now());
    // The log is asked since when the pipeline is there, and its answer takes its time.
    stage.node.hold("orders-calendar", true);
    stage.apply(&Document::hourly("orders")).await;
    let range = json!({"trigger": "Backfill", "range": hours.stretch(-9, -8), "reprocess": "All"});
    stage.ask("fill", "orders", &range).await;
    let manual = manual(hours, -7);
    stage.ask("by-hand", "orders", &manual).await;
    let _operator = stage.operator().await;
    stage.until_reason("by-hand", "Progressing").await;
    let is_asked = async || !stage.pods("orders", "calendar").await.is_empty();
    stage.until("the log is asked", is_asked).await;
    assert!(stage.pods("orders", "transfer").await.is_empty(), "nobody adds to what it tells");
    stage.node.hold("orders-calendar", false);
    stage.until_phase("fill", RunPhase::Succeeded).await;
    stage.until_phase("by-hand", RunPhase::Succeeded).await;
    stage.until_condition("orders", "CaughtUp", "True", "Ok").await;
    assert_eq!(stage.read("orders"), [-9, -7].map(|hour| hours.interval(hour)));
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_range_becomes_the_runs_that_are_missing_a_few_at_a_time() {
    let (stage, hours) = orders("range", |it| it).await;
    let _operator = stage.operator().await;
    for hour in [-9, -7] {
        stage.node.mark_done("orders", &hours.interval(hour));
    }
    let range = hours.stretch(-10, -4);
    let dry = json!({"trigger": "Backfill", "range": range, "dryRun": true});
    stage.ask("plan", "orders", &dry).await;
    stage.until_phase("plan", RunPhase::Succeeded).await;
    let plan = stage.run("plan").await.status.unwrap().children.unwrap();
    assert_eq!((plan.total, plan.skipped, plan.planned.len()), (4, 2, 4), "{plan:?}");
    assert_eq!(stage.runs().await.len(), 1, "it makes none");

    stage.ask("fill", "orders", &json!({"trigger": "Backfill", "range": range})).await;
    stage.until_phase("fill", RunPhase::Succeeded).await;
    let wanted = [-10, -8, -6, -5].map(|hour| hours.interval(hour));
    assert_eq!(stage.read("orders"), wanted);
    let children = stage.run("fill").await.status.unwrap().children.unwrap();
    assert_eq!((children.total, children.succeeded, children.failed), (4, 4, 0));

    stage
        .ask(
            "all",
            "orders",
            &json!({
                "trigger": "Backfill", "range": hours.stretch(-10, -8), "reprocess": "All",
            }),
        )
        .await;
    stage.until_phase("all", RunPhase::Succeeded).await;
    assert_eq!(stage.read("orders").len(), wanted.len() + 2);
    // Its runs go with it.
    stage.delete_run("all").await;
    stage
        .until("its runs are gone", async || {
            stage.runs().await.iter().all(|run| !run.name_any().starts_with("all"))
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_range_goes_on_under_another_operator_and_tells_of_what_failed() {
    let (stage, hours) = orders("range-kill", |it| it.set("bulk.maxActiveRuns", json!(2))).await;
    let operator = stage.operator().await;
    let second = format!("fill-{}-b", hours.at(-8, 0).strftime("%Y%m%dt%H%M%Sz"));
    stage.node.end(&second, 65, &report("NullCursor", "3 rows have none"));
    stage.node.hold("fill", true);
    let range = json!({"trigger": "Backfill", "range": hours.stretch(-10, -4)});
    stage.ask("fill", "orders", &range).await;
    stage
        .until("some are active", async || {
            let children = stage.run("fill").await.status.and_then(|status| status.children);
            children.is_some_and(|children| children.active > 0)
        })
        .await;
    drop(operator);
    stage.node.hold("fill", false);
    let _operator = stage.operator().await;
    stage.until_phase("fill", RunPhase::Failed).await;
    let children = stage.run("fill").await.status.unwrap().children.unwrap();
    assert_eq!((children.total, children.succeeded, children.failed), (6, 5, 1), "{children:?}");
    let wanted = [-10, -8, -7, -6, -5].map(|hour| hours.interval(hour));
    assert_eq!(stage.read("orders"), wanted, "each of the others once");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_operator_that_is_killed_while_a_run_is_active_finds_its_end() {
    let (stage, hours) = orders("killed", |it| it).await;
    let operator = stage.operator().await;
    stage.node.hold("work", true);
    stage.ask("work", "orders", &manual(hours, -1)).await;
    stage.until_phase("work", RunPhase::Running).await;
    drop(operator);
    stage.node.hold("work", false);
    stage.until("its pod ends", async || stage.node.transfers("orders").len() == 1).await;
    let _operator = stage.operator().await;
    stage.until_phase("work", RunPhase::Succeeded).await;
    let status = stage.run("work").await.status.unwrap();
    assert_eq!((status.attempt, stage.read("orders").len()), (Some(1), 1), "it was not made again");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_pod_that_is_lost_is_another_attempt() {
    let (stage, hours) = orders("lost", |it| it).await;
    let _operator = stage.operator().await;
    stage.node.hold("work-g1", true);
    stage.ask("work", "orders", &manual(hours, -1)).await;
    stage.until_phase("work", RunPhase::Running).await;
    let pod = stage.pods("orders", "transfer").await.remove(0).name_any();
    stage.delete_pod(&pod).await;
    stage.until_phase("work", RunPhase::Succeeded).await;
    assert_eq!(stage.run("work").await.status.unwrap().attempt, Some(2));
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_attempt_that_takes_longer_than_it_may_says_so_and_not_that_it_was_told_to_end() {
    let once = |it: Document| {
        it.set("bulk.runTemplate.activeDeadlineSeconds", json!(3600))
            .set("bulk.runTemplate.retry.limit", json!(0))
    };
    let (stage, hours) = orders("deadline", once).await;
    let _operator = stage.operator().await;
    stage.node.hold("long", true);
    stage.node.end_when_told("long", 75, &report("Interrupted", "it was told to end"));
    stage.ask("long", "orders", &manual(hours, -1)).await;
    stage.until_phase("long", RunPhase::Running).await;
    // Nobody waits an hour for it.
    let sooner = json!({"spec": {"activeDeadlineSeconds": 1}});
    let _: Job = stage.namespace.merge("long-g1", &sooner).await.unwrap();
    stage.until_phase("long", RunPhase::Failed).await;
    stage.until_reason("long", "DeadlineExceeded").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_run_that_is_deleted_takes_its_job_and_pod_along() {
    let (stage, hours) = orders("deleted", |it| it).await;
    let _operator = stage.operator().await;
    stage.node.hold("work", true);
    stage.ask("work", "orders", &manual(hours, -1)).await;
    stage.until_phase("work", RunPhase::Running).await;
    stage.delete_run("work").await;
    let (jobs, pods) = (stage.namespace.api::<Job>(), stage.namespace.api::<Pod>());
    stage
        .until("Job and pod are gone", async || {
            let all = ListParams::default();
            let jobs = jobs.list(&all).await.unwrap().items;
            jobs.is_empty() && pods.list(&all).await.unwrap().items.is_empty()
        })
        .await;
    stage.node.hold("work", false);
    stage.ask("next", "orders", &manual(hours, -1)).await;
    stage.until_phase("next", RunPhase::Succeeded).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_run_waits_for_its_pipeline_and_one_that_does_not_fit_fails() {
    let stage = Stage::of_stand_ins("unfit").await;
    let _operator = stage.operator().await;
    let hours = Hours::of(Timestamp::now());
    stage.ask("early", "orders", &manual(hours, -1)).await;
    stage.until_reason("early", "PipelineMissing").await;
    stage.apply(&Document::hourly("orders")).await;
    stage.until_phase("early", RunPhase::Succeeded).await;

    let (start, end) = (hours.at(-2, 30).to_string(), hours.at(-1, 0).to_string());
    let half = json!({"trigger": "Manual", "interval": {"start": start, "end": end}});
    stage.ask("half", "orders", &half).await;
    stage.until_reason("half", "IntervalNotAligned").await;
    stage.until_phase("half", RunPhase::Failed).await;

    stage.ask("future", "orders", &manual(hours, 1)).await;
    stage.until_reason("future", "WaitingForTick").await;

    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.ask("stream", "clicks", &manual(hours, -1)).await;
    stage.until_phase("stream", RunPhase::Failed).await;
    stage.until_ready("clicks").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_pipeline_that_is_deleted_takes_its_scheduled_runs_along() {
    let stage = Stage::of_stand_ins("owner-gone").await;
    let clock = TestClock::default();
    let _operator = stage.operator_by(&clock).await;
    let hours = Hours::of(Timestamp::now());
    stage.apply(&Document::hourly("orders")).await;
    stage.until_schedule("orders", |it| it.last_scheduled_tick.is_some()).await;
    stage.node.hold("orders", true);
    clock.set(hours.at(1, 0));
    stage.until_phase(&hours.run("orders", 0), RunPhase::Running).await;
    stage.namespace.kubectl(&["delete", "ipl", "orders", "--wait=false"]).await.unwrap();
    let pods = stage.namespace.api::<Pod>();
    stage
        .until("runs and pods are gone", async || {
            let pods = pods.list(&ListParams::default()).await.unwrap().items;
            stage.runs().await.is_empty() && pods.is_empty()
        })
        .await;
}
