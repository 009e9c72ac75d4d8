//! Where the pods may go, by a reading of the policy that knows nothing of how it was made.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyEgressRule, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::fixture::{MINIMAL, decisions, pipeline, pod, templates};
use crate::objects::fixtures::{full_settings, settings};
use crate::options::{CloudIdentity, PodSettings};
use crate::streaming::resources::build;

const ALL: [CloudIdentity; 5] = [
    CloudIdentity::None,
    CloudIdentity::Irsa,
    CloudIdentity::EksPodIdentity,
    CloudIdentity::Gke,
    CloudIdentity::Azure,
];

#[test]
fn each_identity_opens_its_endpoint_and_no_other() {
    use CloudIdentity::{EksPodIdentity, Gke};
    // Address, port, who may reach it.
    let table: [(&str, i32, &[CloudIdentity]); 21] = [
        ("169.254.170.23", 80, &[EksPodIdentity]),
        ("fd00:ec2::23", 80, &[EksPodIdentity]),
        ("169.254.170.23", 443, &[]),
        ("169.254.170.2", 80, &[]),
        ("fd00:ec2::254", 80, &[]),
        ("169.254.169.254", 80, &[Gke]),
        ("169.254.169.254", 8080, &[Gke]),
        ("169.254.169.254", 53, &[Gke]),
        ("169.254.169.254", 443, &[]),
        ("169.254.169.252", 988, &[Gke]),
        ("169.254.169.252", 987, &[Gke]),
        ("169.254.169.252", 80, &[]),
        ("fd20:ce::254", 80, &[]),
        ("168.63.129.16", 80, &[]),
        ("168.63.129.16", 32526, &[]),
        ("100.100.100.200", 80, &[]),
        ("192.0.0.192", 80, &[]),
        ("169.254.0.23", 80, &[]),
        ("fe80::a9fe:a9fe", 80, &[]),
        ("64:ff9b::a9fe:a9fe", 80, &[]),
        ("169.254.20.10", 80, &[]),
    ];
    for identity in ALL {
        let rules = egress(&PodSettings { cloud_identity: identity, ..settings() });
        for (address, port, who) in table {
            let expected = who.contains(&identity);
            assert_eq!(reaches(&rules, address, port), expected, "{identity:?}: {address}:{port}");
        }
    }
}

#[test]
fn no_pod_asks_a_machine_for_keys_that_its_policy_keeps_it_from() {
    let told = |settings: &PodSettings| {
        let pods = templates(&build(&pipeline(MINIMAL), &decisions(), settings));
        pods.map(|template| {
            let mut env = pod(&template).containers[0].env.iter().flatten();
            let own = env.find(|variable| variable.name == "AWS_EC2_METADATA_DISABLED");
            own.and_then(|variable| variable.value.clone())
        })
    };
    for cloud_identity in ALL {
        let mut settings = PodSettings { cloud_identity, ..settings() };
        let closed = !reaches(&egress(&settings), "169.254.169.254", 80);
        let wanted = closed.then(|| "true".to_owned());
        assert_eq!(told(&settings), [wanted.clone(), wanted], "{cloud_identity:?}");
        // Somebody has opened it by other means.
        settings.environment.push(("AWS_EC2_METADATA_DISABLED".into(), "false".into()));
        let theirs = Some("false".to_owned());
        assert_eq!(told(&settings), [theirs.clone(), theirs], "{cloud_identity:?}");
    }
}

#[test]
fn brokers_stores_and_resolvers_are_reached_with_every_identity() {
    for identity in ALL {
        let rules = egress(&PodSettings { cloud_identity: identity, ..settings() });
        let table = [
            ("10.0.0.10", 53),
            ("169.254.20.10", 53),
            ("10.1.2.3", 4222),
            ("52.95.148.1", 443),
            ("169.253.255.255", 443),
            ("169.255.0.0", 443),
            ("2a05:d050::1", 443),
            ("fd12:3456::1", 9000),
        ];
        for (address, port) in table {
            assert!(reaches(&rules, address, port), "{identity:?}: {address}:{port}");
        }
        let peers = rules.iter().flat_map(|rule| rule.to.iter().flatten());
        let any_pod = peers.filter_map(|peer| peer.namespace_selector.as_ref()).count();
        assert_eq!(any_pod, 1, "pods are reached by their labels too");
    }
}

#[test]
fn only_the_operator_and_the_scraper_come_in() {
    for (settings, peers) in [(settings(), 1), (full_settings(), 2)] {
        let policy = build(&pipeline(MINIMAL), &decisions(), &settings).network_policy;
        let rules = policy.spec.expect("a spec").ingress.expect("rules");
        assert_eq!(rules.len(), 1);
        let from = rules[0].from.as_ref().expect("peers");
        assert_eq!(from.len(), peers);
        for peer in from {
            let namespace = peer.namespace_selector.as_ref().expect("a namespace");
            assert!(!namespace.match_labels.as_ref().expect("labels").is_empty());
        }
        let ports = rules[0].ports.as_ref().expect("ports");
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0].port, Some(IntOrString::String("http".to_owned())));
    }
}

fn egress(settings: &PodSettings) -> Vec<NetworkPolicyEgressRule> {
    let policy = build(&pipeline(MINIMAL), &decisions(), settings).network_policy;
    policy.spec.expect("a spec").egress.expect("rules")
}

/// By TCP, or by UDP for DNS.
fn reaches(rules: &[NetworkPolicyEgressRule], address: &str, port: i32) -> bool {
    let address: IpAddr = address.parse().expect("an address");
    let takes = |allowed: &NetworkPolicyPort| allowed.port == Some(IntOrString::Int(port));
    let here = |rule: &&NetworkPolicyEgressRule| {
        let mut peers = rule.to.as_ref().expect("peers").iter();
        peers.any(|peer| peer.ip_block.as_ref().is_some_and(|block| holds(block, address)))
    };
    let mut rules = rules.iter().filter(here);
    rules.any(|rule| rule.ports.as_ref().is_none_or(|ports| ports.iter().any(takes)))
}

fn holds(block: &IPBlock, address: IpAddr) -> bool {
    let mut except = block.except.iter().flatten();
    within(&block.cidr, address) && !except.any(|part| within(part, address))
}

fn within(cidr: &str, address: IpAddr) -> bool {
    let (base, prefix) = cidr.split_once('/').expect("a prefix");
    let prefix: u32 = prefix.parse().expect("a length");
    match (base.parse().expect("an address"), address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            base.to_bits() == address.to_bits() & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            base.to_bits() == address.to_bits() & mask
        }
        _ => false,
    }
}
