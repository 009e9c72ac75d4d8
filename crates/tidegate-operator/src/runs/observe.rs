//! The newest attempt of a run: its Job from the cache, and what its pod says.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::ended::{ended, newest_pod};
use super::facts::{Attempt, Run};
use crate::context::Context;
use crate::pipeline::{labels, pod_facts};

/// The newest Job of a run.
pub(crate) fn newest_job<'a>(run: &Run, jobs: &'a [Arc<Job>]) -> Option<(u32, &'a Arc<Job>)> {
    let own = jobs.iter().filter(|job| {
        let mut owners = job.owner_references().iter();
        owners.any(|owner| owner.controller == Some(true) && owner.uid == run.uid)
    });
    own.filter_map(|job| Some((number(job)?, job))).max_by_key(|(number, _)| *number)
}

fn number(job: &Job) -> Option<u32> {
    job.labels().get(labels::ATTEMPT)?.parse().ok()
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
    let pod = match newest_pod(job, pods.iter().map(AsRef::as_ref)) {
        Some(pod) if ended.is_none() => Some(pod_facts(context, pod).await),
        _ => None,
    };
    Some(Attempt { number, ended, pod })
}
