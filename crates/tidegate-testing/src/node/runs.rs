//! The runs of bulk pipelines among stand-ins: a table's log that remembers which intervals are done, and
//! pods that answer from it as the real ones would.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// What a stand-in for an attempt did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// The run's name.
    pub run: String,
    /// `Scheduled`, `Manual` or `Backfill`.
    pub trigger: String,
    /// `<start>/<end>`; none: the whole source.
    pub interval: Option<String>,
    /// Whether it read rows; otherwise the log held them already.
    pub read: bool,
}

/// The logs of all tables, by pipeline.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<BTreeMap<String, Log>>);

#[derive(Debug, Default)]
struct Log {
    done: Vec<(String, String)>,
    transfers: Vec<Transfer>,
}

impl Logs {
    /// What the attempts of a pipeline did that succeeded, oldest first.
    pub(crate) fn transfers(&self, pipeline: &str) -> Vec<Transfer> {
        self.with(pipeline, |log| log.transfers.clone())
    }

    /// Somebody else did an interval.
    pub(crate) fn mark_done(&self, pipeline: &str, interval: &str) {
        if let Some((start, end)) = interval.split_once('/') {
            self.with(pipeline, |log| log.done.push((start.to_owned(), end.to_owned())));
        }
    }

    /// How the pod of a Job ends by itself: exit code and termination message. None: it is none of these.
    pub(crate) fn end_of(&self, pod: &Pod) -> Option<(i32, String)> {
        let label = |name: &str| pod.labels().get(name).cloned().unwrap_or_default();
        let pipeline = label("tidegate.dev/pipeline");
        match label("app.kubernetes.io/component").as_str() {
            "transfer" => Some((0, self.transfer(&pipeline, pod).to_string())),
            "calendar" => Some((0, self.calendar(&pipeline, pod).to_string())),
            _ => None,
        }
    }

    fn transfer(&self, pipeline: &str, pod: &Pod) -> Value {
        let trigger = argument(pod, "--trigger").unwrap_or_default();
        let interval = argument(pod, "--interval");
        let again = trigger == "Manual" || arguments(pod).any(|argument| argument == "--rerun");
        self.with(pipeline, |log| {
            let read = again || !interval.as_deref().is_some_and(|interval| log.holds(interval));
            if let Some((start, end)) = interval.as_deref().and_then(|it| it.split_once('/')) {
                log.done.push((start.to_owned(), end.to_owned()));
            }
            let run = argument(pod, "--run").unwrap_or_default();
            let run = run.split('/').next().unwrap_or_default().to_owned();
            log.transfers.push(Transfer { run, trigger, interval, read });
            let rows = if read { 100 } else { 0 };
            json!({
                "phase": "Succeeded", "reason": if read { "Ok" } else { "AlreadyComplete" },
                "message": "", "generation": log.transfers.len(), "chunksDone": 1, "chunks": 1,
                "rowsRead": rows, "rowsCommitted": rows, "deadLetters": 0, "rowsReplaced": 0,
                "version": log.transfers.len(),
            })
        })
    }

    fn calendar(&self, pipeline: &str, pod: &Pod) -> Value {
        let range = argument(pod, "--range").unwrap_or_default();
        let (start, end) = range.split_once('/').unwrap_or_default();
        let done = self.with(pipeline, |log| log.merged());
        let within =
            done.into_iter().filter(|(from, to)| from.as_str() < end && to.as_str() > start);
        let done: Vec<String> = within.map(|(from, to)| format!("{from}/{to}")).collect();
        json!({"done": done})
    }

    fn with<T>(&self, pipeline: &str, act: impl FnOnce(&mut Log) -> T) -> T {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(logs.entry(pipeline.to_owned()).or_default())
    }
}

impl Log {
    fn holds(&self, interval: &str) -> bool {
        let Some((start, end)) = interval.split_once('/') else { return false };
        // Instants of whole seconds in UTC are sorted like their texts.
        self.merged().iter().any(|(from, to)| from.as_str() <= start && end <= to.as_str())
    }

    /// Oldest first, merged where they touch.
    fn merged(&self) -> Vec<(String, String)> {
        let mut done = self.done.clone();
        done.sort();
        let mut merged: Vec<(String, String)> = Vec::new();
        for (start, end) in done {
            match merged.last_mut() {
                Some((_, last)) if start <= *last => *last = end.max(last.clone()),
                _ => merged.push((start, end)),
            }
        }
        merged
    }
}

/// What an attempt says while it is under way.
pub(crate) fn under_way() -> Value {
    json!({
        "phase": "Running", "reason": "Progressing", "message": "", "generation": 1,
        "chunksDone": 9, "chunks": 16, "rowsRead": 900, "rowsCommitted": 900,
        "deadLetters": 0, "rowsReplaced": 0,
    })
}

fn arguments(pod: &Pod) -> impl Iterator<Item = &String> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.flat_map(|container| container.args.iter().flatten())
}

fn argument(pod: &Pod, name: &str) -> Option<String> {
    let mut arguments = arguments(pod).skip_while(|argument| *argument != name);
    arguments.nth(1).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(component: &str, arguments: &[&str]) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {
                "tidegate.dev/pipeline": "orders", "app.kubernetes.io/component": component,
            }},
            "spec": {"containers": [{"name": "c", "args": arguments}]},
        }))
        .unwrap()
    }

    fn said(logs: &Logs, pod: &Pod) -> Value {
        serde_json::from_str(&logs.end_of(pod).unwrap().1).unwrap()
    }

    const FIRST: &str = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    const SECOND: &str = "2026-06-01T01:00:00Z/2026-06-01T02:00:00Z";

    #[test]
    fn an_interval_is_done_once_unless_somebody_asks() {
        let logs = Logs::default();
        let run = |trigger: &str, more: &[&str]| {
            let arguments = ["transfer", "--trigger", trigger, "--run", "r", "--interval", FIRST];
            said(&logs, &pod("transfer", &[&arguments, more].concat()))["reason"].clone()
        };
        assert_eq!(run("Scheduled", &[]), "Ok");
        assert_eq!(run("Scheduled", &[]), "AlreadyComplete");
        assert_eq!(run("Backfill", &[]), "AlreadyComplete");
        assert_eq!(run("Backfill", &["--rerun"]), "Ok");
        assert_eq!(run("Manual", &[]), "Ok");
        let read: Vec<bool> = logs.transfers("orders").iter().map(|it| it.read).collect();
        assert_eq!(read, [true, false, false, true, true]);
    }

    #[test]
    fn the_calendar_is_what_is_done_within_the_range() {
        let logs = Logs::default();
        logs.mark_done("orders", SECOND);
        logs.mark_done("orders", FIRST);
        let whole = "2026-06-01T00:00:00Z/2026-06-01T02:00:00Z";
        let ask = |range: &str| said(&logs, &pod("calendar", &["calendar", "--range", range]));
        assert_eq!(ask("2026-05-01T00:00:00Z/2026-07-01T00:00:00Z"), json!({"done": [whole]}));
        assert_eq!(ask("2026-06-01T02:00:00Z/2026-07-01T00:00:00Z"), json!({"done": []}));
        assert_eq!(logs.end_of(&pod("worker", &[])), None);
    }
}
