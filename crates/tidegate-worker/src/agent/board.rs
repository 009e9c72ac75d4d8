//! What both halves of the agent know, and the report that is made of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_config::{
    AgentReport, Assessment, CommitReport, GuaranteeReport, PathFacts, PipelineConfig, State,
    StoreFacts, assess,
};
use tidegate_runtime::{RunError, in_words};
use tidegate_table::ledger::{LedgerState, PartitionState};
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_telemetry::AgentMetrics;
use tidegate_types::{Counters, Incarnation, PartitionId, Position, Reason, Span, StreamTime};

use super::backlog::Backlog;
use crate::caretaker::now_micros;
use crate::decide::{PartitionThrough, complete_through};
use crate::pod::PodIdentity;
use crate::pod::state;

/// The table as the log shows it.
#[derive(Debug, Clone)]
pub(super) struct TableView {
    pub(super) log: CommitLog,
    /// None: there is no table yet.
    pub(super) snapshot: Option<TableSnapshot>,
    pub(super) last_commit: Option<CommitReport>,
}

/// What is known.
#[derive(Debug, Default)]
struct Known {
    source: Option<State>,
    durable: Option<State>,
    trim: Option<State>,
    sink: Option<State>,
    stream: Option<PathFacts>,
    conditional_put: Option<bool>,
    incarnation: Option<Incarnation>,
    backlog: Option<Backlog>,
    /// The instant before which everything published to a partition is behind its floor: true for ever.
    caught_up: BTreeMap<PartitionId, StreamTime>,
    table: Option<TableView>,
    /// What was served last as `completeThrough`.
    through: Option<i64>,
    /// It must not rise.
    through_held: bool,
}

/// Where it stands.
#[derive(Debug)]
pub(super) struct Board {
    config: Arc<PipelineConfig>,
    identity: PodIdentity,
    metrics: Arc<AgentMetrics>,
    known: Mutex<Known>,
}

impl Board {
    pub(super) fn new(
        config: Arc<PipelineConfig>,
        identity: PodIdentity,
        metrics: Arc<AgentMetrics>,
    ) -> Self {
        Self { config, identity, metrics, known: Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known());
        self.show();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // --- what the source's half finds

    pub(super) fn source_failed(&self, error: &RunError) {
        let failed = state(error.reason(), &in_words(error));
        // What waits is not known any more.
        self.change(|known| (known.source, known.backlog) = (Some(failed), None));
    }

    /// It was looked at; a complaint is about what was seen, which is known all the same.
    pub(super) fn source_seen(&self, complaint: Option<&RunError>) {
        let told = complaint
            .map_or_else(|| state(Reason::Ok, ""), |error| state(error.reason(), &in_words(error)));
        self.change(|known| known.source = Some(told));
    }

    /// While the stream is not as it has to be, messages may be in it that nobody reads: it cannot be
    /// said that the table is complete up to a later time.
    pub(super) fn hold_through(&self, hold: bool) {
        self.change(|known| known.through_held = hold);
    }

    /// The stream's facts and caveats about what the broker keeps.
    pub(super) fn stream_seen(&self, facts: PathFacts, caveats: &[String]) {
        let durable = match caveats {
            [] => state(Reason::Ok, ""),
            caveats => state(Reason::SourceNotDurable, &caveats.join("; ")),
        };
        self.change(|known| (known.stream, known.durable) = (Some(facts), Some(durable)));
    }

    pub(super) fn incarnation_known(&self, incarnation: Incarnation) {
        self.change(|known| known.incarnation = Some(incarnation));
    }

    pub(super) fn backlog_seen(&self, backlog: Backlog) {
        self.change(|known| {
            for (partition, at) in backlog.caught_up() {
                let newest = known.caught_up.entry(partition).or_default();
                *newest = (*newest).max(at);
            }
            known.backlog = Some(backlog);
        });
    }

    pub(super) fn trim_is(&self, trim: Option<State>) {
        let blocked = trim.as_ref().is_some_and(|it| it.reason == Reason::TrimBlocked.as_str());
        self.metrics.set_trim_blocked(blocked);
        self.change(|known| known.trim = trim);
    }

    // --- what the sink's half finds

    pub(super) fn sink_failed(&self, error: &RunError) {
        let failed = state(error.reason(), &in_words(error));
        self.change(|known| known.sink = Some(failed));
    }

    pub(super) fn sink_is_well(&self) {
        self.change(|known| known.sink = Some(state(Reason::Ok, "")));
    }

    pub(super) fn store_probed(&self, conditional_put: bool) {
        self.change(|known| known.conditional_put = Some(conditional_put));
    }

    pub(super) fn table_seen(&self, view: TableView) {
        self.change(|known| known.table = Some(view));
    }

    /// The table as it was seen last.
    pub(super) fn table(&self) -> Option<TableView> {
        self.known().table.clone()
    }

    pub(super) fn beat(&self) {
        self.metrics.beat();
    }

    // --- what is made of it

    /// What is known now.
    pub(super) fn report(&self) -> AgentReport {
        let mut known = self.known();
        let ledger = ledger_numbers(&known, &self.config);
        // The log alone says less than an agent before this one may have said, who had asked the broker.
        let asked = known.backlog.is_some() || known.through.is_some();
        if asked && !known.through_held {
            known.through = through(&known, &ledger, &self.config);
        }
        let guarantee = assessment(&known, &self.config);
        let (reason, message) = overall(&known, guarantee.as_ref());
        AgentReport {
            pod: self.identity.report(reason, &message),
            source: known.source.clone(),
            durable: known.durable.clone(),
            sink: known.sink.clone(),
            trim: known.trim.clone(),
            guarantee: guarantee.map(|assessment| GuaranteeReport {
                requested: assessment.requested,
                effective: assessment.effective,
                weakest_hop: assessment.weakest_hop.map(|hop| hop.to_string()),
            }),
            lag: known.backlog.as_ref().map(Backlog::messages),
            lag_seconds: known.backlog.as_ref().map(|backlog| backlog.seconds(now_micros())),
            counters: ledger.counters,
            floors: ledger.floors(),
            claimed_generation: ledger.generation,
            complete_through: known.through,
            last_commit: known.table.as_ref().and_then(|table| table.last_commit),
        }
    }

    /// Brings the metrics up to date.
    fn show(&self) {
        let report = self.report();
        let reason = Reason::from_word(&report.pod.state.reason);
        self.metrics.set_state(reason.unwrap_or(Reason::Progressing));
        self.metrics.set_lag(report.lag, report.lag_seconds);
        self.metrics.set_complete_through(report.complete_through);
        self.metrics.set_last_commit(report.last_commit.map(|commit| commit.time));
        self.metrics.set_floors(&report.floors);
    }
}

/// The ledger as the log shows it.
#[derive(Debug, Default)]
struct LedgerNumbers {
    /// Over all lives of the stream.
    counters: Counters,
    /// In the current one.
    partitions: BTreeMap<PartitionId, PartitionState>,
    /// The highest under which a partition was claimed.
    generation: i64,
}

impl LedgerNumbers {
    fn floors(&self) -> BTreeMap<PartitionId, Position> {
        self.partitions.iter().filter_map(|(k, state)| Some((*k, state.floor?))).collect()
    }
}

/// Which life of the stream is the current one only the broker can say; while it cannot be asked, the only
/// one in the log will do.
fn ledger_numbers(known: &Known, config: &PipelineConfig) -> LedgerNumbers {
    let snapshot = known.table.as_ref().and_then(|table| table.snapshot.as_ref());
    let Some(txns) = snapshot.map(TableSnapshot::txns) else { return LedgerNumbers::default() };
    let read = |incarnation| {
        // What is not ours there is the workers' to complain about.
        LedgerState::read(txns, &config.ledger, incarnation).unwrap_or_default()
    };
    let any = known.incarnation.unwrap_or_else(|| Incarnation::derive("", "", 0));
    let now = read(any);
    let lives = now.incarnations;
    // An epoch is of a partition, whatever life of the stream it is in.
    let generations = now.partitions.values().map(|partition| partition.epoch.generation());
    let generation = generations.max().unwrap_or(0);
    let mut numbers = LedgerNumbers { generation, ..LedgerNumbers::default() };
    for life in lives.keys().copied() {
        let partitions = read(life).partitions;
        numbers.counters +=
            partitions.values().fold(Counters::default(), |sum, p| sum + p.counters);
        if known.incarnation.map_or(lives.len() == 1, |current| current == life) {
            numbers.partitions = partitions;
        }
    }
    numbers
}

fn through(known: &Known, ledger: &LedgerNumbers, config: &PipelineConfig) -> Option<i64> {
    let partitions: Vec<_> = (0..config.source.partitioning.count())
        .map(PartitionId)
        .map(|k| {
            let state = ledger.partitions.get(&k);
            PartitionThrough {
                committed: state.and_then(|state| state.through),
                at_floor: state.map(|state| state.time).filter(|time| time.0 > 0),
                caught_up: known.caught_up.get(&k).copied(),
            }
        })
        .collect();
    let rule = config.sink.event_time.as_ref();
    let lateness = rule.map_or(Span::default(), |rule| rule.allowed_lateness);
    complete_through(&partitions, lateness, known.through)
}

/// None before stream and store were looked at.
fn assessment(known: &Known, config: &PipelineConfig) -> Option<Assessment> {
    let facts = known.stream.clone()?;
    let store = StoreFacts { conditional_put: Some(known.conditional_put?) };
    Some(assess(config, &PathFacts { store, ..facts }))
}

/// The agent is well when all that it looks at is.
fn overall(known: &Known, guarantee: Option<&Assessment>) -> (Reason, String) {
    for half in [&known.source, &known.sink].into_iter().flatten() {
        match Reason::from_word(&half.reason) {
            Some(Reason::Ok) | None => {}
            Some(reason) => return (reason, half.message.clone()),
        }
    }
    if let Some(hop) = guarantee.and_then(|assessment| assessment.weakest_hop.as_ref()) {
        return (Reason::GuaranteeNotMet, hop.to_string());
    }
    if known.source.is_none() || known.sink.is_none() {
        return (Reason::Progressing, "stream and table are being looked at".to_owned());
    }
    (Reason::Ok, String::new())
}
