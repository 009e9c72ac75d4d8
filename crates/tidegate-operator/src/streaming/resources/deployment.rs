//! The agent.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};

use crate::cluster::labels::{self, Component};
use crate::cluster::names;
use crate::objects::shape::Shape;
use crate::objects::{metadata, pod, secrets};
use crate::options::PodSettings;
use crate::validation::ValidatedPipeline;

/// An agent has nothing to commit when it leaves.
const GRACE_SECONDS: i64 = 30;

/// A Deployment of one. The old pod goes before the new one comes, so that there is one at a time.
pub(super) fn build(
    pipeline: &ValidatedPipeline,
    settings: &PodSettings,
    replicas: i32,
) -> Deployment {
    let shape = Shape {
        component: Component::Agent,
        arguments: arguments(),
        folders: secrets::of_agent(&pipeline.spec),
        resources: pod::agent_resources(&pipeline.spec.template),
        grace_seconds: GRACE_SECONDS,
        spread: Vec::new(),
    };
    Deployment {
        metadata: metadata::of(pipeline, names::agent(&pipeline.name), Component::Agent),
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            // Nobody rolls back by hand what the operator would put right again.
            revision_history_limit: Some(0),
            selector: labels::selector(&pipeline.name, Component::Agent),
            strategy: Some(DeploymentStrategy {
                type_: Some("Recreate".to_owned()),
                rolling_update: None,
            }),
            template: pod::template(pipeline, settings, shape),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn arguments() -> Vec<String> {
    let mut arguments = vec![Component::Agent.as_str().to_owned()];
    arguments.extend(pod::config_arguments());
    arguments.extend(pod::serve_arguments());
    arguments.extend(pod::secrets_arguments());
    arguments
}
