//! `tidegate doctor`: is everything there that the pipelines stand on?

use clap::Args;
use tidegate_worker::doctor::Health;

use crate::broker::{Broker, BrokerArgs};
use crate::documents::{LoadedPipeline, PipelineArgs};
use crate::failure::{Failure, code, worker_failed};
use crate::output::say;

/// Look at schema, broker, stream, its other readers, store and table of every pipeline.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Take a ledger that will never read again off the stream's list of readers; it keeps the stream
    /// from being trimmed
    #[arg(long, value_name = "LEDGER")]
    forget_ledger: Option<String>,
}

/// Prints a line for each check; the exit code is 65 when one failed.
pub(crate) async fn doctor(args: DoctorArgs) -> Result<u8, Failure> {
    let mut pipelines = args.pipelines.load()?;
    let data_dir = args.pipelines.changes.absolute_data_dir()?;
    let configs = pipelines.iter_mut().map(|pipeline| &mut pipeline.config);
    let broker = Broker::provide(&args.broker, &data_dir, configs).await?;
    let outcome = look_at_all(&args, pipelines).await;
    broker.stop().await;
    outcome
}

async fn look_at_all(args: &DoctorArgs, pipelines: Vec<LoadedPipeline>) -> Result<u8, Failure> {
    let mut exit = 0;
    for LoadedPipeline { config, .. } in pipelines {
        let secrets_dir = args.broker.secrets_dir.clone();
        if let Some(ledger) = &args.forget_ledger {
            tidegate_worker::doctor::forget_ledger(&config, secrets_dir, ledger)
                .await
                .map_err(worker_failed)?;
            say(format!("{}: ledger {ledger} is forgotten", config.name))?;
            continue;
        }
        say(format!("{}:", config.name))?;
        for check in tidegate_worker::doctor::doctor(&config, secrets_dir).await {
            let word = match check.health {
                Health::Ok => "ok",
                Health::Caveat => "caveat",
                Health::Failed => "failed",
            };
            say(format!("  {word:7} {}: {}", check.what, check.found))?;
            if check.health == Health::Failed {
                exit = code::PERMANENT;
            }
        }
    }
    Ok(exit)
}
