//! One run, tried again as its pipeline says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_api::RetrySpec;
use tidegate_config::{RunReport, TransferConfig, Trigger};
use tidegate_runtime::{RunError, in_words};
use tidegate_transfer::{TransferOptions, transfer};
use tidegate_types::{DataInterval, Reason};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bulk::display;
use crate::bulk::words::title;
use crate::failure::passes_by_itself;
use crate::progress::Progress;

/// A run to be made.
#[derive(Debug, Clone)]
pub(crate) struct RunRequest {
    pub(crate) config: Arc<TransferConfig>,
    pub(crate) secrets_dir: Option<PathBuf>,
    pub(crate) trigger: Trigger,
    /// Whether a backfill does an interval again that is done.
    pub(crate) rerun: bool,
    pub(crate) interval: Option<DataInterval>,
    pub(crate) retry: RetrySpec,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct RunEnding {
    pub(crate) interval: Option<DataInterval>,
    pub(crate) outcome: Result<RunReport, RunError>,
    /// Whether an attempt before the last had to leave open whether it committed, or what follows a commit.
    pub(crate) in_doubt: bool,
    pub(crate) took: Duration,
}

impl RunRequest {
    /// What people call it.
    pub(crate) fn title(&self) -> String {
        title(&self.config.name, self.interval)
    }

    /// Makes the run, and makes it again after faults that may pass.
    pub(crate) async fn make(self, progress: Progress, stop: CancellationToken) -> RunEnding {
        let (started, name) = (Instant::now(), self.unique_name());
        let (mut attempt, mut in_doubt) = (1, false);
        let outcome = loop {
            let outcome = self.try_once(&name, &progress, &stop).await;
            let pause = match &outcome {
                Err(error) if passes_by_itself(error) && !stop.is_cancelled() => {
                    self.retry.pause_after(attempt)
                }
                _ => None,
            };
            let (error, pause) = match (outcome, pause) {
                (Err(error), Some(pause)) => (error, pause),
                (outcome, _) => break outcome,
            };
            self.tell_pause(&error, attempt, pause);
            in_doubt |= leaves_open(&error);
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break Err(stopped_while_waiting(error));
            }
            attempt += 1;
        };
        RunEnding { interval: self.interval, outcome, in_doubt, took: started.elapsed() }
    }

    async fn try_once(
        &self,
        name: &str,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<RunReport, RunError> {
        let (sender, reports) = watch::channel(RunReport::default());
        let shown = tokio::spawn(display::follow(progress.clone(), self.title(), reports));
        let outcome = transfer(self.options(name, stop), sender).await;
        // It ends with its sender; a panic in it is no reason to hide the outcome.
        let _ = shown.await;
        outcome
    }

    fn options(&self, name: &str, stop: &CancellationToken) -> TransferOptions {
        TransferOptions {
            config: TransferConfig::clone(&self.config),
            trigger: self.trigger,
            rerun: self.rerun,
            interval: self.interval,
            run: name.to_owned(),
            secrets_dir: self.secrets_dir.clone(),
            cancel: stop.child_token(),
        }
    }

    fn tell_pause(&self, error: &RunError, attempt: u32, pause: Duration) {
        let (reason, seconds) = (error.reason().as_str(), pause.as_secs());
        let why = in_words(error);
        let run = self.title();
        tracing::warn!(run, attempt, reason, error = why, seconds, "the run is tried again");
    }

    /// Another process, another run: the process' number and the time of day tell them apart.
    fn unique_name(&self) -> String {
        let now = jiff::Timestamp::now().as_nanosecond();
        format!("{}/{}/{now}", self.title(), std::process::id())
    }
}

/// Told to stop between two attempts: it failed at nothing for good. What is open stays said.
fn stopped_while_waiting(error: RunError) -> RunError {
    if leaves_open(&error) {
        return error;
    }
    let what =
        "the run was told to stop before its next attempt; nothing is lost, the next call makes it";
    RunError::transient(Reason::Interrupted, what).because(in_words(&error))
}

/// Whether the commit may be in the log though the attempt failed.
pub(crate) fn leaves_open(error: &RunError) -> bool {
    matches!(error.reason(), Reason::CommitInDoubt | Reason::DeadLetterCommitPending)
}

#[cfg(test)]
mod tests {
    use tidegate_runtime::causes;

    use super::*;

    #[test]
    fn a_stop_between_two_attempts_is_no_failure_and_the_last_one_is_still_told() {
        let error = RunError::transient(Reason::SourceUnreachable, "nobody answers");
        let stopped = stopped_while_waiting(error);
        assert_eq!(stopped.reason(), Reason::Interrupted);
        let told = causes(&stopped);
        assert!(told[0].contains("nothing is lost") && told[1] == "nobody answers", "{told:?}");
        let open = RunError::transient(Reason::CommitInDoubt, "nobody knows");
        assert_eq!(stopped_while_waiting(open).reason(), Reason::CommitInDoubt);
    }
}
