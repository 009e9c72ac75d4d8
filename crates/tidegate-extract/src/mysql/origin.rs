//! Where a column comes from, and what may not be asked of it therefore.

use mysql_async::consts::ColumnFlags;
use mysql_async::prelude::Queryable;
use mysql_async::{Column, Conn};
use tidegate_types::Reason;

use super::failure::{Stage, explain};
use super::select::{From, select};
use super::server::Server;
use crate::ExtractError;

const EXTRA: &str = "\
    SELECT COUNT(*) FROM information_schema.columns \
    WHERE table_schema = COALESCE(NULLIF(?, ''), DATABASE()) AND table_name = ? AND column_name = ? \
    AND LOWER(extra) LIKE '%on update%'";

/// Refuses to divide by a column that a query or a view computes: every chunk computes it anew, and a row
/// may get another value each time, and so lie in two chunks or in none, though the counts agree.
pub(super) async fn require_stored(
    conn: &mut Conn,
    server: &Server,
    from: &From,
    field: &str,
) -> Result<(), ExtractError> {
    // A column of a temporary table, of which the server tells at most the name, has no schema.
    let stored = column(conn, server, from, field).await?.is_some_and(|column| {
        !column.org_table_ref().is_empty() && !column.schema_ref().is_empty()
    });
    if stored {
        return Ok(());
    }
    let what = format!(
        "chunking.field {field:?} of {} is computed, and each chunk would compute it anew; name a column of a table, or none, so that one chunk reads everything",
        from.shown
    );
    Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
}

/// Refuses a cursor that the server sets anew whenever its row is updated: the row would be loaded again
/// with a later interval.
pub(super) async fn require_kept(
    conn: &mut Conn,
    server: &Server,
    from: &From,
    field: &str,
) -> Result<(), ExtractError> {
    let Some(column) = column(conn, server, from, field).await? else { return Ok(()) };
    // Servers say it of TIMESTAMP always, of DATETIME not all do, and a temporary table forgets it.
    let told = column.flags().contains(ColumnFlags::ON_UPDATE_NOW_FLAG);
    if !told && !is_listed(conn, server, from, &column).await? {
        return Ok(());
    }
    let what = format!(
        "incremental.cursorField {field:?} of {} is set anew by every update of its row (ON UPDATE), so that the row would be loaded once more; name a column that keeps when the row was made, take ON UPDATE off it, or load the table whole",
        from.shown
    );
    Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
}

/// Whether the catalogue says ON UPDATE of the column that this one is taken from.
async fn is_listed(
    conn: &mut Conn,
    server: &Server,
    from: &From,
    column: &Column,
) -> Result<bool, ExtractError> {
    let names = (column.schema_str(), column.org_table_str(), column.org_name_str());
    let names = (names.0.into_owned(), names.1.into_owned(), names.2.into_owned());
    let doing = format!("{}: asking for the columns of {}", server.shown, from.shown);
    let found: Option<u64> = conn
        .exec_first(EXTRA, names)
        .await
        .map_err(|error| explain(Stage::Reading, &doing, error))?;
    Ok(found.is_some_and(|columns| columns > 0))
}

/// A column as the server describes it.
async fn column(
    conn: &mut Conn,
    server: &Server,
    from: &From,
    field: &str,
) -> Result<Option<Column>, ExtractError> {
    let doing = format!("{}: asking for the columns of {}", server.shown, from.shown);
    let failed = |error| explain(Stage::Reading, &doing, error);
    // Around a query the server would name the bracket as the table.
    let text = from.query.clone().unwrap_or_else(|| select("*", from, [], "").sql);
    let statement = conn.prep(text).await.map_err(failed)?;
    let columns = statement.columns();
    let found =
        columns.iter().find(|column| column.name_str().eq_ignore_ascii_case(field)).cloned();
    conn.close(statement).await.map_err(failed)?;
    Ok(found)
}
