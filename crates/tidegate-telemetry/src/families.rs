//! The metric families: each name is registered once a process, however many pipelines it runs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::PipelineMetrics;
use crate::labels::{OutcomeLabels, PartitionLabels, ReasonLabels, ThrottleLabels, WorkerLabels};

/// A gauge of a number that is never negative and may exceed 63 bits.
pub(crate) type CountGauge = Gauge<u64, AtomicU64>;
pub(crate) type SecondsGauge = Gauge<f64, AtomicU64>;
pub(crate) type SecondsCounter = Counter<f64, AtomicU64>;
type PerWorker<M> = Family<WorkerLabels, M>;

/// From a local directory's few milliseconds to a store that is in trouble.
const COMMIT_SECONDS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Every family of the streaming path. Cloning shares the series.
#[derive(Debug, Clone)]
pub struct MetricFamilies {
    pub(crate) read: PerWorker<Counter>,
    pub(crate) rows: PerWorker<Counter>,
    pub(crate) duplicates: PerWorker<Counter>,
    pub(crate) filtered: PerWorker<Counter>,
    pub(crate) unknown_fields: PerWorker<Counter>,
    pub(crate) unkeyed: PerWorker<Counter>,
    pub(crate) files: PerWorker<Counter>,
    pub(crate) bytes: PerWorker<Counter>,
    pub(crate) commit_seconds: Family<WorkerLabels, Histogram, fn() -> Histogram>,
    pub(crate) last_commit: PerWorker<SecondsGauge>,
    pub(crate) lag: PerWorker<CountGauge>,
    pub(crate) buffered: PerWorker<CountGauge>,
    pub(crate) window_ids: PerWorker<CountGauge>,
    pub(crate) ready: PerWorker<CountGauge>,
    pub(crate) dead_letters: Family<ReasonLabels, Counter>,
    pub(crate) state: Family<ReasonLabels, CountGauge>,
    pub(crate) commits: Family<OutcomeLabels, Counter>,
    pub(crate) busy: PerWorker<SecondsCounter>,
    pub(crate) fenced: PerWorker<Counter>,
    pub(crate) throttled: Family<ThrottleLabels, SecondsCounter>,
    pub(crate) floor: Family<PartitionLabels, CountGauge>,
    pub(crate) epoch: Family<PartitionLabels, Gauge>,
}

impl MetricFamilies {
    /// Registers every family.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let add = &mut Adder(registry);
        Self {
            read: add.plain("tidegate_read", "Records taken from the stream and committed"),
            rows: add.plain("tidegate_rows", "Rows committed to the table"),
            duplicates: add.plain("tidegate_duplicates", "Records dropped as duplicates"),
            filtered: add.plain("tidegate_filtered", "Records dropped by the filter"),
            unknown_fields: add.plain("tidegate_unknown_fields", "Undeclared fields seen"),
            unkeyed: add.plain("tidegate_unkeyed", "Rows without a deduplication key"),
            files: add.plain("tidegate_files", "Data files committed"),
            bytes: add.plain("tidegate_bytes", "Bytes of the data files committed"),
            commit_seconds: add.family(
                "tidegate_commit_seconds",
                "Seconds from closing a batch's files to the outcome of its commit",
                Family::new_with_constructor(commit_histogram as fn() -> Histogram),
            ),
            last_commit: add.plain(
                "tidegate_last_commit_timestamp_seconds",
                "Unix time of the newest commit that was won",
            ),
            lag: add.plain("tidegate_lag", "Messages of the stream not yet committed"),
            buffered: add.plain("tidegate_buffered_bytes", "Bytes held in memory"),
            window_ids: add.plain("tidegate_window_ids", "Ids in the deduplication window"),
            ready: add.plain("tidegate_ready", "1 while the worker reads its partitions"),
            dead_letters: add.family(
                "tidegate_dead_letters",
                "Records set aside, by reason",
                Family::default(),
            ),
            state: add.family("tidegate_state", "1 at the current reason", Family::default()),
            commits: add.family("tidegate_commits", "Commits by outcome", Family::default()),
            throttled: add.seconds("tidegate_throttled", "Time spent waiting instead of reading"),
            busy: add.seconds("tidegate_busy", "Time in which there was something to do"),
            fenced: add.plain("tidegate_fenced", "Partitions that another worker took away"),
            floor: add.family("tidegate_floor", "Committed stream sequence", Family::default()),
            epoch: add.family("tidegate_epoch", "Fencing epoch held", Family::default()),
        }
    }

    /// The series of one worker of a pipeline. Workers of a process are numbered from zero, and each
    /// has its own series, so that their lags add up.
    #[must_use]
    pub fn worker(&self, pipeline: &str, worker: u32) -> PipelineMetrics {
        PipelineMetrics::of(self.clone(), WorkerLabels { pipeline: Arc::from(pipeline), worker })
    }
}

fn commit_histogram() -> Histogram {
    Histogram::new(COMMIT_SECONDS)
}

struct Adder<'a>(&'a mut Registry);

impl Adder<'_> {
    fn plain<M>(&mut self, name: &str, help: &str) -> PerWorker<M>
    where
        M: Default,
        PerWorker<M>: Metric + Clone,
    {
        self.family(name, help, PerWorker::<M>::default())
    }

    fn seconds<L>(&mut self, name: &str, help: &str) -> Family<L, SecondsCounter>
    where
        L: Clone + std::hash::Hash + Eq,
        Family<L, SecondsCounter>: Metric,
    {
        let family = Family::default();
        self.0.register_with_unit(name, help, Unit::Seconds, family.clone());
        family
    }

    fn family<F: Metric + Clone>(&mut self, name: &str, help: &str, family: F) -> F {
        self.0.register(name, help, family.clone());
        family
    }
}
