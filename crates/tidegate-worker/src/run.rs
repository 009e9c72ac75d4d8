//! One worker from start to end: open, claim, read, leave.

use std::sync::Arc;

use tidegate_runtime::RunError;
use tidegate_telemetry::PipelineMetrics;
use tidegate_types::Reason;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::committer::{Committer, REQUESTS};
use crate::engine::{Engine, EngineChannels};
use crate::keeper::StreamNews;
use crate::opened::Opened;
use crate::options::{Summary, WorkerOptions};
use crate::setup;

/// Events that may wait for the engine: a few a request, and requests are bounded.
const EVENTS: usize = 16;

/// Runs one worker until `drain`, until it has caught up, or until it fails.
///
/// # Errors
///
/// [`RunError`] with a reason; what was committed stands, the rest is read again by the next worker.
pub async fn run(
    options: WorkerOptions,
    drain: CancellationToken,
    metrics: Arc<PipelineMetrics>,
) -> Result<Summary, RunError> {
    metrics.start();
    let Some(opened) = drain.run_until_cancelled(Opened::open(&options)).await else {
        // Nothing is held yet.
        metrics.finish(true);
        return Ok(Summary { interrupted: true, ..Summary::default() });
    };
    let opened = opened?;
    let (requests, requests_taken) = mpsc::channel(REQUESTS);
    let (events_sent, events) = mpsc::channel(EVENTS);
    let (news_sent, news) = watch::channel(StreamNews::default());
    let (faults_sent, faults) = mpsc::channel(1);
    let committer = Committer::new(opened.committer(&options, &metrics), events_sent);
    let keeper = opened.keeper(&options, news_sent, faults_sent);
    let wanted = setup::wanted(&opened.config, options.partitions.as_ref()).len();
    let channels = EngineChannels { requests, events, news, faults };
    let parts = opened.engine(&options, channels, metrics).await?;

    let stop = CancellationToken::new();
    let committer = tokio::spawn(committer.run(requests_taken));
    let keeper = tokio::spawn(keeper.run(stop.clone()));
    let result = Engine::new(parts, wanted).run(drain).await;
    stop.cancel();
    // Both end by themselves: the engine, and with it the request channel, is gone.
    let (committer, keeper) = tokio::join!(committer, keeper);
    for task in [committer, keeper] {
        if let Err(died) = task {
            let what = "a task of the worker died";
            return Err(RunError::transient(Reason::ResourceExhausted, what).because(died));
        }
    }
    result
}
