//! The number of workers: by lag, by others, none at all.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use serde_json::json;

use super::support::{Document, Stage, World};

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn lag_adds_workers_and_idleness_takes_them_away_to_none() {
    let stage = Stage::of_stand_ins("lag").await;
    let _operator = stage.operator().await;
    stage.node.say("clicks-agent", &json!({"lag": 0}));
    let document = Document::of_stand_ins("clicks").set("scaling.minReplicas", json!(0));
    stage.apply(&document).await;
    stage.until_ready("clicks").await;
    stage.until_workers("clicks", 0).await;
    // Scaled to zero by lag is no trouble.
    stage.until_condition("clicks", "Ready", "True", "ScaledToZero").await;

    // Each worker takes 100 messages a second: 100,000 are more than four take in a minute.
    stage.node.say(
        "clicks-worker",
        &json!({"counters":
        {"read": 10_000, "rows": 10_000, "dead": 0, "duplicate": 0, "filtered": 0},
        "busySeconds": 100.0}),
    );
    stage.node.say("clicks-agent", &json!({"lag": 100_000, "lagSeconds": 30}));
    stage.until_workers("clicks", 4).await;
    stage.until("an Event tells", async || stage.has_event("clicks", "ScaledUp").await).await;
    let scaling = stage.pipeline("clicks").await.status.unwrap().scaling.unwrap();
    assert_eq!(scaling.desired_replicas, 4);

    stage
        .until("each has its share", async || {
            let assignment = stage.assignment("clicks").await;
            let shares = assignment.workers.iter().map(|worker| worker.partitions.len());
            shares.eq([1, 1, 1, 1])
        })
        .await;

    stage.node.say("clicks-agent", &json!({"lag": 0, "lagSeconds": 0}));
    stage.until_workers("clicks", 0).await;
    stage.until("an Event tells", async || stage.has_event("clicks", "ScaledToZero").await).await;
    stage.until_ready("clicks").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn somebody_else_scales_by_the_scale_subresource() {
    let stage = Stage::of_stand_ins("external").await;
    let _operator = stage.operator().await;
    let document = Document::of_stand_ins("clicks").set("scaling", json!({"mode": "External"}));
    stage.apply(&document).await;
    stage.until_ready("clicks").await;
    stage.until_workers("clicks", 1).await;
    for count in [3, 0, 2] {
        let replicas = format!("--replicas={count}");
        stage.namespace.kubectl(&["scale", "ipl/clicks", &replicas]).await.unwrap();
        stage.until_workers("clicks", count).await;
        stage
            .until("the subresource says so", async || {
                let status = stage.pipeline("clicks").await.status.unwrap();
                status.replicas == i32::try_from(count).ok()
            })
            .await;
    }
    // More than partitions would have nothing to read.
    stage.namespace.kubectl(&["scale", "ipl/clicks", "--replicas=9"]).await.unwrap();
    stage.until_workers("clicks", 4).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_fixed_number_of_workers_stays_whatever_waits() {
    let stage = Stage::of_stand_ins("fixed").await;
    let _operator = stage.operator().await;
    stage.node.say("clicks-agent", &json!({"lag": 1_000_000, "lagSeconds": 60}));
    let document = Document::of_stand_ins("clicks").set("scaling", json!({"mode": "Fixed"}));
    stage.apply(&document.set("replicas", json!(2))).await;
    stage.until_workers("clicks", 2).await;
    let uids = stage.uids("clicks", "worker").await;
    stage.edit("clicks", &json!({"replicas": 3})).await.unwrap();
    stage.until_workers("clicks", 3).await;
    let more = stage.uids("clicks", "worker").await;
    assert!(uids.iter().all(|uid| more.contains(uid)), "the two go on");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_worker_that_is_not_ready_for_a_minute_loses_its_partitions_to_others() {
    let stage = Stage::of_stand_ins("unready").await;
    let _operator = stage.operator().await;
    let document = Document::of_stand_ins("clicks").set("scaling", json!({"mode": "Fixed"}));
    stage.apply(&document.set("replicas", json!(2))).await;
    stage.until_ready("clicks").await;
    assert_eq!(stage.assignment("clicks").await.partitions_of("clicks-worker-1").len(), 2);
    // A minute is long for a test: the pod is made to look as if it had not been ready for a while.
    stage.node.unready("clicks-worker-1", true);
    let long_ago = json!({"status": {"conditions": [{"type": "Ready", "status": "False",
        "lastTransitionTime": "2020-01-01T00:00:00Z"}]}});
    let patch = long_ago.to_string();
    stage
        .until("the other has all partitions", async || {
            let arguments =
                ["patch", "pod", "clicks-worker-1", "--subresource=status", "--patch", &patch];
            stage.namespace.kubectl(&arguments).await.unwrap();
            stage.assignment("clicks").await.partitions_of("clicks-worker-0").len() == 4
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn suspended_nothing_runs_and_resumed_it_goes_on() {
    let stage = Stage::of_stand_ins("suspend").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    stage.edit("clicks", &json!({"suspend": true})).await.unwrap();
    stage.until_condition("clicks", "Ready", "False", "Suspended").await;
    stage
        .until("nothing runs", async || {
            let workers = stage.pods("clicks", "worker").await;
            workers.is_empty() && stage.pods("clicks", "agent").await.is_empty()
        })
        .await;
    assert_eq!(stage.condition("clicks", "Stalled").await, None);
    let sets = stage.namespace.api::<StatefulSet>().get("clicks-worker").await.unwrap();
    let agents = stage.namespace.api::<Deployment>().get("clicks-agent").await.unwrap();
    assert_eq!((sets.spec.unwrap().replicas, agents.spec.unwrap().replicas), (Some(0), Some(0)));
    stage.edit("clicks", &json!({"suspend": false})).await.unwrap();
    stage.until_ready("clicks").await;
    stage.until_workers("clicks", 1).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn real_workers_come_with_the_first_messages_and_resume_where_they_stood() {
    let stage = Stage::of_processes("zero").await;
    let world = World::around(&stage).await;
    let _operator = stage.process("operator").await;
    let document = world.document("clicks").set("scaling.minReplicas", json!(0));
    stage.apply(&document).await;
    stage.until_ready("clicks").await;
    stage.until_workers("clicks", 0).await;
    world.publish(&document, 0..1000).await;
    world.until_rows(&document, 1000).await;
    stage.until_workers("clicks", 0).await;

    stage.edit("clicks", &json!({"suspend": true})).await.unwrap();
    stage.until_condition("clicks", "Ready", "False", "Suspended").await;
    world.publish(&document, 1000..3000).await;
    stage.edit("clicks", &json!({"suspend": false})).await.unwrap();
    world.until_rows(&document, 3000).await;
    stage.until_workers("clicks", 0).await;
    world.verify(&document).await;
}
