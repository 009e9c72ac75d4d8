//! What a run is asked to do.

use std::path::PathBuf;

use tidegate_config::{BulkSource, TransferConfig, Trigger};
use tidegate_types::DataInterval;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use crate::decide::cursor_mark;

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct TransferOptions {
    /// The pipeline.
    pub config: TransferConfig,
    /// Why the run was made.
    pub trigger: Trigger,
    /// Whether an interval that the log holds is done again; a scheduled run never does that, a manual
    /// one and a repair always, whatever stands here.
    pub rerun: bool,
    /// Whose rows; none: everything the source has, once.
    pub interval: Option<DataInterval>,
    /// The run's name, the same for all its attempts and of no other run: an attempt that finds the
    /// commit of an earlier attempt does nothing.
    pub run: String,
    /// The folder in which secrets are mounted.
    pub secrets_dir: Option<PathBuf>,
    /// Asks the run to stop. What was not committed is left to the next attempt.
    pub cancel: CancellationToken,
}

impl TransferOptions {
    /// Whether a done interval is done again.
    pub(crate) fn does_again(&self) -> bool {
        match self.trigger {
            Trigger::Scheduled => false,
            Trigger::Manual => true,
            Trigger::Backfill => self.rerun,
            Trigger::Repair => true,
        }
    }

    /// Whether the rows are those of files named for the interval, and nobody asked for them though there are
    /// newer ones.
    pub(crate) fn reads_files_of_its_time(&self) -> bool {
        let BulkSource::ObjectStore(files) = &self.config.source else { return false };
        files.is_named_for_time() && self.trigger != Trigger::Manual
    }

    /// What the bounds of the interval mean at the database, unless a person asked for the run: who names an
    /// interval vouches for its bounds. With `rerunLast` nobody can tell whether one did.
    pub(crate) fn cursor_unasked(&self) -> Option<u64> {
        let reruns = self.config.incremental.as_ref()?.rerun_last > 0;
        let unasked = match self.trigger {
            Trigger::Scheduled => true,
            Trigger::Backfill => self.rerun && reruns,
            Trigger::Manual | Trigger::Repair => false,
        };
        cursor_mark(&self.config).filter(|_| unasked)
    }

    /// The run's name as it stands in the log: 63 bits of its hash, never zero.
    pub(crate) fn run_mark(&self) -> u64 {
        (xxh3_64(self.run.as_bytes()) >> 1).max(1)
    }
}
