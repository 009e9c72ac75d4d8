//! What somebody does for a stream as a whole: coverage, registration, trimming. In a cluster the agent,
//! under `tidegate run` the first worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::PipelineConfig;
use tidegate_runtime::{RunError, failpoint};
use tidegate_source::{
    Connection, Coverage, KnownMessage, RetentionKind, SourceError, TrimDecision, TrimFacts,
    check_coverage, check_same_stream, readers, register_ledger, registered_ledgers,
    sequence_at_time, stream_facts, trim, trim_decision,
};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_types::{Incarnation, Ledger, PartitionId, Position, Reason, StreamTime};
use tracing::{debug, info, warn};

/// How often coverage is checked (S3) and the ledger registered.
pub(crate) const COVERAGE_EACH: Duration = Duration::from_secs(60);
/// How often the stream is trimmed.
pub(crate) const TRIM_EACH: Duration = Duration::from_secs(30);

/// The lowest floor of each ledger, and what was read last.
type Floors = (BTreeMap<String, Position>, Vec<KnownMessage>);

/// How a trim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trimmed {
    /// The pipeline does not ask for it.
    Off,
    /// Done, or there was nothing to remove.
    Done,
    /// Somebody else may still have to read (`TrimBlocked`).
    Blocked {
        /// Who.
        other: String,
    },
}

/// Looks after one stream.
#[derive(Debug, Clone)]
pub(crate) struct Caretaker {
    pub(crate) config: Arc<PipelineConfig>,
    pub(crate) connection: Connection,
    pub(crate) filters: BTreeMap<PartitionId, Option<String>>,
    pub(crate) incarnation: Incarnation,
    /// When the stream was created that the floors are of.
    pub(crate) created: String,
}

impl Caretaker {
    /// Whether every message belongs to a partition (S3).
    pub(crate) async fn check_coverage(&self) -> Result<(), SourceError> {
        let filters: Vec<_> = self.filters.values().cloned().collect();
        let coverage =
            check_coverage(&self.connection, &self.config.source.stream, &filters).await?;
        if coverage != Coverage::Exact {
            debug!(?coverage, "coverage could not be told exactly");
        }
        Ok(())
    }

    /// Stream metadata has no compare-and-swap, so an entry may be lost to another writer's: to be
    /// repeated.
    pub(crate) async fn register(&self) -> Result<(), SourceError> {
        let (stream, url) = (&self.config.source.stream, &self.config.sink.url);
        register_ledger(&self.connection, stream, &self.config.ledger, url).await
    }

    /// Removes messages below every floor, when everybody who reads the stream is known (S10).
    ///
    /// The log is read afresh: floors of a table that was rewound meanwhile would be too high.
    pub(crate) async fn trim(&self, log: &CommitLog) -> Result<Trimmed, RunError> {
        let Some(settings) = self.config.source.trim.as_ref() else { return Ok(Trimmed::Off) };
        let stream = &self.config.source.stream;
        let snapshot = log.load().await?;
        let floors = snapshot.map(|snapshot| self.floors(&snapshot)).transpose()?.flatten();
        let Some((floors, read)) = floors else { return Ok(Trimmed::Done) };
        let facts = stream_facts(&self.connection, stream).await?;
        let registrations = registered_ledgers(&self.connection, stream).await?;
        let readers = readers(&self.connection, stream).await?;
        let keep_from = StreamTime(now_micros().saturating_sub(settings.keep.as_micros()));
        let decision = trim_decision(&TrimFacts {
            table_url: &self.config.sink.url,
            floors: &floors,
            registrations: &registrations,
            readers: &readers,
            first_sequence: facts.first_sequence,
            limits_retention: facts.retention == RetentionKind::Limits,
            keep_from_sequence: sequence_at_time(&self.connection, stream, keep_from).await?,
        });
        match decision {
            TrimDecision::Nothing => Ok(Trimmed::Done),
            TrimDecision::Blocked { other } => {
                warn!(stream, other, reason = %Reason::TrimBlocked, "stream is not trimmed");
                Ok(Trimmed::Blocked { other })
            }
            TrimDecision::Purge { below } => {
                self.purge(below, &read).await?;
                Ok(Trimmed::Done)
            }
        }
    }

    async fn purge(&self, below: u64, read: &[KnownMessage]) -> Result<(), RunError> {
        let stream = &self.config.source.stream;
        // Floors say nothing about another stream of that name (S6), and what no partition reads would
        // be gone before anybody missed it (S3).
        check_same_stream(&self.connection, stream, &self.created, read).await?;
        self.check_coverage().await?;
        failpoint::hit("trim.before");
        let purged = trim(&self.connection, stream, below).await?;
        failpoint::hit("trim.after");
        info!(stream, below, purged, "stream trimmed");
        Ok(())
    }

    /// The lowest floor of every ledger in the table, and the messages at our own; none while a partition
    /// has no floor yet.
    fn floors(&self, snapshot: &TableSnapshot) -> Result<Option<Floors>, RunError> {
        let own = &self.config.ledger;
        let state = LedgerState::read(snapshot.txns(), own, self.incarnation)?;
        let ledgers: Vec<Ledger> =
            state.other_ledgers.iter().cloned().chain([own.clone()]).collect();
        let read = state.partitions.values().filter_map(|p| {
            Some(KnownMessage { sequence: p.floor?.0, fingerprint: p.fingerprint })
        });
        let (mut floors, read) = (BTreeMap::new(), read.collect());
        for ledger in ledgers {
            let state = LedgerState::read(snapshot.txns(), &ledger, self.incarnation)?;
            let held: Vec<_> = state.partitions.values().filter_map(|p| p.floor).collect();
            let complete = ledger != *own || held.len() == self.filters.len();
            match held.into_iter().min() {
                Some(lowest) if complete => floors.insert(ledger.to_string(), lowest),
                _ if ledger == *own => return Ok(None),
                _ => None,
            };
        }
        Ok(Some((floors, read)))
    }
}

/// By how much a test wants every period shortened: `TIDEGATE_KEEPER_HASTE`. The shipped binary does not
/// look.
pub(crate) fn haste() -> u32 {
    let wanted = std::env::var("TIDEGATE_KEEPER_HASTE").ok().filter(|_| cfg!(debug_assertions));
    wanted.and_then(|text| text.parse().ok()).filter(|haste| *haste > 0).unwrap_or(1)
}

/// How long messages are kept is measured against the publish times, so this clock is the wall's.
pub(crate) fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
