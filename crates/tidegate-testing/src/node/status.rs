//! A pod's status as a kubelet would write it. Pure.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// What a node knows about a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) address: Ipv4Addr,
    pub(crate) started: Timestamp,
    pub(crate) state: ContainerState,
    /// How the life before the present one ended.
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: u32,
    pub(crate) ready: bool,
    /// When `ready` last changed.
    pub(crate) ready_changed: Timestamp,
}

/// The state of the pod's container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ContainerState {
    Waiting {
        reason: &'static str,
        message: String,
    },
    Running {
        since: Timestamp,
    },
    /// It will not be started again.
    Terminated(Ended),
}

/// How a life of a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) exit_code: i32,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
}

impl View {
    pub(crate) fn new(address: Ipv4Addr) -> Self {
        let started = Timestamp::now();
        let state = ContainerState::Waiting { reason: "ContainerCreating", message: String::new() };
        Self {
            address,
            started,
            state,
            last: None,
            restarts: 0,
            ready: false,
            ready_changed: started,
        }
    }

    /// Says whether that is news.
    pub(crate) fn set_ready(&mut self, ready: bool) -> bool {
        let changed = self.ready != ready;
        if changed {
            self.ready = ready;
            self.ready_changed = Timestamp::now();
        }
        changed
    }

    /// What is written into the pod's status.
    pub(crate) fn to_status(&self, container: &Container) -> Value {
        let address = self.address.to_string();
        json!({"status": {
            "phase": self.phase(),
            "hostIP": address,
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": second(self.started),
            "conditions": self.conditions(),
            "containerStatuses": [{
                "name": container.name,
                "image": container.image.clone().unwrap_or_default(),
                "imageID": "",
                "containerID": format!("process://{}", self.restarts),
                "ready": self.ready,
                "started": matches!(self.state, ContainerState::Running { .. }),
                "restartCount": self.restarts,
                "state": self.state.to_json(),
                "lastState": self.last.as_ref().map_or(json!({}), Ended::to_json),
            }],
        }})
    }

    fn phase(&self) -> &'static str {
        match &self.state {
            ContainerState::Waiting { .. } if self.restarts == 0 && self.last.is_none() => {
                "Pending"
            }
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => "Running",
            ContainerState::Terminated(ended) if ended.exit_code == 0 => "Succeeded",
            ContainerState::Terminated(_) => "Failed",
        }
    }

    fn conditions(&self) -> Value {
        let (started, changed) = (second(self.started), second(self.ready_changed));
        let condition = |name: &str, holds: bool, since: &str| {
            let status = if holds { "True" } else { "False" };
            json!({"type": name, "status": status, "lastTransitionTime": since})
        };
        json!([
            condition("PodScheduled", true, &started),
            condition("Initialized", true, &started),
            condition("ContainersReady", self.ready, &changed),
            condition("Ready", self.ready, &changed),
        ])
    }
}

impl ContainerState {
    fn to_json(&self) -> Value {
        match self {
            Self::Waiting { reason, message } => {
                json!({"waiting": {"reason": reason, "message": message}})
            }
            Self::Running { since } => json!({"running": {"startedAt": second(*since)}}),
            Self::Terminated(ended) => ended.to_json(),
        }
    }
}

impl Ended {
    fn to_json(&self) -> Value {
        json!({"terminated": {
            "exitCode": self.exit_code,
            "reason": self.reason,
            "message": self.message,
            "startedAt": second(self.started),
            "finishedAt": second(self.finished),
        }})
    }
}

/// Times of pods have whole seconds.
pub(crate) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phase_follows_the_container() {
        let mut view = View::new(Ipv4Addr::LOCALHOST);
        let now = view.started;
        assert_eq!(view.phase(), "Pending");
        view.state = ContainerState::Running { since: now };
        assert_eq!(view.phase(), "Running");
        let ended = |exit_code| Ended {
            exit_code,
            reason: "Error",
            message: String::new(),
            started: now,
            finished: now,
        };
        view.last = Some(ended(1));
        view.state = ContainerState::Waiting { reason: "CrashLoopBackOff", message: String::new() };
        assert_eq!(view.phase(), "Running");
        for (code, phase) in [(0, "Succeeded"), (65, "Failed")] {
            view.state = ContainerState::Terminated(ended(code));
            assert_eq!(view.phase(), phase);
        }
    }

    #[test]
    fn readiness_is_news_only_when_it_changes() {
        let mut view = View::new(Ipv4Addr::LOCALHOST);
        assert!(!view.set_ready(false) && view.set_ready(true) && !view.set_ready(true));
        let status = view.to_status(&Container::default());
        assert_eq!(status["status"]["conditions"][3]["status"], "True");
    }
}
