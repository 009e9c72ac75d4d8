//! Operators: inside the test or as a process of their own.

use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_operator::{Clock, CloudIdentity, OperatorError, OperatorOptions, PodSettings};
use tidegate_testing::cluster::Access;
use tidegate_testing::{Namespace, Tap, TidegateCommand, TidegateProcess, free_port};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The image that pods name; the node does not look at it.
pub(crate) const IMAGE: &str = "tidegate:test";
/// How often pods are asked; tests are impatient.
const POLL: Duration = Duration::from_millis(500);

/// What every operator of a test is told.
pub(crate) fn options(namespace: &Namespace) -> OperatorOptions {
    OperatorOptions {
        namespaces: [namespace.name().to_owned()].into(),
        own_namespace: namespace.name().to_owned(),
        identity: "test".to_owned(),
        leader_election: false,
        max_concurrent_rollouts: 5,
        max_concurrent_reconciles: 8,
        poll_interval: POLL,
        deletion_deadline: Duration::from_secs(60),
        allow_local_tables: true,
        listen: ([127, 0, 0, 1], 0).into(),
        pods: PodSettings {
            image: IMAGE.to_owned(),
            image_pull_policy: "IfNotPresent".to_owned(),
            environment: Vec::new(),
            private_ca_config_map: None,
            cloud_identity: CloudIdentity::None,
            operator_namespace: namespace.name().to_owned(),
            operator_labels: vec![("app.kubernetes.io/name".to_owned(), "tidegate".to_owned())],
            scraper_namespace_labels: Vec::new(),
        },
    }
}

/// An operator in the test's own process. Dropping it is a crash: whatever it does stops where it
/// stands.
#[derive(Debug)]
pub(crate) struct InProcess {
    /// What it asked of the API server.
    pub(crate) tap: Tap,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), OperatorError>>>,
}

impl InProcess {
    pub(crate) async fn start(options: OperatorOptions, access: &Access, tap: Tap) -> Result<Self> {
        Self::start_by(Clock::system(), options, access, tap).await
    }

    /// The same with another clock for its schedules.
    pub(crate) async fn start_by(
        clock: Clock,
        options: OperatorOptions,
        access: &Access,
        tap: Tap,
    ) -> Result<Self> {
        let client = tap.client(access).await?;
        let stop = CancellationToken::new();
        let work = tidegate_operator::run_by(clock, options, client, stop.clone());
        let task = tokio::spawn(work);
        Ok(Self { tap, stop, task: Some(task) })
    }

    /// Ends as with SIGTERM.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let task = self.task.take().context("an operator ends once")?;
        task.await.context("the operator panicked")?.context("the operator failed")
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// An operator as a process, which elects a leader.
pub(crate) async fn spawn(
    namespace: &Namespace,
    access: &Access,
    identity: &str,
    logs: &std::path::Path,
) -> Result<TidegateProcess> {
    std::fs::create_dir_all(logs)?;
    let kubeconfig = logs.join(format!("{identity}.kubeconfig"));
    access.write(&kubeconfig)?;
    let kubeconfig = kubeconfig.to_string_lossy();
    TidegateCommand::new("operator")?
        .environment("KUBECONFIG", &kubeconfig)
        .argument(format!("--namespaces={}", namespace.name()))
        .argument(format!("--own-namespace={}", namespace.name()))
        .argument(format!("--identity={identity}"))
        .argument(format!("--image={IMAGE}"))
        .argument(format!("--listen=127.0.0.1:{}", free_port()?))
        .argument("--poll-interval=500ms")
        .argument("--allow-local-tables")
        .spawn(identity, logs)
}
