//! What is wrong: from what agent, workers and Kubernetes say to one problem, the worst.
//!
//! Agent and workers see different things, and several workers may each have their own trouble. The
//! worst is the pipeline's: what somebody has to decide before what has to come, that before what passes
//! by itself; between equals the one that [`Reason`] names first, then the agent before the workers and
//! these by name. What passes by itself counts of a worker only after [`PATIENCE`], because pods come
//! and go and partitions change hands in the ordinary course of things.

use jiff::Timestamp;
use tidegate_config::{State, WorkerReport};
use tidegate_types::Reason;

use super::facts::as_count;
use super::status_facts::StatusFacts;
use super::workers::{PATIENCE, Seen, Standing, standing};
use crate::clock::is_over;
use crate::cluster::names;
use crate::pods::PodFacts;
use crate::status::{Outlook, Part, outlook, part};
use crate::text::bounded;

/// Something that keeps the pipeline from its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The category.
    pub(crate) reason: Reason,
    /// Who says so and what it is; bounded.
    pub(crate) message: String,
}

impl Problem {
    fn new(reason: Reason, message: &str) -> Self {
        Self { reason, message: bounded(message) }
    }

    /// What follows from it.
    pub(crate) fn outlook(&self) -> Outlook {
        outlook(self.reason)
    }
}

/// The worst of all.
pub(crate) fn worst(problems: &[Problem]) -> Option<&Problem> {
    // `max_by_key` would take the last of equals.
    problems.iter().min_by_key(|problem| (std::cmp::Reverse(problem.outlook()), problem.reason))
}

/// The worst that is about one part of the path.
pub(crate) fn worst_of(problems: &[Problem], about: Part) -> Option<&Problem> {
    problems
        .iter()
        .filter(|problem| part(problem.reason) == about)
        .min_by_key(|problem| (std::cmp::Reverse(problem.outlook()), problem.reason))
}

/// Everything that is wrong with what runs. `patient` when the pipeline was well before: then a pod that
/// does not run is given time.
pub(crate) fn problems(facts: &StatusFacts<'_>, patient: bool, now: Timestamp) -> Vec<Problem> {
    if facts.is_suspended() {
        return Vec::new();
    }
    let mut found = of_agent(facts, patient, now);
    for ordinal in 0..as_count(facts.replicas()) {
        found.extend(of_worker(facts, &names::worker_pod(facts.name, ordinal), patient, now));
    }
    found
}

fn of_agent(facts: &StatusFacts<'_>, patient: bool, now: Timestamp) -> Vec<Problem> {
    let Some(pod) = &facts.observed.agent_pod else { return Vec::new() };
    let Some(report) = pod.report.as_ref().filter(|_| !pod.leaving) else {
        return of_kubernetes(pod, "the agent", patient, now).into_iter().collect();
    };
    let states = [Some(&report.pod.state), report.source.as_ref(), report.sink.as_ref()];
    let mut found: Vec<Problem> =
        states.into_iter().flatten().filter_map(|state| of_state(state, "the agent")).collect();
    if let Some(guarantee) = report.guarantee.as_ref().filter(|g| g.effective < g.requested) {
        let hop = guarantee.weakest_hop.as_deref().unwrap_or("the path gives less");
        found.push(Problem::new(Reason::GuaranteeNotMet, hop));
    }
    found
}

fn of_worker(
    facts: &StatusFacts<'_>,
    name: &str,
    patient: bool,
    now: Timestamp,
) -> Option<Problem> {
    let seen = Seen { observed: facts.observed, memory: facts.memory, now };
    let overdue = standing(name, seen) == Standing::Overdue;
    let Some(pod) = facts.observed.worker_pods.get(name) else {
        let gone = || Problem::new(Reason::PodFailing, &format!("{name}: the pod is not there"));
        return overdue.then(gone);
    };
    if pod.leaving && !overdue {
        return None;
    }
    let said = pod.report.as_ref().and_then(|report| of_state(&report.pod.state, name));
    match said {
        Some(problem) if overdue || problem.outlook() > Outlook::Transient => Some(problem),
        _ => of_kubernetes(pod, name, patient, now).or_else(|| overdue.then(|| silent(pod, name))),
    }
}

/// A worker that has not been ready for too long, and neither it nor Kubernetes says why.
fn silent(pod: &PodFacts<WorkerReport>, name: &str) -> Problem {
    let (reason, what) = if pod.report.is_some() {
        (Reason::Progressing, "does not read all its partitions yet")
    } else {
        (Reason::WorkerUnreachable, "is not ready and does not answer")
    };
    Problem::new(reason, &format!("{name} {what}"))
}

fn of_kubernetes<R>(
    pod: &PodFacts<R>,
    who: &str,
    patient: bool,
    now: Timestamp,
) -> Option<Problem> {
    let trouble = pod.trouble.as_ref().filter(|_| !pod.ready)?;
    let waited = pod.not_ready_since.is_none_or(|since| is_over(since, PATIENCE, now));
    let problem = || Problem::new(trouble.reason, &format!("{who}: {}", trouble.message));
    (waited || !patient).then(problem)
}

/// What a pod says of itself; none when it is well.
fn of_state(state: &State, who: &str) -> Option<Problem> {
    // A pod that has not looked yet says nothing.
    if state.reason.is_empty() {
        return None;
    }
    let Some(reason) = Reason::from_word(&state.reason) else {
        // A word of another release must not get into conditions and labels.
        let message = format!("{who}: {}: {}", state.reason, state.message);
        return Some(Problem::new(Reason::PodFailing, &message));
    };
    (outlook(reason) != Outlook::Well)
        .then(|| Problem::new(reason, &format!("{who}: {}", state.message)))
}

#[cfg(test)]
#[path = "problems_tests.rs"]
mod tests;
