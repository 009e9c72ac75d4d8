//! Opening the table: made when missing, widened when the schema says so, refused when it does not fit.

use std::collections::HashSet;

use arrow::datatypes::Schema;
use tidegate_table::files::system;
use tidegate_table::ledger::{LedgerState, PartitionState};
use tidegate_table::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, LiveFile, Outcome, RetryPolicy, TableSnapshot,
    TableSpec,
};
use tidegate_table::schema::{check_partitioning, plan_evolution};
use tidegate_types::{Evolution, Incarnation, Ledger, Reason};
use tracing::{info, warn};

use crate::decide::{ForeignEdit, classify_foreign};
use crate::error::WorkerError;
use crate::random::Random;

/// The table at the log's place; made with `first` as its first commit when there is none.
pub(crate) async fn open_or_create(
    log: &CommitLog,
    spec: &TableSpec,
    first: &CommitRequest,
) -> Result<TableSnapshot, WorkerError> {
    loop {
        if let Some(snapshot) = log.load().await? {
            return Ok(snapshot);
        }
        let prepared = log.prepare_create(spec, first).await?;
        let forever = std::future::pending();
        let outcome = log.settle(&prepared, &RetryPolicy::default(), forever).await?;
        if matches!(outcome, Outcome::Won) {
            info!(table = %log.root(), "table created");
        }
        // Won or lost, there is a table now.
    }
}

/// The pipeline's table, with every declared column in it.
///
/// # Errors
///
/// When schema or partitioning do not fit, or the evolution setting forbids the change.
pub(crate) async fn open(
    log: &CommitLog,
    spec: &TableSpec,
    evolution: Evolution,
    ledger: &Ledger,
    random: &mut Random,
) -> Result<TableSnapshot, WorkerError> {
    let tag = |kind, random: &mut Random| CommitTag {
        ledger: ledger.clone(),
        kind,
        nonce: random.nonce(),
    };
    let first = CommitRequest::new(tag(CommitKind::Schema, random));
    let mut snapshot = open_or_create(log, spec, &first).await?;
    loop {
        snapshot.check_usable(log.root().as_str())?;
        let add_columns = missing_columns(&snapshot, spec, evolution)?;
        if add_columns.is_empty() {
            return Ok(snapshot);
        }
        let names: Vec<_> = add_columns.iter().map(ToString::to_string).collect();
        let tag = tag(CommitKind::Schema, random);
        let request = CommitRequest { add_columns, ..CommitRequest::new(tag) };
        let prepared = log.prepare(&snapshot, &request).await?;
        let forever = std::future::pending();
        if let Outcome::Won = log.settle(&prepared, &RetryPolicy::default(), forever).await? {
            info!(columns = names.join(", "), "columns added");
        }
        snapshot = log.refresh(&snapshot).await?.0;
    }
}

pub(crate) fn missing_columns(
    snapshot: &TableSnapshot,
    spec: &TableSpec,
    evolution: Evolution,
) -> Result<Vec<tidegate_table::schema::AddColumn>, WorkerError> {
    let refuse = |mismatch: tidegate_table::schema::SchemaMismatch| {
        let what = "the pipeline's schema does not fit the table";
        WorkerError::permanent(mismatch.reason(), what).because(mismatch)
    };
    check_partitioning(snapshot.partition_columns(), &spec.partition_columns).map_err(refuse)?;
    let table: &Schema = snapshot.schema();
    plan_evolution(table, &spec.schema, evolution).map_err(refuse)
}

/// Whether the ledger may write to the table (X6).
///
/// # Errors
///
/// [`Reason::LedgerMismatch`] when the table holds another ledger's rows and nothing allows that.
pub(crate) fn check_ledger(
    state: &LedgerState,
    ledger: &Ledger,
    shared: bool,
) -> Result<(), WorkerError> {
    let known_here = !state.incarnations.is_empty() || state.keys.is_some();
    let Some(other) = state.other_ledgers.first() else { return Ok(()) };
    if shared || known_here {
        return Ok(());
    }
    let what = format!(
        "the table holds rows of ledger {other}, not of {ledger}; set sink.delta.shared: \
         true to write beside it, or take another url"
    );
    Err(WorkerError::permanent(Reason::LedgerMismatch, what))
}

/// Versions that are read back when rows are missing: a day of commits, one each minute and a half.
const LOOK_BACK: u64 = 1_000;

/// Compares the rows in the table with the rows that every ledger counted (T2). Where rows are missing
/// the log says whether somebody edited them away, or took the table back in time while no worker
/// looked (T1).
///
/// # Errors
///
/// [`Reason::TableRewound`] when the log shows that the table was rewound.
pub(crate) async fn check_rows(
    log: &CommitLog,
    snapshot: &TableSnapshot,
    ledger: &Ledger,
) -> Result<(), WorkerError> {
    let counted = counted_rows(snapshot, ledger)?;
    if counted == 0 {
        return Ok(());
    }
    let files = log.live_files(snapshot).await?;
    let Some(present) = files.iter().map(ledger_rows).sum::<Option<u64>>() else {
        return Ok(()); // a stranger's file without statistics
    };
    if present >= counted {
        return Ok(());
    }
    let missing = counted - present;
    let from = snapshot.version().saturating_sub(LOOK_BACK);
    let (mut removed, mut edits) = (HashSet::new(), Vec::new());
    for entry in log.history(from).await? {
        let readded = entry.adds.iter().any(|file| removed.contains(&file.path));
        removed.extend(entry.removes.iter().map(|file| file.path.clone()));
        if entry.ours.is_some() {
            continue;
        }
        match classify_foreign(entry.operation.as_deref(), entry.removes.len(), readded) {
            ForeignEdit::Append => {}
            ForeignEdit::Edit(what) => edits.push(format!("{what} at version {}", entry.version)),
            ForeignEdit::Rewind(what) => {
                let what = format!(
                    "the table was rewound by {what} at version {}: {missing} of {counted} counted rows \
                     are gone, while the positions stand where they stood",
                    entry.version
                );
                return Err(WorkerError::permanent(Reason::TableRewound, what));
            }
        }
    }
    let explained = if edits.is_empty() {
        "nothing in the log explains it".to_owned()
    } else {
        edits.join(", ")
    };
    warn!(missing, counted, explained, "the table holds fewer rows than were committed");
    Ok(())
}

/// Rows of a file that can be a ledger's: a stranger's have no source, which the statistics tell (R1).
fn ledger_rows(file: &LiveFile) -> Option<u64> {
    let nulls = |stats: &serde_json::Value| stats.get("nullCount")?.get(system::SOURCE)?.as_u64();
    let strange = file.stats.as_ref().and_then(nulls).unwrap_or(0);
    Some(file.rows?.saturating_sub(strange))
}

/// Rows that the counters of every ledger and incarnation say are in the table.
fn counted_rows(snapshot: &TableSnapshot, ledger: &Ledger) -> Result<u64, WorkerError> {
    let none = Incarnation::derive("", "", 0);
    let own = LedgerState::read(snapshot.txns(), ledger, none)?;
    let mut rows = 0;
    for ledger in own.other_ledgers.iter().chain([ledger]) {
        let lives = LedgerState::read(snapshot.txns(), ledger, none)?.incarnations;
        for incarnation in lives.into_keys() {
            let state = LedgerState::read(snapshot.txns(), ledger, incarnation)?;
            let of = |p: &PartitionState| p.counters.rows.saturating_sub(p.removed + p.superseded);
            rows += state.partitions.values().map(of).sum::<u64>();
        }
    }
    Ok(rows)
}
