//! How many pipelines get new pods at a time because of a new release of the operator.
//!
//! A new release brings a new image, and with it new pods for every pipeline. Each takes a permit for
//! that and holds it until its pods are through, so a bad release stops at the first few. An edit by the
//! user never waits and takes no permit.
//!
//! The permits live in memory. After a restart of the operator [`Rollouts::recover`] counts those that
//! are in the middle of it.

use std::collections::BTreeSet;
use tidegate_types::Reason;

use super::facts::{Observed, WorkloadFacts, as_count};
use crate::key::Key;
use crate::pods::PodFacts;
use crate::status::{Outlook, outlook};

/// The permits.
#[derive(Debug, Default)]
pub(crate) struct Rollouts {
    limit: usize,
    running: BTreeSet<Key>,
}

/// What is known of a pipeline's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RolloutFacts {
    /// Whether a pod template that would be sent now differs from the live one.
    pub(crate) replaces_pods: bool,
    /// Whether the user changed what shapes the pods since they were last applied.
    pub(crate) edited: bool,
    /// How far the pods are.
    pub(crate) progress: Progress,
}

/// How far a pipeline's pods are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is no pod to be replaced.
    NoPods,
    /// Older pods are being replaced, or newer ones have not come up.
    UnderWay,
    /// Every pod is of the newest template and speaks.
    Through,
}

/// Whether new pod templates may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// They may.
    Go,
    /// The live ones stay for now.
    Wait,
}

impl Rollouts {
    /// At most `limit` at a time; none would stop every upgrade, so it is at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), running: BTreeSet::new() }
    }

    /// Decides for one pipeline, and takes or gives back its permit.
    pub(crate) fn turn(&mut self, key: &Key, facts: RolloutFacts) -> Turn {
        if !facts.replaces_pods && facts.progress != Progress::UnderWay {
            self.running.remove(key);
        }
        let needs_permit =
            facts.replaces_pods && !facts.edited && facts.progress != Progress::NoPods;
        if !needs_permit || self.running.contains(key) {
            return Turn::Go;
        }
        if self.running.len() >= self.limit {
            return Turn::Wait;
        }
        self.running.insert(key.clone());
        Turn::Go
    }

    /// Counts a pipeline that was in the middle of a rollout when the operator started. Call it for all
    /// of them before the first [`Self::turn`]; there may be more than the limit.
    pub(crate) fn recover(&mut self, key: &Key, progress: Progress) {
        if progress == Progress::UnderWay {
            self.running.insert(key.clone());
        }
    }

    /// Whether a pipeline has a permit.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        self.running.contains(key)
    }

    /// Gives back the permit of a pipeline whose templates could not be sent. `fresh` when it was taken
    /// for this very attempt. One whose pods are being replaced all the same keeps it.
    pub(crate) fn not_sent(&mut self, key: &Key, fresh: bool, progress: Progress) {
        if fresh || progress != Progress::UnderWay {
            self.running.remove(key);
        }
    }

    /// Gives back the permit of a pipeline that is gone, or of which no pod will be replaced.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.running.remove(key);
    }
}

/// How far the pods are. A pod that answers and says why it does not work counts as through: its
/// stream or table is at fault and not the release, so it must not keep others from being upgraded. One
/// that cannot speak does keep them.
pub(crate) fn progress(observed: &Observed) -> Progress {
    if observed.agent.existing == 0 && observed.workers.existing == 0 {
        return Progress::NoPods;
    }
    let agents = observed.agent_pod.iter();
    let agents = agents.filter(|pod| speaks(pod, |report| &report.pod.state.reason)).count();
    let workers = observed.worker_pods.values();
    let workers = workers.filter(|pod| speaks(pod, |report| &report.pod.state.reason)).count();
    // Pods and workloads are watched each for itself: a pod that its controller counts may not have been
    // seen yet, and one that is gone may still be.
    let all_speak = as_count(observed.agent.wanted) as usize <= agents
        && as_count(observed.workers.wanted) as usize <= workers;
    if observed.agent.is_replaced() && observed.workers.is_replaced() && all_speak {
        Progress::Through
    } else {
        Progress::UnderWay
    }
}

/// The same from the workloads alone, for [`Rollouts::recover`], when no pod was asked yet.
pub(crate) fn progress_of(agent: WorkloadFacts, workers: WorkloadFacts) -> Progress {
    if agent.existing == 0 && workers.existing == 0 {
        Progress::NoPods
    } else if agent.is_replaced() && workers.is_replaced() {
        Progress::Through
    } else {
        Progress::UnderWay
    }
}

fn speaks<R>(pod: &PodFacts<R>, reason: impl Fn(&R) -> &String) -> bool {
    let says_why =
        |report| Reason::from_word(reason(report)).is_some_and(|r| outlook(r) != Outlook::Well);
    !pod.leaving && (pod.ready || pod.report.as_ref().is_some_and(says_why))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: RolloutFacts =
        RolloutFacts { replaces_pods: false, edited: false, progress: Progress::Through };
    const NEW_RELEASE: RolloutFacts = RolloutFacts { replaces_pods: true, ..IDLE };
    const UNDER_WAY: RolloutFacts = RolloutFacts { progress: Progress::UnderWay, ..IDLE };

    fn key(name: &str) -> Key {
        Key::new("analytics", name)
    }

    #[test]
    fn a_new_release_reaches_so_many_pipelines_at_a_time() {
        let mut rollouts = Rollouts::new(2);
        let mut waiting = Vec::new();
        for name in ["a", "b", "c", "d"] {
            if rollouts.turn(&key(name), NEW_RELEASE) == Turn::Wait {
                waiting.push(name);
            }
        }
        assert_eq!(waiting, ["c", "d"]);
        assert_eq!(rollouts.turn(&key("a"), UNDER_WAY), Turn::Go);
        assert_eq!(rollouts.turn(&key("c"), NEW_RELEASE), Turn::Wait, "a is not through");
        assert_eq!(rollouts.turn(&key("a"), IDLE), Turn::Go);
        assert_eq!(rollouts.turn(&key("c"), NEW_RELEASE), Turn::Go, "a is through");
        assert_eq!(rollouts.turn(&key("d"), NEW_RELEASE), Turn::Wait);
        rollouts.forget(&key("b"));
        assert_eq!(rollouts.turn(&key("d"), NEW_RELEASE), Turn::Go, "b was deleted");
        assert_eq!(rollouts.running.len(), 2);
    }

    #[test]
    fn a_pipeline_whose_objects_are_refused_does_not_hold_up_the_others() {
        let mut rollouts = Rollouts::new(1);
        for _ in 0..3 {
            assert_eq!(rollouts.turn(&key("a"), NEW_RELEASE), Turn::Go);
            assert!(rollouts.holds(&key("a")));
            rollouts.not_sent(&key("a"), true, Progress::Through);
            assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Go);
            rollouts.forget(&key("b"));
        }
        // Its agent was sent and its workers never are: what was sent is through.
        assert_eq!(rollouts.turn(&key("a"), NEW_RELEASE), Turn::Go);
        rollouts.not_sent(&key("a"), false, Progress::UnderWay);
        assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Wait, "the agent is on its way");
        rollouts.not_sent(&key("a"), false, Progress::Through);
        assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Go);
    }

    #[test]
    fn whoever_asks_twice_keeps_its_permit() {
        let mut rollouts = Rollouts::new(1);
        for _ in 0..3 {
            assert_eq!(rollouts.turn(&key("a"), NEW_RELEASE), Turn::Go);
            assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Wait);
        }
        // Sent, but its controller still shows the old state of things: replaced, not through.
        assert_eq!(rollouts.turn(&key("a"), UNDER_WAY), Turn::Go);
        assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Wait);
    }

    #[test]
    fn an_edit_never_waits_and_takes_no_permit() {
        let mut rollouts = Rollouts::new(1);
        assert_eq!(rollouts.turn(&key("a"), NEW_RELEASE), Turn::Go);
        let edit = RolloutFacts { edited: true, ..NEW_RELEASE };
        assert_eq!(rollouts.turn(&key("b"), edit), Turn::Go);
        assert_eq!(rollouts.turn(&key("b"), UNDER_WAY), Turn::Go);
        assert_eq!(rollouts.running.len(), 1);
    }

    #[test]
    fn a_pipeline_without_pods_goes_at_once() {
        let mut rollouts = Rollouts::new(1);
        assert_eq!(rollouts.turn(&key("a"), NEW_RELEASE), Turn::Go);
        let suspended = RolloutFacts { progress: Progress::NoPods, ..NEW_RELEASE };
        assert_eq!(rollouts.turn(&key("b"), suspended), Turn::Go);
        assert_eq!(rollouts.running.len(), 1);
    }

    #[test]
    fn a_restarted_operator_counts_those_in_the_middle_of_it() {
        let mut rollouts = Rollouts::new(2);
        rollouts.recover(&key("a"), Progress::UnderWay);
        rollouts.recover(&key("b"), Progress::Through);
        rollouts.recover(&key("c"), Progress::UnderWay);
        rollouts.recover(&key("d"), Progress::UnderWay);
        assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Wait);
        for name in ["a", "c"] {
            assert_eq!(rollouts.turn(&key(name), IDLE), Turn::Go);
        }
        assert_eq!(rollouts.turn(&key("b"), NEW_RELEASE), Turn::Go);
    }

    #[test]
    fn a_pod_that_says_why_does_not_hold_up_the_others() {
        use tidegate_config::{AgentReport, WorkerReport};
        let new = WorkloadFacts {
            exists: true,
            observed: true,
            wanted: 1,
            existing: 1,
            updated: 1,
            ready: 0,
        };
        let agent = PodFacts {
            ready: true,
            not_ready_since: None,
            leaving: false,
            trouble: None,
            report: Some(AgentReport::default()),
        };
        let silent = PodFacts {
            ready: false,
            not_ready_since: None,
            leaving: false,
            trouble: None,
            report: None,
        };
        let mut observed =
            Observed { agent: new, workers: new, agent_pod: Some(agent), ..Observed::default() };
        observed.worker_pods.insert("clicks-worker-0".into(), silent.clone());
        assert_eq!(progress(&observed), Progress::UnderWay);
        let mut report = WorkerReport::default();
        report.pod.state.reason = "SourceGap".into();
        observed
            .worker_pods
            .insert("clicks-worker-0".into(), PodFacts { report: Some(report), ..silent });
        assert_eq!(progress(&observed), Progress::Through);
        let seen = std::mem::take(&mut observed.worker_pods);
        assert_eq!(progress(&observed), Progress::UnderWay, "its pod was not seen yet");
        observed.worker_pods = seen;
        observed.workers.updated = 0;
        assert_eq!(progress(&observed), Progress::UnderWay);
        assert_eq!(progress(&Observed::default()), Progress::NoPods);
    }
}
