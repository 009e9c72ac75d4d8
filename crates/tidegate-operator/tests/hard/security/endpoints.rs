//! Which endpoints of a node the pods may reach, by the policy that is in the cluster.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tidegate_operator::CloudIdentity;

use super::super::support::{Document, Stage, options};

/// Where clouds hand out the identity of a node or of a pod, and what else is of the node.
const ENDPOINTS: [(&str, i32); 12] = [
    ("169.254.169.254", 80),
    ("169.254.169.254", 8080),
    ("169.254.169.254", 443),
    ("169.254.169.252", 988),
    ("169.254.170.23", 80),
    ("169.254.170.23", 443),
    ("169.254.170.2", 80),
    ("100.100.100.200", 80),
    ("168.63.129.16", 80),
    ("fd00:ec2::254", 80),
    ("fd00:ec2::23", 80),
    ("fe80::1", 80),
];

fn opened(identity: CloudIdentity) -> &'static [(&'static str, i32)] {
    match identity {
        CloudIdentity::None | CloudIdentity::Irsa | CloudIdentity::Azure => &[],
        CloudIdentity::EksPodIdentity => &[("169.254.170.23", 80), ("fd00:ec2::23", 80)],
        CloudIdentity::Gke => {
            &[("169.254.169.254", 80), ("169.254.169.254", 8080), ("169.254.169.252", 988)]
        }
    }
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn exactly_the_endpoint_of_the_chosen_identity_is_open() {
    let stage = Stage::of_stand_ins("endpoints").await;
    stage.apply(&Document::of_stand_ins("clicks")).await;
    for identity in [
        CloudIdentity::None,
        CloudIdentity::EksPodIdentity,
        CloudIdentity::Gke,
        CloudIdentity::Irsa,
        CloudIdentity::Azure,
    ] {
        let mut told = options(&stage.namespace);
        told.pods.cloud_identity = identity;
        let operator = stage.operator_with(told).await;
        let policies = stage.namespace.api::<NetworkPolicy>();
        stage
            .until(&format!("what {identity:?} needs is open, and nothing else"), async || {
                let Some(policy) = policies.get_opt("clicks-pipeline").await.unwrap() else {
                    return false;
                };
                let open = ENDPOINTS.into_iter().filter(|(to, port)| reaches(&policy, to, *port));
                open.eq(opened(identity).iter().copied())
            })
            .await;
        let policy = policies.get("clicks-pipeline").await.unwrap();
        for (elsewhere, port) in [("10.1.2.3", 4222), ("52.1.2.3", 443), ("2600::1", 443)] {
            assert!(reaches(&policy, elsewhere, port), "{elsewhere}");
        }
        // Pods are chosen by the pipeline, so that it holds for agent, workers and cleanup.
        let spec = policy.spec.unwrap();
        let chosen = spec.pod_selector.unwrap().match_labels.unwrap();
        assert_eq!(chosen.get("tidegate.dev/pipeline").map(String::as_str), Some("clicks"));
        assert!(!chosen.contains_key("app.kubernetes.io/component"));
        assert!(spec.policy_types.unwrap().contains(&"Egress".to_owned()));
        drop(operator);
    }
}

/// Whether a pod may open a TCP connection to an address outside the cluster's network.
fn reaches(policy: &NetworkPolicy, address: &str, port: i32) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
    rules.into_iter().any(|rule| {
        let ports = rule.ports.as_deref().unwrap_or_default();
        let to = rule.to.as_deref().unwrap_or_default();
        let fits_port = ports.is_empty() || ports.iter().any(|open| is_open(open, port));
        let mut blocks = to.iter().filter_map(|peer| peer.ip_block.as_ref());
        fits_port && (to.is_empty() || blocks.any(|block| holds(block, address)))
    })
}

fn is_open(open: &NetworkPolicyPort, port: i32) -> bool {
    let protocol = open.protocol.as_deref().unwrap_or("TCP");
    protocol == "TCP" && open.port.as_ref().is_none_or(|there| *there == IntOrString::Int(port))
}

fn holds(block: &IPBlock, address: IpAddr) -> bool {
    let mut except = block.except.iter().flatten();
    within(&block.cidr, address) && !except.any(|part| within(part, address))
}

fn within(cidr: &str, address: IpAddr) -> bool {
    let (network, length) = cidr.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let ((width, network), (other, address)) = (bits(network.parse().unwrap()), bits(address));
    let rest = width - length;
    width == other && network.checked_shr(rest) == address.checked_shr(rest)
}

#[test]
fn the_reading_of_addresses_is_right() {
    let v4 = |text: &str| IpAddr::V4(text.parse().unwrap());
    assert!(within("169.254.0.0/16", v4("169.254.169.254")));
    assert!(!within("169.254.0.0/16", v4("169.253.255.255")));
    assert!(within("0.0.0.0/0", v4("1.2.3.4")) && !within("::/0", v4("1.2.3.4")));
    assert!(within("fe80::/10", "fe80::1".parse().unwrap()));
    assert!(within("::/0", "2600::1".parse().unwrap()));
}
