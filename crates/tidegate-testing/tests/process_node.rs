//! The node for tests, with a small program instead of ours: it serves its working configuration by
//! HTTP, and ends when it is told to.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tidegate_testing::{Namespace, ProcessNode, Scratch, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_secs(60);

/// `serve FOLDER ADDRESS` serves a folder; `fail` leaves a message and ends with 65.
const PROGRAM: &str = r#"#!/bin/sh
echo "started: $* as $NAME in $COLOUR"
case $1 in
    serve) exec /usr/bin/env python3 -m http.server 8080 --bind "$3" --directory "$2" ;;
    fail) echo "no such table" > "$TIDEGATE_TERMINATION_LOG"; exit 65 ;;
esac
"#;

fn program(scratch: &Scratch) -> PathBuf {
    let path = scratch.join("program");
    // `python3` is looked for where the test's own PATH says, the container's leads nowhere.
    let path_variable = std::env::var("PATH").unwrap();
    let text = PROGRAM.replace("/usr/bin/env", &format!("/usr/bin/env PATH='{path_variable}'"));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn pod(name: &str, arguments: &[&str], restart_policy: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "restartPolicy": restart_policy,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "only", "image": "none", "args": arguments,
                "env": [
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "COLOUR", "value": "blue"},
                ],
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/colour", "port": "http"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [
                    {"name": "settings", "mountPath": "/etc/settings"},
                    {"name": "keys", "mountPath": "/etc/keys"},
                ],
            }],
            "volumes": [
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "keys", "projected": {"sources": [
                    {"secret": {"name": "missing", "optional": true}},
                ]}},
            ],
        },
    })
}

fn settings(colour: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"colour": colour},
    })
}

async fn served(node: &ProcessNode, pod: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(node.address(pod)?).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

async fn status(namespace: &Namespace, pod: &str) -> Value {
    let pod = namespace.api::<Pod>().get_opt(pod).await.unwrap();
    serde_json::to_value(pod.and_then(|pod| pod.status)).unwrap()
}

async fn is_ready(namespace: &Namespace, pod: &str) -> bool {
    status(namespace, pod).await["containerStatuses"][0]["ready"] == true
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn cluster_a_process_runs_with_its_volumes_is_started_again_and_leaves_when_deleted() {
    let scratch = Scratch::new("process-node").unwrap();
    let namespace = Namespace::create("process-node").await.unwrap();
    let node = ProcessNode::running(&namespace, &program(&scratch)).await.unwrap();
    namespace.apply(&pod("a", &["serve", "/etc/settings", "$(POD_IP)"], "Always")).await.unwrap();
    let started = async || !status(&namespace, "a").await["podIP"].is_null();
    eventually("the pod has its place", LONG, started).await.unwrap();
    assert_eq!(status(&namespace, "a").await["phase"], "Pending", "its ConfigMap is missing");

    namespace.apply(&settings("red")).await.unwrap();
    eventually("the pod is ready", LONG, async || is_ready(&namespace, "a").await).await.unwrap();
    assert!(node.log("a").contains("as a in blue"), "{}", node.log("a"));
    assert_eq!(served(&node, "a", "/colour").await.as_deref(), Some("red"));
    namespace.merge::<ConfigMap>("settings", &json!({"data": {"colour": "green"}})).await.unwrap();
    let green = async || served(&node, "a", "/colour").await.as_deref() == Some("green");
    eventually("the volume follows", LONG, green).await.unwrap();

    node.kill("a").await.unwrap();
    let again = async || status(&namespace, "a").await["containerStatuses"][0]["restartCount"] == 1;
    eventually("the container is started again", LONG, again).await.unwrap();
    let last = &status(&namespace, "a").await["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("Error")));
    eventually("ready once more", LONG, async || is_ready(&namespace, "a").await).await.unwrap();
    node.kill_for_memory("a").await.unwrap();
    let again = async || {
        let container = status(&namespace, "a").await["containerStatuses"][0].clone();
        container["lastState"]["terminated"]["reason"] == "OOMKilled"
    };
    eventually("the reason is told", LONG, again).await.unwrap();

    namespace.api::<Pod>().delete("a", &DeleteParams::default()).await.unwrap();
    let gone = async || namespace.api::<Pod>().get_opt("a").await.unwrap().is_none();
    eventually("the pod is gone", LONG, gone).await.unwrap();
    assert!(node.pods().is_empty());
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn cluster_a_process_that_fails_for_good_leaves_its_code_and_message() {
    let scratch = Scratch::new("process-node").unwrap();
    let namespace = Namespace::create("process-node").await.unwrap();
    let node = ProcessNode::running(&namespace, &program(&scratch)).await.unwrap();
    namespace.apply(&settings("red")).await.unwrap();
    namespace.apply(&pod("a", &["fail"], "Never")).await.unwrap();
    let failed = async || status(&namespace, "a").await["phase"] == "Failed";
    eventually("the pod fails", LONG, failed).await.unwrap();
    let ended = &status(&namespace, "a").await["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(65), &json!("no such table\n")));

    // Where it may begin again it does, with pauses that Kubernetes has a word for.
    namespace.apply(&pod("b", &["fail"], "Always")).await.unwrap();
    let waits = async || {
        let state = status(&namespace, "b").await["containerStatuses"][0]["state"].clone();
        state["waiting"]["reason"] == "CrashLoopBackOff"
    };
    eventually("the pod backs off", LONG, waits).await.unwrap();
    drop(node);
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn cluster_stand_ins_are_ready_at_once_and_say_what_they_are_told() {
    let namespace = Namespace::create("stand-in").await.unwrap();
    let node = ProcessNode::stand_in(&namespace).await.unwrap();
    let mut agent = pod("clicks-agent-x", &[], "Always");
    agent["metadata"]["labels"] =
        json!({"tidegate.dev/pipeline": "clicks", "app.kubernetes.io/component": "agent"});
    namespace.apply(&agent).await.unwrap();
    let ready = async || is_ready(&namespace, "clicks-agent-x").await;
    eventually("the stand-in is ready", LONG, ready).await.unwrap();
    node.say("clicks-agent", &json!({"lag": 7}));
    let report = served(&node, "clicks-agent-x", "/status").await.unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["lag"], &report["sink"]["reason"]), (&json!(7), &json!("Ok")));
    node.unready("clicks-agent", true);
    let unready = async || !is_ready(&namespace, "clicks-agent-x").await;
    eventually("the stand-in is not ready", LONG, unready).await.unwrap();

    node.cordon(true);
    namespace.apply(&pod("late", &[], "Always")).await.unwrap();
    let refused = async || {
        let pod = namespace.api::<Pod>().get("late").await.unwrap();
        let conditions = pod.status.clone().unwrap().conditions.unwrap_or_default();
        assert!(pod.spec.unwrap().node_name.is_none(), "{}", pod.metadata.name.unwrap());
        conditions.iter().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
    };
    eventually("no place is found", LONG, refused).await.unwrap();
    node.cordon(false);
    eventually("a place is found", LONG, async || is_ready(&namespace, "late").await)
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn cluster_the_record_names_who_asked_and_what_was_refused() {
    let namespace = Namespace::create("record").await.unwrap();
    let client = namespace.access("default").await.unwrap().client().await.unwrap();
    let maps = kube::Api::<ConfigMap>::namespaced(client, namespace.name());
    let refused = maps.list(&kube::api::ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("forbidden"), "{refused}");
    let recorded = async || {
        let user = namespace.user("default");
        let records = namespace.plane().audit().unwrap();
        records.iter().any(|record| {
            record.user.username == user && record.verb == "list" && record.is_forbidden()
        })
    };
    eventually("the refusal is recorded", LONG, recorded).await.unwrap();
    let map = namespace.api::<ConfigMap>().get("kube-root-ca.crt").await.unwrap();
    assert_eq!(map.name_any(), "kube-root-ca.crt");
}
