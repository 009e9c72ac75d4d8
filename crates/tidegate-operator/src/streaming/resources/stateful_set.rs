//! The workers.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use tidegate_api::TemplateSpec;

use crate::cluster::labels::{self, Component};
use crate::cluster::names;
use crate::objects::shape::Shape;
use crate::objects::{metadata, pod, secrets, volumes};
use crate::options::PodSettings;
use crate::validation::ValidatedPipeline;

/// The workers. Their names stay when they are replaced, and with them their partitions; they all start
/// at once, because none waits for another.
pub(super) fn build(
    pipeline: &ValidatedPipeline,
    settings: &PodSettings,
    replicas: i32,
) -> StatefulSet {
    let template = &pipeline.spec.template;
    let shape = Shape {
        component: Component::Worker,
        arguments: arguments(),
        folders: secrets::of_worker(&pipeline.spec),
        resources: pod::worker_resources(template),
        grace_seconds: template.termination_grace_period_seconds,
        spread: spread(&pipeline.name, template),
    };
    StatefulSet {
        metadata: metadata::of(pipeline, names::workers(&pipeline.name), Component::Worker),
        spec: Some(StatefulSetSpec {
            pod_management_policy: Some("Parallel".to_owned()),
            replicas: Some(replicas),
            revision_history_limit: Some(1),
            selector: labels::selector(&pipeline.name, Component::Worker),
            service_name: Some(names::workers(&pipeline.name)),
            template: pod::template(pipeline, settings, shape),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: None,
            }),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn arguments() -> Vec<String> {
    let mut arguments = vec![Component::Worker.as_str().to_owned()];
    arguments.extend(pod::config_arguments());
    arguments.extend(["--assignment".to_owned(), volumes::assignment_file()]);
    arguments.extend(["--name", "$(POD_NAME)"].map(str::to_owned));
    arguments.extend(pod::serve_arguments());
    arguments.extend(pod::folder_arguments());
    arguments
}

/// The user's constraints, which speak about the workers unless they say otherwise; else over nodes.
fn spread(pipeline: &str, template: &TemplateSpec) -> Vec<TopologySpreadConstraint> {
    let written = &template.topology_spread_constraints;
    let over_nodes = TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    };
    let mut constraints = if written.is_empty() { vec![over_nodes] } else { written.clone() };
    for constraint in &mut constraints {
        let workers = || labels::selector(pipeline, Component::Worker);
        constraint.label_selector.get_or_insert_with(workers);
    }
    constraints
}
