//! What the pods of a bulk pipeline need, made without a client.

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::objects::{config_maps, network_policy, service_account};
use crate::options::PodSettings;
use crate::validation::Transfer;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::validate::tests::accepted;
    use crate::objects::fixtures::settings;

    #[test]
    fn only_readers_and_the_operator_reach_a_coordinator() {
        let policy = build_bulk(&accepted(""), &settings()).network_policy;
        let rules = policy.spec.unwrap().ingress.unwrap();
        let [others, readers] = &rules[..] else { panic!("two rules: {rules:?}") };
        assert!(others.from.as_ref().unwrap().iter().all(|peer| peer.namespace_selector.is_some()));
        let [peer] = &readers.from.as_ref().unwrap()[..] else { panic!("one peer: {readers:?}") };
        assert!(peer.namespace_selector.is_none() && peer.ip_block.is_none(), "of this namespace");
        let labels = peer.pod_selector.as_ref().unwrap().match_labels.as_ref().unwrap();
        assert_eq!(labels["app.kubernetes.io/component"], "transfer-chunk");
        assert_eq!(labels["tidegate.dev/pipeline"], "orders");
    }
}
