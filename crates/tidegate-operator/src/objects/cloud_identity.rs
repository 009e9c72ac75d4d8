//! What each way of proving to a cloud who one is needs of the pods and of the network.
//!
//! No pod mounts a token of the API server. Where an identity is a token of the service account, the
//! cloud's own webhook adds one for the cloud's audience when the pod is made:
//!
//! - *IRSA*: the webhook looks for the annotation `eks.amazonaws.com/role-arn` at the service account,
//!   so the spec names one that carries it. The token is exchanged at STS, over the open network.
//! - *EKS Pod Identity*: an association names the service account, perhaps the pipeline's own. The token
//!   is exchanged at an agent on the node.
//! - *GKE*: the node's metadata server knows the pod by its address and its service account; nothing is
//!   mounted. Which address the packets have when a policy sees them depends on the data plane.
//! - *Azure*: the webhook looks for a label at the pod and the client's id at the service account. The
//!   token is exchanged at Entra, over the open network.

use std::collections::BTreeMap;

use crate::options::CloudIdentity;

/// An endpoint on the node that pods may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its address.
    pub(crate) address: &'static str,
    /// The length of a prefix that holds nothing else.
    pub(crate) prefix: u8,
    /// TCP ports.
    pub(crate) ports: &'static [i32],
}

const EKS: [Endpoint; 2] = [
    Endpoint { address: "169.254.170.23", prefix: 32, ports: &[80] },
    Endpoint { address: "fd00:ec2::23", prefix: 128, ports: &[80] },
];
/// Where a machine tells who it is, in most clouds.
const MACHINE: &str = "169.254.169.254";
const GKE: [Endpoint; 2] = [
    // Dataplane V2 and clients that are not redirected.
    Endpoint { address: MACHINE, prefix: 32, ports: &[80, 8080] },
    // Where the redirect of other data planes leads.
    Endpoint { address: "169.254.169.252", prefix: 32, ports: &[987, 988] },
];

/// The endpoints that an identity needs.
pub(crate) fn endpoints(identity: CloudIdentity) -> &'static [Endpoint] {
    match identity {
        CloudIdentity::EksPodIdentity => &EKS,
        CloudIdentity::Gke => &GKE,
        CloudIdentity::None | CloudIdentity::Irsa | CloudIdentity::Azure => &[],
    }
}

/// Whether pods may ask the address at which a machine of AWS, too, tells who it is.
pub(crate) fn reaches_machine(identity: CloudIdentity) -> bool {
    endpoints(identity).iter().any(|endpoint| endpoint.address == MACHINE)
}

/// The resolver that pods of that cloud may be given: with Cloud DNS for GKE, the metadata server.
pub(crate) fn resolver(identity: CloudIdentity) -> Option<&'static str> {
    (identity == CloudIdentity::Gke).then_some("169.254.169.254/32")
}

/// What clients have to reach without a proxy.
pub(crate) fn hosts(identity: CloudIdentity) -> impl Iterator<Item = &'static str> {
    let by_name = (identity == CloudIdentity::Gke).then_some("metadata.google.internal");
    endpoints(identity).iter().map(|endpoint| endpoint.address).chain(by_name)
}

/// Labels by which a cloud's webhook knows the pods that it has to look at.
pub(crate) fn pod_labels(identity: CloudIdentity) -> BTreeMap<String, String> {
    let labels = match identity {
        CloudIdentity::Azure => &[("azure.workload.identity/use", "true")][..],
        CloudIdentity::None
        | CloudIdentity::Irsa
        | CloudIdentity::EksPodIdentity
        | CloudIdentity::Gke => &[],
    };
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
