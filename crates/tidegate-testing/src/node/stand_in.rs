//! A pod without a process: one task that answers as the pod would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::address::PORT;
use super::objects::Objects;
use super::run::PodRun;
use super::runs::{Logs, under_way};
use super::status::{ContainerState, Ended};
use crate::http::Request;

/// What a test wants of a stand-in.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Saying {
    /// Merged into the report.
    pub(crate) report: Value,
    /// Fails its readiness probe.
    pub(crate) unready: bool,
    /// Closes connections without an answer.
    pub(crate) silent: bool,
    /// Waits with this reason and message.
    pub(crate) trouble: Option<(&'static str, String)>,
    /// How a pod that ends by itself ends: exit code and termination message; none: it runs on.
    pub(crate) end: Option<(i32, String)>,
    /// How a pod that is told to leave ends; none: it is just gone.
    pub(crate) told: Option<(i32, String)>,
    /// Pods of Jobs run on until this is taken back.
    pub(crate) held: bool,
}

/// What tests want, by the name of a pod or the beginning of it.
#[derive(Debug)]
pub(crate) struct StandIns {
    sayings: Mutex<BTreeMap<String, Saying>>,
    posted: Mutex<BTreeMap<String, Value>>,
    /// What attempts of runs did.
    pub(crate) logs: Logs,
    changes: watch::Sender<u64>,
}

impl Default for StandIns {
    fn default() -> Self {
        Self {
            sayings: Mutex::default(),
            posted: Mutex::default(),
            logs: Logs::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl StandIns {
    /// Changes what is wanted of the pods whose name is `name` or begins with `<name>-`.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Saying)) {
        let mut sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        change(sayings.entry(name.to_owned()).or_default());
        drop(sayings);
        self.changes.send_modify(|count| *count += 1);
    }

    /// What was posted to a pod last.
    pub(crate) fn posted(&self, pod: &str) -> Option<Value> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).get(pod).cloned()
    }

    /// As if nothing had been posted to a pod.
    pub(crate) fn forget_posted(&self, pod: &str) {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
    }

    /// All that is wanted of a pod; what is said of longer names wins.
    fn of(&self, pod: &str) -> Saying {
        let sayings = self.sayings.lock().unwrap_or_else(PoisonError::into_inner);
        let concerned = |name: &str| {
            pod.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let mut whole = Saying { report: json!({}), ..Saying::default() };
        for (_, saying) in sayings.iter().filter(|(name, _)| concerned(name)) {
            merge(&mut whole.report, &saying.report);
            whole.unready |= saying.unready;
            whole.silent |= saying.silent;
            whole.held |= saying.held;
            whole.trouble = saying.trouble.clone().or(whole.trouble);
            whole.end = saying.end.clone().or(whole.end);
            whole.told = saying.told.clone().or(whole.told);
        }
        whole
    }
}

/// Serves and reports until the pod leaves or is told to end.
pub(crate) async fn live(run: &mut PodRun) -> Result<()> {
    let shared = Arc::clone(&run.shared);
    let stand_ins = shared.stand_ins.as_ref().context("this node has no stand-ins")?;
    let mut changes = stand_ins.changes.subscribe();
    let listener = TcpListener::bind((run.view.address, PORT)).await.context("listen as a pod")?;
    let mut connections = JoinSet::new();
    let started = Timestamp::now();
    let mut said = None;
    loop {
        let saying = stand_ins.of(&run.name());
        if let Some(ended) = end_of(run, stand_ins, &saying, started) {
            run.finish(ended).await;
            return Ok(());
        }
        let now_said = (saying.unready, saying.trouble.clone());
        if said.as_ref() != Some(&now_said) {
            show(run, saying, started).await;
            said = Some(now_said);
        }
        tokio::select! {
            () = run.latest.until_leaving() => {
                if let Some((exit_code, message)) = stand_ins.of(&run.name()).told {
                    run.finish(ended(exit_code, message, started)).await;
                }
                return Ok(());
            }
            changed = changes.changed() => changed.context("the node has ended")?,
            Ok((stream, _)) = listener.accept() => {
                let (shared, pod) = (Arc::clone(&shared), run.pod.clone());
                connections.spawn(async move {
                    if let Some(stand_ins) = &shared.stand_ins {
                        // Whoever asked hears of it by the end of the connection.
                        let _ = answer(stream, stand_ins, &shared.objects, &pod).await;
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Writes into the status whether it is ready, and what keeps it from running.
async fn show(run: &mut PodRun, saying: Saying, started: Timestamp) {
    run.view.set_ready(!saying.unready && saying.trouble.is_none());
    run.view.state = match saying.trouble {
        Some((reason, message)) => ContainerState::Waiting { reason, message },
        None => ContainerState::Running { since: started },
    };
    run.report().await;
}

/// Pods of Jobs end by themselves.
fn end_of(
    run: &PodRun,
    stand_ins: &StandIns,
    saying: &Saying,
    started: Timestamp,
) -> Option<Ended> {
    let of_a_job = !run.restarts_after(0) && !saying.held && saying.trouble.is_none();
    let by_itself = || stand_ins.logs.end_of(&run.pod).unwrap_or_default();
    let end = saying.end.clone().or_else(|| of_a_job.then(by_itself));
    let (exit_code, message) = end?;
    Some(ended(exit_code, message, started))
}

fn ended(exit_code: i32, message: String, started: Timestamp) -> Ended {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    Ended { exit_code, reason, message, started, finished: Timestamp::now() }
}

async fn answer(
    stream: TcpStream,
    stand_ins: &StandIns,
    objects: &Objects,
    pod: &Pod,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some(request) = Request::read(&mut stream).await? else { return Ok(()) };
    let saying = stand_ins.of(&pod.name_any());
    // A container that waits does not answer either.
    if saying.silent || saying.trouble.is_some() {
        return Ok(());
    }
    let (status, body) = match (request.head.method(), request.head.target()) {
        ("GET", "/status") => (200, report(pod, objects, &saying).to_string()),
        ("GET", "/readyz") if saying.unready => (503, String::new()),
        ("GET", "/livez" | "/readyz" | "/metrics") => (200, String::new()),
        ("POST", "/assignment" | "/chunks/given-up") => {
            let told = serde_json::from_slice(&request.body).unwrap_or_default();
            let mut posted = stand_ins.posted.lock().unwrap_or_else(PoisonError::into_inner);
            posted.insert(pod.name_any(), told);
            (200, String::new())
        }
        _ => (404, String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.flush().await
}

/// A healthy pod's report, changed by what the test wants.
fn report(pod: &Pod, objects: &Objects, saying: &Saying) -> Value {
    let label = |name: &str| pod.labels().get(name).cloned().unwrap_or_default();
    let pipeline = label("tidegate.dev/pipeline");
    let mut report = json!({"pod": {
        "pipeline": format!("{}/{pipeline}", pod.namespace().unwrap_or_default()),
        "version": "stand-in",
        "configHash": config_hash(pod, &pipeline),
        "state": ok(),
    }});
    let own = match label("app.kubernetes.io/component").as_str() {
        "agent" => agent_report(),
        "worker" => worker_report(&pod.name_any(), assignment(objects, &pipeline)),
        "transfer" => under_way(),
        _ => json!({}),
    };
    merge(&mut report, &own);
    merge(&mut report, &saying.report);
    report
}

fn agent_report() -> Value {
    json!({
        "source": ok(), "durable": ok(), "sink": ok(),
        "guarantee":
            {"requested": "ExactlyOnce", "effective": "ExactlyOnce", "weakestHop": null},
        "lag": 0, "lagSeconds": 0,
        // As many as a pipeline can have: all were claimed.
        "floors": (0..256).map(|k| (k.to_string(), json!(0))).collect::<Map<_, _>>(),
    })
}

/// It follows the mounted assignment at once.
fn worker_report(name: &str, assignment: Value) -> Value {
    let own = assignment["workers"].as_array().and_then(|workers| {
        workers.iter().find(|worker| worker["name"] == name).map(|worker| &worker["partitions"])
    });
    json!({
        "name": name,
        "ready": true,
        "assignmentGeneration": assignment["generation"].as_i64().unwrap_or(0),
        "partitions": own.cloned().unwrap_or_else(|| json!([])),
    })
}

fn assignment(objects: &Objects, pipeline: &str) -> Value {
    let files = objects.config_map(&format!("{pipeline}-assignment")).unwrap_or_default();
    let file = files.get("assignment.json");
    file.and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default()
}

/// The name of the mounted configuration ends with it.
fn config_hash(pod: &Pod, pipeline: &str) -> String {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut maps = volumes.filter_map(|volume| volume.config_map.as_ref());
    let hash = maps.find_map(|map| map.name.strip_prefix(&format!("{pipeline}-config-")));
    hash.unwrap_or_default().to_owned()
}

fn ok() -> Value {
    json!({"reason": "Ok", "message": ""})
}

/// As a JSON merge patch, but null is a value.
pub(crate) fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key).or_insert(Value::Null), change);
            }
        }
        (_, Value::Null) => {}
        (into, changes) => *into = changes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_longer_name_wins() {
        let stand_ins = StandIns::default();
        stand_ins.change("clicks-worker", |saying| saying.report = json!({"a": 1, "b": {"c": 1}}));
        stand_ins.change("clicks-worker-1", |saying| saying.report = json!({"b": {"c": 2}}));
        stand_ins.change("clicks-work", |saying| saying.unready = true);
        let saying = stand_ins.of("clicks-worker-1");
        assert_eq!(saying.report, json!({"a": 1, "b": {"c": 2}}));
        assert!(!saying.unready);
        assert_eq!(stand_ins.of("clicks-worker-10").report["b"]["c"], 1);
    }

    #[test]
    fn a_worker_reports_what_is_assigned_to_it() {
        let assignment = json!({"generation": 7, "workers": [{"name": "a", "partitions": [0, 2]}]});
        assert_eq!(worker_report("a", assignment.clone())["partitions"], json!([0, 2]));
        let other = worker_report("b", assignment);
        assert_eq!((&other["partitions"], &other["assignmentGeneration"]), (&json!([]), &json!(7)));
    }
}
