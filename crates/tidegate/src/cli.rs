//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate_telemetry::LogFormat;
use tidegate_worker::ProbeLimits;

use crate::commands::agent::AgentArgs;
use crate::commands::backfill::BackfillArgs;
use crate::commands::calendar::CalendarArgs;
use crate::commands::cleanup::CleanupArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::generate::GenerateArgs;
use crate::commands::operator::OperatorArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::publish::PublishArgs;
use crate::commands::run::RunArgs;
use crate::commands::transfer::TransferArgs;
use crate::commands::transfer_chunk::TransferChunkArgs;
use crate::commands::validate::ValidateArgs;
use crate::commands::verify::VerifyArgs;
use crate::commands::worker::WorkerArgs;

const AFTER_HELP: &str = "\
Exit codes: 0 done · 64 the command line cannot be read · 65 somebody has to change something first \
· 75 trying again later may do · 130 interrupted. `verify`: 1 damaged · 2 not provable.
Logs go to standard error; TIDEGATE_LOG filters them, such as TIDEGATE_LOG=debug.";

/// Streams and databases into tables, exactly once.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// How log lines look; auto is text on a terminal and JSON elsewhere
    #[arg(long, global = true, value_enum, default_value_t = LogFormatArg::Auto)]
    log_format: LogFormatArg,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormatArg {
    Auto,
    Json,
    Text,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Backfill(BackfillArgs),
    Publish(PublishArgs),
    Plan(PlanArgs),
    Validate(ValidateArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Generate(GenerateArgs),
    Worker(WorkerArgs),
    Agent(AgentArgs),
    Transfer(TransferArgs),
    TransferChunk(TransferChunkArgs),
    Calendar(CalendarArgs),
    Cleanup(CleanupArgs),
    Operator(Box<OperatorArgs>),
    /// Print the custom resource definitions, for kubectl apply
    Crd,
    /// Decode one message from standard input, for a worker that wants to know whether that is deadly
    #[command(hide = true)]
    DecodeProbe(DecodeProbeArgs),
}

/// What the process limits itself to.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DecodeProbeArgs {
    #[arg(long, value_name = "BYTES")]
    address_space: u64,
    #[arg(long, value_name = "SECONDS")]
    cpu_seconds: u32,
}

impl DecodeProbeArgs {
    pub(crate) fn limits(self) -> ProbeLimits {
        ProbeLimits { address_space: self.address_space, cpu_seconds: self.cpu_seconds }
    }
}

impl Cli {
    pub(crate) fn log_format(&self) -> LogFormat {
        match self.log_format {
            LogFormatArg::Auto => LogFormat::Auto,
            LogFormatArg::Json => LogFormat::Json,
            LogFormatArg::Text => LogFormat::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_calls_are_understood() {
        for call in [
            "run -f a.yaml",
            "run -f a.yaml -f b.yaml --until-caught-up --workers 4 --listen 127.0.0.1:9700",
            "run -f a.yaml --profile local --data-dir d --nats-server /bin/nats-server",
            "run -f a.yaml --set sink.flush.maxRows=5 --secrets-dir s --memory 512Mi",
            "publish -f a.yaml --subject flights.{carrier} --id-field id --input - --rate 100",
            "publish -f a.yaml --subject flights --input f.ndjson",
            "generate --events 10 --seed 2 --shape medium --duplicates 1 --poison 0.5",
            "validate a.yaml b.yaml",
            "plan -f a.yaml --pipeline orders",
            "run -f a.yaml --pipeline orders --pipeline shop/clicks",
            "doctor -f a.yaml --pipeline orders",
            "verify -f a.yaml --pipeline orders --source --json",
            "crd --log-format json",
            "worker --config c --assignment a --name p-worker-0 --address 10.0.0.1 --port 8080 \
             --secrets-dir s --data-dir d",
            "agent --config c --address ::1 --port 0 --secrets-dir s",
            "backfill -f a.yaml --from 2026-06-01 --to 2026-07-01",
            "backfill -f a.yaml -f b.yaml --pipeline orders --from 2026-06-01T00:00:00Z \
             --to 2026-06-02T00:00:00+09:00 --reprocess Failed --dry-run --yes --secrets-dir s",
            "transfer --config c --trigger Scheduled --run orders-20260601t010000z \
             --interval 2026-06-01T00:00:00Z/2026-06-01T01:00:00Z --address 10.0.0.1 --port 8080 \
             --secrets-dir s",
            "transfer --config c --trigger Backfill --rerun --run orders-x",
            "calendar --config c --range 2026-06-01T00:00:00Z/2026-07-01T00:00:00Z --secrets-dir s",
            "cleanup --config c --secrets-dir s --delete-stream --delete-data --deadline 90s",
            "decode-probe --address-space 1073741824 --cpu-seconds 10",
            "operator --own-namespace n --identity p --image i --namespaces a,b --poll-interval 5s \
             --pod-env NO_PROXY=a,b --cloud-identity EKSPodIdentity --operator-label a=b \
             --image-pull-policy Always --listen 0.0.0.0:8080 --no-leader-election",
        ] {
            let words = std::iter::once("tidegate").chain(call.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{call}: {error}");
            }
        }
    }

    #[test]
    fn senseless_calls_are_refused() {
        for (call, says) in [
            ("run", "--file"),
            ("worker --config c --name n", "--assignment"),
            ("agent", "--config"),
            ("operator --own-namespace n --identity p", "--image"),
            ("operator --own-namespace n --identity p --image i --poll-interval 0s", "10s"),
            ("operator --own-namespace n --identity p --image i --pod-env X", "NAME=VALUE"),
            ("agent --config c --address here", "--address"),
            ("backfill -f a --from 2026-06-01", "--to"),
            ("backfill -f a --from today --to 2026-06-01", "is no time"),
            ("backfill -f a --from 2026-06-01 --to 2026-07-01 --reprocess some", "Missing"),
            ("transfer --config c --trigger Scheduled", "--run"),
            ("transfer --config c --trigger scheduled --run r", "Scheduled"),
            ("calendar --config c --range 2026-06-01", "is no interval"),
            ("decode-probe --cpu-seconds 1", "--address-space"),
            ("run -f a --workers 0", "--workers"),
            ("run -f a --set suspend", "write path=value"),
            ("run -f a --memory lots", "not a size"),
            ("run -f a --listen here", "--listen"),
            ("publish -f a --subject f.* --input x", "wildcards"),
            ("publish -f a --subject f --input x --rate 0", "--rate"),
            ("generate --events 1 --poison 200", "0 to 100"),
            ("verify -f a --profile remote", "possible values: local"),
        ] {
            let words = std::iter::once("tidegate").chain(call.split(' '));
            let error = Cli::try_parse_from(words).expect_err(call).to_string();
            assert!(error.contains(says), "{call}: {error}");
        }
    }
}
