//! Opening the table: made when missing, widened when the schema says so, refused when it does not fit.

use arrow::datatypes::Schema;
use tidegate_table::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSnapshot, TableSpec,
};
use tidegate_table::schema::{SchemaMismatch, check_partitioning, plan_evolution};
use tidegate_types::{Evolution, Ledger};
use tracing::info;

use crate::error::RunError;
use crate::random::Random;

/// The table at the log's place; made with `first` as its first commit when there is none.
pub async fn open_or_create(
    log: &CommitLog,
    spec: &TableSpec,
    first: &CommitRequest,
) -> Result<TableSnapshot, RunError> {
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
pub async fn open(
    log: &CommitLog,
    spec: &TableSpec,
    evolution: Evolution,
    ledger: &Ledger,
    random: &mut Random,
) -> Result<TableSnapshot, RunError> {
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

/// The columns that the table lacks.
///
/// # Errors
///
/// When schema or partitioning do not fit, or the evolution setting forbids the change.
pub fn missing_columns(
    snapshot: &TableSnapshot,
    spec: &TableSpec,
    evolution: Evolution,
) -> Result<Vec<tidegate_table::schema::AddColumn>, RunError> {
    check_partitioning(snapshot.partition_columns(), &spec.partition_columns)
        .map_err(does_not_fit)?;
    let table: &Schema = snapshot.schema();
    plan_evolution(table, &spec.schema, evolution).map_err(does_not_fit)
}

/// A pipeline whose schema or partitioning is not the table's.
pub fn does_not_fit(mismatch: SchemaMismatch) -> RunError {
    let what = "the pipeline's schema does not fit the table";
    RunError::permanent(mismatch.reason(), what).because(mismatch)
}
