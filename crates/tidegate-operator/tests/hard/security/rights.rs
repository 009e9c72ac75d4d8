//! The operator under the chart's own account: it needs what its Roles say, all of it, and nothing else.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_operator::OperatorOptions;
use tidegate_testing::cluster::{AuditObject, AuditRecord};

use super::super::support::{ACCOUNT, Bulk as _, Document, Hours, Stage, options};

/// Group, resource with its subresource, verb.
type Right = (String, String, String);

/// What is made by an apply: the API server asks for `create` when there is nothing to patch yet, but
/// writes `patch` into its record.
const APPLIED: [(&str, &str); 7] = [
    ("", "configmaps"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
];
/// Where the admission plugin `OwnerReferencesPermissionEnforcement` is on, it asks whether the writer of
/// an owner reference that blocks deletion may update the owner's finalizers. No request shows it.
const ASKED_BY_ADMISSION: [(&str, &str, &str); 2] = [
    ("tidegate.dev", "ingestionpipelines/finalizers", "update"),
    ("tidegate.dev", "ingestionruns/finalizers", "update"),
];

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn every_right_of_the_chart_is_used_and_no_other_is_missed() {
    let stage = Stage::of_stand_ins("all-rights").await;
    touch_everything(&stage).await;

    let user = stage.namespace.user(ACCOUNT);
    let records = stage.namespace.plane().audit().unwrap();
    let own: Vec<_> = records.iter().filter(|record| record.user.username == user).collect();
    let refused: Vec<_> = own.iter().filter(|record| record.is_forbidden()).collect();
    assert!(refused.is_empty(), "{refused:#?}");

    let used: BTreeSet<Right> = own.iter().filter_map(|record| right(record)).collect();
    let granted = granted(&stage).await;
    let outside: Vec<_> = used.difference(&granted).collect();
    assert!(outside.is_empty(), "not in the Roles: {outside:#?}");
    let unused: BTreeSet<_> = granted.difference(&used).cloned().collect();
    let text = |(group, resource, verb): (&str, &str, &str)| {
        (group.to_owned(), resource.to_owned(), verb.to_owned())
    };
    let applied = APPLIED.map(|(group, resource)| text((group, resource, "create")));
    let unseen: BTreeSet<_> = applied.into_iter().chain(ASKED_BY_ADMISSION.map(text)).collect();
    assert_eq!(unused, unseen, "rights that nothing needs, or that were thought to be unseen");
}

/// A Lease, objects made, changed, repaired, left over, and a cleanup.
async fn touch_everything(stage: &Stage) {
    let namespace = &stage.namespace;
    let told = OperatorOptions { leader_election: true, ..options(namespace) };
    let operator = stage.operator_with(told).await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    stage.until_ready("clicks").await;
    stage.edit("clicks", &json!({"scaling": {"minReplicas": 2}})).await.unwrap();
    stage.until_workers("clicks", 2).await;
    stage.edit("clicks", &json!({"sink": {"flush": {"maxRows": 1000}}})).await.unwrap();
    stage.until_ready("clicks").await;
    repeat_an_event(stage).await;
    leave_things_over(stage).await;
    run_an_hour(stage).await;
    stage.edit("clicks", &json!({"deletionPolicy": {"stream": "Delete"}})).await.unwrap();
    stage
        .until("it is waited for", async || !stage.pipeline("clicks").await.finalizers().is_empty())
        .await;
    let pipelines = namespace.api::<IngestionPipeline>();
    pipelines.delete("clicks", &DeleteParams::default()).await.unwrap();
    let gone = async || pipelines.get_opt("clicks").await.unwrap().is_none();
    stage.until("it is gone", gone).await;
    operator.stop().await.unwrap();
}

/// A range makes a run, the run a Job; their time is over at once.
async fn run_an_hour(stage: &Stage) {
    let goes = json!(0);
    let document = Document::hourly("orders").set("bulk.runTemplate.ttlSecondsAfterFinished", goes);
    stage.apply(&document).await;
    let hours = Hours::of(jiff::Timestamp::now());
    let range = json!({"trigger": "Backfill", "range": hours.stretch(-3, -2)});
    stage.ask("fill", "orders", &range).await;
    stage
        .until("an hour is loaded, and its objects are gone", async || {
            stage.read("orders").len() == 1 && stage.runs().await.is_empty()
        })
        .await;
}

/// The second of two equal Events is written into the first.
async fn repeat_an_event(stage: &Stage) {
    for round in 1..=2 {
        let more = json!({"spec": {"maxUnavailable": 3}});
        let _: k8s_openapi::api::policy::v1::PodDisruptionBudget =
            stage.namespace.merge("clicks-worker", &more).await.unwrap();
        stage
            .until("the Event tells of each repair", async || {
                let events = stage.events("clicks").await;
                let count = |event: &k8s_openapi::api::events::v1::Event| {
                    event.series.as_ref().map_or(1, |series| series.count)
                };
                let repairs = events.iter().filter(|event| {
                    event.note.as_ref().is_some_and(|n| n.contains("PodDisruption"))
                });
                repairs.map(count).max().unwrap_or(0) >= round
            })
            .await;
    }
}

/// One object of each kind that belongs to the pipeline and that it does not need, as an older release
/// might leave.
async fn leave_things_over(stage: &Stage) {
    let owner = stage.pipeline("clicks").await.uid().unwrap();
    let pod = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "tidegate", "image": "x", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }});
    let mut long = pod.clone();
    long["spec"].as_object_mut().unwrap().remove("restartPolicy");
    let selector = json!({"matchLabels": {"a": "b"}});
    for (version, kind, spec) in [
        ("v1", "Service", json!({"ports": [{"port": 80}]})),
        ("v1", "ServiceAccount", Value::Null),
        ("v1", "ConfigMap", Value::Null),
        ("policy/v1", "PodDisruptionBudget", json!({"maxUnavailable": 1, "selector": selector})),
        ("networking.k8s.io/v1", "NetworkPolicy", json!({"podSelector": {}})),
        ("batch/v1", "Job", json!({"suspend": true, "template": pod})),
        (
            "apps/v1",
            "StatefulSet",
            json!({"replicas": 0, "serviceName": "x", "selector": selector, "template": long}),
        ),
        ("apps/v1", "Deployment", json!({"replicas": 0, "selector": selector, "template": long})),
    ] {
        let mut object = json!({
            "apiVersion": version, "kind": kind,
            "metadata": {
                "name": "clicks-former",
                "labels": {
                    "app.kubernetes.io/managed-by": "tidegate-operator",
                    "tidegate.dev/pipeline": "clicks",
                },
                "ownerReferences": [{
                    "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
                    "name": "clicks", "uid": owner, "controller": true,
                }],
            },
        });
        if !spec.is_null() {
            object["spec"] = spec;
        }
        stage.namespace.apply(&object).await.unwrap();
    }
    let plurals = "services,serviceaccounts,configmaps,poddisruptionbudgets,networkpolicies,jobs,\
                   statefulsets,deployments";
    stage
        .until("all of it is removed", async || {
            let shown = stage.namespace.kubectl(&["get", plurals, "--output=name"]).await.unwrap();
            !shown.contains("clicks-former")
        })
        .await;
}

fn right(record: &AuditRecord) -> Option<Right> {
    let AuditObject { api_group, resource, subresource, .. } = record.object_ref.clone()?;
    let resource = match subresource.as_str() {
        "" => resource,
        sub => format!("{resource}/{sub}"),
    };
    Some((api_group, resource, record.verb.clone()))
}

async fn granted(stage: &Stage) -> BTreeSet<Right> {
    let roles = stage.namespace.api::<Role>().list(&ListParams::default()).await.unwrap();
    let rules = roles.items.into_iter().flat_map(|role| role.rules.unwrap_or_default());
    rules.flat_map(|rule| rights_of(&rule)).collect()
}

fn rights_of(rule: &PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.push((group.clone(), resource.clone(), verb.clone()));
            }
        }
    }
    rights
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn an_apply_of_something_new_needs_the_right_to_create() {
    let stage = Stage::of_stand_ins("apply-right").await;
    let namespace = &stage.namespace;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}});
    namespace.apply(&account).await.unwrap();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "a"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": namespace.name()}],
    });
    let role = |verbs: &[&str]| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}],
        })
    };
    namespace.apply(&role(&["patch"])).await.unwrap();
    namespace.apply(&binding).await.unwrap();
    let client = namespace.access("a").await.unwrap().client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace.name());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}});
    let apply = async || {
        let how = PatchParams::apply("a");
        maps.patch("new", &how, &Patch::Apply(&map)).await
    };
    // The first answer may come before the right to patch is known.
    let refused = async || match apply().await {
        Err(kube::Error::Api(status)) => status.message.contains("cannot create resource"),
        _ => false,
    };
    stage.until("the missing right is named", refused).await;
    namespace.apply(&role(&["patch", "create"])).await.unwrap();
    stage.until("it is taken", async || apply().await.is_ok()).await;
}
