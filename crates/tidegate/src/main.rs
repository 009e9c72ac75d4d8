//! The `tidegate` binary: arguments in, an exit code out. Everything else is in the modules.

mod broker;
mod bulk;
mod cli;
mod commands;
mod documents;
mod events;
mod failure;
mod feasibility;
mod memory;
mod output;
mod progress;
mod run_policy;
mod signals;
mod subject;
mod summary;
mod workers;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::commands::{
    agent, backfill, calendar, cleanup, crd, doctor, generate, operator, plan, publish, run,
    transfer, transfer_chunk, validate, verify, worker,
};
use crate::failure::{Failure, code, worker_failed};
use crate::progress::Progress;

/// How long blocking calls may hold up the end of the process.
const LAST_CALLS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version come this way too, and are no mistakes.
            let wrong = refusal.use_stderr();
            let _ = refusal.print();
            return ExitCode::from(if wrong { code::USAGE } else { 0 });
        }
    };
    let ended = start(cli).unwrap_or_else(|failure| {
        let _ = writeln!(std::io::stderr(), "{failure}");
        failure.code()
    });
    ExitCode::from(ended)
}

fn start(cli: Cli) -> Result<u8, Failure> {
    // Alone and without threads: its address space is limited.
    if let Command::DecodeProbe(args) = &cli.command {
        tidegate_worker::decode_probe(args.limits(), std::io::stdin().lock())
            .map_err(worker_failed)?;
        return Ok(0);
    }
    let progress = Progress::detect();
    tidegate_telemetry::init_logs(cli.log_format(), progress.log_printer())?;
    // An error means that a provider is installed already, which is just as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(dispatch(cli.command, progress));
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

async fn dispatch(command: Command, progress: Progress) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(args, progress).await,
        Command::Backfill(args) => backfill::backfill(args, progress).await,
        Command::Publish(args) => publish::publish(args).await.map(|()| 0),
        Command::Plan(args) => plan::plan(args).await,
        Command::Verify(args) => verify::verify(args).await,
        Command::Doctor(args) => doctor::doctor(args).await,
        Command::Validate(args) => validate::validate(&args),
        Command::Generate(args) => generate::generate(&args).map(|()| 0),
        Command::Worker(args) => worker::worker(args).await,
        Command::Agent(args) => agent::agent(args).await,
        Command::Transfer(args) => transfer::transfer(args).await,
        Command::TransferChunk(args) => transfer_chunk::transfer_chunk(args).await,
        Command::Calendar(args) => calendar::calendar(args).await,
        Command::Cleanup(args) => cleanup::run(args).await,
        Command::Operator(args) => operator::operator(*args).await,
        Command::Crd => crd::crd().map(|()| 0),
        Command::DecodeProbe(_) => unreachable!("it was answered before the runtime was there"),
    }
}
