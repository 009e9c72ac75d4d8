//! The half that asks the broker.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::PipelineConfig;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, in_words};
use tidegate_source::{
    Connection, SourceError, StartAt, StreamFacts, durability_caveats, resolve_start, stream_facts,
    unsafe_settings,
};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::Txns;
use tidegate_types::{Guarantee, Incarnation, PartitionId, Position, Reason};
use tokio::time::Instant;

use super::LOOK_EACH;
use super::backlog::{Backlog, Partitions};
use super::board::{Board, TableView};
use crate::caretaker::{COVERAGE_EACH, Caretaker, TRIM_EACH, Trimmed, haste};
use crate::decide::Restarts;
use crate::pod::state;
use crate::{preflight, source_setup};

/// With many partitions the broker is asked less often: this much time for each.
const LOOK_EACH_PARTITION: Duration = Duration::from_millis(100);

/// A request is repeated through a broker's restart; an outage is to be told sooner than that ends.
const PATIENCE: Duration = Duration::from_secs(8);

pub(super) struct SourceHalf {
    pub(super) config: Arc<PipelineConfig>,
    pub(super) secrets: Secrets,
    pub(super) board: Arc<Board>,
}

impl SourceHalf {
    /// Looks for ever; after a fault the broker is connected anew, with the secrets as they are then.
    pub(super) async fn run(self) {
        let mut restarts = Restarts::default();
        loop {
            self.board.beat();
            let began = Instant::now();
            let Err(error) = self.look_on().await;
            self.board.source_failed(&error);
            let pause = restarts.pause(began.elapsed(), error.is_transient());
            tracing::warn!(reason = %error.reason(), error = in_words(&error), seconds = pause.as_secs(), "the stream cannot be looked at, will retry");
            self.board.beat();
            tokio::time::sleep(pause).await;
        }
    }

    async fn look_on(&self) -> Result<Infallible, RunError> {
        let (source, name) = (&self.config.source, format!("tidegate agent {}", self.config.name));
        let connection = source_setup::connect(source, &self.secrets, true, name).await?;
        let facts = source_setup::open_stream(&connection, &self.config, true).await?;
        let mut looking = Looking::new(self, connection);
        looking.complaint = looking.check_settings(&facts).err();
        loop {
            let asked = stream_facts(&looking.connection, &self.config.source.stream);
            let facts = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| silent())??;
            looking.look(&facts).await?;
            self.board.source_seen(looking.complaint.as_ref());
            self.board.beat();
            tokio::time::sleep(looking.pause()).await;
        }
    }
}

fn silent() -> RunError {
    let what = format!("the broker has not answered for {} s", PATIENCE.as_secs());
    RunError::transient(Reason::SourceUnreachable, what)
}

/// One connection's looks.
struct Looking<'a> {
    config: &'a Arc<PipelineConfig>,
    board: &'a Board,
    connection: Connection,
    filters: BTreeMap<PartitionId, Option<String>>,
    /// The life of the stream, the creation time it was found under, and the reconnects until then.
    life: Option<(Incarnation, String, u64)>,
    /// Where a ledger begins that the log does not know (P6).
    start: Option<Position>,
    backlog: Option<Backlog>,
    /// What is wrong with the stream, and does not keep it from being looked at.
    complaint: Option<RunError>,
    cared: Option<Instant>,
    trimmed: Instant,
}

impl<'a> Looking<'a> {
    fn new(half: &'a SourceHalf, connection: Connection) -> Self {
        Self {
            config: &half.config,
            board: &half.board,
            connection,
            filters: source_setup::filters(&half.config.source),
            life: None,
            start: None,
            backlog: None,
            complaint: None,
            cared: None,
            trimmed: Instant::now(),
        }
    }

    fn pause(&self) -> Duration {
        let partitions = u32::try_from(self.filters.len()).unwrap_or(u32::MAX);
        LOOK_EACH.max(LOOK_EACH_PARTITION.saturating_mul(partitions)) / haste()
    }

    async fn look(&mut self, facts: &StreamFacts) -> Result<(), RunError> {
        let Some(table) = self.board.table() else {
            // Without the log there are no floors; the stream is looked at all the same.
            return self.take_care(facts, None).await;
        };
        let empty = Txns::default();
        let txns = table.snapshot.as_ref().map_or(&empty, |snapshot| snapshot.txns());
        let incarnation = self.incarnation(facts, txns).await?;
        self.board.incarnation_known(incarnation);
        self.take_care(facts, Some((incarnation, &table))).await?;
        let floors = self.floors(facts, txns, incarnation).await?;
        let partitions = Partitions { filters: &self.filters, floors: &floors };
        let before = self.backlog.as_ref();
        let seen = Backlog::ask(&self.connection, facts, partitions, before).await?;
        self.backlog = Some(seen.clone());
        self.board.backlog_seen(seen);
        Ok(())
    }

    /// Which life of the stream this is (S6); asked again after a reconnect or when the stream is new.
    async fn incarnation(
        &mut self,
        facts: &StreamFacts,
        txns: &Txns,
    ) -> Result<Incarnation, RunError> {
        let reconnects = self.connection.reconnects();
        if let Some((life, created, at)) = &self.life
            && *created == facts.created
            && *at == reconnects
        {
            return Ok(*life);
        }
        let life = source_setup::incarnation(&self.connection, self.config, facts, txns).await?;
        (self.backlog, self.start) = (None, None);
        self.life = Some((life, facts.created.clone(), reconnects));
        Ok(life)
    }

    /// The floors in the log, and for partitions without one the position where reading would begin.
    async fn floors(
        &mut self,
        facts: &StreamFacts,
        txns: &Txns,
        incarnation: Incarnation,
    ) -> Result<BTreeMap<PartitionId, Position>, RunError> {
        let state = LedgerState::read(txns, &self.config.ledger, incarnation)?;
        let mut floors = BTreeMap::new();
        for partition in self.filters.keys() {
            let floor = match (state.partition(*partition).floor, self.start) {
                (Some(floor), _) | (None, Some(floor)) => floor,
                (None, None) => {
                    let reset = state.incarnations.keys().any(|known| *known != incarnation);
                    let start = match reset {
                        true => StartAt::All,
                        false => source_setup::start_at(&self.config.source.start_from),
                    };
                    let start = resolve_start(&self.connection, &facts.name, start).await?;
                    *self.start.insert(start)
                }
            };
            floors.insert(*partition, floor);
        }
        Ok(floors)
    }

    /// What is not done at every look: settings, coverage, registration, trimming.
    async fn take_care(
        &mut self,
        facts: &StreamFacts,
        known: Option<(Incarnation, &TableView)>,
    ) -> Result<(), RunError> {
        let care_each = COVERAGE_EACH / haste();
        let caretaker = |incarnation| Caretaker {
            config: Arc::clone(self.config),
            connection: self.connection.clone(),
            filters: self.filters.clone(),
            incarnation,
            created: facts.created.clone(),
        };
        if self.cared.is_none_or(|at| at.elapsed() >= care_each) {
            let caretaker = caretaker(facts.incarnation(0));
            self.complaint = match self.check_stream(facts, &caretaker).await {
                Err(error) if error.is_transient() => return Err(error),
                found => found.err(),
            };
            self.board.hold_through(self.complaint.is_some());
            self.cared = Some(Instant::now());
        }
        if let Some((incarnation, table)) = known
            && self.trimmed.elapsed() >= TRIM_EACH / haste()
        {
            let trimmed = caretaker(incarnation).trim(&table.log).await;
            self.trimmed = Instant::now();
            self.tell_of_trim(trimmed);
        }
        Ok(())
    }

    async fn check_stream(
        &self,
        facts: &StreamFacts,
        caretaker: &Caretaker,
    ) -> Result<(), RunError> {
        self.check_settings(facts)?;
        caretaker.register().await?;
        Ok(caretaker.check_coverage().await?)
    }

    /// A trim that fails is no fault of the source.
    fn tell_of_trim(&self, trimmed: Result<Trimmed, RunError>) {
        self.board.trim_is(match trimmed {
            Ok(Trimmed::Off) => None,
            Ok(Trimmed::Done) => Some(state(Reason::Ok, "")),
            Ok(Trimmed::Blocked { other }) => {
                let says = format!("{other} may still have to read the stream");
                Some(state(Reason::TrimBlocked, &says))
            }
            Err(error) => {
                let message = in_words(&error);
                tracing::warn!(reason = %error.reason(), error = message, "trimming failed, will retry");
                Some(state(error.reason(), &message))
            }
        });
    }

    /// Whether the stream's settings carry the guarantee (S1), and how durable it is.
    fn check_settings(&self, facts: &StreamFacts) -> Result<(), RunError> {
        let path = preflight::path_facts(facts, false);
        self.board.stream_seen(path, &durability_caveats(facts));
        let problems = unsafe_settings(facts);
        if self.config.guarantee == Guarantee::ExactlyOnce && !problems.is_empty() {
            return Err(SourceError::Unsafe { stream: facts.name.clone(), problems }.into());
        }
        Ok(())
    }
}
