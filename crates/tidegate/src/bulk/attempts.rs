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
            let outcome = self.attempt(&name, &progress, &stop).await;
            let pause = match &outcome {
                Err(error) if passes_by_itself(error) && !stop.is_cancelled() => {
                    self.retry.pause_after(attempt)
                }
                _ => None,
            };
            let (Err(error), Some(pause)) = (&outcome, pause) else { break outcome };
            self.tell_pause(error, attempt, pause);
            in_doubt |= leaves_open(error);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break outcome,
            }
            attempt += 1;
        };
        RunEnding { interval: self.interval, outcome, in_doubt, took: started.elapsed() }
    }

    async fn attempt(
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

/// Whether the commit may be in the log though the attempt failed.
pub(crate) fn leaves_open(error: &RunError) -> bool {
    matches!(error.reason(), Reason::CommitInDoubt | Reason::DeadLetterCommitPending)
}
