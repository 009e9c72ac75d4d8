//! `tidegate cleanup`: what a deleted pipeline takes along, in the pod of a Job.

use clap::Args;
use serde_json::json;
use tidegate_config::LONGEST_MESSAGE;
use tidegate_types::{Reason, Span};
use tidegate_worker::cleanup::{CleanupOptions, CleanupReport, cleanup};
use tidegate_worker::pod::bounded;

use crate::commands::pod::{ConfigArgs, leave_message, terminate_with};
use crate::failure::{Failure, code};

/// Delete the stream and the table of a pipeline that is deleted. Started by the operator
///
/// What somebody else uses is left and named. Exit codes: 0 everything is gone, 65 something is left for
/// good, 75 something was not done in time.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Delete the stream with every message in it
    #[arg(long)]
    delete_stream: bool,
    /// Delete the table with its dead letters and window snapshots
    #[arg(long)]
    delete_data: bool,
    /// When to give up, such as 90s
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    deadline: Span,
}

/// Deletes, and says what is left.
pub(crate) async fn run(args: CleanupArgs) -> Result<u8, Failure> {
    let (config, _) = args.config.load().inspect_err(|failure| {
        leave_message(failure, Reason::InvalidConfiguration);
    })?;
    let report = cleanup(&CleanupOptions {
        config,
        secrets_dir: Some(args.config.secrets_dir),
        delete_stream: args.delete_stream,
        delete_data: args.delete_data,
        deadline: args.deadline.to_duration(),
    })
    .await;
    terminate_with(&message(&report));
    Ok(exit_code(&report))
}

fn message(report: &CleanupReport) -> serde_json::Value {
    let left: Vec<_> = report.left.iter().map(|left| bounded(left, LONGEST_MESSAGE)).collect();
    json!({"reason": report.reason.as_str(), "left": left})
}

fn exit_code(report: &CleanupReport) -> u8 {
    match (report.left.is_empty(), report.retry) {
        (true, _) => 0,
        (false, true) => code::RETRY,
        (false, false) => code::PERMANENT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_another_try_may_do() {
        let report = |left: &[&str], retry| CleanupReport {
            reason: Reason::DeletionIncomplete,
            left: left.iter().map(|&left| left.to_owned()).collect(),
            retry,
        };
        for (report, expected) in
            [(report(&[], false), 0), (report(&["x"], false), 65), (report(&["x", "y"], true), 75)]
        {
            assert_eq!(exit_code(&report), expected, "{report:?}");
        }
        let told = message(&report(&["stream S: ledger b reads it too"], false));
        assert_eq!(
            told.to_string(),
            r#"{"left":["stream S: ledger b reads it too"],"reason":"DeletionIncomplete"}"#
        );
        let long = message(&report(
            &["x"; 2].map(|x| x.repeat(9_999)).each_ref().map(String::as_str),
            true,
        ));
        assert!(long.to_string().len() < 4_096);
    }
}
