//! The agent: what one process does for a pipeline, however many workers run.
//!
//! It makes and keeps the stream, looks at the whole path before anything is read, registers the ledger,
//! trims, and says how far the table is behind the stream, also while no worker runs. It writes no row
//! and holds no partition.
//!
//! Its two halves fail on their own: `source` asks the broker, `sink` reads the table's log, and `board`
//! puts together what both know.

mod backlog;
mod board;
mod sink;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{AgentReport, PipelineConfig};
use tidegate_runtime::secrets::Secrets;
use tidegate_telemetry::AgentMetrics;
use tokio_util::sync::CancellationToken;

use self::board::Board;
use self::sink::SinkHalf;
use self::source::SourceHalf;
use crate::pod::PodIdentity;

/// How often broker and log are asked.
const LOOK_EACH: Duration = Duration::from_secs(5);

/// The agent of one pipeline. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Agent {
    config: Arc<PipelineConfig>,
    secrets: Secrets,
    board: Arc<Board>,
}

impl Agent {
    /// An agent that has not looked at anything yet.
    #[must_use]
    pub fn new(
        (config, identity): (PipelineConfig, PodIdentity),
        secrets_dir: PathBuf,
        metrics: Arc<AgentMetrics>,
    ) -> Self {
        let config = Arc::new(config);
        let board = Arc::new(Board::new(Arc::clone(&config), identity, metrics));
        Self { config, secrets: Secrets::new(Some(secrets_dir)), board }
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> AgentReport {
        self.board.report()
    }

    /// Works until `stop`. No fault ends it.
    pub async fn run(&self, stop: CancellationToken) {
        let source = SourceHalf {
            config: Arc::clone(&self.config),
            secrets: self.secrets.clone(),
            board: Arc::clone(&self.board),
        };
        let sink = SinkHalf {
            config: Arc::clone(&self.config),
            secrets: self.secrets.clone(),
            board: Arc::clone(&self.board),
        };
        tokio::select! {
            () = source.run() => {}
            () = sink.run() => {}
            () = stop.cancelled() => {}
        }
    }
}
