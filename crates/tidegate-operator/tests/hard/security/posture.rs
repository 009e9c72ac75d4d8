//! What a pipeline cannot ask for, and the pods that come of it.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective,
};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_testing::Namespace;

use super::super::snapshot::{Inventory, differences};
use super::super::support::{Document, Stage};

/// What there is no field for, below `spec`.
fn wishes() -> Vec<(&'static str, Value)> {
    let privileged = json!({"privileged": true, "runAsUser": 0});
    let host = json!([{"name": "host", "hostPath": {"path": "/"}}]);
    vec![
        ("image", json!("somebody/else")),
        ("namespace", json!("kube-system")),
        ("serviceAccountNamespace", json!("kube-system")),
        ("template.image", json!("somebody/else")),
        ("template.imagePullPolicy", json!("Always")),
        ("template.command", json!(["sh"])),
        ("template.args", json!(["-c", "id"])),
        ("template.env", json!([{"name": "LD_PRELOAD", "value": "x"}])),
        ("template.containers", json!([{"name": "more", "image": "x"}])),
        ("template.initContainers", json!([{"name": "more", "image": "x"}])),
        ("template.volumes", host.clone()),
        ("template.volumeMounts", json!([{"name": "host", "mountPath": "/host"}])),
        ("template.securityContext", privileged.clone()),
        ("template.podSecurityContext", privileged),
        ("template.hostNetwork", json!(true)),
        ("template.hostPID", json!(true)),
        ("template.hostIPC", json!(true)),
        ("template.hostAliases", json!([{"ip": "1.2.3.4", "hostnames": ["nats"]}])),
        ("template.dnsConfig", json!({"nameservers": ["1.2.3.4"]})),
        ("template.runtimeClassName", json!("weak")),
        ("template.automountServiceAccountToken", json!(true)),
        ("template.nodeName", json!("node")),
        ("template.schedulerName", json!("mine")),
        ("source.jetStream.credentials.secretRef.namespace", json!("kube-system")),
        ("source.jetStream.adminCredentials.secretRef.namespace", json!("kube-system")),
        ("source.jetStream.tls.caRef.namespace", json!("kube-system")),
        ("sink.storage.secretRef.namespace", json!("kube-system")),
    ]
}

/// Has everything that refers to something.
fn document(name: &str) -> Document {
    let secret = |name: &str| json!({"secretRef": {"name": name}});
    Document::of_stand_ins(name)
        .set("source.jetStream.credentials", secret("nats"))
        .set("source.jetStream.adminCredentials", secret("admin"))
        .set(
            "source.jetStream.tls",
            json!({"caRef": {"kind": "ConfigMap", "name": "ca", "key": "k"}}),
        )
        .set("sink.storage.secretRef", json!({"name": "store"}))
}

async fn apply(
    namespace: &Namespace,
    document: &Document,
    how: ValidationDirective,
) -> kube::Result<DynamicObject> {
    let parameters = PatchParams {
        field_validation: Some(how),
        field_manager: Some("kubectl".to_owned()),
        force: true,
        ..PatchParams::default()
    };
    let wanted = Patch::Apply(document.value());
    pipelines(namespace).patch(&document.name, &parameters, &wanted).await
}

/// Without their types, which have no words for what is asked here either.
fn pipelines(namespace: &Namespace) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<IngestionPipeline>(&());
    Api::namespaced_with(namespace.client(), namespace.name(), &resource)
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_pipeline_has_no_words_for_what_could_harm_others() {
    let stage = Stage::of_stand_ins("wishes").await;
    let namespace = &stage.namespace;
    let mut greedy = document("greedy");
    for (path, value) in wishes() {
        let wish = document("refused").set(path, value.clone());
        let refused = apply(namespace, &wish, ValidationDirective::Strict).await;
        let message = match refused {
            Err(kube::Error::Api(status)) => status.message.clone(),
            other => panic!("{path}: {other:?}"),
        };
        let word = path.rsplit('.').next().unwrap();
        assert!(message.contains(word), "{path}: {message}");
        greedy = greedy.set(path, value);
    }
    // Whoever asks the API server to look away gets what anybody gets.
    apply(namespace, &document("greedy"), ValidationDirective::Strict).await.unwrap();
    let how = PatchParams {
        field_validation: Some(ValidationDirective::Ignore),
        ..PatchParams::default()
    };
    let stored = pipelines(namespace).patch("greedy", &how, &Patch::Merge(greedy.value())).await;
    let stored = stored.unwrap();
    for (path, _) in wishes() {
        let found = path.split('.').fold(&stored.data["spec"], |place, step| &place[step]);
        assert!(found.is_null(), "{path} is kept as {found}");
    }
    apply(namespace, &document("modest"), ValidationDirective::Strict).await.unwrap();
    let _operator = stage.operator().await;
    for name in ["greedy", "modest"] {
        stage.until_ready(name).await;
    }
    stage
        .until("both have the same", async || {
            let inventory = Inventory::take(namespace).await.unwrap();
            let (greedy, modest) = (inventory.snapshot("greedy"), inventory.snapshot("modest"));
            greedy.len() >= 11 && differences(&greedy, &modest).is_empty()
        })
        .await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn a_service_account_of_another_namespace_is_none() {
    let stage = Stage::of_stand_ins("account").await;
    let other = Namespace::create("account-other").await.unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": "powerful", "labels": {"tidegate.dev/pipeline-use": "true"}}});
    other.apply(&account).await.unwrap();
    let _operator = stage.operator().await;
    let document = Document::of_stand_ins("clicks").set("serviceAccountName", json!("powerful"));
    stage.apply(&document).await;
    stage.until_condition("clicks", "SpecAccepted", "False", "ServiceAccountRefused").await;
    assert!(stage.pods("clicks", "worker").await.is_empty());
    stage.namespace.apply(&account).await.unwrap();
    stage.until_ready("clicks").await;
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn all_pods_are_admitted_where_restricted_is_enforced() {
    let stage = Stage::of_stand_ins("restricted").await;
    let namespace = &stage.namespace;
    // Proof that it is enforced: the image's user may be root.
    let bad: Pod = serde_json::from_value(json!({
        "metadata": {"name": "bad"},
        "spec": {"containers": [{"name": "x", "image": "x"}]},
    }))
    .unwrap();
    let refused = namespace.api::<Pod>().create(&PostParams::default(), &bad).await;
    let message = refused.expect_err("restricted is enforced").to_string();
    assert!(message.contains("violates PodSecurity"), "{message}");

    let _operator = stage.operator().await;
    let policy = json!({"stream": "Delete", "data": "Delete"});
    stage.apply(&document("clicks").set("deletionPolicy", policy)).await;
    stage.until_ready("clicks").await;
    assert_eq!(stage.pods("clicks", "worker").await.len(), 1);
    assert_eq!(stage.pods("clicks", "agent").await.len(), 1);
    // It would be over before anybody sees it.
    stage.node.cordon(true);
    let pipelines = namespace.api::<IngestionPipeline>();
    pipelines.delete("clicks", &DeleteParams::default()).await.unwrap();
    let cleans = async || stage.pods("clicks", "cleanup").await.len() == 1;
    stage.until("the cleanup has its pod", cleans).await;
    stage.node.cordon(false);
    let gone = async || pipelines.get_opt("clicks").await.unwrap().is_none();
    stage.until("it is gone", gone).await;
}
