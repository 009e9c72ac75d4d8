//! What a bulk pipeline has in the cluster: what its pods need, an attempt's Job, and the Job that asks the
//! table's log.
//!
//! Neither Job is tried again by Kubernetes: an attempt has a number, and who makes the next one decides by
//! how the last one ended.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, PodTemplateSpec, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use tidegate_config::{DeskReport, Placement, TransferConfig};

use super::pod::{self, Shape};
use super::{
    PodSettings, ValidatedPipeline, config_maps, metadata, network_policy, secrets, service_account,
};
use crate::calendar::{Ask, job_name};
use crate::pipeline::labels::{self, Component};
use crate::runs::{Run, What, Wish, names};

type Transfer = ValidatedPipeline<TransferConfig>;

/// How long a question for the calendar may take, in seconds.
const CALENDAR_SECONDS: i64 = 300;
/// How long its Job stays if nobody removes it before, in seconds.
const CALENDAR_KEPT_SECONDS: i32 = 3600;
/// Between SIGTERM and SIGKILL of a question.
const GRACE_SECONDS: i64 = 30;

/// What the pods of a bulk pipeline need, in the order in which it is applied. Whoever goes over it
/// destructures without `..`, so that nothing is forgotten.
#[derive(Debug, Clone)]
pub(crate) struct BulkResources {
    /// The account of the pods; none when the spec names one.
    pub(crate) service_account: Option<ServiceAccount>,
    /// Who may speak to the pods, and where they may go.
    pub(crate) network_policy: NetworkPolicy,
    /// The spec that was accepted last.
    pub(crate) accepted: ConfigMap,
    /// The configuration. Its name changes with its contents, and it is immutable.
    pub(crate) config: ConfigMap,
}

/// Makes what the pods need.
pub(crate) fn build_bulk(pipeline: &Transfer, settings: &PodSettings) -> BulkResources {
    BulkResources {
        service_account: service_account::build(pipeline),
        network_policy: network_policy::with_coordinators(pipeline, settings),
        accepted: config_maps::accepted(pipeline),
        config: config_maps::config(pipeline),
    }
}

/// The Job of one attempt of a run. It goes with the run. `token`: what coordinator and readers know and
/// nobody else, where chunks are read in pods of their own.
pub(crate) fn transfer_job(
    pipeline: &Transfer,
    settings: &PodSettings,
    run: &Run,
    wish: &Wish,
    number: u32,
    token: &str,
) -> Job {
    let shape = Shape {
        component: Component::Transfer,
        arguments: transfer_arguments(run, wish),
        folders: secrets::of_transfer(&pipeline.spec),
        resources: pod::worker_resources(&pipeline.spec.template),
        grace_seconds: pipeline.spec.template.termination_grace_period_seconds,
        spread: Vec::new(),
    };
    let shared = (pipeline.config.placement == Placement::Pods).then_some(token);
    let marks = [(labels::RUN, run.name.clone()), (labels::ATTEMPT, number.to_string())];
    let marks = marks.map(|(label, value)| (label.to_owned(), value));
    let mut template = pod::template(pipeline, settings, shape);
    if let Some(metadata) = &mut template.metadata {
        metadata.labels.get_or_insert_default().extend(marks.clone());
    }
    if let Some(spec) = &mut template.spec {
        let containers = spec.containers.iter_mut();
        containers.zip(shared).for_each(|(container, token)| {
            container.env.get_or_insert_default().push(EnvVar {
                name: DeskReport::TOKEN_VARIABLE.to_owned(),
                value: Some(token.to_owned()),
                ..EnvVar::default()
            });
        });
    }
    let mut metadata = metadata::of(pipeline, names::job(&run.name, number), Component::Transfer);
    metadata.labels.get_or_insert_default().extend(marks);
    metadata.owner_references = Some(vec![run.reference()]);
    let seconds = pipeline.spec.bulk_or_default().run_template.active_deadline_seconds;
    Job { metadata, spec: Some(once(template, seconds, None)), ..Job::default() }
}

/// The Job that asks the table's log.
pub(crate) fn calendar_job(pipeline: &Transfer, settings: &PodSettings, ask: &Ask) -> Job {
    let mut arguments = vec![Component::Calendar.as_str().to_owned()];
    arguments.extend(pod::config_arguments());
    arguments.extend(pod::secrets_arguments());
    arguments.extend(["--range".to_owned(), ask.range.to_string()]);
    let shape = Shape {
        component: Component::Calendar,
        arguments,
        folders: secrets::of_calendar(&pipeline.spec),
        resources: pod::agent_resources(&pipeline.spec.template),
        grace_seconds: GRACE_SECONDS,
        spread: Vec::new(),
    };
    let name = job_name(&pipeline.name, &pipeline.config_hash, ask);
    let template = pod::template(pipeline, settings, shape);
    let spec = once(template, Some(CALENDAR_SECONDS), Some(CALENDAR_KEPT_SECONDS));
    Job {
        metadata: metadata::of(pipeline, name, Component::Calendar),
        spec: Some(spec),
        ..Job::default()
    }
}

fn once(template: PodTemplateSpec, seconds: Option<i64>, kept_seconds: Option<i32>) -> JobSpec {
    JobSpec {
        active_deadline_seconds: seconds,
        backoff_limit: Some(0),
        template,
        ttl_seconds_after_finished: kept_seconds,
        ..JobSpec::default()
    }
}

fn transfer_arguments(run: &Run, wish: &Wish) -> Vec<String> {
    let mut arguments = vec![Component::Transfer.as_str().to_owned()];
    arguments.extend(pod::config_arguments());
    // A run of the same name that is made again is another run.
    let run = format!("{}/{}", run.name, run.uid);
    arguments.extend(["--trigger", wish.trigger.as_str(), "--run", &run].map(str::to_owned));
    if let What::Interval(interval) = wish.what {
        arguments.extend(["--interval".to_owned(), interval.to_string()]);
    }
    if wish.rerun {
        arguments.push("--rerun".to_owned());
    }
    arguments.extend(pod::serve_arguments());
    arguments.extend(pod::secrets_arguments());
    arguments
}
