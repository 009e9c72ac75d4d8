//! What is to be done about the readers of an attempt's chunks. Pure.
//!
//! The coordinator says that chunks wait; then the attempt has an Indexed Job, as long as it is under way
//! and no longer. When that Job is given up the coordinator is told, and ends the attempt itself, with the
//! chunk and its fault in its last words.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tidegate_config::RunReport;

use super::ended::{is_of, last_condition, terminated};
use super::facts::{Attempt, Run, Step};
use super::observe::{is_of_chunks, number};
use crate::pipeline::ChunkWork;

/// The label by which an Indexed Job numbers its pods.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ChunkStep {
    /// Readers are to be made.
    Make(ChunkWork),
    /// The coordinator is to be told that they were given up.
    GiveUp {
        /// Where it is.
        address: String,
        /// What tells it from others.
        nonce: String,
        /// The chunk that could not be read, where one is to blame.
        chunk: Option<u32>,
        /// Why.
        message: String,
    },
}

/// Decides about the readers of the run's newest attempt; none: there is nothing to do. `pods` are those
/// of the pipeline.
pub(crate) fn chunk_step(
    run: &Run,
    step: &Step,
    attempt: Option<&Attempt>,
    jobs: &[Arc<Job>],
    pods: &[Arc<Pod>],
) -> Option<ChunkStep> {
    let attempt = attempt.filter(|_| *step == Step::Follow)?;
    let report = attempt.pod.as_ref()?.report.as_ref().filter(|report| report.chunks > 0)?;
    let (desk, address) = (report.desk.clone()?, attempt.address.clone()?);
    let readers = jobs.iter().find(|job| {
        is_of_chunks(job) && is_owned_by(job, run) && number(job) == Some(attempt.number)
    });
    let Some(readers) = readers else {
        let (run, attempt, chunks) = (run.name.clone(), attempt.number, report.chunks);
        return Some(ChunkStep::Make(ChunkWork { run, attempt, address, chunks, desk }));
    };
    let end = last_condition(readers).filter(|end| end.type_ == "Failed")?;
    let (chunk, words) = fault(readers, pods);
    let why = end.message.clone().or_else(|| end.reason.clone()).unwrap_or_default();
    let message = format!("its reader was given up: {}", words.unwrap_or(why));
    Some(ChunkStep::GiveUp { address, nonce: desk.nonce, chunk, message })
}

/// The Jobs that read chunks of attempts that are not under way. `under_way` is by the run's uid and the
/// attempt's number.
pub(crate) fn forsaken<'a>(
    jobs: &'a [Arc<Job>],
    under_way: &BTreeSet<(&str, u32)>,
) -> Vec<&'a Arc<Job>> {
    let stays = |job: &Job| {
        let owner = job.owner_references().first().map(|owner| owner.uid.as_str());
        owner.zip(number(job)).is_some_and(|attempt| under_way.contains(&attempt))
    };
    let goes = |job: &&Arc<Job>| {
        is_of_chunks(job) && job.metadata.deletion_timestamp.is_none() && !stays(job)
    };
    jobs.iter().filter(goes).collect()
}

fn is_owned_by(job: &Job, run: &Run) -> bool {
    job.owner_references().iter().any(|owner| owner.uid == run.uid)
}

/// The first chunk that was given up, and the last words of a pod that read it.
fn fault(readers: &Job, pods: &[Arc<Pod>]) -> (Option<u32>, Option<String>) {
    let failed = readers.status.as_ref().and_then(|status| status.failed_indexes.as_deref());
    let chunk = failed.and_then(first_of);
    let of_chunk = |pod: &&Arc<Pod>| {
        let index = pod.labels().get(INDEX).and_then(|index| index.parse().ok());
        is_of(readers, pod) && (chunk.is_none() || index == chunk)
    };
    let ends = pods.iter().filter(of_chunk).filter_map(|pod| terminated(pod));
    let failures = ends.filter(|end| end.exit_code != 0);
    let last = failures.max_by_key(|end| end.finished_at.as_ref().map(|time| time.0));
    let words = last.map(|end| {
        let said = end.message.as_deref().unwrap_or_default();
        match serde_json::from_str::<RunReport>(said) {
            Ok(report) => format!("{}: {}", report.reason, report.message),
            Err(_) => format!("its pod ended with exit code {}", end.exit_code),
        }
    });
    (chunk, words)
}

/// Of `1,3-5` the 1.
fn first_of(indexes: &str) -> Option<u32> {
    indexes.split([',', '-']).next()?.trim().parse().ok()
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
