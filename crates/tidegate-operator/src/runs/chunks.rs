//! What is to be done about the readers of an attempt's chunks. Pure.
//!
//! The coordinator says that chunks wait; then the attempt has an Indexed Job, as long as it is under way
//! and no longer. When that Job is given up the coordinator is told, and ends the attempt itself, with the
//! chunk and its fault in its last words.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use tidegate_config::{DeskReport, GivenUp, RunReport};
use tidegate_types::Reason;

use super::chunk_job::ChunkWork;
use super::facts::{Attempt, Run, Step};
use super::observe::{attempt_of, is_of_chunks, readers_of};
use crate::pods::{PERMANENT, is_of, last_condition, terminated};

/// The label by which an Indexed Job numbers its pods.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChunkStep {
    /// Readers are to be made.
    Make(ChunkWork),
    /// These are another coordinator's: of a run or an attempt that a restored cluster forgot.
    Remove(Arc<Job>),
    /// The coordinator is to be told that they were given up.
    GiveUp {
        /// Where it is.
        address: String,
        /// What it is told.
        told: GivenUp,
    },
}

/// What is decided from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkFacts<'a> {
    pub(crate) run: &'a Run,
    /// What the run does.
    pub(crate) step: &'a Step,
    /// Its newest attempt.
    pub(crate) attempt: Option<&'a Attempt>,
    /// Those of the pipeline.
    pub(crate) jobs: &'a [Arc<Job>],
    /// Those of the pipeline.
    pub(crate) pods: &'a [Arc<Pod>],
}

/// Decides about the readers of the run's newest attempt; none: there is nothing to do.
pub(crate) fn chunk_step(facts: ChunkFacts<'_>) -> Option<ChunkStep> {
    let ChunkFacts { run, step, attempt, jobs, pods } = facts;
    let attempt = attempt.filter(|_| *step == Step::Follow)?;
    let report = attempt.pod.as_ref()?.report.as_ref().filter(|report| report.chunks > 0)?;
    let (desk, address) = (report.desk.clone()?, attempt.address.clone()?);
    let Some(readers) = readers_of(jobs, (&run.uid, attempt.number)) else {
        let (run, attempt, chunks) = (run.name.clone(), attempt.number, report.chunks);
        return Some(ChunkStep::Make(ChunkWork { run, attempt, address, chunks, desk }));
    };
    if nonce_of(readers) != Some(&desk.nonce) {
        return Some(ChunkStep::Remove(Arc::clone(readers)));
    }
    let end = last_condition(readers).filter(|end| end.type_ == "Failed")?;
    let fault = fault(readers, pods);
    let why = end.message.clone().or_else(|| end.reason.clone()).unwrap_or_default();
    let message = format!("its reader was given up: {}", fault.words.unwrap_or(why));
    let Fault { chunk, permanent, .. } = fault;
    let nonce = DeskReport::key(&desk.nonce, token_of(readers));
    let told = GivenUp { nonce, chunk, message, permanent };
    Some(ChunkStep::GiveUp { address, told })
}

/// The Jobs that read chunks of attempts that are not under way. `under_way` is by the run's uid and the
/// attempt's number.
pub(crate) fn left_over<'a>(
    jobs: &'a [Arc<Job>],
    under_way: &BTreeSet<(&str, u32)>,
) -> Vec<&'a Arc<Job>> {
    let stays = |job: &Job| attempt_of(job).is_some_and(|attempt| under_way.contains(&attempt));
    let goes = |job: &&Arc<Job>| {
        is_of_chunks(job) && job.metadata.deletion_timestamp.is_none() && !stays(job)
    };
    jobs.iter().filter(goes).collect()
}

/// The coordinator that the Job's readers were told.
fn nonce_of(readers: &Job) -> Option<&str> {
    let arguments = container(readers)?.args.as_deref()?;
    let at = arguments.iter().position(|argument| argument == "--nonce")?;
    arguments.get(at + 1).map(String::as_str)
}

/// What its readers know; nothing in a Job of an operator before this one.
fn token_of(readers: &Job) -> &str {
    let variables = container(readers).and_then(|container| container.env.as_deref());
    let mut named = variables.into_iter().flatten();
    let token = named.find(|variable| variable.name == DeskReport::TOKEN_VARIABLE);
    token.and_then(|token| token.value.as_deref()).unwrap_or_default()
}

fn container(job: &Job) -> Option<&Container> {
    job.spec.as_ref()?.template.spec.as_ref()?.containers.first()
}

/// The first chunk that was given up, and what a pod that read it said last.
struct Fault {
    chunk: Option<u32>,
    words: Option<String>,
    /// The reason, when another attempt would end the same.
    permanent: Option<String>,
}

fn fault(readers: &Job, pods: &[Arc<Pod>]) -> Fault {
    let failed = readers.status.as_ref().and_then(|status| status.failed_indexes.as_deref());
    let chunk = failed.and_then(first_of);
    let of_chunk = |pod: &&Arc<Pod>| {
        let index = pod.labels().get(INDEX).and_then(|index| index.parse().ok());
        is_of(readers, pod) && (chunk.is_none() || index == chunk)
    };
    let ends = pods.iter().filter(of_chunk).filter_map(|pod| terminated(pod));
    let failures = ends.filter(|end| end.exit_code != 0);
    let last = failures.max_by_key(|end| end.finished_at.as_ref().map(|time| time.0));
    let Some(last) = last else { return Fault { chunk, words: None, permanent: None } };
    let said = last.message.as_deref().unwrap_or_default();
    let report = serde_json::from_str::<RunReport>(said).ok();
    let permanent = permanent_reason(last.exit_code, report.as_ref()).filter(|_| chunk.is_some());
    let words = match report {
        Some(report) => format!("{}: {}", report.reason, report.message),
        None => format!("its pod ended with exit code {}", last.exit_code),
    };
    Fault { chunk, words: Some(words), permanent }
}

/// Why no other attempt would do better. A reader that was turned away says nothing about its chunk.
fn permanent_reason(code: i32, report: Option<&RunReport>) -> Option<String> {
    let reason = report.map_or(Reason::RunFailed.as_str(), |report| report.reason.as_str());
    let is_told = code == PERMANENT && reason != Reason::GenerationLost.as_str();
    is_told.then(|| reason.to_owned())
}

/// Of `1,3-5` the 1.
fn first_of(indexes: &str) -> Option<u32> {
    indexes.split([',', '-']).next()?.trim().parse().ok()
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
