//! What is remembered of one pipeline between two reconciles.
//!
//! All of it may be forgotten, when the operator restarts or another one takes over: patience begins
//! anew and numbers are measured again, and nothing is decided that would not have been decided sooner
//! or later anyway. What must survive stands in the status.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_api::{IngestionPipelineStatus, ScalingStatus};
use tidegate_config::{AgentReport, WorkerReport};

use super::facts::Observed;
use super::meter::Meter;
use crate::clock::is_over;
use crate::cluster::names;

/// How long after the last dead letter a pipeline is said to write them.
pub(crate) const DEAD_LETTERS_RECENT: Duration = Duration::from_secs(15 * 60);

/// See the module. One of these lives as long as its pipeline and the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// How fast the workers are.
    pub(crate) meter: Meter,
    /// What the scaling remembers, newer than what the status says.
    pub(crate) scaling: Option<ScalingStatus>,
    /// When a status was last written; whoever writes it sets it.
    pub(crate) status_written: Option<Timestamp>,
    /// Since when the agent has not answered; none while it does.
    pub(crate) agent_silent_since: Option<Timestamp>,
    /// Pod templates were sent that differ from live ones, and their pods are not all there. Whoever
    /// sends them sets it; making a workload for the first time is not meant.
    pub(crate) rolling: bool,
    /// Workers that should exist and do not, and since when that was seen.
    absent: BTreeMap<String, Timestamp>,
    /// Times that each worker said it was fenced.
    fenced: BTreeMap<String, u64>,
    newly_fenced: Vec<String>,
    dead_letters: Option<u64>,
    last_dead_letter: Option<Timestamp>,
}

impl Memory {
    /// Takes note of what is seen. Once a reconcile, before anything is decided.
    pub(crate) fn observe(
        &mut self,
        pipeline: &str,
        observed: &Observed,
        previous: Option<&IngestionPipelineStatus>,
        now: Timestamp,
    ) {
        self.observe_absence(pipeline, observed, now);
        self.observe_fencing(observed);
        self.observe_agent(observed, previous, now);
        if observed.agent.is_settled() && observed.workers.is_settled() {
            self.rolling = false;
        }
    }

    /// Since when a worker that should exist does not; none when it does, or was not missed yet.
    pub(crate) fn absent_since(&self, worker: &str) -> Option<Timestamp> {
        self.absent.get(worker).copied()
    }

    /// The workers that were fenced since the last reconcile.
    pub(crate) fn newly_fenced(&self) -> &[String] {
        &self.newly_fenced
    }

    /// Whether the last dead letter is recent; none when the count is not known.
    pub(crate) fn writes_dead_letters(&self, now: Timestamp) -> Option<bool> {
        self.dead_letters?;
        Some(self.last_dead_letter.is_some_and(|last| !is_over(last, DEAD_LETTERS_RECENT, now)))
    }

    fn observe_absence(&mut self, pipeline: &str, observed: &Observed, now: Timestamp) {
        let wanted = u32::try_from(observed.workers.wanted).unwrap_or(0);
        let missing = (0..wanted)
            .map(|ordinal| names::worker_pod(pipeline, ordinal))
            .filter(|name| !observed.worker_pods.contains_key(name));
        let since = |name: String| (self.absent.get(&name).copied().unwrap_or(now), name);
        self.absent = missing.map(since).map(|(since, name)| (name, since)).collect();
    }

    fn observe_fencing(&mut self, observed: &Observed) {
        self.newly_fenced.clear();
        let mut counts = BTreeMap::new();
        for (name, report) in reports(observed) {
            // The first report only tells where the count stands; a smaller one is a new process.
            if self.fenced.get(name).is_some_and(|before| *before < report.fenced) {
                self.newly_fenced.push(name.to_owned());
            }
            counts.insert(name.to_owned(), report.fenced);
        }
        self.fenced = counts;
    }

    fn observe_agent(
        &mut self,
        observed: &Observed,
        previous: Option<&IngestionPipelineStatus>,
        now: Timestamp,
    ) {
        let Some(report) = observed.agent_report() else {
            // One that was not asked for is not missed.
            let missed = observed.agent.wanted > 0;
            self.agent_silent_since = missed.then(|| self.agent_silent_since.unwrap_or(now));
            return;
        };
        self.agent_silent_since = None;
        if !knows_the_log(report) {
            return;
        }
        let dead = report.counters.dead;
        let written = || previous.and_then(|p| p.records.as_ref()).map(|r| r.dead_lettered);
        let before = self.dead_letters.or_else(written);
        if before.is_some_and(|before| before < dead) || (before.is_none() && dead > 0) {
            self.last_dead_letter = Some(now);
        }
        self.dead_letters = Some(dead);
    }
}

/// Whether the agent has read the log. Before, its counters are zeros that say nothing.
pub(crate) fn knows_the_log(report: &AgentReport) -> bool {
    report.last_commit.is_some() || report.lag.is_some()
}

/// What the workers say that answer.
pub(crate) fn reports(observed: &Observed) -> impl Iterator<Item = (&str, &WorkerReport)> {
    observed
        .worker_pods
        .iter()
        .filter_map(|(name, pod)| pod.report.as_ref().map(|report| (name.as_str(), report)))
}
