//! The pods: everything that workers, agent and the pods of Jobs have in common.
//!
//! They pass Pod Security `restricted`, have no token of the API server, and mount only what their
//! component needs. Of the spec only `template` reaches them, a closed list.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tidegate_api::TemplateSpec;

use super::shape::Shape;
use super::{cloud_identity, environment, probes, service_account, volumes};
use crate::cluster::labels::{self, Component};
use crate::options::PodSettings;
use crate::pods::{PORT, PORT_NAME};
use crate::validation::ValidatedPipeline;

/// The only container of every pod.
pub(crate) const CONTAINER: &str = "tidegate";
/// User and group of the processes: what images without a user list call `nonroot`.
const NOBODY: i64 = 65532;

/// The pods of one component.
pub(crate) fn template<C>(
    pipeline: &ValidatedPipeline<C>,
    settings: &PodSettings,
    shape: Shape,
) -> PodTemplateSpec {
    let written = &pipeline.spec.template;
    let mut labels = labels::of(&pipeline.name, shape.component);
    labels.extend(cloud_identity::pod_labels(settings.cloud_identity));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::merged(&written.labels, labels)),
            annotations: Some(annotations(pipeline, shape.component)),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(pipeline, settings, shape)),
    }
}

/// Where the configuration is.
pub(crate) fn config_arguments() -> [String; 2] {
    ["--config".to_owned(), volumes::config_file()]
}

/// Where the pod listens.
pub(crate) fn serve_arguments() -> [String; 4] {
    ["--address".to_owned(), "$(POD_IP)".to_owned(), "--port".to_owned(), PORT.to_string()]
}

/// Where secrets are, and what may be written.
pub(crate) fn folder_arguments() -> [String; 4] {
    let [flag, folder] = secrets_arguments();
    [flag, folder, "--data-dir".to_owned(), volumes::DATA_DIR.to_owned()]
}

/// Where secrets are.
pub(crate) fn secrets_arguments() -> [String; 2] {
    ["--secrets-dir".to_owned(), volumes::SECRETS_DIR.to_owned()]
}

/// CPU and memory of a worker, and of an attempt of a run.
pub(crate) fn worker_resources(template: &TemplateSpec) -> ResourceRequirements {
    resources(template.resources.as_ref(), ["250m", "512Mi", "512Mi"])
}

/// CPU and memory of the agent, and of the Jobs that do the same kind of work.
pub(crate) fn agent_resources(template: &TemplateSpec) -> ResourceRequirements {
    resources(template.agent_resources.as_ref(), ["20m", "64Mi", "128Mi"])
}

fn resources(
    written: Option<&ResourceRequirements>,
    [cpu, memory, memory_limit]: [&str; 3],
) -> ResourceRequirements {
    let amounts = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        let amounts =
            pairs.map(|(key, amount)| ((*key).to_owned(), Quantity((*amount).to_owned())));
        Some(amounts.collect::<BTreeMap<_, _>>())
    };
    match written {
        None => ResourceRequirements {
            claims: None,
            requests: amounts(&[("cpu", cpu), ("memory", memory)]),
            limits: amounts(&[("memory", memory_limit)]),
        },
        // Claims name volumes of devices, which pods of ours do not have.
        Some(written) => ResourceRequirements {
            claims: None,
            requests: written.requests.clone(),
            limits: written.limits.clone(),
        },
    }
}

fn annotations<C>(
    pipeline: &ValidatedPipeline<C>,
    component: Component,
) -> BTreeMap<String, String> {
    let mut written = BTreeMap::new();
    if component == Component::Worker {
        // What lies in the folder can be fetched again, so it must not keep a node from being removed.
        // Others may see it differently: theirs wins.
        let key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
        written.insert(key.to_owned(), volumes::DATA.to_owned());
    }
    written.extend(pipeline.spec.template.annotations.clone());
    let ours = BTreeMap::from([(labels::CONFIG_HASH.to_owned(), pipeline.config_hash.clone())]);
    labels::merged(&written, ours)
}

fn spec<C>(pipeline: &ValidatedPipeline<C>, settings: &PodSettings, shape: Shape) -> PodSpec {
    let written = &pipeline.spec.template;
    let is_job = !matches!(shape.component, Component::Worker | Component::Agent);
    PodSpec {
        affinity: written.affinity.clone(),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: list(written.image_pull_secrets.clone()),
        node_selector: Some(written.node_selector.clone()).filter(|labels| !labels.is_empty()),
        priority_class_name: written.priority_class_name.clone(),
        restart_policy: Some(if is_job { "Never" } else { "Always" }.to_owned()),
        security_context: Some(pod_security()),
        service_account_name: Some(service_account::name(pipeline)),
        termination_grace_period_seconds: Some(shape.grace_seconds),
        tolerations: list(written.tolerations.clone()),
        topology_spread_constraints: list(shape.spread.clone()),
        volumes: Some(volumes::volumes(pipeline, settings, &shape)),
        containers: vec![container(settings, shape)],
        ..PodSpec::default()
    }
}

fn container(settings: &PodSettings, shape: Shape) -> Container {
    let serves = !matches!(shape.component, Component::Cleanup | Component::Calendar);
    let ports = vec![ContainerPort {
        container_port: PORT,
        name: Some(PORT_NAME.to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }];
    Container {
        name: CONTAINER.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: Some(settings.image_pull_policy.clone()),
        volume_mounts: Some(volumes::mounts(settings, &shape)),
        args: Some(shape.arguments),
        env: Some(environment::variables(settings)),
        ports: serves.then_some(ports),
        startup_probe: serves.then(probes::startup),
        readiness_probe: serves.then(probes::readiness),
        liveness_probe: serves.then(probes::liveness),
        resources: Some(shape.resources),
        security_context: Some(container_security()),
        // A process that dies before it can write its message leaves its last lines.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        // Files of secrets belong to this group, and nobody else can read them.
        fs_group: Some(NOBODY),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        run_as_group: Some(NOBODY),
        run_as_non_root: Some(true),
        run_as_user: Some(NOBODY),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

/// An empty list is not sent: the API server would not keep it.
fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    Some(items).filter(|items| !items.is_empty())
}
