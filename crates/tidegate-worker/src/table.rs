//! Opening the table: made when missing, widened when the schema says so, refused when it does not fit.

use arrow::datatypes::Schema;
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSnapshot, TableSpec,
};
use tidegate_table::schema::{check_partitioning, plan_evolution};
use tidegate_types::{Evolution, Ledger, Reason};
use tracing::info;

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

fn missing_columns(
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
