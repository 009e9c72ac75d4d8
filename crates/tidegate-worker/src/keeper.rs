//! What happens beside a worker's reading: samples for idle floors, and as much of the care for the
//! stream as is this worker's.

use std::time::Duration;

use tidegate_runtime::RunError;
use tidegate_source::{LeaderSamples, SourceError, stream_facts};
use tidegate_table::log::CommitLog;
use tidegate_types::Reason;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::caretaker::{COVERAGE_EACH, Caretaker, TRIM_EACH, haste};
use crate::options::StreamCare;

/// How often the leader's last sequence is sampled, and how old a sample must be to move a floor (S5). A
/// lagging leader once showed nothing pending with 212 k messages undelivered (nats-server #6698).
const SAMPLES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));

/// With many partitions, and as many workers that look, coverage is checked less often: this much time
/// for each.
const COVERAGE_EACH_PARTITION: Duration = Duration::from_secs(1);

/// What the engine learns of the stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamNews {
    /// The leader's last sequence at least a minute ago.
    pub(crate) aged_last_sequence: Option<u64>,
}

/// Looks at the stream for one worker.
pub(crate) struct Keeper {
    pub(crate) caretaker: Caretaker,
    pub(crate) log: CommitLog,
    pub(crate) care: StreamCare,
    pub(crate) news: watch::Sender<StreamNews>,
    pub(crate) faults: mpsc::Sender<RunError>,
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
        let (coverage_each, trim_each) = (self.coverage_each() / haste, TRIM_EACH / haste);
        let mut samples = LeaderSamples::new(sample_age);
        let (mut covered, mut trimmed) = (Instant::now(), Instant::now());
        loop {
            if let Err(error) = self.sample(&mut samples).await {
                self.report("sampling", error).await;
            }
            if covered.elapsed() >= coverage_each {
                covered = Instant::now();
                self.look_after_readers().await;
            }
            if self.care == StreamCare::All && trimmed.elapsed() >= trim_each {
                trimmed = Instant::now();
                self.trim().await;
            }
            tokio::time::sleep(sample_each).await;
        }
    }

    /// Every partition is asked about.
    fn coverage_each(&self) -> Duration {
        let partitions = u32::try_from(self.caretaker.filters.len()).unwrap_or(u32::MAX);
        COVERAGE_EACH.max(COVERAGE_EACH_PARTITION.saturating_mul(partitions))
    }

    /// What no partition reads stops every worker, whoever cares for the stream: going on would bring
    /// newer messages into the table while these are missing (S3).
    async fn look_after_readers(&self) {
        if let Err(error) = self.caretaker.check_coverage().await {
            self.report("the coverage check", error).await;
        }
        if self.care == StreamCare::Agent {
            return;
        }
        if let Err(error) = self.caretaker.register().await {
            debug!(error = %error, "registering the ledger failed, will retry");
        }
    }

    async fn trim(&self) {
        match self.caretaker.trim(&self.log).await {
            Ok(_) => {}
            // The engine may be gone already.
            Err(error) if error.reason() == Reason::SubjectsOutsidePartitions => {
                _ = self.faults.send(error).await;
            }
            Err(error) => {
                warn!(error = %error, reason = %error.reason(), "trimming failed, will retry");
            }
        }
    }

    async fn report(&self, what: &str, error: SourceError) {
        if error.is_transient() {
            debug!(error = %error, "{what} failed, will retry");
        } else {
            // The engine may be gone already.
            _ = self.faults.send(error.into()).await;
        }
    }

    async fn sample(&self, samples: &mut LeaderSamples) -> Result<(), SourceError> {
        let Caretaker { connection, config, .. } = &self.caretaker;
        let facts = stream_facts(connection, &config.source.stream).await?;
        let now = Instant::now();
        samples.record(now, facts.last_sequence);
        let aged_last_sequence = samples.aged(now);
        let before = self.news.send_replace(StreamNews { aged_last_sequence });
        if before.aged_last_sequence != aged_last_sequence {
            debug!(sequence = aged_last_sequence, "a sample of the stream's end has aged");
        }
        Ok(())
    }
}
