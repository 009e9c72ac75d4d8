//! The half that reads the table's log.

use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{CommitReport, PipelineConfig};
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, open_store};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::{CommitKind, CommitLog, LogEntry, LogError, TableSnapshot};
use tidegate_types::{Incarnation, Ledger};
use tokio::time::Instant;

use super::LOOK_EACH;
use super::board::{Board, TableView};
use crate::decide::Restarts;
use crate::{preflight, setup, table};

/// How often the log is read afresh, so that a table that was replaced or rewound is noticed.
const AFRESH_EACH: Duration = Duration::from_secs(600);
/// How far back the newest commit is looked for when the agent starts.
const LOOK_BACK: u64 = 30;

pub(super) struct SinkHalf {
    pub(super) config: Arc<PipelineConfig>,
    pub(super) secrets: Secrets,
    pub(super) board: Arc<Board>,
}

impl SinkHalf {
    /// Looks for ever; after a fault the store is opened anew, with the secrets as they are then.
    pub(super) async fn run(self) {
        let mut restarts = Restarts::default();
        loop {
            let began = Instant::now();
            let Err(error) = self.look_on().await;
            self.board.sink_failed(&error);
            let pause = restarts.pause(began.elapsed(), error.is_transient());
            tracing::warn!(reason = %error.reason(), error = tidegate_runtime::in_words(&error), seconds = pause.as_secs(), "the table cannot be looked at, will retry");
            tokio::time::sleep(pause).await;
        }
    }

    async fn look_on(&self) -> Result<std::convert::Infallible, RunError> {
        let (.., layout) = setup::compile(&self.config)?;
        let store = open_store(&self.config.sink, &self.secrets)?;
        self.board.store_probed(preflight::probe(&store, Random::from_system().nonce()).await?);
        let log = CommitLog::open(&store);
        let mut watch = LedgerWatch::new(log, self.config.ledger.clone());
        loop {
            if watch.look().await? {
                if let Some(snapshot) = &watch.snapshot {
                    self.check(snapshot, &layout)?;
                }
                self.board.table_seen(watch.view());
            }
            self.board.sink_is_well();
            tokio::time::sleep(LOOK_EACH).await;
        }
    }

    /// What would keep a worker from writing there.
    fn check(&self, snapshot: &TableSnapshot, layout: &setup::Layout) -> Result<(), RunError> {
        let config = &self.config;
        snapshot.check_usable(&config.sink.url)?;
        tidegate_runtime::table::missing_columns(snapshot, &layout.spec, config.schema.evolution)?;
        let any = Incarnation::derive("", "", 0);
        let state = LedgerState::read(snapshot.txns(), &config.ledger, any)?;
        table::check_ledger(&state, &config.ledger, config.sink.delta.shared)
    }
}

/// The log as it was read last.
struct LedgerWatch {
    log: CommitLog,
    ledger: Ledger,
    snapshot: Option<TableSnapshot>,
    last_commit: Option<CommitReport>,
    read_at: Option<Instant>,
}

impl LedgerWatch {
    fn new(log: CommitLog, ledger: Ledger) -> Self {
        Self { log, ledger, snapshot: None, last_commit: None, read_at: None }
    }

    /// Whether there was something new.
    async fn look(&mut self) -> Result<bool, LogError> {
        let afresh = self.read_at.is_none_or(|at| at.elapsed() >= AFRESH_EACH);
        match self.snapshot.clone().filter(|_| !afresh) {
            Some(base) if !self.log.has_newer(&base).await? => return Ok(false),
            Some(base) => match self.log.refresh(&base).await {
                Ok((snapshot, entries)) => {
                    self.note(&entries);
                    self.snapshot = Some(snapshot);
                }
                Err(LogError::EntryMissing { .. }) => self.read().await?,
                Err(error) => return Err(error),
            },
            None => self.read().await?,
        }
        Ok(true)
    }

    async fn read(&mut self) -> Result<(), LogError> {
        self.snapshot = self.log.load().await?;
        self.read_at = self.snapshot.is_some().then(Instant::now);
        if let Some(snapshot) = self.snapshot.as_ref().filter(|_| self.last_commit.is_none()) {
            let from = snapshot.version().saturating_sub(LOOK_BACK);
            self.note(&self.log.history(from).await?);
        }
        Ok(())
    }

    fn note(&mut self, entries: &[LogEntry]) {
        let ours = |entry: &&LogEntry| {
            let tag = entry.ours.as_ref();
            tag.is_some_and(|tag| tag.ledger == self.ledger && tag.kind == CommitKind::Data)
        };
        if let Some(newest) = entries.iter().rev().find(ours) {
            let time = newest.timestamp_ms.unwrap_or(0).saturating_mul(1_000);
            self.last_commit = Some(CommitReport { version: newest.version, time });
        }
    }

    fn view(&self) -> TableView {
        TableView {
            log: self.log.clone(),
            snapshot: self.snapshot.clone(),
            last_commit: self.last_commit,
        }
    }
}
