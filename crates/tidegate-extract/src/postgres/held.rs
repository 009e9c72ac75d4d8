//! Names mean what they meant when they were locked.
//!
//! A lock holds a table and not its name: renaming a schema asks for no lock of what is in it. What is then
//! read again by its name, or by a query's names, may be a table that is younger than the snapshot, and looks
//! empty by it. So whoever joins a snapshot asks at its end what it has locked itself, which is all that it
//! has read, and compares that with what the holder had locked. What only functions read no holder could lock:
//! of that it asks besides whether it was emptied or rewritten since, which looks empty to the snapshot as well.

use serde::{Deserialize, Serialize};
use tidegate_types::Reason;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::connect::Server;
use super::failure::failed;
use super::relation::Origin;
use crate::ExtractError;

/// What has rows: tables, those with partitions, views, materialised ones, foreign tables.
macro_rules! with_rows {
    () => {
        "('r', 'p', 'v', 'm', 'f')"
    };
}

/// Below it are the system's own.
macro_rules! own_locks {
    () => {
        "l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.relation >= 16384"
    };
}

const HELD: &str = concat!(
    "SELECT coalesce(pg_catalog.array_agg(DISTINCT l.relation), '{}') FROM pg_catalog.pg_locks AS l \
     JOIN pg_catalog.pg_class AS c ON c.oid = l.relation WHERE ",
    own_locks!(),
    " AND c.relkind IN ",
    with_rows!(),
);

/// With name and file by the snapshot, which has none for what is younger.
const STRANGERS: &str = concat!(
    "SELECT DISTINCT l.relation, \
     pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.relfilenode \
     FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation \
     LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE ",
    own_locks!(),
    " AND (c.oid IS NULL OR c.relkind IN ",
    with_rows!(),
    ") AND NOT EXISTS \
     (SELECT FROM pg_catalog.unnest($1::oid[]) AS held (oid) WHERE held.oid = l.relation)",
);

/// Of strangers, with their names and files by the snapshot, the first that a name came to mean, or that has
/// another file by now, as TRUNCATE and many an ALTER give it. Not so an index, a partition or child that was
/// added to what is held, and, unless a table is read by its own name, what is called as ever and has its file
/// still: a function reads that.
const NAMED_ANEW: &str = concat!(
    "WITH RECURSIVE above (stranger, oid) AS (\
       SELECT s.oid, s.oid FROM pg_catalog.unnest($1::oid[]) AS s (oid) \
       UNION SELECT a.stranger, i.inhparent FROM above AS a \
       JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.oid) \
     SELECT coalesce(named.now, 'one that is gone'), s.name IS NOT DISTINCT FROM named.now \
     FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::text[]), \
       pg_catalog.unnest($5::oid[])) AS s (oid, name, file) \
     LEFT JOIN pg_catalog.pg_class AS c ON c.oid = s.oid \
     LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
     CROSS JOIN LATERAL (SELECT \
       pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)) AS named (now) \
     WHERE (c.oid IS NULL OR c.relkind IN ",
    with_rows!(),
    ") AND ($4::bool OR s.name IS DISTINCT FROM named.now OR s.file IS DISTINCT FROM c.relfilenode) \
     AND NOT EXISTS (SELECT FROM above AS a \
       JOIN pg_catalog.unnest($3::oid[]) AS held (oid) ON held.oid = a.oid WHERE a.stranger = s.oid) \
     LIMIT 1",
);

/// The relations with rows that the holder of a snapshot has locked, as the catalog numbers them. There are
/// no more than the server has room for locks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held(Vec<u32>);

impl Held {
    /// What this session's transaction has locked.
    pub(super) async fn by(client: &Client) -> Result<Self, ExtractError> {
        let row = client.query_one(HELD, &[]).await;
        let held = row.and_then(|row| row.try_get(0));
        held.map(Self).map_err(|error| failed("asking for what is locked", error))
    }

    /// Refuses what a transaction has read when a name in it meant another table than it did to the holder.
    /// Asked last in a transaction, it covers all of its statements.
    pub(super) async fn require_same(
        &self,
        client: &Client,
        server: &Server,
        origin: &Origin,
    ) -> Result<(), ExtractError> {
        let asking = |error| failed("asking for what was read", error);
        let strangers = client.query(STRANGERS, &[&self.0]).await.map_err(asking)?;
        if strangers.is_empty() {
            return Ok(());
        }
        let numbers = strangers.iter().map(|row| row.try_get(0));
        let numbers = numbers.collect::<Result<Vec<u32>, _>>().map_err(asking)?;
        let names = strangers.iter().map(|row| row.try_get(1));
        let names = names.collect::<Result<Vec<Option<String>>, _>>().map_err(asking)?;
        let files = strangers.iter().map(|row| row.try_get(2));
        let files = files.collect::<Result<Vec<Option<u32>>, _>>().map_err(asking)?;
        let named_itself = origin.table.as_ref().is_some_and(|table| table.kind != "v");
        // By the snapshot nothing is seen of what was added or renamed since.
        let session = server.session().await?;
        let asked: [&(dyn ToSql + Sync); 5] = [&numbers, &names, &self.0, &named_itself, &files];
        let found = session.client.query_opt(NAMED_ANEW, &asked).await;
        session.close().await;
        let found: Option<(String, bool)> = found
            .and_then(|row| row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose())
            .map_err(|error| failed("asking for what names mean", error))?;
        match found {
            None => Ok(()),
            Some((name, false)) => Err(changed(&origin.label, &name)),
            Some((name, true)) if named_itself => Err(changed(&origin.label, &name)),
            Some((name, true)) => Err(rewritten(&origin.label, &name)),
        }
    }
}

fn rewritten(label: &str, name: &str) -> ExtractError {
    let what = format!(
        "{label} reads {name} by a function, and it was emptied or rewritten meanwhile (TRUNCATE, ALTER TABLE, VACUUM FULL); the next attempt reads it as it is by then"
    );
    ExtractError::transient(Reason::SourceChanged, what)
}

fn changed(label: &str, name: &str) -> ExtractError {
    let what = format!(
        "in {label} a name came to mean another table while it was read, which is now {name} (a schema or table was renamed); the next attempt reads the new one"
    );
    ExtractError::transient(Reason::SourceChanged, what)
}
