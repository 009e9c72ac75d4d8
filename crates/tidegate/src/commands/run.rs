//! `tidegate run`: pipelines on this machine, with everything that they need.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tidegate_config::PipelineConfig;
use tidegate_runtime::{RunError, in_words};
use tidegate_telemetry::{
    Health, MetricFamilies, MetricsSnapshot, PipelineMetrics, Registry, Server, serve,
};
use tidegate_types::ByteSize;
use tidegate_worker::decide::Restarts;
use tidegate_worker::{Summary, WorkerOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerArgs};
use crate::bulk::{Keeper, Pace};
use crate::documents::{Loaded, LoadedBulk, LoadedPipeline, PipelineArgs, notice};
use crate::failure::{Failure, code, crashed, worker_failed, worse};
use crate::feasibility::Feasibility;
use crate::output::{complain, say};
use crate::progress::{Progress, Shown};
use crate::signals::Signals;
use crate::summary::Totals;
use crate::workers::{Job, Staffing};

/// A worker goes round its loop every second or so; a store that hangs is given up sooner than this.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

/// Run pipelines here, without a cluster.
///
/// Streams are read until told to stop. Bulk pipelines make the runs that are due and go on at their
/// ticks; without a schedule each call makes one run.
///
/// Pipelines that name no servers share an embedded nats-server. The first SIGINT or SIGTERM drains:
/// fetching stops, what is held is committed, and the process leaves. A second one leaves at once.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    /// Workers of each pipeline, which share its partitions
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// Stop when everything that the streams held at the start is committed and every run that is due is
    /// made
    #[arg(long)]
    until_caught_up: bool,
    /// Where /metrics, /livez and /readyz are served; port 0 takes a free one, which the log names
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bytes that all workers together may buffer, such as 512Mi; from the memory limit by default
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
}

impl RunArgs {
    fn keepers(&self, bulk: Vec<LoadedBulk>, progress: &Progress) -> Vec<Keeper> {
        let pace = if self.until_caught_up { Pace::Once } else { Pace::Forever };
        let keeper = |pipeline| Keeper {
            pipeline,
            secrets_dir: self.broker.secrets_dir.clone(),
            pace,
            progress: progress.clone(),
        };
        bulk.into_iter().map(keeper).collect()
    }

    fn staffing(self, data_dir: PathBuf) -> Staffing {
        Staffing {
            workers: self.workers,
            memory: self.memory,
            until_caught_up: self.until_caught_up,
            secrets_dir: self.broker.secrets_dir,
            data_dir,
        }
    }
}

/// How a pipeline ended.
struct Ending {
    name: String,
    /// What it did, in words; none where that was told already.
    told: Option<String>,
    failures: Vec<Failure>,
    /// The exit code that failures ask for which were told when they happened.
    exit: u8,
}

/// What is to be run.
struct Work {
    streams: Vec<PipelineConfig>,
    bulk: Vec<LoadedBulk>,
    /// Where windows are spilled.
    data_dir: PathBuf,
}

/// Runs the pipelines to their end, or to a signal.
pub(crate) async fn run(args: RunArgs, progress: Progress) -> Result<u8, Failure> {
    let signals = Signals::listen()?;
    let pipelines = args.pipelines.load()?;
    let workers = (!pipelines.streams.is_empty()).then_some(args.workers);
    if let Some(notice) = notice(pipelines.ignored(), workers) {
        complain(notice)?;
    }
    let data_dir = args.pipelines.changes.absolute_data_dir()?;
    let mut work = active(pipelines, data_dir)?;
    if work.streams.is_empty() && work.bulk.is_empty() {
        return Ok(0);
    }
    let broker = Broker::provide(&args.broker, &work.data_dir, work.streams.iter_mut()).await?;
    let leave = signals.leave.clone();
    let work = run_all(args, work, progress, signals);
    let ended = leave.run_until_cancelled(work).await;
    let Some(ended) = ended else { return Ok(code::INTERRUPTED) };
    broker.stop().await;
    ended
}

/// The pipelines that are to be run and can be; a suspended one gets a line.
fn active(pipelines: Loaded, data_dir: PathBuf) -> Result<Work, Failure> {
    let mut work = Work { streams: Vec::new(), bulk: Vec::new(), data_dir };
    for LoadedPipeline { config, suspended, .. } in pipelines.streams {
        if suspended {
            tell_suspended(&config.name)?;
        } else {
            Feasibility::of(&config).enforce(&config.name)?;
            work.streams.push(config);
        }
    }
    for pipeline in pipelines.bulk {
        if pipeline.suspended {
            tell_suspended(&pipeline.config.name)?;
        } else {
            Feasibility::of_bulk(&pipeline.config).enforce(&pipeline.config.name)?;
            work.bulk.push(pipeline);
        }
    }
    Ok(work)
}

fn tell_suspended(name: &str) -> std::io::Result<()> {
    say(format!("{name}: suspended, nothing is run"))
}

async fn run_all(
    args: RunArgs,
    work: Work,
    progress: Progress,
    signals: Signals,
) -> Result<u8, Failure> {
    let mut registry = Registry::default();
    let families = MetricFamilies::new(&mut registry);
    let listen = args.listen;
    let keepers = args.keepers(work.bulk, &progress);
    let jobs = args.staffing(work.data_dir).assign(work.streams, &families);
    let (server, stop) = open_endpoint(listen, registry, &jobs).await?;
    let shown = jobs.iter().map(shown).collect();
    let display = tokio::spawn(progress.clone().show(shown, stop.clone()));

    let mut running = JoinSet::new();
    for job in jobs {
        running.spawn(run_job(job, signals.drain.child_token()));
    }
    for keeper in keepers {
        running.spawn(run_bulk(keeper, signals.drain.child_token()));
    }
    let mut endings = Vec::new();
    while let Some(ended) = running.join_next().await {
        endings.push(ended.map_err(|error| crashed("a worker", error))?);
    }
    stop.cancel();
    // The display ends with its token; a panic in it is no reason to hide the endings.
    let _ = display.await;
    server.stopped().await;
    endings.sort_by(|a: &Ending, b| a.name.cmp(&b.name));
    report(endings)
}

/// Keeps one bulk pipeline; how its runs ended was told run by run.
async fn run_bulk(keeper: Keeper, drain: CancellationToken) -> Ending {
    let (name, pace) = (keeper.pipeline.config.name.clone(), keeper.pace);
    let (wave, outcome) = keeper.keep(drain.clone()).await;
    // Who keeps a schedule is stopped some day; who was asked for what is due has not done it.
    let cut_short = pace == Pace::Once && drain.is_cancelled();
    let exit = worse(wave.tally.exit(), if cut_short { code::INTERRUPTED } else { 0 });
    Ending { name, told: wave.together(), failures: outcome.err().into_iter().collect(), exit }
}

async fn open_endpoint(
    address: SocketAddr,
    registry: Registry,
    jobs: &[Job],
) -> Result<(Server, CancellationToken), Failure> {
    let health = Health::new(LONGEST_SILENCE);
    for (_, metrics) in jobs.iter().flat_map(|job| &job.workers) {
        health.watch(metrics.clone());
    }
    let stop = CancellationToken::new();
    let server = serve(address, Arc::new(registry), health, stop.clone())
        .await
        .map_err(|error| Failure::of(error).advising("name another --listen address"))?;
    tracing::info!(metrics = format!("http://{}/metrics", server.address()), "listening");
    Ok((server, stop))
}

fn shown(job: &Job) -> Shown {
    let workers = job.workers.iter().map(|(_, metrics)| Arc::clone(metrics)).collect();
    Shown { name: job.config.name.clone(), workers }
}

/// Runs one pipeline's workers. When one fails its siblings drain, because a pipeline with part of its
/// partitions unread is not running; other pipelines go on.
async fn run_job(job: Job, drain: CancellationToken) -> Ending {
    let Job { config, workers } = job;
    let (name, mut totals, mut failures) = (config.name, Totals::default(), Vec::new());
    let mut running = JoinSet::new();
    for (options, metrics) in workers {
        let drain = drain.clone();
        running.spawn(async move {
            let outcome = work(options, drain, &metrics).await;
            metrics.finish(outcome.is_ok());
            outcome.map_err(|error| (error, metrics.snapshot()))
        });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(Ok(summary)) => totals.add(&summary),
            Ok(Err((error, done))) => {
                let reason = error.reason().as_str();
                let failure = worker_failed(error);
                let error = failure.causes().join(": ");
                tracing::error!(pipeline = name, reason, error, "worker failed");
                drain.cancel();
                totals.add_unfinished(&done);
                failures.push(failure);
            }
            Err(error) => {
                drain.cancel();
                failures.push(crashed("a worker", error));
            }
        }
    }
    let told = Some(totals.in_words(&name, &config.sink.url));
    Ending { name, told, failures, exit: 0 }
}

/// Runs a worker, and again after faults that may pass, as a cluster would restart its pod; a finite
/// run leaves that to whoever waits for it.
async fn work(
    options: WorkerOptions,
    drain: CancellationToken,
    metrics: &Arc<PipelineMetrics>,
) -> Result<Summary, RunError> {
    let mut restarts = Restarts::default();
    loop {
        let started = Instant::now();
        let outcome =
            tidegate_worker::run(options.clone(), drain.clone(), Arc::clone(metrics)).await;
        let error = match outcome {
            // What never worked is told at once: it is more likely a mistake than a fault.
            Err(error) if error.is_transient() && !options.until_caught_up && worked(metrics) => {
                error
            }
            Ok(last) => return Ok(of_all_lives(last, metrics)),
            Err(error) => return Err(error),
        };
        let pause = restarts.pause(started.elapsed(), true);
        let why = in_words(&error);
        metrics.set_trouble(error.reason(), why.clone());
        metrics.set_ready(false);
        let (reason, seconds) = (error.reason().as_str(), pause.as_secs());
        tracing::warn!(
            pipeline = options.config.name,
            reason,
            error = why,
            seconds,
            "worker stopped, starts again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = drain.cancelled() => return Err(error),
        }
    }
}

/// The worker's last summary with what all of its lives did.
fn of_all_lives(last: Summary, metrics: &PipelineMetrics) -> Summary {
    let MetricsSnapshot { counters, files, bytes, commits, unknown_fields, unkeyed, .. } =
        metrics.snapshot();
    Summary { counters, files, bytes, commits, unknown_fields, unkeyed, ..last }
}

fn worked(metrics: &PipelineMetrics) -> bool {
    metrics.snapshot().commits > 0
}

/// Says how every pipeline ended, and returns the exit code.
fn report(endings: Vec<Ending>) -> Result<u8, Failure> {
    let exit = exit_code(&endings);
    for ending in endings {
        if let Some(told) = ending.told {
            say(told)?;
        }
        for failure in ending.failures {
            complain(failure.during(format!("{} stopped", ending.name)).to_string())?;
        }
    }
    Ok(exit)
}

fn exit_code(endings: &[Ending]) -> u8 {
    let failures = endings.iter().flat_map(|ending| &ending.failures).map(Failure::code);
    failures.chain(endings.iter().map(|ending| ending.exit)).fold(0, worse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_worst_pipeline() {
        let ending = |failures| Ending { name: "p".into(), told: None, failures, exit: 0 };
        let transient = Failure::says("x").worth_retrying(true);
        let endings = [ending(vec![]), ending(vec![transient]), ending(vec![Failure::says("y")])];
        assert_eq!(exit_code(&endings), 65);
        assert_eq!(exit_code(&endings[..2]), 75);
        assert_eq!(exit_code(&endings[..1]), 0);
        let told = Ending { exit: 65, ..ending(vec![]) };
        assert_eq!(exit_code(&[told]), 65, "a failed run counts after it was told");
    }
}
