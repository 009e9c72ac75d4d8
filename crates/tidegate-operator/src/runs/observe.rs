//! The newest attempt of a run: its Job from the cache, and what its pod says.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::facts::{Attempt, Run};
use crate::cluster::labels::{self, Component};
use crate::context::Context;
use crate::pods::{Trouble, address, ended, is_of, newest_pod, pod_facts, trouble_to_begin};

/// The newest Job of a run.
pub(crate) fn newest_job<'a>(run: &Run, jobs: &'a [Arc<Job>]) -> Option<(u32, &'a Arc<Job>)> {
    let coordinators = jobs.iter().filter(|job| !is_of_chunks(job));
    let own = coordinators.filter_map(|job| {
        let (uid, number) = attempt_of(job)?;
        (uid == run.uid).then_some((number, job))
    });
    own.max_by_key(|(number, _)| *number)
}

/// The attempt that a Job is for: the uid of its run, and its number.
pub(crate) fn attempt_of(job: &Job) -> Option<(&str, u32)> {
    let mut owners = job.owner_references().iter();
    let run = owners.find(|owner| owner.controller == Some(true))?;
    Some((&run.uid, job.labels().get(labels::ATTEMPT)?.parse().ok()?))
}

/// The Job that reads the chunks of an attempt.
pub(crate) fn readers_of<'a>(jobs: &'a [Arc<Job>], attempt: (&str, u32)) -> Option<&'a Arc<Job>> {
    jobs.iter().find(|job| is_of_chunks(job) && attempt_of(job) == Some(attempt))
}

/// Whether a Job reads the chunks of an attempt.
pub(crate) fn is_of_chunks(job: &Job) -> bool {
    labels::is_of(job, Component::Chunk)
}

/// The newest attempt of a run; a pod that runs is asked how far it is.
pub(crate) async fn attempt(
    context: &Context,
    run: &Run,
    jobs: &[Arc<Job>],
    pods: &[Arc<Pod>],
) -> Option<Attempt> {
    let (number, job) = newest_job(run, jobs)?;
    let ended = ended(job, pods.iter().map(AsRef::as_ref));
    let newest = newest_pod(job, pods.iter().map(AsRef::as_ref)).filter(|_| ended.is_none());
    let address = newest.and_then(address).map(str::to_owned);
    let pod = match newest {
        Some(pod) => Some(pod_facts(&context.pods, pod).await),
        None => None,
    };
    let readers_wait = readers_wait(job, jobs, pods).filter(|_| ended.is_none());
    Some(Attempt { number, ended, pod, address, readers_wait })
}

/// What keeps a reader of the attempt's chunks from beginning, where one has not begun.
fn readers_wait(coordinator: &Job, jobs: &[Arc<Job>], pods: &[Arc<Pod>]) -> Option<Trouble> {
    let readers = readers_of(jobs, attempt_of(coordinator)?)?;
    pods.iter().filter(|pod| is_of(readers, pod)).find_map(|pod| trouble_to_begin(pod))
}
