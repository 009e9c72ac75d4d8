//! Holding what is read: its locks first, then the snapshot.
//!
//! To a snapshot that is older, a table that was emptied or rewritten (`TRUNCATE`, many an `ALTER TABLE`)
//! looks empty. So everything is locked before the snapshot is taken: who describes a statement locks what
//! stands in it and behind its views, and who plans it locks partitions and children besides. That needs no
//! right but the one to read, and it is the way for tables, views and queries alike. The transaction takes
//! a new snapshot for each statement; the last one is exported, newer than all locks, and both are held
//! until the transaction ends.
//!
//! What a function of a query reads is not seen before it is read; `held` looks at it then.

use tidegate_types::Reason;
use tokio_postgres::Client;

use super::failure::failed;
use super::relation::Origin;
use super::types::{Selected, listed};
use crate::ExtractError;

/// Within `REPEATABLE READ` the describing itself would fix the snapshot, before it had any lock.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
/// As a plan names what another server reads; within a value quotes are escaped.
const FOREIGN: &str = r#"Node Type: "Foreign Scan""#;

/// Begins the transaction that is to hold locks and snapshot.
pub(super) async fn begin(client: &Client) -> Result<(), ExtractError> {
    client.batch_execute(BEGIN).await.map_err(|error| failed("beginning to read", error))
}

/// Plans the reading of columns, which locks all that is read until the transaction ends. What lies on
/// another server is refused: each of our statements would see it at another time.
pub(super) async fn lock(
    client: &Client,
    origin: &Origin,
    selected: &[Selected],
) -> Result<(), ExtractError> {
    let doing = format!("planning to read {}", origin.label);
    let statement = format!(
        "EXPLAIN (FORMAT YAML, COSTS FALSE) SELECT {} FROM {}",
        listed(selected),
        origin.from
    );
    let row = client.query_one(&statement, &[]).await;
    let plan: String = row.and_then(|row| row.try_get(0)).map_err(|error| failed(&doing, error))?;
    if plan.contains(FOREIGN) { Err(elsewhere(&origin.label)) } else { Ok(()) }
}

/// Refuses intervals of a materialised view: its rows come when somebody refreshes it, however long that is
/// after the transactions that an interval waits for. Of what is read it finds whatever is locked.
pub(super) async fn refuse_refreshed(client: &Client, origin: &Origin) -> Result<(), ExtractError> {
    let statement = "SELECT l.relation::regclass::text FROM pg_catalog.pg_locks AS l \
         JOIN pg_catalog.pg_class AS c ON c.oid = l.relation \
         WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' \
         AND c.relkind = 'm' LIMIT 1";
    let row = client.query_opt(statement, &[]).await;
    let name: Option<String> = row
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .map_err(|error| failed("looking for materialised views", error))?;
    let Some(name) = name else { return Ok(()) };
    let what = format!(
        "{} reads the materialised view {name}, whose rows come when it is refreshed: read intervals of the tables below it, or load it whole",
        origin.label
    );
    Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
}

/// Ends the transaction before it has a snapshot.
pub(super) async fn end(client: &Client) -> Result<(), ExtractError> {
    client.batch_execute("ROLLBACK").await.map_err(|error| failed("letting go", error))
}

/// Takes the snapshot and exports it; its name.
pub(super) async fn export(client: &Client, origin: &Origin) -> Result<String, ExtractError> {
    let row = client.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
    row.and_then(|row| row.try_get(0))
        .map_err(|error| failed(&format!("taking a snapshot of {}", origin.label), error))
}

fn elsewhere(label: &str) -> ExtractError {
    let what = format!(
        "{label} reads a foreign table, of which there is no snapshot here: rows that are moved meanwhile would be missed; read it from its own server"
    );
    ExtractError::permanent(Reason::SourceRefused, what)
}
