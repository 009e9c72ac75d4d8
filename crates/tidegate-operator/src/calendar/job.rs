//! The Job that asks the table's log.

use k8s_openapi::api::batch::v1::Job;

use super::ask::{Ask, job_name};
use crate::cluster::labels::Component;
use crate::objects::job::once;
use crate::objects::shape::Shape;
use crate::objects::{metadata, pod, secrets};
use crate::options::PodSettings;
use crate::validation::Transfer;

/// How long a question for the calendar may take, in seconds.
const CALENDAR_SECONDS: i64 = 300;
/// How long its Job stays if nobody removes it before, in seconds.
const CALENDAR_KEPT_SECONDS: i32 = 3600;
/// Between SIGTERM and SIGKILL of a question.
const GRACE_SECONDS: i64 = 30;

/// Makes it. Of one question there is one Job.
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
