//! Everything that is open before partitions are claimed, and the parts that are made from it.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use tidegate_batch::MemoryBudget;
use tidegate_config::PipelineConfig;
use tidegate_dedup::KeyHasher;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, open_store};
use tidegate_source::{
    Connection, ReadMode, ReaderOptions, StartAt, StreamFacts, check_coverage,
    leader_last_sequence, register_ledger, resolve_start,
};
use tidegate_table::dead_letter;
use tidegate_table::files::WriteOptions;
use tidegate_table::files::system::source_name;
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::{CommitLog, TableSnapshot, TableSpec};
use tidegate_table::store::TableStore;
use tidegate_telemetry::PipelineMetrics;
use tidegate_types::{DedupKey, Holder, Incarnation, Span};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::batch::FileSettings;
use crate::caretaker::Caretaker;
use crate::committer::CommitterParts;
use crate::dead_letters::DeadLetters;
use crate::engine::{EngineChannels, EngineParts};
use crate::isolation::Isolation;
use crate::keeper::{Keeper, StreamNews};
use crate::ledger_settings::{self, SettingsPlace};
use crate::options::{StreamCare, WorkerOptions};
use crate::preflight;
use crate::reading::ByteBudget;
use crate::setup;
use crate::source_setup;
use crate::table;
use crate::window::{WindowRule, WindowStore};

/// How long a finite run waits for the outcome of a commit before it leaves it to the next.
const FINITE_DOUBT: Duration = Duration::from_secs(300);

/// Everything that is open before partitions are claimed.
pub(crate) struct Opened {
    pub(crate) config: Arc<PipelineConfig>,
    connection: Connection,
    stream: StreamFacts,
    store: TableStore,
    table: OpenTable,
    initial_floor: tidegate_types::Position,
    windows: Arc<WindowStore>,
    memory: MemoryBudget,
    random: Random,
}

/// The table and what its log says of the ledger.
struct OpenTable {
    log: CommitLog,
    snapshot: TableSnapshot,
    incarnation: Incarnation,
    /// Of the id fingerprints.
    seed: u64,
    /// The log knows other lives of the stream, and not this one.
    reset: bool,
}

async fn open_source(
    options: &WorkerOptions,
    secrets: &Secrets,
) -> Result<(Connection, StreamFacts), RunError> {
    let (config, maintain) = (&options.config, options.stream_care == StreamCare::All);
    let name = format!("tidegate {}", options.worker_name);
    let connection = source_setup::connect(&config.source, secrets, maintain, name).await?;
    let stream = source_setup::open_stream(&connection, config, maintain).await?;
    Ok((connection, stream))
}

impl OpenTable {
    async fn open(
        (config, store): (&PipelineConfig, &TableStore),
        spec: &TableSpec,
        (connection, stream): (&Connection, &StreamFacts),
        random: &mut Random,
    ) -> Result<Self, RunError> {
        let log = CommitLog::open(store);
        let evolution = config.schema.evolution;
        let snapshot =
            tidegate_runtime::table::open(&log, spec, evolution, &config.ledger, random).await?;
        let incarnation =
            source_setup::incarnation(connection, config, stream, snapshot.txns()).await?;
        let state = LedgerState::read(snapshot.txns(), &config.ledger, incarnation)?;
        table::check_ledger(&state, &config.ledger, config.sink.delta.shared)?;
        table::check_rows(&log, &snapshot, &config.ledger).await?;
        let place = SettingsPlace { log: &log, store: store.data.as_ref(), config, incarnation };
        let (settings, snapshot) = ledger_settings::open(&place, snapshot, random).await?;
        let reset = state.incarnations.keys().any(|known| *known != incarnation);
        let seed = ledger_settings::key_seed(&settings);
        Ok(Self { log, snapshot, incarnation, seed, reset })
    }

    /// A reset begins at the start of what there is now, wherever the ledger began (P6).
    fn start(&self, config: &PipelineConfig) -> StartAt {
        match self.reset {
            true => StartAt::All,
            false => source_setup::start_at(&config.source.start_from),
        }
    }

    fn windows(
        &self,
        options: &WorkerOptions,
        store: &TableStore,
        memory: &MemoryBudget,
    ) -> WindowStore {
        let config = &options.config;
        let partitions = setup::wanted(config, options.partitions.as_ref()).len();
        let each = memory.window_per_partition(u32::try_from(partitions).unwrap_or(u32::MAX));
        WindowStore {
            store: Arc::clone(&store.data),
            log: self.log.clone(),
            source: source_name(&config.ledger, self.incarnation),
            ledger: config.ledger.clone(),
            incarnation: self.incarnation,
            rule: config.dedup.clone().map(|window| WindowRule {
                window,
                hasher: KeyHasher::new(self.seed),
                memory_limit: each.as_usize(),
                spill_dir: options.spill_dir.clone(),
                config_hash: ledger_settings::window_hash(config, self.seed),
            }),
        }
    }
}

impl Opened {
    pub(crate) async fn open(options: &WorkerOptions) -> Result<Self, RunError> {
        let config = Arc::new(options.config.clone());
        let mut random = Random::from_system();
        let secrets = Secrets::new(options.secrets_dir.clone());
        let (.., layout) = setup::compile(&config)?;
        let (connection, stream) = open_source(options, &secrets).await?;
        let store = open_store(&config.sink, &secrets)?;
        preflight::check(&config, &stream, &store, random.nonce()).await?;
        let filters: Vec<_> = source_setup::filters(&config.source).into_values().collect();
        check_coverage(&connection, &stream.name, &filters).await?;
        let (sink, source) = ((config.as_ref(), &store), (&connection, &stream));
        let table = OpenTable::open(sink, &layout.spec, source, &mut random).await?;
        if options.stream_care == StreamCare::All {
            let (name, url) = (&config.source.stream, &config.sink.url);
            register_ledger(&connection, name, &config.ledger, url).await?;
        }
        let start = table.start(&config);
        let initial_floor = resolve_start(&connection, &config.source.stream, start).await?;
        let memory = MemoryBudget::of(options.memory_budget);
        let windows = Arc::new(table.windows(options, &store, &memory));
        let opened = Self {
            config,
            connection,
            stream,
            store,
            table,
            initial_floor,
            windows,
            memory,
            random,
        };
        opened.tell();
        Ok(opened)
    }

    fn tell(&self) {
        info!(
            pipeline = self.config.name,
            ledger = %self.config.ledger,
            stream = self.stream.name,
            incarnation = %self.table.incarnation,
            table = self.config.sink.url,
            version = self.table.snapshot.version(),
            "opened"
        );
    }

    pub(crate) fn committer(
        &self,
        options: &WorkerOptions,
        metrics: &Arc<PipelineMetrics>,
    ) -> CommitterParts {
        let config = &self.config;
        let dead_store = self.store.below(dead_letter::FOLDER);
        let dead_letters = DeadLetters {
            log: CommitLog::open(&dead_store),
            ledger: config.ledger.clone(),
            incarnation: self.table.incarnation,
            source: source_name(&config.ledger, self.table.incarnation),
            snapshot: None,
        };
        let lateness = config.sink.event_time.as_ref();
        let exactly = self.read_mode() != ReadMode::AckOnReceipt;
        CommitterParts {
            log: self.table.log.clone(),
            snapshot: self.table.snapshot.clone(),
            dead_letters,
            windows: Arc::clone(&self.windows),
            ledger: config.ledger.clone(),
            incarnation: self.table.incarnation,
            me: Holder::of(&options.worker_name),
            generation: options.assignment_generation.clone(),
            wanted: setup::wanted(config, options.partitions.as_ref()),
            initial_floor: self.initial_floor,
            max_interval: config.sink.flush.max_interval.to_duration(),
            allowed_lateness: lateness.map_or(Span::default(), |rule| rule.allowed_lateness),
            position_in_log: exactly,
            repeat_in_doubt: exactly,
            doubt_limit: options.until_caught_up.then_some(FINITE_DOUBT),
            metrics: Arc::clone(metrics),
            random: Random::from_system(),
        }
    }

    pub(crate) fn keeper(
        &self,
        options: &WorkerOptions,
        news: watch::Sender<StreamNews>,
        faults: mpsc::Sender<RunError>,
    ) -> Keeper {
        Keeper {
            caretaker: Caretaker {
                config: Arc::clone(&self.config),
                connection: self.connection.clone(),
                filters: source_setup::filters(&self.config.source),
                incarnation: self.table.incarnation,
                created: self.stream.created.clone(),
            },
            log: self.table.log.clone(),
            care: options.stream_care,
            news,
            faults,
        }
    }

    fn read_mode(&self) -> ReadMode {
        source_setup::read_mode(self.config.guarantee, self.stream.retention)
    }

    fn reader(&self) -> ReaderOptions {
        let config = &self.config;
        let url = config.sink.url.clone();
        let defaults = ReaderOptions::new(&self.stream.name, config.ledger.clone(), url);
        let header = config.dedup.as_ref().and_then(|dedup| match &dedup.key {
            DedupKey::Header(header) => Some(header.clone()),
            DedupKey::Field(_) => None,
        });
        ReaderOptions {
            created: Some(self.stream.created.clone()),
            mode: self.read_mode(),
            exactly_once: config.guarantee == tidegate_types::Guarantee::ExactlyOnce,
            id_header: header,
            batch_bytes: defaults.batch_bytes.min(self.memory.fetch.as_usize() / 2).max(1 << 16),
            ..defaults
        }
    }

    fn files(&self, schema: Arc<Schema>) -> FileSettings {
        let compression = self.config.sink.file.compression;
        FileSettings {
            store: Arc::clone(&self.store.data),
            schema,
            options: WriteOptions { compression, ..WriteOptions::default() },
            policy: self.config.sink.file.clone(),
            ledger: self.config.ledger.clone(),
        }
    }

    pub(crate) async fn engine(
        self,
        options: &WorkerOptions,
        channels: EngineChannels,
        metrics: Arc<PipelineMetrics>,
    ) -> Result<EngineParts, RunError> {
        let (decoder, filter, router, layout) = setup::compile(&self.config)?;
        let judge = setup::judge(&self.config, (decoder, filter, router), self.table.seed)?;
        let probe = options.decoder_probe.clone();
        let isolation = probe.map(|program| Isolation::new(program, &self.config)).transpose()?;
        let until = match options.until_caught_up {
            true => Some(leader_last_sequence(&self.connection, &self.stream.name).await?),
            false => None,
        };
        if self.memory.total.0 < 64 << 20 {
            warn!(budget = %self.memory.total, "the memory budget is below 64Mi: batches will be small");
        }
        Ok(EngineParts {
            reader: self.reader(),
            isolation,
            filters: source_setup::filters(&self.config.source),
            judge,
            files: self.files(layout.file_schema),
            system: layout.system,
            source_column: source_name(&self.config.ledger, self.table.incarnation),
            windows: self.windows,
            budget: ByteBudget::new(self.memory.fetch.as_usize()),
            max_batch_bytes: self.memory.open_files.as_usize(),
            until,
            channels,
            metrics,
            random: self.random,
            connection: self.connection,
            config: self.config,
        })
    }
}
