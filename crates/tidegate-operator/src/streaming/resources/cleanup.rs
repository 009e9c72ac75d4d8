//! What deletes what lies outside the cluster, when a pipeline is deleted.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tidegate_api::{DeletionAction, DeletionPolicySpec};

use crate::cluster::labels::Component;
use crate::cluster::names;
use crate::objects::job::failure_policy;
use crate::objects::shape::Shape;
use crate::objects::{config_maps, metadata, network_policy, pod, secrets, service_account};
use crate::options::PodSettings;
use crate::validation::ValidatedPipeline;

/// Attempts after the first.
const RETRIES: i32 = 5;
/// How long the finished Job stays if nobody removes it before, in seconds.
const KEPT_SECONDS: i32 = 3600;
/// Between SIGTERM and SIGKILL.
const GRACE_SECONDS: i64 = 30;

/// The Job and what its pod needs, in the order in which they are applied. The Job is only created:
/// its template can never change.
///
/// The owner does not wait for any of them. Otherwise a deletion in the foreground, which keeps the
/// owner until its dependents are gone, would take them away before they did their work.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup {
    /// The account of the pod; none when the spec names one.
    pub(crate) service_account: Option<ServiceAccount>,
    /// Where the pod may go.
    pub(crate) network_policy: NetworkPolicy,
    /// The configuration.
    pub(crate) config: ConfigMap,
    /// The Job itself.
    pub(crate) job: Job,
}

/// Makes the Job that carries out `spec.deletionPolicy`, and gives up after `deadline`.
pub(crate) fn cleanup_job(
    pipeline: &ValidatedPipeline,
    settings: &PodSettings,
    deadline: Duration,
) -> Cleanup {
    let mut service_account = service_account::build(pipeline);
    let mut network_policy = network_policy::build(pipeline, settings);
    let mut config = config_maps::config(pipeline);
    let mut job = job(pipeline, settings, deadline);
    if let Some(account) = &mut service_account {
        not_waited_for(&mut account.metadata);
    }
    not_waited_for(&mut network_policy.metadata);
    not_waited_for(&mut config.metadata);
    not_waited_for(&mut job.metadata);
    Cleanup { service_account, network_policy, config, job }
}

fn not_waited_for(metadata: &mut ObjectMeta) {
    for owner in metadata.owner_references.iter_mut().flatten() {
        owner.block_owner_deletion = Some(false);
    }
}

fn job(pipeline: &ValidatedPipeline, settings: &PodSettings, deadline: Duration) -> Job {
    let seconds = i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX).max(1);
    let shape = Shape {
        component: Component::Cleanup,
        arguments: arguments(&pipeline.spec.deletion_policy, seconds),
        folders: secrets::of_cleanup(&pipeline.spec),
        resources: pod::agent_resources(&pipeline.spec.template),
        grace_seconds: GRACE_SECONDS,
        spread: Vec::new(),
    };
    Job {
        metadata: metadata::of(pipeline, names::cleanup(&pipeline.name), Component::Cleanup),
        spec: Some(JobSpec {
            active_deadline_seconds: Some(seconds),
            backoff_limit: Some(RETRIES),
            pod_failure_policy: Some(failure_policy("FailJob")),
            template: pod::template(pipeline, settings, shape),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

/// The pod gives up at half time, so that it can say what is left: a Job that runs out of time deletes
/// its pods, and what they had to say with them.
fn arguments(policy: &DeletionPolicySpec, seconds: i64) -> Vec<String> {
    let mut arguments = vec![Component::Cleanup.as_str().to_owned()];
    arguments.extend(pod::config_arguments());
    arguments.extend(pod::secrets_arguments());
    arguments.extend(["--deadline".to_owned(), format!("{}s", (seconds / 2).max(1))]);
    if policy.stream == DeletionAction::Delete {
        arguments.push("--delete-stream".to_owned());
    }
    if policy.data == DeletionAction::Delete {
        arguments.push("--delete-data".to_owned());
    }
    arguments
}
