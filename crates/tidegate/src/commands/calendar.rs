//! `tidegate calendar`: what a table's log holds of a stretch of time, in the pod of a Job.

use clap::Args;
use tidegate_config::Calendar;
use tidegate_types::{DataInterval, Reason};

use crate::commands::pod::{ConfigArgs, leave_message, terminate_with};
use crate::failure::{Failure, attempt_failed};
use crate::output::say;

/// Say which intervals of a bulk pipeline are done. Started by the operator
///
/// The answer is one JSON object, at standard output and as the termination message.
#[derive(Debug, Args)]
pub(crate) struct CalendarArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this stretch, as <start>/<end>
    #[arg(long, value_name = "INTERVAL")]
    range: Option<DataInterval>,
}

/// Reads the log and answers.
pub(crate) async fn calendar(args: CalendarArgs) -> Result<u8, Failure> {
    let config = args.config.load_transfer().inspect_err(|failure| {
        leave_message(failure, Reason::InvalidConfiguration);
    })?;
    match tidegate_transfer::calendar(&config, Some(args.config.secrets_dir), args.range).await {
        Ok(calendar) => answer(&calendar).map(|()| 0),
        Err(error) => {
            let reason = error.reason();
            let failure = attempt_failed(error);
            leave_message(&failure, reason);
            Err(failure)
        }
    }
}

fn answer(calendar: &Calendar) -> Result<(), Failure> {
    let answer = serde_json::to_value(calendar)?;
    terminate_with(&answer);
    say(answer.to_string())?;
    Ok(())
}
