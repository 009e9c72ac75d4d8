//! `tidegate transfer-chunk`: one chunk of a run, in a pod of the run's Indexed Job.

use clap::Args;
use tidegate_telemetry::Pages;
use tidegate_transfer::{ChunkOptions, DeskToken};

use crate::commands::pod::{ConfigArgs, ListenArgs};
use crate::commands::transfer::{Reporting, exit_code, refused, report_on, terminate_with_report};
use crate::failure::Failure;
use crate::signals::Words;

const WORDS: Words = Words {
    drain: "leaving the chunk to another reader; a second signal leaves at once",
    leave: "leaving at once, the chunk is another reader's",
};

/// Read one chunk of a bulk run for its coordinator. Started by the operator
///
/// The coordinator holds the snapshot and commits; what is written here counts when it says so. Exit codes:
/// 0 the chunk is there, 75 another reader may do, 65 none will.
#[derive(Debug, Args)]
pub(crate) struct TransferChunkArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// Where the coordinator listens, such as http://10.0.0.7:8080
    #[arg(long, value_name = "URL")]
    coordinator: String,
    /// What tells this coordinator from others: `desk` of its /status
    #[arg(long, value_name = "NONCE")]
    nonce: String,
    /// The chunk's number in the plan; an Indexed Job says it
    #[arg(long, value_name = "NUMBER", env = "JOB_COMPLETION_INDEX")]
    chunk: u32,
}

/// Reads the chunk.
pub(crate) async fn transfer_chunk(args: TransferChunkArgs) -> Result<u8, Failure> {
    let config = args.config.load_transfer().inspect_err(|failure| {
        terminate_with_report(&refused(failure));
    })?;
    let reporting = Reporting {
        listen: args.listen,
        name: config.name.clone(),
        words: WORDS,
        pages: Pages::default(),
    };
    let work = |sender, cancel| {
        let options = ChunkOptions {
            config,
            coordinator: args.coordinator,
            nonce: args.nonce,
            token: DeskToken::from_environment(),
            chunk: args.chunk,
            secrets_dir: Some(args.config.secrets_dir),
            cancel,
        };
        tidegate_transfer::transfer_chunk(options, sender)
    };
    exit_code(report_on(reporting, work).await)
}
