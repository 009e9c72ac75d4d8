//! `tidegate transfer`: one attempt of a bulk run, in the pod of a Job.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use tidegate_config::{
    GivenUp, LONGEST_MESSAGE, Placement, RunPhase, RunReport, TransferConfig, Trigger,
};
use tidegate_runtime::RunError;
use tidegate_telemetry::{Answer, Pages, Registry, RunMetrics, RunNumbers};
use tidegate_transfer::{ChunkDesk, DeskToken, LARGEST_OUTCOME, Reply, TransferOptions};
use tidegate_types::{DataInterval, Reason};
use tidegate_worker::pod::bounded;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::commands::pod::{ConfigArgs, Endpoint, ListenArgs, shows, terminate_with};
use crate::failure::{Failure, attempt_failed, code};
use crate::signals::{Signals, Words};

/// Nothing is committed half way, so both signals say much the same.
const WORDS: Words = Words {
    drain: "giving up the attempt, the table stays as it is; a second signal leaves at once",
    leave: "leaving at once, the table stays as it is",
};

/// Make one attempt of a bulk run. Started by the operator
///
/// `/status` says how far it is, the termination message how it ended. Exit codes: 0 done, 75 another
/// attempt may do, 65 somebody has to change something first.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// Why the run was made
    #[arg(long, value_enum)]
    trigger: TriggerArg,
    /// Whose rows, as <start>/<end>; everything the source has by default
    #[arg(long, value_name = "INTERVAL")]
    interval: Option<DataInterval>,
    /// Do an interval again that is done; of a backfill
    #[arg(long)]
    rerun: bool,
    /// The run's name, the same for all its attempts
    #[arg(long, value_name = "NAME")]
    run: String,
}

/// Why a run was made, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum TriggerArg {
    /// The schedule came round
    Scheduled,
    /// A person asked
    Manual,
    /// One of many past intervals
    Backfill,
    /// An interval of a streamed table, from another source
    Repair,
}

/// Makes the attempt.
pub(crate) async fn transfer(args: TransferArgs) -> Result<u8, Failure> {
    let config = args.config.load_transfer().inspect_err(|failure| {
        terminate_with_report(&refused(failure));
    })?;
    let (listen, name) = (args.listen, config.name.clone());
    let desk = (config.placement == Placement::Pods)
        .then(|| Arc::new(ChunkDesk::new(DeskToken::from_environment())));
    let pages = desk.clone().map_or_else(Pages::default, desk_pages);
    let reporting = Reporting { listen, name, words: WORDS, pages };
    let work = |sender, cancel| make(args.options(config, cancel), sender, desk);
    let ended = report_on(reporting, work).await;
    exit_code(ended)
}

/// Makes the attempt, and looks back once it is done: files that came late are loaded by nobody unasked (B8),
/// and no other process of a cluster would see them.
async fn make(
    options: TransferOptions,
    sender: watch::Sender<RunReport>,
    desk: Option<Arc<ChunkDesk>>,
) -> Result<RunReport, RunError> {
    let stop = options.cancel.clone();
    let looks = looks_back(options.trigger).then(|| options.config.clone());
    let secrets_dir = options.secrets_dir.clone();
    let mut report = tidegate_transfer::transfer_with(options, sender, desk).await?;
    if let Some(config) = looks {
        let looking = tidegate_transfer::look_back(&config, secrets_dir);
        report.files = stop.run_until_cancelled(looking).await.flatten();
    }
    Ok(report)
}

/// The runs of a backfill come in hundreds, and the schedule's run looks behind them.
fn looks_back(trigger: Trigger) -> bool {
    match trigger {
        Trigger::Scheduled | Trigger::Manual => true,
        Trigger::Backfill | Trigger::Repair => false,
    }
}

/// Where chunks are fetched and outcomes brought.
fn desk_pages(desk: Arc<ChunkDesk>) -> Pages {
    let (orders, outcomes) = (Arc::clone(&desk), Arc::clone(&desk));
    Pages::default()
        .read_below("/chunks", move |rest| answered(orders.order(rest)))
        .take_alone("/chunks", LARGEST_OUTCOME, move |body| answered(outcomes.take(body)))
        .take(GivenUp::PAGE, move |body| answered(desk.give_up(body)))
}

fn answered(reply: Reply) -> Answer {
    Answer { status: reply.status, body: reply.body }
}

/// What the process ends with.
pub(crate) fn exit_code(ended: Result<Ended, Failure>) -> Result<u8, Failure> {
    match ended {
        Ok(Some(Ok(_))) => Ok(0),
        Ok(Some(Err(error))) => Err(attempt_failed(error)),
        Ok(None) => Ok(code::INTERRUPTED),
        Err(failure) => {
            terminate_with_report(&refused(&failure));
            Err(failure)
        }
    }
}

/// The outcome; none after a second signal.
pub(crate) type Ended = Option<Result<RunReport, RunError>>;

/// How a pod is heard of while it works.
pub(crate) struct Reporting {
    pub(crate) listen: ListenArgs,
    /// The pipeline's.
    pub(crate) name: String,
    /// What it says when a signal comes.
    pub(crate) words: Words,
    /// Served beside `/status`.
    pub(crate) pages: Pages,
}

/// Does the work of a pod that reports how far it is: `work` is handed where it reports, and what asks it
/// to stop.
pub(crate) async fn report_on<W: Future<Output = Result<RunReport, RunError>>>(
    reporting: Reporting,
    work: impl FnOnce(watch::Sender<RunReport>, CancellationToken) -> W,
) -> Result<Ended, Failure> {
    let Reporting { listen, name, words, pages } = reporting;
    let signals = Signals::listen_saying(words)?;
    let mut registry = Registry::default();
    let metrics = Arc::new(RunMetrics::new(&mut registry, &name));
    let (sender, reports) = watch::channel(RunReport::default());
    let told = reports.clone();
    let pages = pages.read("/status", move || shows(&*told.borrow()));
    let endpoint = Endpoint::open(listen, registry, metrics.clone(), pages).await?;
    let counting = tokio::spawn(keep_metrics(metrics, reports.clone()));
    let work = work(sender, signals.drain.clone());
    let outcome = signals.leave.run_until_cancelled(work).await;
    if let Some(outcome) = &outcome {
        terminate_with_report(&last_report(outcome, &reports.borrow()));
    }
    counting.abort();
    endpoint.close().await;
    Ok(outcome)
}

impl TransferArgs {
    fn options(self, config: TransferConfig, cancel: CancellationToken) -> TransferOptions {
        TransferOptions {
            config,
            trigger: match self.trigger {
                TriggerArg::Scheduled => Trigger::Scheduled,
                TriggerArg::Manual => Trigger::Manual,
                TriggerArg::Backfill => Trigger::Backfill,
                TriggerArg::Repair => Trigger::Repair,
            },
            rerun: self.rerun,
            interval: self.interval,
            run: self.run,
            secrets_dir: Some(self.config.secrets_dir),
            cancel,
        }
    }
}

/// Keeps the metrics at what the run says.
async fn keep_metrics(metrics: Arc<RunMetrics>, mut reports: watch::Receiver<RunReport>) {
    while reports.changed().await.is_ok() {
        let report = reports.borrow_and_update().clone();
        metrics.set(RunNumbers {
            chunks: report.chunks.into(),
            chunks_done: report.chunks_done.into(),
            rows_read: report.rows_read,
            dead_letters: report.dead_letters,
        });
    }
}

/// What is left for whoever asks how it ended: the run's own words, and of a failure its reason.
fn last_report(outcome: &Result<RunReport, RunError>, seen: &RunReport) -> RunReport {
    match outcome {
        Ok(report) => report.clone(),
        Err(error) => RunReport {
            phase: RunPhase::Failed,
            reason: error.reason().to_string(),
            message: bounded(&tidegate_runtime::in_words(error), LONGEST_MESSAGE),
            ..seen.clone()
        },
    }
}

/// An attempt that never began.
pub(crate) fn refused(failure: &Failure) -> RunReport {
    RunReport {
        phase: RunPhase::Failed,
        reason: Reason::InvalidConfiguration.to_string(),
        message: bounded(&failure.causes().join(": "), LONGEST_MESSAGE),
        ..RunReport::default()
    }
}

pub(crate) fn terminate_with_report(report: &RunReport) {
    match serde_json::to_value(report) {
        Ok(report) => terminate_with(&report),
        Err(error) => tracing::error!(%error, "the run's report cannot be written"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attempt_leaves_its_reason_and_how_far_it_came() {
        let error = RunError::transient(Reason::SourceUnreachable, "the server went away");
        let seen = RunReport {
            phase: RunPhase::Running,
            generation: 3,
            rows_read: 40,
            ..RunReport::default()
        };
        let left = last_report(&Err(error), &seen);
        assert_eq!(left.phase, RunPhase::Failed);
        assert_eq!(
            (left.reason.as_str(), left.message.as_str()),
            ("SourceUnreachable", "the server went away")
        );
        assert_eq!((left.generation, left.rows_read), (3, 40));
    }

    #[test]
    fn a_long_message_is_cut() {
        let failure = Failure::says("x".repeat(10_000));
        let left = refused(&failure);
        assert_eq!(left.reason, "InvalidConfiguration");
        assert!(left.message.len() <= LONGEST_MESSAGE);
    }
}
