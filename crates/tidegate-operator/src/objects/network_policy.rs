//! Who may speak to the pods of a pipeline, and where they may go.
//!
//! Brokers and stores may stand anywhere, so the way out is open but for what belongs to the node: the
//! metadata servers of clouds, which hand out the node's own identity, and everything link-local. What
//! the chosen [`CloudIdentity`](crate::CloudIdentity) needs is opened again, address by address.
//! The pods need nothing from each other, but for the readers of a run's chunks, who speak to its
//! coordinator.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cloud_identity::{self, Endpoint};
use super::metadata;
use crate::cluster::labels::{self, Component};
use crate::cluster::names;
use crate::options::PodSettings;
use crate::pods::PORT_NAME;
use crate::validation::ValidatedPipeline;

/// Closed to IPv4.
const CLOSED: [&str; 4] = [
    "100.100.100.200/32", // Alibaba Cloud
    "168.63.129.16/32",   // Azure's wire server
    "169.254.0.0/16",     // link-local: nearly every cloud's metadata server
    "192.0.0.192/32",     // Oracle Cloud
];
/// Closed to IPv6.
const CLOSED_V6: [&str; 5] = [
    "64:ff9b::a9fe:0/112", // link-local IPv4 behind NAT64
    "fd00:42::42/128",     // Scaleway
    "fd00:ec2::/32",       // Amazon
    "fd20:ce::254/128",    // Google
    "fe80::/10",           // link-local
];
/// The address of the DNS cache that many clusters run on each node. Other resolvers are pods or stand
/// outside, which is open anyway.
const NODE_LOCAL_DNS: &str = "169.254.20.10/32";

/// The policy of all pods of a pipeline.
pub(crate) fn build<C>(pipeline: &ValidatedPipeline<C>, settings: &PodSettings) -> NetworkPolicy {
    NetworkPolicy {
        metadata: metadata::shared(pipeline, names::shared(&pipeline.name)),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels::all_pods(&pipeline.name)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![ingress(settings)]),
            egress: Some(egress(settings)),
        }),
    }
}

/// The same for a pipeline of runs, whose chunks may be read by pods of their own.
pub(crate) fn with_coordinators<C>(
    pipeline: &ValidatedPipeline<C>,
    settings: &PodSettings,
) -> NetworkPolicy {
    let mut policy = build(pipeline, settings);
    if let Some(spec) = &mut policy.spec {
        spec.ingress.get_or_insert_default().push(readers(&pipeline.name));
    }
    policy
}

/// Readers fetch chunks and bring outcomes.
fn readers(pipeline: &str) -> NetworkPolicyIngressRule {
    let from = vec![NetworkPolicyPeer {
        pod_selector: Some(labels::selector(pipeline, Component::Chunk)),
        ..NetworkPolicyPeer::default()
    }];
    let port = IntOrString::String(PORT_NAME.to_owned());
    NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![tcp(port)]) }
}

/// The operator asks pods how they are and tells workers what to read; Prometheus scrapes them.
fn ingress(settings: &PodSettings) -> NetworkPolicyIngressRule {
    let home = [("kubernetes.io/metadata.name".to_owned(), settings.operator_namespace.clone())];
    let mut from = vec![NetworkPolicyPeer {
        namespace_selector: Some(selector(&home)),
        pod_selector: Some(selector(&settings.operator_labels)),
        ip_block: None,
    }];
    if !settings.scraper_namespace_labels.is_empty() {
        from.push(NetworkPolicyPeer {
            namespace_selector: Some(selector(&settings.scraper_namespace_labels)),
            ..NetworkPolicyPeer::default()
        });
    }
    let port = IntOrString::String(PORT_NAME.to_owned());
    NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![tcp(port)]) }
}

fn egress(settings: &PodSettings) -> Vec<NetworkPolicyEgressRule> {
    let resolver = cloud_identity::resolver(settings.cloud_identity);
    let resolvers = [Some(NODE_LOCAL_DNS), resolver].into_iter().flatten();
    let mut rules = vec![
        NetworkPolicyEgressRule {
            to: Some(resolvers.map(|address| block(address.to_owned(), &[])).collect()),
            ports: Some(vec![udp(53), tcp(IntOrString::Int(53))]),
        },
        NetworkPolicyEgressRule {
            // Some networks take blocks of addresses for what is outside the cluster only.
            to: Some(vec![
                any_pod(),
                block("0.0.0.0/0".to_owned(), &CLOSED),
                block("::/0".to_owned(), &CLOSED_V6),
            ]),
            ports: None,
        },
    ];
    rules.extend(cloud_identity::endpoints(settings.cloud_identity).iter().map(identity));
    rules
}

fn identity(endpoint: &Endpoint) -> NetworkPolicyEgressRule {
    let Endpoint { address, prefix, ports } = endpoint;
    NetworkPolicyEgressRule {
        to: Some(vec![block(format!("{address}/{prefix}"), &[])]),
        ports: Some(ports.iter().map(|port| tcp(IntOrString::Int(*port))).collect()),
    }
}

fn block(cidr: String, except: &[&str]) -> NetworkPolicyPeer {
    let except: Vec<_> = except.iter().map(|part| (*part).to_owned()).collect();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr, except: Some(except).filter(|parts| !parts.is_empty()) }),
        ..NetworkPolicyPeer::default()
    }
}

fn any_pod() -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    }
}

fn selector(labels: &[(String, String)]) -> LabelSelector {
    let labels: BTreeMap<_, _> = labels.iter().cloned().collect();
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

fn tcp(port: IntOrString) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(port),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    }
}

fn udp(port: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("UDP".to_owned()),
        ..NetworkPolicyPort::default()
    }
}
