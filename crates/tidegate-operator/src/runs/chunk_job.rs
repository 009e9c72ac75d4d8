//! The Indexed Job whose pods read the chunks of one attempt, an index a chunk.
//!
//! It is made from the Job of the attempt's coordinator, not from the pipeline: whatever was edited
//! meanwhile, reader and coordinator work with one configuration, one image and the same secrets. An index
//! is tried again alone; one that no reader can read ends the Job, and with it the attempt.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use tidegate_config::DeskReport;

use super::names;
use crate::cluster::labels::{self, Component};
use crate::objects::job::failure_policy;
use crate::objects::pod;
use crate::pods::base_url;

/// How often a chunk is read again by another pod; each reads it several times itself.
const AGAIN_EACH: i32 = 3;
/// What the controller writes on the pods of a Job; another Job's are its own.
const OF_CONTROLLER: [&str; 4] = [
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
];

/// What is to be read, and where from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkWork {
    /// The run.
    pub(crate) run: String,
    /// The attempt's number.
    pub(crate) attempt: u32,
    /// Where the coordinator's pod is.
    pub(crate) address: String,
    /// How many chunks there are.
    pub(crate) chunks: u32,
    /// What the coordinator says of its desk.
    pub(crate) desk: DeskReport,
}

/// The Job that reads the chunks of the attempt that `coordinator` makes.
pub(crate) fn chunk_job(coordinator: &Job, work: &ChunkWork) -> Job {
    let made = coordinator.spec.clone().unwrap_or_default();
    let chunks = i32::try_from(work.chunks).unwrap_or(i32::MAX);
    let parallelism = i32::try_from(work.desk.parallelism).unwrap_or(i32::MAX);
    Job {
        metadata: ObjectMeta {
            name: Some(names::chunks(&work.run, work.attempt)),
            namespace: coordinator.namespace(),
            labels: Some(of_chunks(coordinator.labels().clone())),
            owner_references: coordinator.metadata.owner_references.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            active_deadline_seconds: made.active_deadline_seconds,
            backoff_limit_per_index: Some(AGAIN_EACH),
            completion_mode: Some("Indexed".to_owned()),
            completions: Some(chunks),
            max_failed_indexes: Some(0),
            parallelism: Some(parallelism.clamp(1, chunks.max(1))),
            pod_failure_policy: Some(failure_policy("FailIndex")),
            template: template(made.template, work),
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

/// The coordinator's pod, with another command.
fn template(mut template: PodTemplateSpec, work: &ChunkWork) -> PodTemplateSpec {
    if let Some(metadata) = &mut template.metadata {
        let labels = metadata.labels.take().unwrap_or_default();
        metadata.labels = Some(of_chunks(labels));
    }
    let containers = template.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    for container in containers {
        container.args = Some(arguments(work));
    }
    template
}

fn of_chunks(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.retain(|label, _| !OF_CONTROLLER.contains(&label.as_str()));
    labels.insert(labels::COMPONENT.to_owned(), Component::Chunk.as_str().to_owned());
    labels
}

/// Which chunk it is an Indexed Job's pods know from their environment.
fn arguments(work: &ChunkWork) -> Vec<String> {
    let mut arguments = vec![Component::Chunk.as_str().to_owned()];
    arguments.extend(pod::config_arguments());
    arguments.extend(["--coordinator".to_owned(), base_url(&work.address)]);
    arguments.extend(["--nonce".to_owned(), work.desk.nonce.clone()]);
    arguments.extend(pod::serve_arguments());
    arguments.extend(pod::secrets_arguments());
    arguments
}
