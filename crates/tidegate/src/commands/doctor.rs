//! `tidegate doctor`: is everything there that the pipelines stand on?

use clap::Args;
use tidegate_config::PipelineConfig;
use tidegate_worker::doctor::Health;

use crate::broker::{Broker, BrokerArgs};
use crate::bulk::refused_in_outlook;
use crate::documents::{Loaded, LoadedBulk, LoadedPipeline, PipelineArgs};
use crate::failure::{Failure, code, worker_failed, worse};
use crate::output::say;

/// Look at everything that the pipelines stand on: schema, broker, stream and its other readers, or source
/// and rights, then store and table.
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
    let configs = pipelines.streams.iter_mut().map(|pipeline| &mut pipeline.config);
    let broker = Broker::provide(&args.broker, &data_dir, configs).await?;
    let outcome = look_at_all(&args, pipelines).await;
    broker.stop().await;
    outcome
}

async fn look_at_all(args: &DoctorArgs, pipelines: Loaded) -> Result<u8, Failure> {
    let mut exit = 0;
    for LoadedPipeline { config, .. } in &pipelines.streams {
        exit = worse(exit, look_at_stream(args, config).await?);
    }
    // Nothing of theirs keeps a stream from being trimmed.
    for pipeline in pipelines.bulk.iter().filter(|_| args.forget_ledger.is_none()) {
        exit = worse(exit, look_at_bulk(args, pipeline).await?);
    }
    Ok(exit)
}

async fn look_at_stream(args: &DoctorArgs, config: &PipelineConfig) -> Result<u8, Failure> {
    let secrets_dir = args.broker.secrets_dir.clone();
    if let Some(ledger) = &args.forget_ledger {
        let forgotten = tidegate_worker::doctor::forget_ledger(config, secrets_dir, ledger).await;
        forgotten.map_err(worker_failed)?;
        say(format!("{}: ledger {ledger} is forgotten", config.name))?;
        return Ok(0);
    }
    say(format!("{}:", config.name))?;
    let mut exit = 0;
    for check in tidegate_worker::doctor::doctor(config, secrets_dir).await {
        let word = match check.health {
            Health::Ok => "ok",
            Health::Caveat => "caveat",
            Health::Failed => "failed",
        };
        say(line(word, check.what, &check.found))?;
        if check.health == Health::Failed {
            exit = code::PERMANENT;
        }
    }
    Ok(exit)
}

async fn look_at_bulk(args: &DoctorArgs, pipeline: &LoadedBulk) -> Result<u8, Failure> {
    let (config, secrets_dir) = (&pipeline.config, args.broker.secrets_dir.clone());
    say(format!("{}:", config.name))?;
    let mut exit = 0;
    let looks = tidegate_transfer::doctor::doctor(config, secrets_dir.clone());
    for look in looks.await {
        match look.found {
            Ok(found) => say(line("ok", look.what, &found))?,
            Err(trouble) => {
                say(line("failed", look.what, &trouble))?;
                exit = code::PERMANENT;
            }
        }
    }
    // Where something failed it was told already, or cannot be.
    if exit == 0 {
        for refused in refused_in_outlook(pipeline, secrets_dir).await? {
            say(line("failed", "schedule", &refused))?;
            exit = code::PERMANENT;
        }
    }
    Ok(exit)
}

fn line(word: &str, what: &str, found: &str) -> String {
    format!("  {word:7} {what}: {found}")
}
