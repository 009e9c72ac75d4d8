//! What others do to our objects, and what stands in our way.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::support::{Document, Stage};

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn what_others_delete_or_change_is_repaired() {
    let stage = Stage::of_stand_ins("drift").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    let namespace = &stage.namespace;

    let services = namespace.api::<Service>();
    let first = services.get("clicks-worker").await.unwrap().uid();
    services.delete("clicks-worker", &DeleteParams::default()).await.unwrap();
    stage
        .until("the Service is made again", async || {
            let found = services.get_opt("clicks-worker").await.unwrap();
            found.is_some_and(|found| found.uid() != first)
        })
        .await;

    let more = json!({"spec": {"replicas": 3}});
    let _: StatefulSet = namespace.merge("clicks-worker", &more).await.unwrap();
    stage.until_workers("clicks", 1).await;

    let emptied = json!({"data": {"assignment.json": "{}"}});
    let _: ConfigMap = namespace.merge("clicks-assignment", &emptied).await.unwrap();
    stage
        .until("the assignment is written again", async || {
            let map = namespace.api::<ConfigMap>().get("clicks-assignment").await.unwrap();
            map.data.unwrap()["assignment.json"].contains("clicks-worker-0")
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn fields_that_another_manager_took_are_taken_back_and_foreign_ones_stay() {
    let stage = Stage::of_stand_ins("conflict").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    let budgets = stage.namespace.api::<PodDisruptionBudget>();
    let foreign = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "clicks-worker", "labels": {"cost-center": "42"}},
        "spec": {"maxUnavailable": 3},
    });
    let force = PatchParams::apply("somebody").force();
    budgets.patch("clicks-worker", &force, &Patch::Apply(&foreign)).await.unwrap();
    stage
        .until("ours counts again", async || {
            let budget = budgets.get("clicks-worker").await.unwrap();
            let most = serde_json::to_value(budget.spec.as_ref().unwrap()).unwrap();
            assert_eq!(budget.labels()["cost-center"], "42");
            most["maxUnavailable"] == 1
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn objects_that_an_edit_no_longer_needs_are_removed() {
    let stage = Stage::of_stand_ins("orphan").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    let accounts = stage.namespace.api::<ServiceAccount>();
    assert!(accounts.get_opt("clicks-pipeline").await.unwrap().is_some());
    stage
        .namespace
        .apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": "lake-writer", "labels": {"tidegate.dev/pipeline-use": "true"}}}))
        .await
        .unwrap();
    stage.edit("clicks", &json!({"serviceAccountName": "lake-writer"})).await.unwrap();
    stage
        .until("its own account is removed", async || {
            accounts.get_opt("clicks-pipeline").await.unwrap().is_none()
        })
        .await;
    stage.until_ready("clicks").await;
    let pods = stage.pods("clicks", "worker").await;
    let account = pods[0].spec.as_ref().unwrap().service_account_name.as_deref();
    assert_eq!(account, Some("lake-writer"));
    assert!(accounts.get_opt("lake-writer").await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_account_that_does_not_offer_itself_is_not_used() {
    let stage = Stage::of_stand_ins("account").await;
    let _operator = stage.operator().await;
    let document = Document::of_stand_ins("clicks").set("serviceAccountName", json!("powerful"));
    let account = |offers: &str| {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": "powerful", "labels": {"tidegate.dev/pipeline-use": offers}}})
    };
    stage.namespace.apply(&account("false")).await.unwrap();
    stage.apply(&document).await;
    stage.until_condition("clicks", "SpecAccepted", "False", "ServiceAccountRefused").await;
    assert!(stage.pods("clicks", "worker").await.is_empty());
    // The consent is heard of without an edit.
    stage.namespace.apply(&account("true")).await.unwrap();
    stage.until_ready("clicks").await;
    // Nor is its end: pods leave, and come back with it.
    stage.namespace.apply(&account("false")).await.unwrap();
    stage.until_condition("clicks", "Ready", "False", "ServiceAccountRefused").await;
    stage
        .until("no pod uses the account", async || stage.pods("clicks", "worker").await.is_empty())
        .await;
    stage.namespace.apply(&account("true")).await.unwrap();
    stage.until_ready("clicks").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_object_of_somebody_else_is_not_taken_over() {
    let stage = Stage::of_stand_ins("taken").await;
    let _operator = stage.operator().await;
    let foreign = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "clicks-worker"}, "spec": {"ports": [{"port": 80}]}});
    stage.namespace.apply(&foreign).await.unwrap();
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_condition("clicks", "Ready", "False", "NameTaken").await;
    let services = stage.namespace.api::<Service>();
    let service = services.get("clicks-worker").await.unwrap();
    assert!(service.owner_references().is_empty());
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 80);
    let ready = stage.condition("clicks", "Ready").await.unwrap();
    assert!(ready.message.contains("clicks-worker"), "{}", ready.message);
    services.delete("clicks-worker", &DeleteParams::default()).await.unwrap();
    stage
        .namespace
        .kubectl(&["annotate", "ipl/clicks", "tidegate.dev/requestedAt=now"])
        .await
        .unwrap();
    stage.until_ready("clicks").await;
}
