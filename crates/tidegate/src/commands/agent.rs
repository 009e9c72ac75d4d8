//! `tidegate agent`: what one process does for a pipeline, in a pod.

use std::sync::Arc;

use clap::Args;
use tidegate_telemetry::{AgentMetrics, Pages, Registry};
use tidegate_types::Reason;
use tidegate_worker::agent::Agent;

use crate::commands::pod::{ConfigArgs, Endpoint, ListenArgs, leave_message, shows};
use crate::failure::Failure;
use crate::signals::Signals;

/// Keep a pipeline's stream, look at its whole path, and say how far it is. Started by the operator
///
/// `/status` says what was found, also while broker or store are out of reach; no fault ends the process.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

/// Works until a signal.
pub(crate) async fn agent(args: AgentArgs) -> Result<u8, Failure> {
    let ended = work(args).await;
    if let Err(failure) = &ended {
        leave_message(failure, Reason::InvalidConfiguration);
    }
    ended
}

async fn work(args: AgentArgs) -> Result<u8, Failure> {
    let signals = Signals::listen()?;
    let (config, identity) = args.config.load()?;
    let mut registry = Registry::default();
    let metrics = Arc::new(AgentMetrics::new(&mut registry, &config.name));
    let agent = Agent::new((config, identity), args.config.secrets_dir, metrics.clone());
    let told = agent.clone();
    let pages = Pages::default().read("/status", move || shows(&told.report()));
    let endpoint = Endpoint::open(args.listen, registry, metrics, pages).await?;
    agent.run(signals.drain.clone()).await;
    endpoint.close().await;
    Ok(0)
}
