//! The lives of a worker in a pod, one for each set of partitions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{PipelineConfig, WorkerReport};
use tidegate_runtime::{RunError, in_words};
use tidegate_telemetry::PipelineMetrics;
use tidegate_types::{ByteSize, PartitionId, Reason};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::desk::AssignmentDesk;
use super::report::{Board, Phase, PodIdentity, ReportFacts, report};
use crate::decide::Restarts;
use crate::options::{StreamCare, WorkerOptions};

/// How often a worker that has nothing to do shows that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What a worker in a pod is given.
#[derive(Debug)]
pub struct PodSetup {
    /// The pipeline.
    pub config: PipelineConfig,
    /// What is the same in all its reports.
    pub identity: PodIdentity,
    /// Its name, as it stands in assignments.
    pub name: String,
    /// Where secrets are mounted.
    pub secrets_dir: PathBuf,
    /// Where windows are spilled.
    pub spill_dir: PathBuf,
    /// What it may use.
    pub memory_budget: ByteSize,
    /// The program in which a message that may kill the decoder is tried first.
    pub decoder_probe: PathBuf,
}

/// A worker in a pod.
#[derive(Debug)]
pub struct PodWorker {
    identity: PodIdentity,
    options: WorkerOptions,
    desk: AssignmentDesk,
    metrics: Arc<PipelineMetrics>,
    board: Board,
}

impl PodWorker {
    /// A worker that has no partitions yet.
    #[must_use]
    pub fn new(setup: PodSetup, metrics: Arc<PipelineMetrics>) -> Self {
        let PodSetup { config, identity, name, .. } = setup;
        let desk = AssignmentDesk::new(config.source.partitioning.count());
        let options = WorkerOptions {
            config,
            worker_name: name,
            assignment_generation: Some(desk.shared_generation()),
            partitions: Some(Vec::new()),
            until_caught_up: false,
            secrets_dir: Some(setup.secrets_dir),
            spill_dir: setup.spill_dir,
            memory_budget: setup.memory_budget,
            stream_care: StreamCare::Agent,
            decoder_probe: Some(setup.decoder_probe),
        };
        Self { identity, options, desk, metrics, board: Board::default() }
    }

    /// Where assignments arrive.
    #[must_use]
    pub fn desk(&self) -> &AssignmentDesk {
        &self.desk
    }

    /// How it is.
    #[must_use]
    pub fn report(&self) -> WorkerReport {
        report(ReportFacts {
            identity: &self.identity,
            name: &self.options.worker_name,
            generation: self.desk.generation(),
            phase: &self.board.phase(),
            metrics: &self.metrics,
        })
    }

    /// Works on what it is assigned until `drain`; then what it holds is committed and given back.
    pub async fn follow(&self, drain: CancellationToken) {
        let mut restarts = Restarts::default();
        while !drain.is_cancelled() {
            let mine = self.desk.partitions_of(&self.options.worker_name);
            if mine.is_empty() {
                self.idle(&drain).await;
                continue;
            }
            let began = Instant::now();
            self.board.set(Phase::Working);
            let ended = self.live(&mine, &drain).await;
            self.metrics.forget_all_partitions();
            if let Err(error) = ended {
                let pause = restarts.pause(began.elapsed(), error.is_transient());
                self.wait_after(&error, pause, &mine, &drain).await;
            }
        }
        self.metrics.finish(true);
        self.board.set(Phase::Draining);
    }

    async fn idle(&self, drain: &CancellationToken) {
        info!("no partitions are assigned");
        self.board.set(Phase::Idle);
        self.metrics.start();
        self.metrics.set_state(Reason::Ok);
        self.metrics.set_lag(0);
        self.metrics.set_ready(true);
        self.rest(None, &[], drain).await;
    }

    /// One life: until it fails, its partitions change, or the process has to leave.
    async fn live(&self, mine: &[PartitionId], drain: &CancellationToken) -> Result<(), RunError> {
        let generation = self.desk.generation();
        info!(generation, partitions = ?mine.iter().map(|k| k.0).collect::<Vec<_>>(), "assigned");
        let options = WorkerOptions { partitions: Some(mine.to_vec()), ..self.options.clone() };
        let leave = CancellationToken::new();
        let life = crate::run::run(options, leave.clone(), Arc::clone(&self.metrics));
        let mut life = tokio::spawn(life);
        let ended = tokio::select! {
            ended = &mut life => ended,
            () = self.desk.reassigned(&self.options.worker_name, mine) => {
                self.drain(&leave);
                life.await
            }
            () = drain.cancelled() => {
                self.drain(&leave);
                life.await
            }
        };
        match ended {
            Ok(ended) => ended.map(drop),
            // A panic is a bug; what was committed stands.
            Err(died) => {
                let what = "the worker crashed; please report this";
                Err(RunError::transient(Reason::ResourceExhausted, what).because(died))
            }
        }
    }

    fn drain(&self, leave: &CancellationToken) {
        self.board.set(Phase::Draining);
        leave.cancel();
    }

    async fn wait_after(
        &self,
        error: &RunError,
        pause: Duration,
        mine: &[PartitionId],
        drain: &CancellationToken,
    ) {
        let (reason, message) = (error.reason(), in_words(error));
        let seconds = pause.as_secs();
        warn!(reason = %reason, error = message, seconds, "worker stopped, starts again");
        self.metrics.start();
        self.metrics.set_trouble(reason, message.clone());
        self.board.set(Phase::Paused { reason, message });
        self.rest(Some(pause), mine, drain).await;
    }

    /// Waits for a while, for other partitions than these, or for the end, and shows that it lives.
    async fn rest(&self, pause: Option<Duration>, mine: &[PartitionId], drain: &CancellationToken) {
        let end = pause.map(|pause| Instant::now() + pause);
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let signs = async {
            loop {
                self.metrics.beat();
                tokio::time::sleep(SIGN_OF_LIFE).await;
            }
        };
        tokio::select! {
            () = over => {}
            () = self.desk.reassigned(&self.options.worker_name, mine) => {}
            () = drain.cancelled() => {}
            () = signs => {}
        }
    }
}
