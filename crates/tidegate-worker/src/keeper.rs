//! What the agent does for a stream, in process: samples for idle floors, coverage, trimming.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::PipelineConfig;
use tidegate_source::{
    Connection, Coverage, KnownMessage, LeaderSamples, RetentionKind, SourceError, TrimDecision,
    TrimFacts, check_coverage, check_same_stream, readers, register_ledger, registered_ledgers,
    sequence_at_time, stream_facts, trim, trim_decision,
};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::CommitLog;
use tidegate_types::{Incarnation, Ledger, PartitionId, Position, Reason, StreamTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::error::WorkerError;
use crate::failpoint;

/// How often the leader's last sequence is sampled, and how old a sample must be to move a floor (S5). A
/// lagging leader once showed nothing pending with 212 k messages undelivered (nats-server #6698).
const SAMPLES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// How often coverage is checked (S3).
const COVERAGE_EACH: Duration = Duration::from_secs(60);
/// How often the stream is trimmed.
const TRIM_EACH: Duration = Duration::from_secs(30);

/// What the engine learns of the stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamNews {
    /// The leader's last sequence at least a minute ago.
    pub(crate) aged_last_sequence: Option<u64>,
}

/// The lowest floor of each ledger, and what was read last.
type Floors = (BTreeMap<String, Position>, Vec<KnownMessage>);

/// Looks after one stream.
pub(crate) struct Keeper {
    pub(crate) config: Arc<PipelineConfig>,
    pub(crate) connection: Connection,
    pub(crate) filters: BTreeMap<PartitionId, Option<String>>,
    pub(crate) log: CommitLog,
    pub(crate) incarnation: Incarnation,
    /// When the stream was created that the floors are of.
    pub(crate) created: String,
    /// Whether this process may remove messages.
    pub(crate) may_trim: bool,
    pub(crate) news: watch::Sender<StreamNews>,
    pub(crate) faults: mpsc::Sender<WorkerError>,
}

impl Keeper {
    /// Works until stopped. Faults that pass are retried at the next turn; others reach the engine.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.work() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn work(&self) {
        let haste = haste();
        let (sample_each, sample_age) = (SAMPLES.0 / haste, SAMPLES.1 / haste);
        let (coverage_each, trim_each) = (COVERAGE_EACH / haste, TRIM_EACH / haste);
        let mut samples = LeaderSamples::new(sample_age);
        let (mut covered, mut trimmed) = (Instant::now(), Instant::now());
        loop {
            if let Err(error) = self.sample(&mut samples).await {
                self.report("sampling", error).await;
            }
            if covered.elapsed() >= coverage_each {
                covered = Instant::now();
                if let Err(error) = self.check_coverage().await {
                    self.report("the coverage check", error).await;
                }
                if let Err(error) = self.register().await {
                    debug!(error = %error, "registering the ledger failed, will retry");
                }
            }
            if trimmed.elapsed() >= trim_each {
                trimmed = Instant::now();
                if let Err(error) = self.trim().await {
                    warn!(error = %error, reason = %error.reason(), "trimming failed, will retry");
                }
            }
            tokio::time::sleep(sample_each).await;
        }
    }

    async fn report(&self, what: &str, error: SourceError) {
        if error.is_transient() {
            debug!(error = %error, "{what} failed, will retry");
        } else {
            // The engine may be gone already.
            let _ = self.faults.send(error.into()).await;
        }
    }

    async fn sample(&self, samples: &mut LeaderSamples) -> Result<(), SourceError> {
        let facts = stream_facts(&self.connection, &self.config.source.stream).await?;
        let now = Instant::now();
        samples.record(now, facts.last_sequence);
        self.news.send_replace(StreamNews { aged_last_sequence: samples.aged(now) });
        Ok(())
    }

    async fn check_coverage(&self) -> Result<(), SourceError> {
        let filters: Vec<_> = self.filters.values().cloned().collect();
        check_coverage(&self.connection, &self.config.source.stream, &filters).await.map(
            |coverage| {
                if coverage != Coverage::Exact {
                    debug!(?coverage, "coverage could not be told exactly");
                }
            },
        )
    }

    /// Stream metadata has no compare-and-swap, so an entry may be lost to another writer's.
    async fn register(&self) -> Result<(), SourceError> {
        let (stream, url) = (&self.config.source.stream, &self.config.sink.url);
        register_ledger(&self.connection, stream, &self.config.ledger, url).await
    }

    /// Removes messages below every floor, when everybody who reads the stream is known (S10).
    pub(crate) async fn trim(&self) -> Result<(), WorkerError> {
        let Some(settings) = self.config.source.trim.as_ref().filter(|_| self.may_trim) else {
            return Ok(());
        };
        let stream = &self.config.source.stream;
        let Some((floors, read)) = self.floors().await? else { return Ok(()) };
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
            TrimDecision::Nothing => {}
            TrimDecision::Blocked { other } => {
                warn!(stream, other, reason = %Reason::TrimBlocked, "stream is not trimmed");
            }
            TrimDecision::Purge { below } => {
                // Floors say nothing about another stream of that name (S6), and what no partition reads
                // would be gone before anybody missed it (S3).
                check_same_stream(&self.connection, stream, &self.created, &read).await?;
                if let Err(error) = self.check_coverage().await {
                    self.report("the coverage check", error).await;
                    return Ok(());
                }
                failpoint::hit("trim.before");
                let purged = trim(&self.connection, stream, below).await?;
                failpoint::hit("trim.after");
                info!(stream, below, purged, "stream trimmed");
            }
        }
        Ok(())
    }

    /// The lowest floor of every ledger in the table, and the messages at our own; none while a partition
    /// has no floor yet.
    async fn floors(&self) -> Result<Option<Floors>, WorkerError> {
        let Some(snapshot) = self.log.load().await? else { return Ok(None) };
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
fn haste() -> u32 {
    let wanted = std::env::var("TIDEGATE_KEEPER_HASTE").ok().filter(|_| cfg!(debug_assertions));
    wanted.and_then(|text| text.parse().ok()).filter(|haste| *haste > 0).unwrap_or(1)
}

/// How long messages are kept is measured against the publish times, so this clock is the wall's.
fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
