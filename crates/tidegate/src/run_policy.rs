//! How the runs of a pipeline are made on this machine: what its document says beside what a run needs.

use std::time::Duration;

use jiff::Timestamp;
use tidegate_api::{BulkSpec, CatchupPolicy, IngestionPipelineSpec, RetrySpec};
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
    pub(crate) retry: RetrySpec,
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
            retry: bulk.run_template.retry,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_replaces_everything_is_done_again_by_every_call() {
        assert_eq!(trigger_without_schedule(WriteMode::Overwrite), Trigger::Manual);
        assert_eq!(trigger_without_schedule(WriteMode::Append), Trigger::Scheduled);
    }
}
