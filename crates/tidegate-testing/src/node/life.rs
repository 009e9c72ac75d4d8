//! What is done with a pod on the node: it lives as a process or as a stand-in, and is removed.

use super::process;
use super::run::PodRun;
use super::stand_in;
use super::status::ContainerState;

/// Runs the pod until it is removed.
pub(crate) async fn run_to_the_end(mut run: PodRun) {
    let lived = match &run.shared.stand_ins {
        Some(_) => stand_in::live(&mut run).await,
        None => process::live(&mut run).await,
    };
    if let Err(error) = lived {
        let message = format!("{error:#}");
        run.view.state = ContainerState::Waiting { reason: "CreateContainerError", message };
        run.view.set_ready(false);
        run.report().await;
    }
    run.latest.until_leaving().await;
    run.remove().await;
}
