//! The status of a run: what it says, and when it is worth a write. Pure.
//!
//! Phase, conditions, attempt and the end are written at once; numbers that move by themselves at most
//! every fifteen seconds.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tidegate_api::{ChildrenStatus, ChunksStatus, IngestionRunStatus, RowsStatus, RunPhase};
use tidegate_config::{RunPhase as Phase, RunReport};
use tidegate_types::Reason;

use super::conditions::{Present, answers};
use super::facts::{Attempt, Outcome, Run, Step};
use crate::clock::is_over;
use crate::status::{conditions_of, whole_seconds};

/// The shortest time between two writes that only refresh numbers.
const NUMBERS_EVERY: Duration = Duration::from_secs(15);

/// What the status is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusFacts<'a> {
    pub(crate) run: &'a Run,
    pub(crate) step: &'a Step,
    pub(crate) attempt: Option<&'a Attempt>,
    /// The generation of the pipeline's spec that a new attempt reads by.
    pub(crate) pipeline_generation: Option<i64>,
    /// Of a run over many intervals.
    pub(crate) children: Option<&'a ChildrenStatus>,
    /// When a status was last written.
    pub(crate) written: Option<Timestamp>,
    pub(crate) now: Timestamp,
}

/// The status to be written; none when what stands there is good enough.
pub(crate) fn next_status(facts: &StatusFacts<'_>) -> Option<IngestionRunStatus> {
    let before = &facts.run.status;
    let fresh = fresh(facts);
    if weighty(before) != weighty(&fresh) {
        return Some(fresh);
    }
    let rested = facts.written.is_none_or(|last| is_over(last, NUMBERS_EVERY, facts.now));
    (rested && *before != fresh).then_some(fresh)
}

fn fresh(facts: &StatusFacts<'_>) -> IngestionRunStatus {
    let (run, now) = (facts.run, facts.now);
    let mut status = run.status.clone();
    let present = present(facts);
    status.observed_generation = Some(run.generation);
    let answers = answers(facts.step, &present);
    status.conditions = conditions_of(answers, run.generation, &run.status.conditions, now);
    status.phase = Some(phase(facts));
    status.children = facts.children.cloned().or(status.children);
    status.next_attempt_time = None;
    adopt(&mut status, facts);
    match facts.step {
        Step::Start(number) => {
            status.attempt = Some(*number);
            status.start_time = status.start_time.or(Some(Time(whole_seconds(now))));
            status.pipeline_generation = facts.pipeline_generation;
            (status.chunks, status.rows) = (None, None);
        }
        Step::Follow => take_numbers(&mut status, said(facts)),
        Step::Wait(waiting) => {
            let begun = status.attempt.is_some_and(|attempt| attempt > 0);
            status.next_attempt_time = waiting.until.filter(|_| begun).map(Time);
            if facts.children.is_some() {
                status.start_time = status.start_time.or(Some(Time(whole_seconds(now))));
            }
        }
        Step::Finish(outcome) => finish(&mut status, outcome),
    }
    status
}

/// Takes in an attempt whose beginning was never written, because whoever made it died there.
fn adopt(status: &mut IngestionRunStatus, facts: &StatusFacts<'_>) {
    let is_new = |attempt: &&Attempt| status.attempt.is_none_or(|known| known < attempt.number);
    let Some(attempt) = facts.attempt.filter(is_new) else { return };
    status.attempt = Some(attempt.number);
    let seen = attempt.ended.as_ref().map_or(facts.now, |ended| ended.at.min(facts.now));
    status.start_time = status.start_time.take().or(Some(Time(whole_seconds(seen))));
    status.pipeline_generation = facts.pipeline_generation;
    (status.chunks, status.rows) = (None, None);
}

fn finish(status: &mut IngestionRunStatus, outcome: &Outcome) {
    take_numbers(status, outcome.report.as_ref());
    let start = status.start_time.as_ref().map(|time| time.0);
    // A clock that went back must not make it end before it began.
    let end = whole_seconds(start.map_or(outcome.at, |start| start.max(outcome.at)));
    status.completion_time = Some(Time(end));
    status.duration = start.map(|start| in_words(start, end));
}

/// The numbers of the newest report; one that says nothing changes nothing.
fn take_numbers(status: &mut IngestionRunStatus, report: Option<&RunReport>) {
    let Some(report) = report else { return };
    if report.generation > 0 {
        status.generation = Some(report.generation);
    }
    status.version = report.version.or(status.version);
    if report.chunks > 0 {
        status.chunks = Some(ChunksStatus {
            total: report.chunks,
            done: report.chunks_done,
            progress: format!("{}/{}", report.chunks_done, report.chunks),
        });
    }
    if report.generation > 0 {
        status.rows = Some(RowsStatus {
            read: report.rows_read,
            committed: report.rows_committed,
            replaced: report.rows_replaced,
            dead_lettered: report.dead_letters,
        });
    }
}

fn said<'a>(facts: &StatusFacts<'a>) -> Option<&'a RunReport> {
    facts.attempt?.pod.as_ref()?.report.as_ref()
}

fn phase(facts: &StatusFacts<'_>) -> RunPhase {
    match facts.step {
        Step::Finish(Outcome { succeeded: true, .. }) => RunPhase::Succeeded,
        Step::Finish(_) => RunPhase::Failed,
        // The runs of a range are its work.
        Step::Wait(_) | Step::Follow if facts.children.is_some() => RunPhase::Running,
        Step::Wait(_) | Step::Start(_) => RunPhase::Pending,
        Step::Follow => match said(facts).map(|report| report.phase) {
            Some(Phase::Planning) => RunPhase::Planning,
            Some(Phase::Running) => RunPhase::Running,
            Some(Phase::Committing | Phase::Succeeded | Phase::Failed) => RunPhase::Committing,
            Some(Phase::Pending) => RunPhase::Pending,
            // It does not answer for once.
            None => facts.run.status.phase.unwrap_or(RunPhase::Pending),
        },
    }
}

/// What an attempt does, or what keeps its pod from it.
fn present(facts: &StatusFacts<'_>) -> Present {
    let so = |reason, message: &str| Present { reason, message: message.to_owned() };
    if facts.children.is_some() {
        return so(Reason::Progressing, "its runs are being made");
    }
    let pod = facts.attempt.and_then(|attempt| attempt.pod.as_ref());
    if let Some(trouble) = pod.and_then(|pod| pod.trouble.as_ref()) {
        return so(trouble.reason, &trouble.message);
    }
    if let Some(trouble) = facts.attempt.and_then(|attempt| attempt.readers_wait.as_ref()) {
        return so(trouble.reason, &format!("a pod that is to read a chunk: {}", trouble.message));
    }
    match phase(facts) {
        RunPhase::Planning => so(Reason::Progressing, "the source is opened and divided"),
        RunPhase::Running => so(Reason::Progressing, "chunks are read and written"),
        RunPhase::Committing => so(Reason::Progressing, "the commit is made"),
        _ => so(Reason::Progressing, "its pod starts"),
    }
}

/// A status without what may wait.
fn weighty(status: &IngestionRunStatus) -> IngestionRunStatus {
    let mut status = status.clone();
    status.chunks = status.chunks.map(|_| ChunksStatus::default());
    status.rows = status.rows.map(|_| RowsStatus::default());
    // How far a range is decides which objects may go.
    status
}

/// `3m12s`, in whole seconds.
fn in_words(start: Timestamp, end: Timestamp) -> String {
    let seconds = end.duration_since(start).as_secs().max(0);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
