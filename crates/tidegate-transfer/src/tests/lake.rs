//! A table in memory, a source, and runs over both.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tidegate_config::{
    BulkSource, Chunking, DatabaseSource, DatabaseTls, DeltaTable, FilePolicy, FlushPolicy,
    Placement, Relation, RunReport, S3Options, Sink, TransferConfig, Trigger, WriteMode,
};
use tidegate_runtime::RunError;
use tidegate_runtime::secrets::Secrets;
use tidegate_table::dead_letter::FOLDER;
use tidegate_table::files::layout::object_of_log_path;
use tidegate_table::files::reader::read_columns;
use tidegate_table::ledger::{IntervalKey, Intervals};
use tidegate_table::log::{CommitLog, LogEntry, TableSnapshot};
use tidegate_table::store::TableStore;
use tidegate_testing::HookedStore;
use tidegate_types::{
    BadRowPolicy, ByteSize, Compression, DataInterval, Evolution, Guarantee, Ledger, Span,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::source::{Database, MemorySources, Row};
use super::trouble::{Mood, Troubled};
use crate::options::TransferOptions;
use crate::progress::Progress;
use crate::run::{Edges, Run};
use crate::steps::Steps;

/// A row of the table, and the interval in whose name it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) row: Row,
    /// The interval's start in seconds.
    pub(crate) interval: Option<i64>,
}

pub(crate) struct Lake {
    pub(crate) store: TableStore,
    pub(in crate::tests) mood: Arc<Mood>,
    pub(crate) database: Arc<Database>,
    config: Mutex<TransferConfig>,
    runs: AtomicU32,
}

/// `count` rows of an hour, with numbers of their own.
pub(crate) fn rows_of(hour: i64, count: i64, value: i64) -> impl Iterator<Item = Row> {
    (0..count).map(move |n| Row { id: hour * 100_000 + n, at: hour * 3600 + n % 3600, value })
}

pub(crate) fn ledger() -> Ledger {
    Ledger::new("shop.orders").expect("valid")
}

fn config(write_mode: WriteMode) -> TransferConfig {
    TransferConfig {
        name: "shop/orders".into(),
        ledger: ledger(),
        guarantee: Guarantee::ExactlyOnce,
        source: BulkSource::Postgres(DatabaseSource {
            connection: "db".into(),
            relation: Relation::Table { schema: None, name: "orders".into() },
            tls: DatabaseTls { mode: tidegate_config::TlsMode::Disable, ca: None },
        }),
        fields: None,
        evolution: Evolution::AddColumns,
        on_error: BadRowPolicy::DeadLetter,
        incremental: None,
        chunking: Chunking { field: None, target_rows: 100, parallelism: 2 },
        placement: Placement::InProcess,
        schedule: None,
        write_mode,
        allow_shrink: false,
        repairs: None,
        sink: Sink {
            url: "memory:///orders".into(),
            secret: None,
            endpoint: None,
            s3: S3Options::default(),
            delta: DeltaTable::default(),
            partition_by: Vec::new(),
            file: FilePolicy {
                target_size: ByteSize::mib(64),
                compression: Compression::ZSTD,
                max_open_partitions: 8,
            },
            flush: FlushPolicy {
                max_interval: Span::seconds(60),
                max_rows: 1,
                idle_after: Span::seconds(1),
            },
            event_time: None,
        },
    }
}

impl Lake {
    pub(crate) fn new(write_mode: WriteMode) -> Self {
        let mood = Arc::new(Mood::default());
        let inner: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let client = |repeats| {
            let troubled = Troubled { mood: Arc::clone(&mood), repeats };
            Arc::new(HookedStore::new(Arc::clone(&inner), troubled))
        };
        let root = Url::parse("memory:///orders/").expect("a url");
        let store = TableStore { root, data: client(2), commit: client(0) };
        let database = Arc::new(Database::default());
        database.chunks.store(3, Ordering::SeqCst);
        let config = Mutex::new(config(write_mode));
        Self { store, mood, database, config, runs: AtomicU32::new(0) }
    }

    /// A table in a folder, for what opens its store itself.
    pub(crate) fn in_folder(folder: &std::path::Path, write_mode: WriteMode) -> Self {
        let lake = Self::new(write_mode);
        lake.set(|config| config.sink.url = format!("file://{}/orders", folder.display()));
        let store = tidegate_runtime::open_store(&lake.config().sink, &Secrets::new(None));
        Self { store: store.expect("opened"), ..lake }
    }

    /// The pipeline.
    pub(crate) fn config(&self) -> TransferConfig {
        self.config.lock().expect("not poisoned").clone()
    }

    /// Changes the pipeline.
    pub(crate) fn set(&self, change: impl FnOnce(&mut TransferConfig)) {
        change(&mut self.config.lock().expect("not poisoned"));
    }

    pub(crate) fn options(
        &self,
        trigger: Trigger,
        interval: Option<DataInterval>,
    ) -> TransferOptions {
        let number = self.runs.fetch_add(1, Ordering::SeqCst);
        TransferOptions {
            config: self.config(),
            trigger,
            rerun: false,
            interval,
            run: format!("run-{number}"),
            secrets_dir: None,
            cancel: CancellationToken::new(),
        }
    }

    /// A run with these options; it goes no further than the step that is named.
    pub(crate) async fn attempt(
        &self,
        options: TransferOptions,
        halt: Option<(&'static str, Arc<Notify>)>,
    ) -> Result<RunReport, RunError> {
        self.attempt_with(options, Steps { halt, ..Steps::default() }).await
    }

    /// A run that is told to stop when it reaches the step.
    pub(crate) async fn told_to_stop_at(
        &self,
        step: &'static str,
        options: TransferOptions,
    ) -> Result<RunReport, RunError> {
        let stop = Some((step, options.cancel.clone()));
        self.attempt_with(options, Steps { stop, ..Steps::default() }).await
    }

    /// A run with these options that does something else at a step.
    pub(super) async fn attempt_with(
        &self,
        options: TransferOptions,
        steps: Steps,
    ) -> Result<RunReport, RunError> {
        let edges = Edges {
            store: self.store.clone(),
            sources: Arc::new(MemorySources(Arc::clone(&self.database))),
            secrets: Secrets::new(None),
            steps,
        };
        let progress = Progress::new(watch::Sender::new(RunReport::default()));
        Run::new(options, edges, progress).run().await
    }

    /// A run that ends by itself.
    pub(crate) async fn run(
        &self,
        trigger: Trigger,
        interval: Option<DataInterval>,
    ) -> Result<RunReport, RunError> {
        self.attempt(self.options(trigger, interval), None).await
    }

    /// An attempt that dies when it reaches the step.
    pub(crate) async fn dies_at(&self, options: TransferOptions, step: &'static str) {
        self.dies_at_time(options, step, 1).await;
    }

    /// An attempt that dies when it reaches the step for the so many-th time.
    pub(crate) async fn dies_at_time(
        &self,
        options: TransferOptions,
        step: &'static str,
        time: u32,
    ) {
        let reached = Arc::new(Notify::new());
        let halt = Some((step, Arc::clone(&reached)));
        let steps = Steps { halt, passes: Arc::new(AtomicU32::new(time - 1)), ..Steps::default() };
        tokio::select! {
            outcome = self.attempt_with(options, steps) => {
                panic!("it ended before {step}: {outcome:?}")
            }
            () = reached.notified() => {}
        }
    }

    pub(crate) fn log(&self) -> CommitLog {
        CommitLog::open(&self.store)
    }

    pub(crate) async fn snapshot(&self) -> TableSnapshot {
        self.log().load().await.expect("readable").expect("there")
    }

    pub(crate) async fn intervals(&self) -> Intervals {
        Intervals::read(self.snapshot().await.txns(), &ledger()).expect("ours")
    }

    pub(crate) async fn generation(&self, interval: Option<DataInterval>) -> u64 {
        let key = interval.map_or(IntervalKey::All, IntervalKey::Of);
        self.intervals().await.get(key).map_or(0, |known| known.generation)
    }

    /// Whether the log holds the interval's rows.
    pub(crate) async fn is_done(&self, interval: DataInterval) -> bool {
        self.intervals().await.is_done(IntervalKey::Of(interval))
    }

    pub(crate) async fn history(&self) -> Vec<LogEntry> {
        self.log().history(0).await.expect("readable")
    }

    /// Every row of the table, sorted.
    pub(crate) async fn rows(&self) -> Vec<Stored> {
        let snapshot = self.snapshot().await;
        let mut rows = Vec::new();
        for file in self.log().live_files(&snapshot).await.expect("readable") {
            let path = object_of_log_path(&file.path).expect("ours");
            let wanted = ["id", "at", "value", "_tg_interval"];
            let batches = read_columns(&self.store.data, &path, &wanted).await.expect("readable");
            let batches: Vec<_> = batches.try_collect().await.expect("readable");
            for batch in batches {
                let long = |name| {
                    batch.column_by_name(name).expect("there").as_primitive::<Int64Type>().clone()
                };
                let time = |name| {
                    let column = batch.column_by_name(name).expect("there");
                    column.as_primitive::<TimestampMicrosecondType>().clone()
                };
                let (ids, values) = (long("id"), long("value"));
                let (times, intervals) = (time("at"), time("_tg_interval"));
                rows.extend((0..batch.num_rows()).map(|n| Stored {
                    row: Row {
                        id: ids.value(n),
                        at: times.value(n) / 1_000_000,
                        value: values.value(n),
                    },
                    interval: intervals.is_valid(n).then(|| intervals.value(n) / 1_000_000),
                }));
            }
        }
        rows.sort_unstable();
        rows
    }

    /// `_tg_src` of every row.
    pub(crate) async fn sources(&self) -> Vec<String> {
        let (snapshot, mut sources) = (self.snapshot().await, Vec::new());
        for file in self.log().live_files(&snapshot).await.expect("readable") {
            let path = object_of_log_path(&file.path).expect("ours");
            let batches = read_columns(&self.store.data, &path, &["_tg_src"]).await;
            let batches: Vec<_> = batches.expect("readable").try_collect().await.expect("readable");
            for batch in batches {
                let column = batch.column(0).as_string::<i32>();
                sources.extend(column.iter().flatten().map(str::to_owned));
            }
        }
        sources
    }

    /// The table holds exactly these rows.
    pub(crate) async fn holds(&self, expected: &[Row]) {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        let stored: Vec<_> = self.rows().await.into_iter().map(|stored| stored.row).collect();
        assert_eq!(stored.len(), expected.len(), "rows in the table");
        assert_eq!(stored, expected);
    }

    /// `place` and generation of every dead letter, sorted; none without a table of them.
    pub(crate) async fn dead_letters(&self) -> Vec<(String, i64)> {
        let store = self.store.below(FOLDER);
        let log = CommitLog::open(&store);
        let Some(snapshot) = log.load().await.expect("readable") else { return Vec::new() };
        let mut letters = Vec::new();
        for file in log.live_files(&snapshot).await.expect("readable") {
            let path = object_of_log_path(&file.path).expect("ours");
            let wanted = ["subject", "generation"];
            let batches = read_columns(&store.data, &path, &wanted).await.expect("readable");
            let batches: Vec<_> = batches.try_collect().await.expect("readable");
            for batch in batches {
                let places = batch.column_by_name("subject").expect("there").as_string::<i32>();
                let generations = batch.column_by_name("generation").expect("there");
                let generations = generations.as_primitive::<Int64Type>();
                letters.extend(
                    (0..batch.num_rows())
                        .map(|n| (places.value(n).to_owned(), generations.value(n))),
                );
            }
        }
        letters.sort_unstable();
        letters
    }
}
