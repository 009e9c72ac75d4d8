//! `tidegate operator`: the controllers of a cluster.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate_operator::{CloudIdentity, OperatorOptions, PodSettings};
use tidegate_types::Span;

use crate::failure::{Failure, code};
use crate::signals::{Signals, Words};

/// Run the controllers: what an `IngestionPipeline` asks for is made and kept in the cluster
///
/// The API server is the one of the pod's service account, or of KUBECONFIG. Two or more may run: one
/// works, the others wait for its Lease.
#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// The namespaces to work in, separated by commas; all when there is none
    #[arg(long, env = "TIDEGATE_NAMESPACES", value_delimiter = ',', value_name = "NAME")]
    namespaces: Vec<String>,
    /// The namespace that the operator stands in: its Lease, and who may ask the pods of pipelines
    #[arg(long, env = "TIDEGATE_OWN_NAMESPACE", value_name = "NAME")]
    own_namespace: String,
    /// This replica's name, such as its pod's
    #[arg(long, env = "TIDEGATE_IDENTITY", value_name = "NAME")]
    identity: String,
    /// Work without waiting for the Lease; there must be no other replica
    #[arg(long, env = "TIDEGATE_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Pipelines whose pods are replaced at a time after an upgrade of the operator
    #[arg(
        long,
        env = "TIDEGATE_MAX_CONCURRENT_ROLLOUTS",
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    max_concurrent_rollouts: u16,
    /// Reconciles at a time
    #[arg(
        long,
        env = "TIDEGATE_MAX_CONCURRENT_RECONCILES",
        value_name = "N",
        default_value_t = 16,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    max_concurrent_reconciles: u16,
    /// How often the pods of each pipeline are asked
    #[arg(long, env = "TIDEGATE_POLL_INTERVAL", value_name = "TIME", default_value = "10s", value_parser = span)]
    poll_interval: Duration,
    /// How long the deletion of streams and tables may take before it is given up
    #[arg(long, env = "TIDEGATE_DELETION_DEADLINE", value_name = "TIME", default_value = "10m", value_parser = span)]
    deletion_deadline: Duration,
    /// Take `file:` tables, for tests whose pods are processes of one machine
    #[arg(long, env = "TIDEGATE_ALLOW_LOCAL_TABLES", hide = true)]
    allow_local_tables: bool,
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "TIDEGATE_LISTEN", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    #[command(flatten)]
    pods: PodArgs,
}

/// The operator holds no data, only the Lease.
const WORDS: Words = Words {
    drain: "ending the reconciles under way and giving the Lease back, a second signal leaves at once",
    leave: "leaving at once, a successor waits until the Lease has run out",
};

/// What is the same in the pods of all pipelines.
#[derive(Debug, Args)]
struct PodArgs {
    /// The image of the pods: the operator's own
    #[arg(long, env = "TIDEGATE_IMAGE")]
    image: String,
    /// When it is pulled
    #[arg(long, env = "TIDEGATE_IMAGE_PULL_POLICY", value_enum, default_value_t = PullArg::IfNotPresent)]
    image_pull_policy: PullArg,
    /// An environment variable of the pods, such as HTTPS_PROXY=http://proxy:3128
    #[arg(long, env = "TIDEGATE_POD_ENV", value_delimiter = '\n', value_name = "NAME=VALUE", value_parser = pair)]
    pod_env: Vec<(String, String)>,
    /// The `ConfigMap` in each pipeline's namespace whose key ca.crt is trusted too
    #[arg(long, env = "TIDEGATE_PRIVATE_CA_CONFIG_MAP", value_name = "NAME")]
    private_ca_config_map: Option<String>,
    /// How the pods prove to a cloud who they are
    #[arg(long, env = "TIDEGATE_CLOUD_IDENTITY", value_enum, default_value_t = CloudArg::None)]
    cloud_identity: CloudArg,
    /// A label of the operator's pods, who may ask the pods of pipelines
    #[arg(long, env = "TIDEGATE_OPERATOR_LABEL", value_delimiter = ',', value_name = "NAME=VALUE", value_parser = pair)]
    operator_label: Vec<(String, String)>,
    /// A label of the namespace whose pods may scrape metrics
    #[arg(long, env = "TIDEGATE_SCRAPER_NAMESPACE_LABEL", value_delimiter = ',', value_name = "NAME=VALUE", value_parser = pair)]
    scraper_namespace_label: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PullArg {
    #[value(name = "Always")]
    Always,
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    #[value(name = "Never")]
    Never,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CloudArg {
    #[value(name = "None")]
    None,
    #[value(name = "IRSA")]
    Irsa,
    #[value(name = "EKSPodIdentity")]
    EksPodIdentity,
    #[value(name = "GKE")]
    Gke,
    #[value(name = "Azure")]
    Azure,
}

/// Runs until a signal.
pub(crate) async fn operator(args: OperatorArgs) -> Result<u8, Failure> {
    let signals = Signals::listen_saying(WORDS)?;
    let client = tidegate_operator::connect().await.map_err(|error| {
        Failure::of(error).advising("run it in a pod with a service account, or set KUBECONFIG")
    })?;
    let work = tidegate_operator::run(args.options(), client, signals.drain);
    match signals.leave.run_until_cancelled(work).await {
        Some(ended) => ended.map_err(Failure::of).map(|()| 0),
        None => Ok(code::INTERRUPTED),
    }
}

impl OperatorArgs {
    fn options(self) -> OperatorOptions {
        let own_namespace = self.own_namespace;
        let named = self.namespaces.into_iter().filter(|namespace| !namespace.is_empty());
        OperatorOptions {
            namespaces: named.collect(),
            own_namespace: own_namespace.clone(),
            identity: self.identity,
            leader_election: !self.no_leader_election,
            max_concurrent_rollouts: usize::from(self.max_concurrent_rollouts),
            max_concurrent_reconciles: self.max_concurrent_reconciles,
            poll_interval: self.poll_interval,
            deletion_deadline: self.deletion_deadline,
            allow_local_tables: self.allow_local_tables,
            listen: self.listen,
            pods: self.pods.settings(own_namespace),
        }
    }
}

impl PodArgs {
    fn settings(self, operator_namespace: String) -> PodSettings {
        PodSettings {
            image: self.image,
            image_pull_policy: match self.image_pull_policy {
                PullArg::Always => "Always",
                PullArg::IfNotPresent => "IfNotPresent",
                PullArg::Never => "Never",
            }
            .to_owned(),
            environment: self.pod_env,
            private_ca_config_map: self.private_ca_config_map.filter(|name| !name.is_empty()),
            cloud_identity: match self.cloud_identity {
                CloudArg::None => CloudIdentity::None,
                CloudArg::Irsa => CloudIdentity::Irsa,
                CloudArg::EksPodIdentity => CloudIdentity::EksPodIdentity,
                CloudArg::Gke => CloudIdentity::Gke,
                CloudArg::Azure => CloudIdentity::Azure,
            },
            operator_namespace,
            operator_labels: self.operator_label,
            scraper_namespace_labels: self.scraper_namespace_label,
        }
    }
}

/// A length of time that is not zero: polling without a pause would be no use to anybody.
fn span(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    let duration = span.to_duration();
    if duration.is_zero() {
        Err("write more than nothing, such as 10s".to_owned())
    } else {
        Ok(duration)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}
