//! `tidegate plan`: what would be created, and from where reading would go on.

use clap::Args;

use crate::broker::{Broker, BrokerArgs};
use crate::bulk::outlook;
use crate::documents::{Loaded, PipelineArgs};
use crate::failure::{Failure, code, worker_failed};
use crate::output::say;

/// Say what a run would create, and from which position it would read on. Changes nothing.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Prints the plan of every pipeline; the exit code is 65 when a run that is due would be refused.
pub(crate) async fn plan(args: PlanArgs) -> Result<u8, Failure> {
    let mut pipelines = args.pipelines.load()?;
    let data_dir = args.pipelines.changes.absolute_data_dir()?;
    let configs = pipelines.streams.iter_mut().map(|pipeline| &mut pipeline.config);
    let broker = Broker::provide(&args.broker, &data_dir, configs).await?;
    let outcome = plan_all(&args, pipelines).await;
    broker.stop().await;
    outcome
}

async fn plan_all(args: &PlanArgs, pipelines: Loaded) -> Result<u8, Failure> {
    let mut exit = 0;
    for pipeline in pipelines.streams {
        tell_suspended(pipeline.suspended, &pipeline.config.name)?;
        let secrets_dir = args.broker.secrets_dir.clone();
        let plan = tidegate_worker::plan(&pipeline.config, secrets_dir).await;
        say(plan.map_err(worker_failed)?.to_string().trim_end())?;
    }
    for pipeline in pipelines.bulk {
        tell_suspended(pipeline.suspended, &pipeline.config.name)?;
        let outlook = outlook(&pipeline, args.broker.secrets_dir.clone()).await?;
        for line in outlook.lines {
            say(line)?;
        }
        if outlook.is_refused {
            exit = code::PERMANENT;
        }
    }
    Ok(exit)
}

fn tell_suspended(suspended: bool, name: &str) -> std::io::Result<()> {
    if suspended { say(format!("{name} is suspended; once it is not:")) } else { Ok(()) }
}
