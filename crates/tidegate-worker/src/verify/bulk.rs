//! Proof for the table of a bulk pipeline: every run's rows stand there once, and no others (B1–B6a).
//!
//! The log is walked from its first version: what each run's commit added and took away says how many
//! rows of which generation of which interval must be there. Then the files are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tidegate_config::{Recount, TransferConfig, WriteMode};
use tidegate_runtime::RunError;
use tidegate_runtime::open_store;
use tidegate_runtime::secrets::Secrets;
use tidegate_table::ledger::{IntervalKey, Intervals};
use tidegate_table::log::CommitLog;
use tidegate_table::store::TableStore;
use tidegate_types::{DataInterval, Ledger};

use super::bulk_contents::{BulkContents, Place};
use super::bulk_dead_letters::check_dead_letters;
use super::bulk_history::BulkHistory;
use super::bulk_source::{Terms, check_source};
use super::report::VerifyReport;

/// Intervals that were begun and not done and are named; further ones are counted.
const TOLD: usize = 20;

/// Verifies the table of a bulk pipeline; with a recount also against what the source says now.
///
/// # Errors
///
/// When the table cannot be read. What is wrong with it is not an error but a finding.
pub async fn verify_bulk(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    recount: Option<&Recount>,
) -> Result<VerifyReport, RunError> {
    let store = open_store(&config.sink, &Secrets::new(secrets_dir))?;
    let recount = recount.map(|recount| (recount, config.incremental.is_some()));
    verify_table(&config.ledger, config.write_mode, &store, recount).await
}

/// `recount`: what the source says, and whether its rows never change.
async fn verify_table(
    ledger: &Ledger,
    mode: WriteMode,
    store: &TableStore,
    recount: Option<(&Recount, bool)>,
) -> Result<VerifyReport, RunError> {
    let log = CommitLog::open(store);
    let Some(snapshot) = log.load().await? else {
        return Ok(VerifyReport::without_a_table(&store.root));
    };
    let mut report = VerifyReport::new(snapshot.version());
    let intervals = Intervals::read(snapshot.txns(), ledger)?;
    if intervals.is_empty() {
        let what = format!("ledger {ledger} has run nothing in this table");
        report.not_provable("ledger", what);
    }
    check_any_done(ledger, &intervals, &mut report);
    let files = log.live_files(&snapshot).await?;
    report.files = files.len() as u64;
    let contents = BulkContents::read(&store.data, &files, ledger, &mut report).await?;
    report.checked(format!(
        "{} files: there, whole, of the size and row count in the log",
        files.len()
    ));
    let mut entries = log.history(0).await?;
    entries.retain(|entry| entry.version <= snapshot.version());
    let history = BulkHistory::walk(&entries, ledger, &mut report)?;
    check_generations(&intervals, &contents, mode, &mut report);
    check_rows(&history, &contents, (ledger, &intervals, mode), &mut report);
    report.rows = contents.rows();
    let dead = check_dead_letters((ledger, mode), store, (&log, &snapshot), &mut report).await?;
    report.read = report.rows + report.dead;
    if let Some((recount, immutable)) = recount {
        let rows: BTreeMap<Place, u64> = contents.by_place().collect();
        let there = |interval| there(&intervals, &rows, &dead, interval);
        check_source(recount, there, Terms { immutable, write_mode: mode }, &mut report);
    }
    Ok(report)
}

/// A table in which runs were begun and none was ever done holds nothing that could be proved.
fn check_any_done(ledger: &Ledger, intervals: &Intervals, report: &mut VerifyReport) {
    if intervals.is_empty() || intervals.iter().any(|(_, known)| known.held().is_some()) {
        return;
    }
    let named = |key: IntervalKey| {
        key.interval().map_or_else(|| "everything".to_owned(), |interval| interval.to_string())
    };
    let mut names: Vec<_> = intervals.iter().take(TOLD).map(|(key, _)| named(key)).collect();
    if let more @ 1.. = intervals.iter().count().saturating_sub(TOLD) {
        names.push(format!("{more} more"));
    }
    let names = names.join(", ");
    let what = format!("no run of ledger {ledger} was done yet; begun and not done: {names}");
    report.not_provable("runs", what);
}

/// Rows and dead letters that the table holds of an interval.
fn there(
    intervals: &Intervals,
    rows: &BTreeMap<Place, u64>,
    dead: &BTreeMap<String, u64>,
    interval: Option<DataInterval>,
) -> u64 {
    let key = interval.map_or(IntervalKey::All, IntervalKey::Of);
    let Some(known) = intervals.get(key) else { return 0 };
    let place = known.held_origin().map(|generation| Place { interval: start_of(key), generation });
    let rows = place.and_then(|place| rows.get(&place)).copied().unwrap_or(0);
    let commit = known.dead_letters.map(|nonce| nonce.to_string());
    rows + commit.and_then(|commit| dead.get(&commit)).copied().unwrap_or(0)
}

/// Only the generation that an interval holds may have rows: those of one that was claimed and never
/// committed, or that a later one replaced, must not be there. Append replaces nothing.
fn check_generations(
    intervals: &Intervals,
    contents: &BulkContents,
    mode: WriteMode,
    report: &mut VerifyReport,
) {
    if mode == WriteMode::Append {
        return;
    }
    for (place, rows) in contents.by_place().filter(|(place, _)| !is_held(intervals, place)) {
        let detail =
            format!("{rows} rows of {place}, which the log does not hold, are in the table");
        report.damaged("generations", detail);
    }
    report.checked("rows only of the generation that the log holds of each interval");
}

/// Whether the log says that the table holds the place's rows.
fn is_held(intervals: &Intervals, place: &Place) -> bool {
    intervals.iter().any(|(key, known)| {
        start_of(key) == place.interval && known.held_origin() == Some(place.generation)
    })
}

/// What the runs' commits say against what the files hold.
fn check_rows(
    history: &BulkHistory,
    contents: &BulkContents,
    (ledger, intervals, mode): (&Ledger, &Intervals, WriteMode),
    report: &mut VerifyReport,
) {
    let found: BTreeMap<Place, u64> = contents.by_place().collect();
    if !history.complete {
        report.not_provable(
            "log",
            "its first versions are cleaned up: how many rows earlier runs wrote cannot be told",
        );
        return;
    }
    let mut places: BTreeSet<Place> = found.keys().chain(history.alive.keys()).copied().collect();
    if history.rewound && mode != WriteMode::Append {
        // Which rows a rewind took or brought back does not matter once they were loaded again.
        places.retain(|place| is_held(intervals, place));
    }
    for place in places {
        let there = found.get(&place).copied().unwrap_or(0);
        let said = history.alive.get(&place).copied().unwrap_or(0);
        if there == said {
            continue;
        }
        let detail = format!("{place} has {there} rows, its run committed {said}");
        match history.rewind_of(ledger, &place) {
            Some(rewind) => {
                report.damaged("rewind", format!("{detail}; the table was rewound by {rewind}"));
            }
            None if history.foreign_edits => report.not_provable("rows", detail),
            None => report.damaged("rows", detail),
        }
    }
    report.checked(format!(
        "{} runs: the rows that each committed, one by one, identities distinct",
        history.runs
    ));
}

/// What `_tg_interval` says in rows of a run, in microseconds since 1970.
pub(super) fn start_of(key: IntervalKey) -> Option<i64> {
    key.interval().map(|interval| interval.start().as_microsecond())
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;
