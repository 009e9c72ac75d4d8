//! Whether a stranger took the table back in time (T1): the log's calendar, which a RESTORE does not touch,
//! then says of intervals that they are done, and their rows are gone.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use tidegate_runtime::RunError;
use tidegate_table::files::system::{self, run_source_name};
use tidegate_table::ledger::{IntervalKey, Intervals, RunState};
use tidegate_table::log::{CommitLog, LiveFile, Rewinds, TableSnapshot};
use tidegate_types::{Ledger, Reason};

use crate::decide::named;

/// Versions that are read back for the rewind, once rows are known to be gone.
const LOOK_BACK: u64 = 1_000;
/// Loads that are named; the rest is counted.
const NAMED: usize = 5;

/// Refuses to go by a calendar whose rows a rewind took away. Rows that somebody deleted on purpose are no
/// rewind, and a rewind that was undone, or whose intervals were loaded again, is none any more.
///
/// # Errors
///
/// [`Reason::TableRewound`]; and when the log cannot be read.
pub(crate) async fn check_not_rewound(
    log: &CommitLog,
    snapshot: &TableSnapshot,
    ledger: &Ledger,
) -> Result<(), RunError> {
    let known = Intervals::read(snapshot.txns(), ledger)?;
    if known.is_empty() {
        return Ok(());
    }
    let gone = without_rows(&known, ledger, &log.live_files(snapshot).await?);
    if gone.is_empty() {
        return Ok(());
    }
    let mut rewinds = Rewinds::of_bulk();
    for entry in log.history(snapshot.version().saturating_sub(LOOK_BACK)).await? {
        rewinds.read(&entry);
    }
    let Some((version, what)) = rewinds.standing() else { return Ok(()) };
    let mut names: Vec<_> = gone.iter().take(NAMED).map(|key| named(*key)).collect();
    if let more @ 1.. = gone.len().saturating_sub(NAMED) {
        names.push(format!("{more} more"));
    }
    let what = format!(
        "the table was rewound by {what} at version {version}: rows of {} are gone, which the log holds as \
         done; restore version {}, or load them again with `tidegate backfill --reprocess All`",
        names.join(", "),
        version.saturating_sub(1)
    );
    Err(RunError::permanent(Reason::TableRewound, what))
}

/// The loads that ended with rows of which no live file can hold one.
fn without_rows(known: &Intervals, ledger: &Ledger, files: &[LiveFile]) -> Vec<IntervalKey> {
    let loads = Loads::of(files);
    // A load of everything took the place of all others (B9).
    let whole = known.get(IntervalKey::All).is_some_and(|all| all.held().is_some());
    let ended = known
        .iter()
        .filter(|(key, load)| load.state == RunState::Done && (!whole || *key == IntervalKey::All));
    ended
        .filter(|(key, load)| !loads.may_hold(*key, &run_source_name(ledger, load.generation)))
        .map(|(key, _)| key)
        .collect()
}

/// What live files can hold, by their statistics.
#[derive(Default)]
struct Loads {
    /// The interval's start and the source of files of one load each, which is how runs write them.
    single: BTreeSet<(Option<i64>, String)>,
    /// The bounds of the source in files of several loads: somebody put them together.
    mixed: Vec<(String, String)>,
    /// Whether a file is there of which nothing is known.
    unknown: bool,
}

impl Loads {
    fn of(files: &[LiveFile]) -> Self {
        let mut loads = Self::default();
        for file in files {
            match bounds(file, system::SOURCE) {
                Some(Bounds::Nulls) => {} // a stranger's
                Some(Bounds::Values(from, to)) => loads.add(file, from, to),
                None => loads.unknown = true,
            }
        }
        loads
    }

    fn add(&mut self, file: &LiveFile, from: &str, to: &str) {
        let start = match bounds(file, system::INTERVAL) {
            Some(Bounds::Nulls) => Some(None),
            Some(Bounds::Values(first, last)) if first == last => {
                first.parse().ok().map(|start: Timestamp| Some(start.as_microsecond()))
            }
            _ => None,
        };
        match start {
            Some(start) if from == to => _ = self.single.insert((start, from.to_owned())),
            _ => self.mixed.push((from.to_owned(), to.to_owned())),
        }
    }

    fn may_hold(&self, key: IntervalKey, source: &str) -> bool {
        let single = match key.interval() {
            Some(interval) => {
                let start = Some(interval.start().as_microsecond());
                self.single.contains(&(start, source.to_owned()))
            }
            // Whose rows may say for which interval they were loaded.
            None => self.single.iter().any(|(_, of)| of == source),
        };
        let within =
            |(from, to): &(String, String)| (from.as_str()..=to.as_str()).contains(&source);
        self.unknown || single || self.mixed.iter().any(within)
    }
}

/// What the statistics say of a column.
enum Bounds<'a> {
    Nulls,
    Values(&'a str, &'a str),
}

/// None where they say nothing.
fn bounds<'a>(file: &'a LiveFile, column: &str) -> Option<Bounds<'a>> {
    let stats = file.stats.as_ref()?;
    let of = |what: &str| stats.get(what).and_then(|columns| columns.get(column));
    if of("nullCount").and_then(Value::as_u64).is_some_and(|nulls| file.rows == Some(nulls)) {
        return Some(Bounds::Nulls);
    }
    Some(Bounds::Values(of("minValues")?.as_str()?, of("maxValues")?.as_str()?))
}
