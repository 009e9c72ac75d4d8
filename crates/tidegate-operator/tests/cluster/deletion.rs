//! Pipelines are deleted, and made again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tidegate_api::IngestionPipeline;

use super::support::{Document, Stage, World, options};

const FINALIZER: &str = "tidegate.dev/cleanup";

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_deleted_pipeline_leaves_nothing_in_the_cluster_and_everything_outside() {
    let stage = Stage::of_processes("retain").await;
    let world = World::around(&stage).await;
    let _operator = stage.process("operator").await;
    let document = world.document("clicks");
    stage.apply(&document).await;
    world.publish(&document, 0..500).await;
    world.until_rows(&document, 500).await;
    assert!(stage.pipeline("clicks").await.finalizers().is_empty(), "nothing outside has to go");
    delete(&stage, "clicks").await;
    until_gone(&stage, "clicks").await;

    // Made again it goes on from its ledger: nothing twice, nothing lost.
    world.publish(&document, 500..1000).await;
    stage.apply(&document).await;
    world.until_rows(&document, 1000).await;
    world.verify(&document).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn with_the_policy_delete_stream_and_table_go_too() {
    let stage = Stage::of_processes("delete").await;
    let world = World::around(&stage).await;
    let _operator = stage.process("operator").await;
    let document = world
        .document("clicks")
        .set("deletionPolicy", json!({"stream": "Delete", "data": "Delete"}));
    stage.apply(&document).await;
    world.publish(&document, 0..500).await;
    world.until_rows(&document, 500).await;
    assert_eq!(stage.pipeline("clicks").await.finalizers(), [FINALIZER]);
    delete(&stage, "clicks").await;
    until_gone(&stage, "clicks").await;
    assert_eq!(files(&world.table("clicks")), Vec::<PathBuf>::new());

    // A stream that was deleted begins again at its first message, as a new one does.
    stage.apply(&document).await;
    world.publish(&document, 0..10).await;
    world.until_rows(&document, 10).await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn deletion_completes_without_the_broker_and_an_event_says_what_is_left() {
    let stage = Stage::of_processes("unreachable").await;
    let mut world = World::around(&stage).await;
    let mut told = options(&stage.namespace);
    told.deletion_deadline = Duration::from_secs(5);
    let _operator = stage.operator_with(told).await;
    let document = world.document("clicks").set("deletionPolicy.stream", json!("Delete"));
    stage.apply(&document).await;
    stage.until_ready("clicks").await;
    world.nats.kill().await.unwrap();
    delete(&stage, "clicks").await;
    until_gone(&stage, "clicks").await;
    stage
        .until("an Event tells", async || {
            let events = stage.events("clicks").await;
            let mut incomplete =
                events.iter().filter(|event| event.reason.as_deref() == Some("DeletionIncomplete"));
            incomplete.any(|event| event.note.as_ref().is_some_and(|note| note.contains("CLICKS")))
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn the_finalizer_comes_and_goes_with_the_policy_and_leaves_others_alone() {
    let stage = Stage::of_stand_ins("finalizer").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    let others = json!({"metadata": {"finalizers": ["example.com/other"]}});
    let _: IngestionPipeline = stage.namespace.merge("clicks", &others).await.unwrap();
    stage.edit("clicks", &json!({"deletionPolicy": {"stream": "Delete"}})).await.unwrap();
    stage
        .until("ours is there too", async || {
            let mut finalizers = stage.pipeline("clicks").await.finalizers().to_vec();
            finalizers.sort();
            finalizers == ["example.com/other", FINALIZER]
        })
        .await;
    stage.edit("clicks", &json!({"deletionPolicy": {"stream": "Retain"}})).await.unwrap();
    stage
        .until("ours is gone", async || {
            stage.pipeline("clicks").await.finalizers() == ["example.com/other"]
        })
        .await;
    delete(&stage, "clicks").await;
    stage
        .until("it is being deleted", async || {
            stage.pipeline("clicks").await.metadata.deletion_timestamp.is_some()
        })
        .await;
    let none = json!({"metadata": {"finalizers": null}});
    let _: IngestionPipeline = stage.namespace.merge("clicks", &none).await.unwrap();
    until_gone(&stage, "clicks").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_finalizer_that_somebody_else_wrote_goes_too() {
    let stage = Stage::of_stand_ins("restored").await;
    let restored = json!({"metadata": {"finalizers": [FINALIZER]}});
    for name in ["deleted", "kept"] {
        stage.apply(&Document::of_stand_ins(name)).await;
        let _: IngestionPipeline = stage.namespace.merge(name, &restored).await.unwrap();
    }
    delete(&stage, "deleted").await;
    assert!(stage.pipeline("deleted").await.metadata.deletion_timestamp.is_some());
    let _operator = stage.operator().await;
    until_gone(&stage, "deleted").await;
    stage
        .until("nothing waits for us", async || {
            stage.pipeline("kept").await.finalizers().is_empty()
        })
        .await;
    stage.until_ready("kept").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_cleanup_that_fails_for_good_does_not_hold_the_pipeline() {
    let stage = Stage::of_stand_ins("fails").await;
    let mut told = options(&stage.namespace);
    told.deletion_deadline = Duration::from_secs(20);
    let _operator = stage.operator_with(told).await;
    let words = json!({"reason": "SourceUnreachable", "left": ["stream CLICKS: no answer"]});
    stage.node.end("clicks-cleanup", 65, &words.to_string());
    let document = Document::of_stand_ins("clicks").set("deletionPolicy.stream", json!("Delete"));
    stage.apply(&document).await;
    stage.until_ready("clicks").await;
    delete(&stage, "clicks").await;
    until_gone(&stage, "clicks").await;
    stage
        .until("an Event tells what is left", async || {
            let events = stage.events("clicks").await;
            let mut notes = events.iter().filter_map(|event| event.note.as_ref());
            notes.any(|note| note.contains("stream CLICKS"))
        })
        .await;
}

async fn delete(stage: &Stage, name: &str) {
    let api = stage.namespace.api::<IngestionPipeline>();
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

/// The pipeline and every object of it.
async fn until_gone(stage: &Stage, name: &str) {
    stage
        .until("everything of the pipeline is gone", async || {
            let found = stage.namespace.api::<IngestionPipeline>().get_opt(name).await.unwrap();
            found.is_none() && objects(stage, name).await.is_empty()
        })
        .await;
}

/// The files below a folder; a store of objects knows no folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let paths = entries.map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The names of a pipeline's objects.
async fn objects(stage: &Stage, pipeline: &str) -> Vec<String> {
    let list = ListParams::default().labels(&format!("tidegate.dev/pipeline={pipeline}"));
    let mut names = Vec::new();
    macro_rules! names_of {
        ($($kind:ty),+) => {$(
            let found = stage.namespace.api::<$kind>().list(&list).await.unwrap();
            names.extend(found.items.iter().map(|object| object.name_any()));
        )+};
    }
    names_of!(StatefulSet, Deployment, Job, Pod, ConfigMap, Service, ServiceAccount);
    names_of!(PodDisruptionBudget, NetworkPolicy);
    names
}
