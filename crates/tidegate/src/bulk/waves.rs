//! Several runs of a pipeline, so many at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_config::{TransferConfig, Trigger};
use tidegate_runtime::RunError;
use tidegate_transfer::check_source_secret;
use tidegate_types::{DataInterval, Reason};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bulk::attempts::{RunEnding, RunRequest, leaves_open};
use crate::bulk::tally::Tally;
use crate::bulk::words;
use crate::documents::LoadedBulk;
use crate::failure::{Failure, crashed, passes_by_itself, run_failed};
use crate::progress::Progress;
use crate::run_policy::RunPolicy;

/// The runs of one pipeline: what they have in common, and how they ended.
#[derive(Debug)]
pub(crate) struct Wave {
    config: Arc<TransferConfig>,
    policy: RunPolicy,
    secrets_dir: Option<std::path::PathBuf>,
    progress: Progress,
    /// When so many have failed no more are begun.
    most_failed: Option<u64>,
    /// How they ended.
    pub(crate) tally: Tally,
}

/// A run to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) interval: Option<DataInterval>,
    pub(crate) trigger: Trigger,
    /// Whether a done interval is done again.
    pub(crate) rerun: bool,
}

/// An interval whose run failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) interval: Option<DataInterval>,
    /// Whether another time of day may bring another outcome.
    pub(crate) transient: bool,
}

impl Wave {
    /// No runs yet.
    pub(crate) fn new(
        pipeline: &LoadedBulk,
        secrets_dir: Option<std::path::PathBuf>,
        progress: Progress,
    ) -> Self {
        Self {
            config: Arc::new(pipeline.config.clone()),
            policy: pipeline.policy.clone(),
            secrets_dir,
            progress,
            most_failed: None,
            tally: Tally::default(),
        }
    }

    /// Begins no more when so many have failed: the cause is a common one.
    pub(crate) fn giving_up_after(self, failed: u32) -> Self {
        Self { most_failed: Some(failed.into()), ..self }
    }

    /// Whether so many failed that no more are begun.
    pub(crate) fn gave_up(&self) -> bool {
        self.most_failed.is_some_and(|most| self.tally.failures() >= most)
    }

    /// Before the first run: what keeps all of them from reading is told once, and nothing is begun.
    pub(crate) fn check_source(&self) -> Result<(), Failure> {
        if self.tally.begun() > 0 {
            return Ok(());
        }
        let checked = check_source_secret(&self.config, self.secrets_dir.clone());
        let name = &self.config.name;
        checked.map_err(|error| run_failed(error).during(format!("{name}: nothing was begun")))
    }

    /// Makes the runs, as many at once as the pipeline allows, and says how each ended. Returns those that
    /// failed. Told to stop, or when it gave up, it begins no further one.
    pub(crate) async fn roll(
        &mut self,
        wanted: Vec<Wanted>,
        stop: &CancellationToken,
    ) -> Result<Vec<Failed>, Failure> {
        let mut waiting = VecDeque::from(wanted);
        let mut active = JoinSet::new();
        let mut failed = Vec::new();
        loop {
            while active.len() < self.policy.max_active && !stop.is_cancelled() && !self.gave_up() {
                let Some(next) = waiting.pop_front() else { break };
                active.spawn(self.request(next).make(self.progress.clone(), stop.clone()));
            }
            match active.join_next().await {
                None => return Ok(failed),
                Some(Ok(ending)) => failed.extend(self.take(ending, stop)?),
                Some(Err(error)) => return Err(crashed("a run", error)),
            }
        }
    }

    fn request(&self, wanted: Wanted) -> RunRequest {
        RunRequest {
            config: Arc::clone(&self.config),
            secrets_dir: self.secrets_dir.clone(),
            trigger: wanted.trigger,
            rerun: wanted.rerun,
            interval: wanted.interval,
            retry: self.policy.retry.clone(),
        }
    }

    /// Says how a run ended, and remembers it.
    fn take(
        &mut self,
        ending: RunEnding,
        stop: &CancellationToken,
    ) -> Result<Option<Failed>, Failure> {
        let RunEnding { interval, outcome, in_doubt, took } = ending;
        let title = words::title(&self.config.name, interval);
        match outcome {
            Ok(report) if in_doubt && words::was_done_before(&report) => {
                self.progress.say(words::found(&title, &self.config.sink.url))?;
                self.tally.found();
                Ok(None)
            }
            Ok(report) => {
                self.progress.say(words::ended(&title, &report, &self.config.sink.url, took))?;
                self.tally.succeeded(&report);
                Ok(None)
            }
            Err(error) if stop.is_cancelled() && was_cut_short(&error) => {
                self.progress.say(words::interrupted(&title, &error))?;
                self.tally.interrupted();
                Ok(None)
            }
            Err(error) => {
                let transient = passes_by_itself(&error);
                let failure = run_failed(error).during(format!("{title} failed"));
                self.progress.complain(failure.to_string())?;
                self.tally.failed(failure.code());
                Ok(Some(Failed { interval, transient }))
            }
        }
    }

    /// What all runs did together; none where the single lines say all.
    pub(crate) fn together(&self) -> Option<String> {
        self.tally.in_words(&self.config.name)
    }
}

/// Whether a run ended only because it was told to stop: it failed at nothing.
fn was_cut_short(error: &RunError) -> bool {
    error.reason() == Reason::Interrupted || leaves_open(error)
}
