//! The names of the workers' pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::labels::{self, Component};
use crate::cluster::names;
use crate::objects::metadata;
use crate::pods::{PORT, PORT_NAME};
use crate::validation::ValidatedPipeline;

/// A headless Service, which a `StatefulSet` needs to give its pods names. Pods that are not ready have
/// theirs too: they are asked how they are.
pub(super) fn build(pipeline: &ValidatedPipeline) -> Service {
    let selector = labels::selector(&pipeline.name, Component::Worker);
    Service {
        metadata: metadata::of(pipeline, names::workers(&pipeline.name), Component::Worker),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: selector.match_labels,
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: PORT,
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
