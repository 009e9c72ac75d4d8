//! The dead letters of a bulk pipeline: those that its runs named, and no others (B6a).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_config::WriteMode;
use tidegate_runtime::RunError;
use tidegate_table::dead_letter;
use tidegate_table::files::layout::DataPath;
use tidegate_table::files::reader::read_columns;
use tidegate_table::files::system::{self, run_source_prefix};
use tidegate_table::ledger::Intervals;
use tidegate_table::log::{CommitLog, LiveFile, LogEntry, TableSnapshot, Txns};
use tidegate_table::store::TableStore;
use tidegate_types::{Ledger, Nonce, Reason};

use super::contents::{check_file, missing};
use super::report::VerifyReport;

/// The column with the nonce of the commit that a dead letter is of.
const COMMIT: &str = "commit";

/// Checks the dead-letter table against what the runs named. Returns how many are there of each commit.
pub(super) async fn check_dead_letters(
    (ledger, mode): (&Ledger, WriteMode),
    store: &TableStore,
    (main, seen): (&CommitLog, &TableSnapshot),
    report: &mut VerifyReport,
) -> Result<BTreeMap<String, u64>, RunError> {
    let below = store.below(dead_letter::FOLDER);
    let log = CommitLog::open(&below);
    let snapshot = log.load().await?;
    // Read after the dead letters: what shows there was named before.
    let main = main.refresh(seen).await?.0;
    let intervals = Intervals::read(main.txns(), ledger)?;
    let named: BTreeSet<Nonce> = intervals.iter().filter_map(|(_, k)| k.dead_letters).collect();
    let shown = shown(ledger, snapshot.as_ref());
    for nonce in named.difference(&shown) {
        waiting(&below.data, ledger, *nonce, report).await?;
    }
    let Some(snapshot) = snapshot else { return Ok(BTreeMap::new()) };
    let files = log.live_files(&snapshot).await?;
    let found = count(&below.data, &files, ledger, report).await?;
    report.dead = found.values().sum();
    let mut entries = log.history(0).await?;
    entries.retain(|entry| entry.version <= snapshot.version());
    let added = added(&entries, ledger);
    let whole = entries.first().is_some_and(|entry| entry.version == 0);
    for (nonce, said) in added.iter().filter(|(nonce, _)| named.contains(*nonce) && whole) {
        let there = found.get(&nonce.to_string()).copied().unwrap_or(0);
        if there != *said {
            let detail = format!("{there} of the {said} dead letters of commit {nonce} are there");
            report.damaged("dead letters", detail);
        }
    }
    if mode != WriteMode::Append {
        let named_all_shown = named.is_subset(&shown);
        let named: BTreeSet<String> = named.iter().map(ToString::to_string).collect();
        for (commit, rows) in found.iter().filter(|(commit, _)| !named.contains(*commit)) {
            let detail = format!(
                "{rows} dead letters of commit {commit}, which no interval names, are there"
            );
            // A file that is not in yet may be what takes their place.
            if named_all_shown {
                report.damaged("dead letters", detail);
            } else {
                report.not_provable("dead letters", detail);
            }
        }
    }
    report.checked(format!("{} dead letters, of the runs that name them", report.dead));
    Ok(found)
}

/// The files that the dead-letter table has taken in.
fn shown(ledger: &Ledger, snapshot: Option<&TableSnapshot>) -> BTreeSet<Nonce> {
    let Some(snapshot) = snapshot else { return BTreeSet::new() };
    dead_letter::shown_runs(snapshot.txns(), ledger).into_values().collect()
}

/// A file that the next run brings in must be there.
async fn waiting(
    store: &Arc<dyn ObjectStore>,
    ledger: &Ledger,
    nonce: Nonce,
    report: &mut VerifyReport,
) -> Result<(), RunError> {
    let file = DataPath::dead_letters(ledger, nonce);
    match store.head(file.object()).await {
        Ok(_) => {
            let detail =
                format!("{} is not in their table yet; the next run brings it", file.in_log());
            report.not_provable("dead letters", detail);
            Ok(())
        }
        Err(object_store::Error::NotFound { .. }) => {
            report.damaged("dead letters", format!("{} is missing", file.in_log()));
            Ok(())
        }
        Err(source) => {
            let what = format!("{} cannot be looked at", file.in_log());
            Err(RunError::transient(Reason::SinkUnreachable, what).because(source))
        }
    }
}

/// The rows that each commit of the dead-letter table brought in.
fn added(entries: &[LogEntry], ledger: &Ledger) -> BTreeMap<Nonce, u64> {
    let mut added = BTreeMap::new();
    for entry in entries {
        let rows: u64 = entry.adds.iter().filter_map(|file| file.rows).sum();
        let mut only = Txns::default();
        only.apply(&entry.txns);
        for nonce in dead_letter::shown_runs(&only, ledger).into_values() {
            added.insert(nonce, rows.saturating_sub(entry.kept_rows));
        }
    }
    added
}

/// The ledger's dead letters of runs, by the commit that they are of.
async fn count(
    store: &Arc<dyn ObjectStore>,
    files: &[LiveFile],
    ledger: &Ledger,
    report: &mut VerifyReport,
) -> Result<BTreeMap<String, u64>, RunError> {
    let prefix = run_source_prefix(ledger);
    let mut found = BTreeMap::new();
    for file in files {
        let Some((path, _)) = check_file(store, file, report).await? else { continue };
        let mut batches = read_columns(store, &path, &[system::SOURCE, COMMIT]).await?;
        while let Some(batch) = batches.try_next().await? {
            let column = |name: &str| {
                let found = batch.column_by_name(name).ok_or_else(|| missing(&file.path, name))?;
                cast(found, &DataType::Utf8).map_err(|e| missing(&file.path, name).because(e))
            };
            let (sources, commits) = (column(system::SOURCE)?, column(COMMIT)?);
            let (sources, commits) = (sources.as_string::<i32>(), commits.as_string::<i32>());
            for row in 0..batch.num_rows() {
                let ours = sources.is_valid(row) && sources.value(row).starts_with(&prefix);
                if ours && commits.is_valid(row) {
                    *found.entry(commits.value(row).to_owned()).or_default() += 1;
                }
            }
        }
    }
    Ok(found)
}
