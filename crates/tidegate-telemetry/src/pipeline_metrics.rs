//! The series of one worker of one pipeline, with typed methods.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tidegate_types::{Counters, Epoch, PartitionId, Position, Reason};

use crate::families::{CountGauge, SecondsCounter, SecondsGauge};
use crate::health::{LoopState, Watched};
use crate::labels::{OutcomeLabels, PartitionLabels, ReasonLabels, ThrottleLabels, WorkerLabels};
use crate::{CommitOutcomeLabel, MetricFamilies, Throttle};

/// What one worker counts. Every method is cheap and may be called from any task; counters move
/// only with commits that were won, so that they agree with the table's log.
#[derive(Debug)]
pub struct PipelineMetrics {
    labels: WorkerLabels,
    families: MetricFamilies,
    read: Counter,
    rows: Counter,
    duplicates: Counter,
    filtered: Counter,
    unknown_fields: Counter,
    unkeyed: Counter,
    files: Counter,
    bytes: Counter,
    commit_seconds: Histogram,
    last_commit: SecondsGauge,
    lag: CountGauge,
    buffered: CountGauge,
    window_ids: CountGauge,
    ready: CountGauge,
    busy: SecondsCounter,
    fenced: Counter,
    dead: Counter,
    state: Mutex<Trouble>,
    held: Mutex<BTreeSet<PartitionId>>,
    last_version: AtomicU64,
    health: LoopState,
}

/// The current state in a word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trouble {
    reason: Reason,
    message: String,
}

/// Plain numbers, for progress displays and summaries.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MetricsSnapshot {
    /// What became of the records since the process started.
    pub counters: Counters,
    /// Undeclared fields seen.
    pub unknown_fields: u64,
    /// Rows without a deduplication key.
    pub unkeyed: u64,
    /// Commits that were won.
    pub commits: u64,
    /// Data files committed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages not yet committed, as last told.
    pub lag: u64,
    /// Bytes held in memory.
    pub buffered: u64,
    /// Ids in the deduplication window.
    pub window_ids: u64,
    /// Unix time of the newest commit, in seconds; none before the first.
    pub last_commit: Option<f64>,
    /// The table's version after it.
    pub last_version: u64,
    /// Seconds in which there was something to do.
    pub busy_seconds: f64,
    /// Times that another worker took a partition away.
    pub fenced: u64,
    /// The current state.
    pub state: Option<Reason>,
    /// Whether the worker reads its partitions.
    pub ready: bool,
}

impl PipelineMetrics {
    /// Registers all families and returns the series of worker 0. A process that runs several
    /// pipelines or workers registers [`MetricFamilies`] once instead.
    #[must_use]
    pub fn new(registry: &mut Registry, pipeline: &str) -> Self {
        MetricFamilies::new(registry).worker(pipeline, 0)
    }

    pub(crate) fn of(families: MetricFamilies, labels: WorkerLabels) -> Self {
        for outcome in CommitOutcomeLabel::ALL {
            // A series that is absent until something goes wrong cannot be alerted on.
            drop(families.commits.get_or_create(&OutcomeLabels::new(&labels, *outcome)));
        }
        Self {
            read: families.read.get_or_create_owned(&labels),
            rows: families.rows.get_or_create_owned(&labels),
            duplicates: families.duplicates.get_or_create_owned(&labels),
            filtered: families.filtered.get_or_create_owned(&labels),
            unknown_fields: families.unknown_fields.get_or_create_owned(&labels),
            unkeyed: families.unkeyed.get_or_create_owned(&labels),
            files: families.files.get_or_create_owned(&labels),
            bytes: families.bytes.get_or_create_owned(&labels),
            commit_seconds: families.commit_seconds.get_or_create_owned(&labels),
            last_commit: families.last_commit.get_or_create_owned(&labels),
            lag: families.lag.get_or_create_owned(&labels),
            buffered: families.buffered.get_or_create_owned(&labels),
            window_ids: families.window_ids.get_or_create_owned(&labels),
            ready: families.ready.get_or_create_owned(&labels),
            busy: families.busy.get_or_create_owned(&labels),
            fenced: families.fenced.get_or_create_owned(&labels),
            dead: Counter::default(),
            state: Mutex::new(Trouble { reason: Reason::Ok, message: String::new() }),
            held: Mutex::default(),
            last_version: AtomicU64::new(0),
            health: LoopState::new(),
            labels,
            families,
        }
    }

    /// The pipeline's name, as it stands in the label.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.labels.pipeline
    }

    /// The worker's number within this process.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.labels.worker
    }

    /// A data commit was won: what it did with its records, the files and bytes it added, and how
    /// many seconds it took from closing the files.
    pub fn committed(&self, batch: Counters, files: u64, bytes: u64, seconds: f64) {
        self.read.inc_by(batch.read);
        self.rows.inc_by(batch.rows);
        self.duplicates.inc_by(batch.duplicate);
        self.filtered.inc_by(batch.filtered);
        self.dead.inc_by(batch.dead);
        self.files.inc_by(files);
        self.bytes.inc_by(bytes);
        self.commit_seconds.observe(seconds);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_commit.set(now.as_secs_f64());
        self.beat();
    }

    /// The table's version after the newest commit that was won.
    pub fn set_last_version(&self, version: u64) {
        self.last_version.store(version, Ordering::Relaxed);
    }

    /// Seconds in which the worker had something to do.
    pub fn busy(&self, seconds: f64) {
        self.busy.inc_by(seconds);
    }

    /// Another worker took `partitions` partitions away.
    pub fn fenced(&self, partitions: u64) {
        self.fenced.inc_by(partitions);
    }

    /// A commit ended, or is known to be in doubt.
    pub fn commit_outcome(&self, outcome: CommitOutcomeLabel) {
        self.families.commits.get_or_create(&OutcomeLabels::new(&self.labels, outcome)).inc();
    }

    /// `n` records were set aside for this reason.
    pub fn dead_letter(&self, reason: Reason, n: u64) {
        let labels = ReasonLabels::new(&self.labels, reason.as_str());
        self.families.dead_letters.get_or_create(&labels).inc_by(n);
    }

    /// `n` undeclared fields were seen.
    pub fn unknown_fields(&self, n: u64) {
        self.unknown_fields.inc_by(n);
    }

    /// `n` rows had no deduplication key.
    pub fn unkeyed(&self, n: u64) {
        self.unkeyed.inc_by(n);
    }

    /// Messages of this worker's partitions that are not committed.
    pub fn set_lag(&self, messages: u64) {
        self.lag.set(messages);
    }

    /// The committed floor of a partition.
    pub fn set_floor(&self, partition: PartitionId, floor: Position) {
        let labels = PartitionLabels::new(&self.labels, partition.0);
        self.families.floor.get_or_create(&labels).set(floor.0);
    }

    /// The epoch under which a partition is held.
    pub fn set_epoch(&self, partition: PartitionId, epoch: Epoch) {
        let labels = PartitionLabels::new(&self.labels, partition.0);
        self.families.epoch.get_or_create(&labels).set(epoch.0);
        lock(&self.held).insert(partition);
    }

    /// A partition is no longer held here: its floor and epoch are not ours to report.
    pub fn forget_partition(&self, partition: PartitionId) {
        let labels = PartitionLabels::new(&self.labels, partition.0);
        self.families.floor.remove(&labels);
        self.families.epoch.remove(&labels);
        lock(&self.held).remove(&partition);
    }

    /// Everything was given back.
    pub fn forget_all_partitions(&self) {
        for partition in self.held_partitions() {
            self.forget_partition(partition);
        }
    }

    /// The partitions that are held, in ascending order.
    #[must_use]
    pub fn held_partitions(&self) -> Vec<PartitionId> {
        lock(&self.held).iter().copied().collect()
    }

    /// Bytes held in memory.
    pub fn set_buffered(&self, bytes: u64) {
        self.buffered.set(bytes);
    }

    /// Ids in the deduplication window.
    pub fn set_window_ids(&self, ids: u64) {
        self.window_ids.set(ids);
    }

    /// The worker waited this many seconds instead of reading.
    pub fn throttled(&self, why: Throttle, seconds: f64) {
        self.families
            .throttled
            .get_or_create(&ThrottleLabels::new(&self.labels, why))
            .inc_by(seconds);
    }

    /// The worker's state; exactly one reason is 1 at a time.
    pub fn set_state(&self, reason: Reason) {
        self.set_trouble(reason, String::new());
    }

    /// The same, with a sentence for people.
    pub fn set_trouble(&self, reason: Reason, message: String) {
        let mut state = lock(&self.state);
        let gauge = |reason: Reason| {
            self.families
                .state
                .get_or_create_owned(&ReasonLabels::new(&self.labels, reason.as_str()))
        };
        gauge(state.reason).set(0);
        gauge(reason).set(1);
        *state = Trouble { reason, message };
    }

    /// The current state in a word and a sentence, which is empty when there is nothing to say.
    #[must_use]
    pub fn state(&self) -> (Reason, String) {
        let state = lock(&self.state);
        (state.reason, state.message.clone())
    }

    /// Whether the worker reads its partitions: `/readyz` is green when all workers do.
    pub fn set_ready(&self, ready: bool) {
        self.ready.set(u64::from(ready));
        self.health.set_ready(ready);
        self.beat();
    }

    /// The loop went round: `/livez` turns red when a loop has not done so for long. The first beat
    /// starts the watch.
    pub fn beat(&self) {
        self.health.beat(Instant::now());
    }

    /// The loop begins, perhaps once more: nothing is read yet.
    pub fn start(&self) {
        self.ready.set(0);
        self.health.start();
    }

    /// The loop ended, so its silence means nothing. One that ended with an error stays unready.
    pub fn finish(&self, well: bool) {
        self.ready.set(0);
        self.health.finish(well);
    }

    /// What `/livez` and `/readyz` look at.
    #[must_use]
    pub fn health(&self) -> &LoopState {
        &self.health
    }

    /// Plain numbers.
    #[must_use]
    pub fn snapshot(&self) -> MetricsSnapshot {
        let won = OutcomeLabels::new(&self.labels, CommitOutcomeLabel::Won);
        let last_commit = self.last_commit.get();
        MetricsSnapshot {
            counters: Counters {
                read: self.read.get(),
                rows: self.rows.get(),
                dead: self.dead.get(),
                duplicate: self.duplicates.get(),
                filtered: self.filtered.get(),
            },
            unknown_fields: self.unknown_fields.get(),
            unkeyed: self.unkeyed.get(),
            commits: self.families.commits.get_or_create_owned(&won).get(),
            files: self.files.get(),
            bytes: self.bytes.get(),
            lag: self.lag.get(),
            buffered: self.buffered.get(),
            window_ids: self.window_ids.get(),
            last_commit: (last_commit > 0.0).then_some(last_commit),
            last_version: self.last_version.load(Ordering::Relaxed),
            busy_seconds: self.busy.get(),
            fenced: self.fenced.get(),
            state: Some(lock(&self.state).reason),
            ready: self.ready.get() == 1,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl MetricsSnapshot {
    /// The numbers of two workers of one pipeline together: sums, the newer commit, ready when both
    /// are, and the first state that is not well.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let newer = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        Self {
            counters: self.counters + other.counters,
            unknown_fields: self.unknown_fields + other.unknown_fields,
            unkeyed: self.unkeyed + other.unkeyed,
            commits: self.commits + other.commits,
            files: self.files + other.files,
            bytes: self.bytes + other.bytes,
            lag: self.lag + other.lag,
            buffered: self.buffered + other.buffered,
            window_ids: self.window_ids + other.window_ids,
            last_commit: newer(self.last_commit, other.last_commit),
            last_version: self.last_version.max(other.last_version),
            busy_seconds: self.busy_seconds + other.busy_seconds,
            fenced: self.fenced + other.fenced,
            state: self.state.filter(|state| *state != Reason::Ok).or(other.state),
            ready: self.ready && other.ready,
        }
    }
}

impl Watched for PipelineMetrics {
    fn name(&self) -> String {
        format!("{} worker {}", self.pipeline(), self.worker())
    }

    fn health(&self) -> &LoopState {
        self.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::printed;

    fn batch() -> Counters {
        Counters { read: 10, rows: 5, dead: 1, duplicate: 3, filtered: 1 }
    }

    #[test]
    fn every_metric_stands_under_its_documented_name() {
        let mut registry = Registry::default();
        let metrics = PipelineMetrics::new(&mut registry, "default/clicks");
        metrics.committed(batch(), 2, 4096, 0.2);
        metrics.commit_outcome(CommitOutcomeLabel::Won);
        metrics.dead_letter(Reason::Malformed, 1);
        metrics.set_floor(PartitionId(3), Position(77));
        metrics.set_epoch(PartitionId(3), Epoch(1_048_577));
        metrics.throttled(Throttle::MemoryBudget, 1.5);
        metrics.set_lag(9);
        let text = printed(&registry);
        let worker = r#"pipeline="default/clicks",worker="0""#;
        for line in [
            format!("tidegate_read_total{{{worker}}} 10"),
            format!("tidegate_rows_total{{{worker}}} 5"),
            format!("tidegate_duplicates_total{{{worker}}} 3"),
            format!("tidegate_filtered_total{{{worker}}} 1"),
            format!("tidegate_files_total{{{worker}}} 2"),
            format!("tidegate_bytes_total{{{worker}}} 4096"),
            format!("tidegate_commits_total{{{worker},outcome=\"won\"}} 1"),
            format!("tidegate_commits_total{{{worker},outcome=\"in_doubt\"}} 0"),
            format!("tidegate_dead_letters_total{{{worker},reason=\"Malformed\"}} 1"),
            format!("tidegate_floor{{{worker},partition=\"3\"}} 77"),
            format!("tidegate_epoch{{{worker},partition=\"3\"}} 1048577"),
            format!("tidegate_throttled_seconds_total{{{worker},why=\"memory_budget\"}} 1.5"),
            format!("tidegate_lag{{{worker}}} 9"),
            format!("tidegate_commit_seconds_bucket{{le=\"0.25\",{worker}}} 1"),
        ] {
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn several_workers_share_one_family_and_keep_their_own_series() {
        let mut registry = Registry::default();
        let families = MetricFamilies::new(&mut registry);
        let (first, second) = (families.worker("p", 0), families.worker("p", 1));
        first.set_lag(3);
        second.set_lag(4);
        let text = printed(&registry);
        assert_eq!(text.matches("# TYPE tidegate_lag gauge").count(), 1);
        assert!(text.contains(r#"tidegate_lag{pipeline="p",worker="1"} 4"#), "{text}");
        assert_eq!(first.snapshot().with(second.snapshot()).lag, 7);
    }

    #[test]
    fn exactly_one_state_is_current() {
        let mut registry = Registry::default();
        let metrics = PipelineMetrics::new(&mut registry, "p");
        metrics.set_state(Reason::SourceGap);
        metrics.set_state(Reason::BreakerOpen);
        let current: Vec<_> = printed(&registry)
            .lines()
            .filter(|l| l.starts_with("tidegate_state{") && l.ends_with(" 1"))
            .map(str::to_owned)
            .collect();
        assert_eq!(current, [r#"tidegate_state{pipeline="p",worker="0",reason="BreakerOpen"} 1"#]);
    }

    #[test]
    fn a_lost_partition_is_no_longer_reported() {
        let mut registry = Registry::default();
        let metrics = PipelineMetrics::new(&mut registry, "p");
        metrics.set_floor(PartitionId(1), Position(5));
        metrics.set_epoch(PartitionId(1), Epoch(5));
        metrics.forget_partition(PartitionId(1));
        assert!(!printed(&registry).contains("partition="));
    }

    #[test]
    fn a_snapshot_shows_what_the_worker_told() {
        let mut registry = Registry::default();
        let metrics = PipelineMetrics::new(&mut registry, "p");
        assert_eq!(metrics.snapshot().last_commit, None);
        metrics.committed(batch(), 2, 100, 0.1);
        metrics.commit_outcome(CommitOutcomeLabel::Won);
        metrics.commit_outcome(CommitOutcomeLabel::Lost);
        let seen = metrics.snapshot();
        assert!(seen.counters.conserved());
        assert_eq!((seen.commits, seen.files, seen.bytes), (1, 2, 100));
        assert!(seen.last_commit.is_some());
    }

    #[test]
    fn two_workers_are_ready_only_together_and_the_unwell_one_is_named() {
        let well = MetricsSnapshot { ready: true, state: Some(Reason::Ok), ..Default::default() };
        let unwell =
            MetricsSnapshot { ready: false, state: Some(Reason::Fenced), ..Default::default() };
        for both in [well.with(unwell), unwell.with(well)] {
            assert_eq!((both.ready, both.state), (false, Some(Reason::Fenced)));
        }
    }
}
