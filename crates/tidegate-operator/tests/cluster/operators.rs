//! Operators come, go, and do nothing when nothing is to be done.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::json;

use super::support::{ACCOUNT, Document, LONG, Stage, options};

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn nothing_is_written_while_nothing_changes() {
    let stage = Stage::of_stand_ins("steady").await;
    let operator = stage.operator().await;
    for name in ["first", "second", "third"] {
        stage.apply(&Document::of_stand_ins(name)).await;
    }
    for name in ["first", "second", "third"] {
        stage.until_ready(name).await;
    }
    // Ready is said before the last object may have been seen again; then it is quiet.
    operator.tap.quiet(Duration::from_secs(5)).await;
    let before = operator.tap.counted().len();
    // Twenty rounds of asking pods.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = operator.tap.counted();
    assert_eq!(&asked[before..], []);
    assert!(!operator.has_ended());
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_annotation_asks_for_a_look_now() {
    let stage = Stage::of_stand_ins("requested").await;
    let mut told = options(&stage.namespace);
    told.poll_interval = Duration::from_secs(3600);
    let operator = stage.operator_with(told).await;
    stage.apply(&Document::of_stand_ins("clicks").set("scaling", json!({"mode": "Fixed"}))).await;
    stage.until_ready("clicks").await;
    // What was begun before may look once more; an hour is long for what comes after.
    operator.tap.quiet(Duration::from_secs(3)).await;
    stage.node.say("clicks-agent", &json!({"sink": {"reason": "SinkUnreachable", "message": "x"}}));
    let annotate = ["annotate", "ipl/clicks", "tidegate.dev/requestedAt=2026-01-01T00:00:00Z"];
    stage.namespace.kubectl(&annotate).await.unwrap();
    stage.until_condition("clicks", "SinkReachable", "False", "SinkUnreachable").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_successor_takes_over_from_one_that_leaves_and_from_one_that_dies() {
    let stage = Stage::of_stand_ins("leader").await;
    let mut first = stage.process("first").await;
    until_holder(&stage, "first").await;
    let mut second = stage.process("second").await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;

    // One that leaves gives the Lease back: nobody waits for it to run out.
    first.signal("TERM").await.unwrap();
    assert!(first.wait(LONG).await.unwrap().success(), "{}", first.output());
    let left = tokio::time::Instant::now();
    until_holder(&stage, "second").await;
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
    stage.edit("clicks", &json!({"scaling": {"minReplicas": 2}})).await.unwrap();
    stage.until_workers("clicks", 2).await;

    let _third = stage.process("third").await;
    second.kill().await.unwrap();
    stage.edit("clicks", &json!({"scaling": {"minReplicas": 3}})).await.unwrap();
    until_holder(&stage, "third").await;
    stage.until_workers("clicks", 3).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_operator_that_was_killed_goes_on_where_it_stood() {
    let stage = Stage::of_stand_ins("killed").await;
    for round in 1..=3_u32 {
        let operator = stage.operator().await;
        stage
            .apply(&Document::of_stand_ins("clicks").set("scaling.minReplicas", json!(round)))
            .await;
        // Somewhere on the way, a little later each time.
        let calls = 4 * round as usize;
        stage
            .until("it has begun", async || operator.tap.counted().len() >= calls || round > 1)
            .await;
        drop(operator);
    }
    let _last = stage.operator().await;
    stage.until_ready("clicks").await;
    stage.until_workers("clicks", 3).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn pods_that_find_no_place_or_fail_are_named_in_the_status() {
    let stage = Stage::of_stand_ins("trouble").await;
    let _operator = stage.operator().await;
    stage.node.cordon(true);
    stage.apply(&Document::of_stand_ins("placeless")).await;
    stage.until_condition("placeless", "Ready", "False", "Unschedulable").await;
    stage.node.cordon(false);
    stage.until_ready("placeless").await;

    stage.node.trouble("failing-worker", Some(("CrashLoopBackOff", "back-off 10s")));
    stage.apply(&Document::of_stand_ins("failing")).await;
    stage.until_condition("failing", "Ready", "False", "PodFailing").await;
    stage.node.trouble("failing-worker", None);
    stage.until_ready("failing").await;

    let refused = json!({"pod": {"state": {"reason": "SecretMissing", "message": "nats-creds"}}});
    stage.node.say("keyless-worker", &refused);
    stage.node.unready("keyless-worker", true);
    stage.apply(&Document::of_stand_ins("keyless")).await;
    stage.until_condition("keyless", "Ready", "False", "SecretMissing").await;
    let ready = stage.condition("keyless", "Ready").await.unwrap();
    assert!(ready.message.contains("nats-creds"), "{}", ready.message);
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn everything_happens_under_the_rights_of_the_chart() {
    let stage = Stage::of_stand_ins("rights").await;
    let operator = stage.process("operator").await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    let user = stage.namespace.user(ACCOUNT);
    let records = stage.namespace.plane().audit().unwrap();
    let own: Vec<_> = records.iter().filter(|record| record.user.username == user).collect();
    assert!(own.iter().any(|record| record.is_write()));
    let refused: Vec<_> = own.iter().filter(|record| record.is_forbidden()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    drop(operator);
}

async fn until_holder(stage: &Stage, identity: &str) {
    stage
        .until(&format!("{identity} holds the Lease"), async || {
            let leases = stage.namespace.api::<Lease>();
            let lease = leases.get_opt("tidegate-operator").await.unwrap();
            let holder = lease.and_then(|lease| lease.spec?.holder_identity);
            holder.as_deref() == Some(identity)
        })
        .await;
}
