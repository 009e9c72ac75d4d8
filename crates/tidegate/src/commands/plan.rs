//! `tidegate plan`: what would be created, and from where reading would go on.

use clap::Args;

use crate::broker::{Broker, BrokerArgs};
use crate::documents::PipelineArgs;
use crate::failure::{Failure, worker_failed};
use crate::output::say;

/// Say what a run would create, and from which position it would read on. Changes nothing.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Prints the plan of every pipeline.
pub(crate) async fn plan(args: PlanArgs) -> Result<(), Failure> {
    let mut pipelines = args.pipelines.load()?;
    let data_dir = args.pipelines.changes.absolute_data_dir()?;
    let configs = pipelines.iter_mut().map(|pipeline| &mut pipeline.config);
    let broker = Broker::provide(&args.broker, &data_dir, configs).await?;
    let mut outcome = Ok(());
    for pipeline in pipelines {
        if pipeline.suspended {
            say(format!("{} is suspended; once it is not:", pipeline.config.name))?;
        }
        let secrets_dir = args.broker.secrets_dir.clone();
        match tidegate_worker::plan(&pipeline.config, secrets_dir).await {
            Ok(plan) => say(plan.to_string().trim_end())?,
            Err(error) => {
                outcome = Err(worker_failed(error));
                break;
            }
        }
    }
    broker.stop().await;
    outcome
}
