//! `tidegate verify`: proof that nothing is missing or doubled.

use std::fmt;

use clap::Args;
use serde_json::json;
use tidegate_transfer::recount;
use tidegate_worker::{VerifyReport, VerifyState};

use crate::broker::{Broker, BrokerArgs};
use crate::documents::{Loaded, LoadedBulk, LoadedPipeline, PipelineArgs};
use crate::failure::{Failure, code, run_failed, worker_failed, worse};
use crate::output::say;

/// Intervals of a bulk pipeline that its source is asked about, the newest ones: a query or a listing each.
const MOST_RECOUNTED: usize = 500;

/// Prove that the tables hold every message, or every interval's rows, once: exit code 0 ok, 1 damaged, 2 not provable.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Ask the source as well: every message of the stream is counted; of a bulk pipeline the rows of each
    /// interval that the table holds, or whether its files are still those that were loaded
    #[arg(long)]
    source: bool,
    /// Print one JSON object a pipeline
    #[arg(long)]
    json: bool,
}

/// Verifies every pipeline's table and returns the exit code of the worst.
pub(crate) async fn verify(args: VerifyArgs) -> Result<u8, Failure> {
    let mut pipelines = args.pipelines.load()?;
    let data_dir = args.pipelines.changes.absolute_data_dir()?;
    // Only the recount of the source asks a broker.
    let streams = pipelines.streams.iter_mut().filter(|_| args.source);
    let configs = streams.map(|pipeline| &mut pipeline.config);
    let broker = Broker::provide(&args.broker, &data_dir, configs).await?;
    let outcome = verify_all(&args, pipelines).await;
    broker.stop().await;
    outcome
}

async fn verify_all(args: &VerifyArgs, pipelines: Loaded) -> Result<u8, Failure> {
    let secrets_dir = || args.broker.secrets_dir.clone();
    let mut exit = 0;
    let several = pipelines.streams.len() + pipelines.bulk.len() > 1;
    for LoadedPipeline { config, .. } in pipelines.streams {
        let report = tidegate_worker::verify(&config, secrets_dir(), args.source).await;
        exit = worse(exit, tell(args, (&config.name, several), &report.map_err(worker_failed)?)?);
    }
    for LoadedBulk { config, .. } in pipelines.bulk {
        let recount = match args.source {
            true => {
                Some(recount(&config, secrets_dir(), MOST_RECOUNTED).await.map_err(run_failed)?)
            }
            false => None,
        };
        let report = tidegate_worker::verify_bulk(&config, secrets_dir(), recount.as_ref()).await;
        exit = worse(exit, tell(args, (&config.name, several), &report.map_err(run_failed)?)?);
    }
    Ok(exit)
}

/// Prints what was found, and returns its exit code.
fn tell(
    args: &VerifyArgs,
    (name, several): (&str, bool),
    report: &VerifyReport,
) -> Result<u8, Failure> {
    let text = if args.json { as_json(name, report) } else { as_text(name, several, report) };
    say(text.trim_end())?;
    Ok(exit_code(report.state))
}

/// With the pipeline's name where it is one of `several`.
fn as_text(name: &str, several: bool, report: impl fmt::Display) -> String {
    if several { format!("{name}\n{report}") } else { report.to_string() }
}

fn as_json(name: &str, report: &VerifyReport) -> String {
    json!({"pipeline": name, "state": word(report.state), "report": report}).to_string()
}

fn word(state: VerifyState) -> &'static str {
    match state {
        VerifyState::Ok => "Ok",
        VerifyState::Damaged => "Damaged",
        VerifyState::NotProvable => "NotProvable",
    }
}

fn exit_code(state: VerifyState) -> u8 {
    match state {
        VerifyState::Ok => 0,
        VerifyState::Damaged => code::DAMAGED,
        VerifyState::NotProvable => code::NOT_PROVABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_pipelines_is_named_before_what_was_found_of_it() {
        assert_eq!(as_text("web/clicks", false, "ok"), "ok");
        assert_eq!(as_text("web/clicks", true, "ok"), "web/clicks\nok");
    }

    #[test]
    fn the_three_states_have_three_exit_codes() {
        let codes =
            [VerifyState::Ok, VerifyState::Damaged, VerifyState::NotProvable].map(exit_code);
        assert_eq!(codes, [0, 1, 2]);
    }
}
