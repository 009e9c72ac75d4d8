//! What the operator is told when it starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// How to run an operator.
#[derive(Debug, Clone)]
pub struct OperatorOptions {
    /// The namespaces to work in; empty: all.
    pub namespaces: BTreeSet<String>,
    /// The namespace that the operator itself stands in: its Lease, and whose pods may ask pipelines.
    pub own_namespace: String,
    /// This replica's name, the holder of the Lease: its pod's.
    pub identity: String,
    /// Whether to wait for the Lease `tidegate-operator`; a test may go without.
    pub leader_election: bool,
    /// Pipelines whose pods are replaced at a time because of a new release of the operator.
    pub max_concurrent_rollouts: usize,
    /// Reconciles at a time.
    pub max_concurrent_reconciles: u16,
    /// How often each pipeline's pods are asked.
    pub poll_interval: Duration,
    /// How long the deletion of what lies outside the cluster may take before it is given up.
    pub deletion_deadline: Duration,
    /// Whether `file:` tables are taken. A pod's disk does not outlive it, so that this is for tests
    /// whose pods are processes of one machine.
    pub allow_local_tables: bool,
    /// Where `/metrics`, `/livez` and `/readyz` are served.
    pub listen: SocketAddr,
    /// What is the same in every pod.
    pub pods: PodSettings,
}

/// What is the same in the pods of all pipelines.
#[derive(Debug, Clone)]
pub struct PodSettings {
    /// The image: the operator's own.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// Proxy settings and the like; names are `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, `TIDEGATE_LOG`.
    pub environment: Vec<(String, String)>,
    /// A `ConfigMap` in each pipeline's namespace whose key `ca.crt` is trusted beside the system's
    /// authorities; mounted optionally. None: the system's alone.
    pub private_ca_config_map: Option<String>,
    /// Which identity endpoint the pods may reach.
    pub cloud_identity: CloudIdentity,
    /// The namespace of the operator's pods; the same as [`OperatorOptions::own_namespace`].
    pub operator_namespace: String,
    /// Labels of the operator's pods, who may ask the pods of pipelines.
    pub operator_labels: Vec<(String, String)>,
    /// Labels of the namespace whose pods may scrape metrics; empty: nobody but the operator.
    pub scraper_namespace_labels: Vec<(String, String)>,
}

/// How pods prove to a cloud who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CloudIdentity {
    /// By keys in Secrets.
    #[default]
    None,
    /// IAM roles for service accounts: a mounted token and STS, no endpoint on the node.
    Irsa,
    /// EKS Pod Identity: the agent on the node.
    EksPodIdentity,
    /// GKE workload identity: the metadata server.
    Gke,
    /// Azure workload identity: a mounted token, no endpoint on the node.
    Azure,
}
