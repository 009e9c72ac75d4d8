//! Whether a stranger took the table back in time (T1): the log's calendar, which a RESTORE does not touch,
//! then says of intervals that they are done, and their rows are gone.

use tidegate_config::{TransferConfig, WriteMode};
use tidegate_runtime::RunError;
use tidegate_table::files::system::run_source_name;
use tidegate_table::ledger::{IntervalKey, Intervals, RunState};
use tidegate_table::loads::{Load, Loads, Taken};
use tidegate_table::log::{CommitLog, LiveFile, TableSnapshot};
use tidegate_types::{Ledger, Reason};

use crate::decide::named;

/// Versions that are read back for the rewind, once rows are known to be gone.
const LOOK_BACK: u64 = 1_000;
/// Loads that are named; the rest is counted.
const NAMED: usize = 5;

/// Refuses to go by a calendar (`known`, of the snapshot) whose rows a rewind took away: no live file can hold
/// rows of a load, and one that a rewind took could. So a rewind does not matter that was undone or whose
/// intervals were loaded again, nor to rows that somebody deleted on purpose before it or after it.
///
/// # Errors
///
/// [`Reason::TableRewound`]; and when the log cannot be read.
pub(crate) async fn check_not_rewound(
    log: &CommitLog,
    snapshot: &TableSnapshot,
    config: &TransferConfig,
    known: &Intervals,
) -> Result<(), RunError> {
    if known.is_empty() {
        return Ok(());
    }
    let gone = without_rows(known, &config.ledger, &log.live_files(snapshot).await?);
    if gone.is_empty() {
        return Ok(());
    }
    let history = log.history(snapshot.version().saturating_sub(LOOK_BACK)).await?;
    let taken = Taken::by_rewinds(&history);
    let found = gone.iter().filter_map(|(key, load)| Some((*key, taken.of(load)?)));
    let found: Vec<(IntervalKey, (u64, &str))> = found.collect();
    let first = found.iter().map(|(_, rewind)| rewind).min();
    let Some((version, what)) = first else { return Ok(()) };
    let mut names: Vec<_> = found.iter().take(NAMED).map(|(key, _)| named(*key)).collect();
    if let more @ 1.. = found.len().saturating_sub(NAMED) {
        names.push(format!("{more} more"));
    }
    let again = match config.write_mode {
        WriteMode::Append => "",
        WriteMode::ReplaceInterval | WriteMode::Overwrite => {
            ", or load them again with `tidegate backfill --reprocess All`"
        }
    };
    let what = format!(
        "the table was rewound by {what} at version {version}: rows of {} are gone, which the log holds as \
         done; restore version {}{again}",
        names.join(", "),
        version.saturating_sub(1)
    );
    Err(RunError::permanent(Reason::TableRewound, what))
}

/// The loads that ended with rows of which no live file can hold one.
fn without_rows(
    known: &Intervals,
    ledger: &Ledger,
    files: &[LiveFile],
) -> Vec<(IntervalKey, Load)> {
    let loads = Loads::of(files);
    // A load of everything took the place of all others (B9).
    let whole = known.get(IntervalKey::All).is_some_and(|all| all.held().is_some());
    let ended = known
        .iter()
        .filter(|(key, load)| load.state == RunState::Done && (!whole || *key == IntervalKey::All));
    ended
        .map(|(key, load)| (key, run_source_name(ledger, load.origin.unwrap_or(load.generation))))
        .map(|(key, source)| (key, Load { start: start_of(key), source }))
        .filter(|(_, load)| !loads.may_hold(load))
        .collect()
}

fn start_of(key: IntervalKey) -> Option<i64> {
    key.interval().map(|interval| interval.start().as_microsecond())
}
