//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use tidegate_telemetry::LogFormat;

use crate::commands::doctor::DoctorArgs;
use crate::commands::generate::GenerateArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::publish::PublishArgs;
use crate::commands::run::RunArgs;
use crate::commands::validate::ValidateArgs;
use crate::commands::verify::VerifyArgs;

const AFTER_HELP: &str = "\
Exit codes: 0 done · 64 the command line cannot be read · 65 somebody has to change something first \
· 75 trying again later may do · 130 interrupted twice. `verify`: 1 damaged · 2 not provable.
Logs go to standard error; TIDEGATE_LOG filters them, such as TIDEGATE_LOG=debug.";

/// Streams into tables, exactly once.
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
    Publish(PublishArgs),
    Plan(PlanArgs),
    Validate(ValidateArgs),
    Verify(VerifyArgs),
    Doctor(DoctorArgs),
    Generate(GenerateArgs),
    /// Print the custom resource definition, for kubectl apply
    Crd,
    /// Decode one message from standard input, for a worker that wants to know whether that is deadly
    #[command(hide = true)]
    DecodeProbe,
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
            "plan -f a.yaml",
            "verify -f a.yaml --source --json",
            "crd --log-format json",
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
