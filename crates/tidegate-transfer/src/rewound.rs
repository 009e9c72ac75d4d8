//! Whether a stranger took the table back in time (T1): the log's calendar, which a RESTORE does not touch,
//! then says of intervals that they are done, and their rows are gone.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use jiff::Timestamp;
use tidegate_config::{TransferConfig, WriteMode};
use tidegate_runtime::RunError;
use tidegate_table::files::system::{self, run_source_name};
use tidegate_table::ledger::{IntervalKey, Intervals, RunState};
use tidegate_table::log::{
    ColumnBounds, CommitLog, ForeignEdit, LiveFile, LogEntry, Nulls, Strangers, TableSnapshot,
};
use tidegate_types::{Ledger, Reason};

use crate::decide::named;

/// Versions that are read back for the rewind, once rows are known to be gone.
const LOOK_BACK: u64 = 1_000;
/// Loads that are named; the rest is counted.
const NAMED: usize = 5;

/// Refuses to go by a calendar (`known`, of the snapshot) whose rows a rewind took away. Rows that somebody deleted on purpose are no
/// rewind, and a rewind that was undone, or whose intervals were loaded again, is none any more.
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
    let Some((version, what)) = standing_rewind(&history) else { return Ok(()) };
    let mut names: Vec<_> = gone.iter().take(NAMED).map(|key| named(*key)).collect();
    if let more @ 1.. = gone.len().saturating_sub(NAMED) {
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

/// The version and the operation of the first rewind that took rows away and was not undone: since then more
/// rows left by rewinds than came back, or files that runs wrote have not come back. A rewind that only brings
/// rows back mends what somebody deleted.
fn standing_rewind(history: &[LogEntry]) -> Option<(u64, String)> {
    let (mut files, mut strangers) = (HashMap::<&str, Written>::new(), Strangers::default());
    let (mut lost, mut gone): (i64, BTreeSet<&str>) = (0, BTreeSet::new());
    let mut first = None;
    for entry in history {
        for file in &entry.adds {
            let rows = file.rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(1);
            files.entry(&file.path).or_insert(Written { rows, by_us: entry.ours.is_some() });
        }
        let Some(ForeignEdit::Rewind(what)) = strangers.read(entry) else { continue };
        if lost <= 0 && gone.is_empty() {
            (lost, first) = (0, Some((entry.version, what)));
        }
        for file in &entry.removes {
            let written = files.get(file.path.as_str());
            lost += written.map_or(1, |written| written.rows);
            gone.extend(written.filter(|written| written.by_us).map(|_| file.path.as_str()));
        }
        for file in &entry.adds {
            lost -= files.get(file.path.as_str()).map_or(1, |written| written.rows);
            gone.remove(file.path.as_str());
        }
    }
    first.filter(|_| lost > 0 || !gone.is_empty())
}

/// A file as the log added it first.
struct Written {
    /// Its rows; one where nobody says.
    rows: i64,
    by_us: bool,
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
        .filter(|(key, load)| {
            !loads.may_hold(*key, &run_source_name(ledger, load.origin.unwrap_or(load.generation)))
        })
        .map(|(key, _)| key)
        .collect()
}

/// What live files can hold, by their statistics.
#[derive(Default)]
struct Loads {
    /// The interval's start and the source of files of one load each, which is how runs write them.
    single: BTreeSet<(Option<i64>, String)>,
    /// Files of several loads: somebody put them together.
    mixed: Vec<Mixed>,
    /// Whether a file is there of which nothing is known.
    unknown: bool,
}

/// What lies between the bounds of a file.
struct Mixed {
    sources: RangeInclusive<String>,
    /// The starts of intervals; none: not known, or none for some rows.
    starts: Option<RangeInclusive<i64>>,
}

impl Loads {
    fn of(files: &[LiveFile]) -> Self {
        let mut loads = Self::default();
        for file in files {
            let source = file.column(system::SOURCE);
            if source.is_some_and(|source| source.nulls() == Nulls::All) {
                continue; // a stranger's
            }
            match source.as_ref().and_then(texts) {
                Some((from, to)) => loads.add(file, from, to),
                None => loads.unknown = true,
            }
        }
        loads
    }

    fn add(&mut self, file: &LiveFile, from: &str, to: &str) {
        let interval = file.column(system::INTERVAL);
        if from == to && interval.is_some_and(|interval| interval.nulls() == Nulls::All) {
            self.single.insert((None, from.to_owned()));
            return;
        }
        let instant = |text: &str| text.parse().ok().map(Timestamp::as_microsecond);
        let bounds = interval.as_ref().and_then(texts);
        match bounds.and_then(|(first, last)| instant(first).zip(instant(last))) {
            Some((first, last)) if first == last && from == to => {
                self.single.insert((Some(first), from.to_owned()));
            }
            starts => self.mixed.push(Mixed {
                sources: from.to_owned()..=to.to_owned(),
                starts: starts.map(|(first, last)| first..=last),
            }),
        }
    }

    fn may_hold(&self, key: IntervalKey, source: &str) -> bool {
        let start = key.interval().map(|interval| interval.start().as_microsecond());
        let single = match start {
            Some(start) => self.single.contains(&(Some(start), source.to_owned())),
            // Whose rows may say for which interval they were loaded.
            None => self.single.iter().any(|(_, of)| of == source),
        };
        self.unknown || single || self.mixed.iter().any(|file| file.may_hold(start, source))
    }
}

impl Mixed {
    fn may_hold(&self, start: Option<i64>, source: &str) -> bool {
        let outside = self.starts.as_ref().zip(start).is_some_and(|(all, one)| !all.contains(&one));
        let (from, to) = (self.sources.start().as_str(), self.sources.end().as_str());
        !outside && (from..=to).contains(&source)
    }
}

/// The bounds of a column of text, or of one that is written as text.
fn texts<'a>(column: &ColumnBounds<'a>) -> Option<(&'a str, &'a str)> {
    column.lower()?.as_str().zip(column.upper()?.as_str())
}
