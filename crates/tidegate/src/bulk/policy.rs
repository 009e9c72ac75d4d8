//! How the runs of a pipeline are made on this machine: what its document says beside what a run needs.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_api::{BackoffSpec, BulkSpec, CatchupPolicy, IngestionPipelineSpec, RetrySpec};
use tidegate_config::{TransferConfig, Trigger, WriteMode};
use tidegate_schedule::CatchUp;
use tidegate_transfer::DueQuery;

/// How the runs of a pipeline are made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunPolicy {
    /// What becomes of intervals that went by without a run.
    pub(crate) catch_up: CatchUp,
    /// No interval begins before it.
    pub(crate) start_at: Option<Timestamp>,
    /// How long after its tick an interval is run.
    pub(crate) delay: Duration,
    /// How many runs may be active at once.
    pub(crate) max_active: usize,
    /// How a run is tried again.
    pub(crate) retry: Retry,
}

/// How a run is tried again when that may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    limit: u32,
    first: Duration,
    factor: u32,
    most: Duration,
}

impl RunPolicy {
    /// What a checked document says.
    pub(crate) fn of(spec: &IngestionPipelineSpec, config: &TransferConfig) -> Self {
        let bulk = spec.bulk_or_default();
        let schedule = bulk.schedule.as_ref();
        let start_at = schedule.and_then(|schedule| schedule.start_at.as_deref());
        Self {
            catch_up: catch_up(&bulk, config),
            // Whether it can be read was checked.
            start_at: start_at.and_then(|text| text.parse().ok()),
            delay: schedule.map_or(Duration::ZERO, |schedule| schedule.delay.to_duration()),
            max_active: bulk.max_active_runs.max(1) as usize,
            retry: Retry::of(&bulk.run_template.retry),
        }
    }

    /// What to ask the log; `began`: when this process did.
    pub(crate) fn query(&self, began: Timestamp, limit: usize) -> DueQuery {
        DueQuery {
            catch_up: self.catch_up,
            start_at: self.start_at,
            // Otherwise the log knows since when there were runs.
            created: (self.catch_up == CatchUp::None).then_some(began),
            delay_seconds: i64::try_from(self.delay.as_secs()).unwrap_or(i64::MAX),
            limit,
        }
    }
}

fn catch_up(bulk: &BulkSpec, config: &TransferConfig) -> CatchUp {
    match tidegate_resolve::catchup_policy(bulk, config.write_mode) {
        CatchupPolicy::All => CatchUp::All,
        CatchupPolicy::Latest => CatchUp::Latest,
        CatchupPolicy::None => CatchUp::None,
    }
}

/// Why a pipeline without a schedule is run: what replaces everything may be done again at will, what
/// adds may not.
pub(crate) fn trigger_without_schedule(mode: WriteMode) -> Trigger {
    match mode {
        WriteMode::Overwrite => Trigger::Manual,
        WriteMode::Append | WriteMode::ReplaceInterval => Trigger::Scheduled,
    }
}

impl Retry {
    fn of(spec: &RetrySpec) -> Self {
        let BackoffSpec { duration, factor, max_duration } = &spec.backoff;
        Self {
            limit: spec.limit,
            first: duration.to_duration(),
            factor: *factor,
            most: max_duration.to_duration(),
        }
    }

    /// How long to wait after the given failed attempt, counted from 1; none when it was the last.
    pub(crate) fn pause_after(&self, attempt: u32) -> Option<Duration> {
        if attempt > self.limit {
            return None;
        }
        let grown = self.factor.max(1).checked_pow(attempt - 1);
        let pause = grown.and_then(|grown| self.first.checked_mul(grown));
        Some(pause.map_or(self.most, |pause| pause.min(self.most)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(limit: u32, factor: u32) -> Retry {
        let (first, most) = (Duration::from_secs(30), Duration::from_secs(600));
        Retry { limit, first, factor, most }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_end_with_the_last_attempt() {
        let pauses: Vec<_> = (1..=8)
            .map(|attempt| retry(7, 2).pause_after(attempt).map(|pause| pause.as_secs()))
            .collect();
        let expected = [30, 60, 120, 240, 480, 600, 600].map(Some);
        assert_eq!(pauses[..7], expected);
        assert_eq!(pauses[7], None);
        assert_eq!(retry(0, 2).pause_after(1), None);
        assert_eq!(retry(20, 10).pause_after(20), Some(Duration::from_secs(600)));
    }

    #[test]
    fn only_what_replaces_everything_is_done_again_by_every_call() {
        assert_eq!(trigger_without_schedule(WriteMode::Overwrite), Trigger::Manual);
        assert_eq!(trigger_without_schedule(WriteMode::Append), Trigger::Scheduled);
    }
}
