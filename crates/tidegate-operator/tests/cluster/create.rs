//! A pipeline is applied for the first time.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use super::support::{Document, Stage, World};

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_pipeline_becomes_its_objects_and_is_ready() {
    let stage = Stage::of_stand_ins("create").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;

    let namespace = &stage.namespace;
    let owner = stage.pipeline("clicks").await.uid().unwrap();
    let mut owners = Vec::new();
    macro_rules! owners_of {
        ($kind:ty, $name:expr) => {
            let object = namespace.api::<$kind>().get($name).await.unwrap();
            owners.push(object.owner_references().to_vec());
        };
    }
    owners_of!(StatefulSet, "clicks-worker");
    owners_of!(Service, "clicks-worker");
    owners_of!(PodDisruptionBudget, "clicks-worker");
    owners_of!(Deployment, "clicks-agent");
    owners_of!(ConfigMap, "clicks-assignment");
    owners_of!(ConfigMap, "clicks-accepted");
    owners_of!(ServiceAccount, "clicks-pipeline");
    owners_of!(NetworkPolicy, "clicks-pipeline");
    for owners in owners {
        assert_eq!((owners.len(), &owners[0].uid, owners[0].controller), (1, &owner, Some(true)));
    }
    let maps = namespace.api::<ConfigMap>().list(&ListParams::default()).await.unwrap();
    let configs = maps.items.iter().filter(|map| map.name_any().starts_with("clicks-config-"));
    assert!(configs.map(|map| map.immutable).eq([Some(true)]));

    // What people and scripts look at.
    namespace.kubectl(&["wait", "--for=condition=Ready", "ipl/clicks"]).await.unwrap();
    let shown = namespace.kubectl(&["get", "ipl", "clicks"]).await.unwrap();
    assert!(shown.contains("True"), "{shown}");
    let status = stage.pipeline("clicks").await.status.unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (Some(1), Some(1)), "{status:?}");
    let selector = status.selector.unwrap();
    assert!(selector.contains("app.kubernetes.io/component=worker"), "{selector}");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn messages_become_rows_by_real_agents_and_workers() {
    let stage = Stage::of_processes("create-real").await;
    let world = World::around(&stage).await;
    let _operator = stage.process("operator").await;
    let document = world.document("clicks");
    stage.apply(&document).await;
    stage.until_ready("clicks").await;
    world.publish(&document, 0..2000).await;
    world.until_rows(&document, 2000).await;
    // Numbers in the status are refreshed once a minute, or with whatever else is news.
    let mut minutes = 4;
    stage
        .until("the status counts them", async || {
            minutes += 1;
            let edit = json!({"objectives": {"freshness": format!("{minutes}m")}});
            stage.edit("clicks", &edit).await.unwrap();
            stage.until_ready("clicks").await;
            let status = stage.pipeline("clicks").await.status.unwrap();
            let committed = status.records.map_or(0, |records| records.committed);
            let waits = status.lag.map_or(1, |lag| lag.messages);
            committed == 2000 && waits == 0 && status.last_commit.is_some()
        })
        .await;
    world.verify(&document).await;
}
