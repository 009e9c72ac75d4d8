//! The Job of one attempt of a run.
//!
//! Kubernetes does not try it again: an attempt has a number, and who makes the next one decides by how the
//! last one ended.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, PodTemplateSpec};
use tidegate_config::{DeskReport, Placement};

use super::facts::{Run, What, Wish};
use super::names;
use crate::cluster::labels::{self, Component};
use crate::objects::job::once;
use crate::objects::shape::Shape;
use crate::objects::{metadata, pod, secrets};
use crate::options::PodSettings;
use crate::validation::Transfer;

/// An attempt that is to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NextAttempt<'a> {
    pub(crate) run: &'a Run,
    /// What the run wants.
    pub(crate) wish: &'a Wish,
    pub(crate) number: u32,
    /// What coordinator and readers know and nobody else, where chunks are read in pods of their own.
    pub(crate) token: &'a str,
}

/// Makes it. It goes with the run.
pub(crate) fn transfer_job(
    pipeline: &Transfer,
    settings: &PodSettings,
    attempt: NextAttempt<'_>,
) -> Job {
    let NextAttempt { run, wish, number, token } = attempt;
    let shape = Shape {
        component: Component::Transfer,
        arguments: transfer_arguments(run, wish),
        folders: secrets::of_transfer(&pipeline.spec),
        resources: pod::worker_resources(&pipeline.spec.template),
        grace_seconds: pipeline.spec.template.termination_grace_period_seconds,
        spread: Vec::new(),
    };
    let mut template = pod::template(pipeline, settings, shape);
    if let Some(metadata) = &mut template.metadata {
        metadata.labels.get_or_insert_default().extend(marks(run, number));
    }
    if pipeline.config.placement == Placement::Pods {
        share(&mut template, token);
    }
    let mut metadata = metadata::of(pipeline, names::job(&run.name, number), Component::Transfer);
    metadata.labels.get_or_insert_default().extend(marks(run, number));
    metadata.owner_references = Some(vec![run.reference()]);
    let seconds = pipeline.spec.bulk_or_default().run_template.active_deadline_seconds;
    Job { metadata, spec: Some(once(template, seconds, None)), ..Job::default() }
}

/// How the attempt's objects are found.
fn marks(run: &Run, number: u32) -> BTreeMap<String, String> {
    let marks = [(labels::RUN, run.name.clone()), (labels::ATTEMPT, number.to_string())];
    marks.into_iter().map(|(label, value)| (label.to_owned(), value)).collect()
}

fn share(template: &mut PodTemplateSpec, token: &str) {
    let containers = template.spec.iter_mut().flat_map(|spec| &mut spec.containers);
    for container in containers {
        container.env.get_or_insert_default().push(EnvVar {
            name: DeskReport::TOKEN_VARIABLE.to_owned(),
            value: Some(token.to_owned()),
            ..EnvVar::default()
        });
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

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
