//! Edits of a running pipeline: which of them replace pods, which do not, which are refused.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::support::{Document, IMAGE, Stage, options};

/// Which pods an edit replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rolls {
    Nobody,
    Workers,
    Agent,
    Both,
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_edit_replaces_the_pods_that_it_concerns_and_no_others() {
    let edits = [
        ("more labels", Rolls::Both, json!({"template": {"labels": {"team": "web"}}})),
        ("more annotations", Rolls::Both, json!({"template": {"annotations": {"note": "x"}}})),
        ("memory of workers", Rolls::Workers, memory("resources", "1Gi")),
        ("memory of the agent", Rolls::Agent, memory("agentResources", "256Mi")),
        ("grace", Rolls::Workers, json!({"template": {"terminationGracePeriodSeconds": 30}})),
        (
            "nodes",
            Rolls::Both,
            json!({"template": {"nodeSelector": {"kubernetes.io/os": "linux"}}}),
        ),
        ("file size", Rolls::Both, json!({"sink": {"file": {"targetSize": "64Mi"}}})),
        ("flush interval", Rolls::Both, json!({"sink": {"flush": {"maxInterval": "2s"}}})),
        ("dedup window", Rolls::Both, json!({"dedup": {"window": "2h"}})),
        ("breaker", Rolls::Both, json!({"deadLetter": {"breaker": {"maxPercent": 50}}})),
        (
            "one more column",
            Rolls::Both,
            json!({"schema": {"fields": [
                {"name": "id", "type": "string", "required": true},
                {"name": "n", "type": "long"},
                {"name": "page", "type": "string"},
            ]}}),
        ),
        ("most workers", Rolls::Nobody, json!({"scaling": {"maxReplicas": 3}})),
        ("drain", Rolls::Nobody, json!({"scaling": {"targetDrain": "30s"}})),
        ("freshness", Rolls::Nobody, json!({"objectives": {"freshness": "5m"}})),
        ("deletion", Rolls::Nobody, json!({"deletionPolicy": {"stream": "Delete"}})),
        ("no deletion", Rolls::Nobody, json!({"deletionPolicy": {"stream": "Retain"}})),
    ];
    let stage = Stage::of_stand_ins("edit").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    for (name, rolls, edit) in edits {
        let (workers, agent) = uids(&stage).await;
        let before = stage.pipeline("clicks").await.metadata.generation;
        let edited = stage.edit("clicks", &edit).await.unwrap();
        assert_ne!(edited.metadata.generation, before, "{name} changes nothing");
        stage.until_ready("clicks").await;
        let (new_workers, new_agent) = uids(&stage).await;
        let seen = match (workers != new_workers, agent != new_agent) {
            (false, false) => Rolls::Nobody,
            (true, false) => Rolls::Workers,
            (false, true) => Rolls::Agent,
            (true, true) => Rolls::Both,
        };
        assert_eq!(seen, rolls, "{name}");
    }
    // Only what runs, or ran just before, is kept.
    stage
        .until("old configurations are removed", async || {
            let maps = stage.namespace.api::<ConfigMap>().list(&ListParams::default()).await;
            let names = maps.unwrap().items.into_iter().map(|map| map.name_any());
            names.filter(|name| name.starts_with("clicks-config-")).count() <= 2
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn what_cannot_change_is_refused_with_what_to_do() {
    let stage = Stage::of_stand_ins("immutable").await;
    let document = Document::of_stand_ins("clicks").set("ledger", json!("web.clicks"));
    stage
        .apply(&document.set("sink.partitionBy", json!([{"field": "n", "transform": "Identity"}])))
        .await;
    for (edit, names) in [
        (json!({"ledger": "web.other"}), "ledger"),
        (json!({"ledger": null}), "ledger"),
        (json!({"source": {"jetStream": {"stream": "OTHER"}}}), "stream"),
        (json!({"source": {"jetStream": {"partitioning": {"partitions": 8}}}}), "partition"),
        (json!({"sink": {"storage": {"url": "file:///elsewhere"}}}), "url"),
        (json!({"sink": {"partitionBy": []}}), "partitionBy"),
    ] {
        let refused = stage.edit("clicks", &edit).await.expect_err(&edit.to_string());
        let words = format!("{refused:#}");
        assert!(words.contains(names) && words.contains("cannot be changed"), "{edit}: {words}");
    }
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_edit_that_cannot_run_leaves_the_accepted_one_running() {
    let stage = Stage::of_stand_ins("rejected").await;
    let _operator = stage.operator().await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    let before = uids(&stage).await;
    let retyped = json!({"schema": {"fields": [
        {"name": "id", "type": "string", "required": true},
        {"name": "n", "type": "string"},
    ]}});
    stage.edit("clicks", &retyped).await.unwrap();
    stage.until_condition("clicks", "SpecAccepted", "False", "SchemaChangeRefused").await;
    let pipeline = stage.pipeline("clicks").await;
    let status = pipeline.status.clone().unwrap();
    assert_eq!(status.observed_generation, pipeline.metadata.generation);
    let stalled = stage.condition("clicks", "Stalled").await.map(|stalled| stalled.status);
    assert_eq!(stalled.as_deref(), Some("True"), "{status:?}");
    assert_eq!(uids(&stage).await, before, "the accepted spec goes on");

    // A worker that is lost meanwhile comes back as it was.
    stage.delete_pod("clicks-worker-0").await;
    stage.until_workers("clicks", 1).await;

    let whole = json!({"schema": {"fields": [
        {"name": "id", "type": "string", "required": true},
        {"name": "n", "type": "long"},
    ]}});
    stage.edit("clicks", &whole).await.unwrap();
    stage.until_ready("clicks").await;
    stage.until_condition("clicks", "SpecAccepted", "True", "Ok").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_new_release_of_the_operator_replaces_pods_of_one_pipeline_after_the_other() {
    let stage = Stage::of_stand_ins("release").await;
    let old = stage.operator().await;
    let names = ["first", "second", "third"];
    for name in names {
        stage.apply(&Document::of_stand_ins(name)).await;
    }
    for name in names {
        stage.until_ready(name).await;
    }
    old.stop().await.unwrap();

    let mut newer = options(&stage.namespace);
    newer.max_concurrent_rollouts = 1;
    newer.pods.image = format!("{IMAGE}-2");
    // The new pods do not get ready yet, so that the first pipeline holds its permit.
    for name in names {
        stage.node.unready(&format!("{name}-worker"), true);
    }
    let _newer = stage.operator_with(newer).await;
    stage.until("one pipeline rolls", async || images(&stage, &names).await.contains(&true)).await;
    stage
        .until("the others say that they wait", async || {
            let mut waiting = 0;
            for name in names {
                let found = stage.condition(name, "Reconciling").await;
                waiting += usize::from(found.is_some_and(|found| found.reason == "RolloutQueued"));
            }
            waiting == 2
        })
        .await;
    assert_eq!(images(&stage, &names).await.iter().filter(|new| **new).count(), 1);
    for name in names {
        stage.node.unready(&format!("{name}-worker"), false);
    }
    for name in names {
        stage.until_ready(name).await;
    }
    assert_eq!(images(&stage, &names).await, [true; 3]);
}

/// Whether the workers of each pipeline are to have the newer image.
async fn images(stage: &Stage, names: &[&str]) -> Vec<bool> {
    let mut newer = Vec::new();
    for name in names {
        let template = stage
            .namespace
            .api::<k8s_openapi::api::apps::v1::StatefulSet>()
            .get(&format!("{name}-worker"))
            .await
            .unwrap();
        let image = template.spec.unwrap().template.spec.unwrap().containers[0].image.clone();
        newer.push(image.unwrap().ends_with("-2"));
    }
    newer
}

fn memory(whose: &str, amount: &str) -> Value {
    let resources = json!({"requests": {"memory": amount}, "limits": {"memory": amount}});
    let mut template = json!({});
    template[whose] = resources;
    json!({"template": template})
}

async fn uids(stage: &Stage) -> (Vec<String>, Vec<String>) {
    (stage.uids("clicks", "worker").await, stage.uids("clicks", "agent").await)
}
