//! MySQL and MariaDB.
//!
//! - [`wait`] waits until the interval is complete; [`fixed`] opens the snapshot, of tables whose [`names`] are
//!   pinned; [`lanes`] keeps its connections and lends them to readers. All reach one server: [`identity`].
//! - [`source_type`] and [`columns`] say which column becomes which; [`values`] and [`builders`] turn rows into Arrow.
//! - [`plan`] divides; [`read`] reads a chunk. [`origin`] says what a column is no good for.
//!
//! Only tables of InnoDB have snapshots. Of a table that is named this is checked; of the tables below a
//! view or a query it is not.
//!
//! A date that is no day (`0000-00-00`) ends the run with column and row named, unless the column is
//! declared as string. Times of day are text, since the table has no such type. JSON, ENUM and SET are
//! text. Whole numbers without sign get the next wider type, BIGINT UNSIGNED `decimal(20,0)`.

mod address;
mod builders;
mod columns;
mod cursor;
mod failure;
mod fixed;
mod identity;
mod lanes;
mod limits;
mod names;
mod origin;
mod plan;
mod quote;
mod read;
mod select;
mod server;
mod source_type;
mod trust;
mod values;
mod wait;

use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_config::{Chunking, DatabaseSource, Incremental, NullCursorPolicy};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;
use tokio::sync::mpsc;

use crate::{Chunk, ChunkCounts, ExtractError, Piece, Plan, ReadRequest, Snapshot};
use columns::ReadColumn;
use failure::{Stage, explain};
use lanes::Lanes;
use limits::{LARGEST_BATCH, MOST_CONNECTIONS};
use plan::{Bounds, Divided, Key};
use read::Reading;
use select::{Condition, From, select};
use server::Server;
use source_type::SourceType;

/// A snapshot of a MySQL or MariaDB server.
pub(crate) struct Opened {
    id: String,
    lanes: Lanes,
    reading: Reading,
    key: Option<Key>,
    /// The interval's rows; empty when everything is read.
    rows: Vec<Condition>,
    incremental: Option<Incremental>,
    chunking: Chunking,
}

/// Whether the secret that leads to the server can be read.
pub(crate) fn check_secret(source: &DatabaseSource, secrets: &Secrets) -> Result<(), ExtractError> {
    Server::new(source, secrets, "").map(drop)
}

/// Connects, waits until the interval is complete, and fixes the snapshot.
pub(crate) async fn open(
    source: DatabaseSource,
    request: ReadRequest,
) -> Result<Opened, ExtractError> {
    let server = Server::new(&source, &request.secrets, &request.application)?;
    let from = From::of(&source.relation);
    let wanted = connections_wanted(&server, &from, &request).await?;
    if let (Some(interval), Some(incremental)) = (request.interval, &request.incremental) {
        wait::until_complete(&server, interval, incremental).await?;
    }
    let mut fixed = fixed::fix(&server, &from, wanted).await?;
    let Some(first) = fixed.connections.first_mut() else {
        return Err(ExtractError::transient(Reason::SnapshotLost, "no connection was opened"));
    };
    // Once more, now that nobody can alter the table.
    let described = describe(first, &server, &from).await?;
    let key = key(first, &server, &from, &described, &request.chunking).await?;
    let columns = columns::chosen(&described, request.fields.as_deref())?;
    let rows = interval_rows(&request, &described)?;
    Ok(Opened {
        id: fixed.id,
        lanes: Lanes::new(fixed.connections, server.shown),
        reading: Reading {
            from,
            schema: builders::schema(&columns),
            key: key.as_ref().and_then(|key| named_by(&columns, key)),
            columns,
            batch_rows: request.batch_rows.max(1),
            batch_bytes: request.batch_bytes.min(LARGEST_BATCH),
        },
        key,
        rows,
        incremental: request.incremental,
        chunking: request.chunking,
    })
}

impl Snapshot for Opened {
    fn id(&self) -> &str {
        &self.id
    }

    fn columns(&self) -> SchemaRef {
        self.reading.schema.clone()
    }

    fn plan(&self) -> BoxFuture<'_, Result<Plan, ExtractError>> {
        Box::pin(self.divide())
    }

    fn read<'a>(
        &'a self,
        chunk: &'a Chunk,
        into: mpsc::Sender<Piece>,
    ) -> BoxFuture<'a, Result<ChunkCounts, ExtractError>> {
        Box::pin(self.read_chunk(chunk, into))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), ExtractError>> {
        Box::pin(self.lanes.check())
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.lanes.close().await })
    }
}

impl Opened {
    async fn divide(&self) -> Result<Plan, ExtractError> {
        let mut lane = self.lanes.take().await?;
        let null_cursors = self.null_cursors(&mut lane).await?;
        let divided = Divided {
            from: &self.reading.from,
            rows: &self.rows,
            key: self.key.as_ref(),
            target: self.chunking.target_rows,
        };
        let (rows, chunks) = divided.chunks(&mut lane).await?;
        lane.give_back();
        Ok(Plan { chunks, rows: Some(rows), fingerprint: None, pinned: false, null_cursors })
    }

    /// How many rows are in no interval.
    async fn null_cursors(&self, conn: &mut Conn) -> Result<u64, ExtractError> {
        let Some(incremental) = &self.incremental else { return Ok(0) };
        let none = cursor::rows_of_none(incremental);
        let count = plan::count(conn, &self.reading.from, &[none]).await?;
        if count > 0 && incremental.on_null_cursor == NullCursorPolicy::Fail {
            let what = format!(
                "{count} rows of {} have no {:?} and are in no interval; fill it, or say onNullCursor: Ignore",
                self.reading.from.shown, incremental.cursor_field
            );
            return Err(ExtractError::permanent(Reason::NullCursor, what));
        }
        Ok(count)
    }

    async fn read_chunk(
        &self,
        chunk: &Chunk,
        into: mpsc::Sender<Piece>,
    ) -> Result<ChunkCounts, ExtractError> {
        let bounds: Bounds = chunk.bounds()?;
        let conditions: Vec<_> =
            self.rows.iter().cloned().chain(bounds.condition(self.key.as_ref())).collect();
        let mut lane = self.lanes.take().await?;
        let counts = self.reading.read(&mut lane, &conditions, &chunk.what, &into).await?;
        lane.give_back();
        Ok(counts)
    }
}

/// Where the key is among the columns that are read.
fn named_by(columns: &[ReadColumn], key: &Key) -> Option<usize> {
    columns.iter().position(|column| column.name == key.name)
}

/// How many connections are of use: without a key there is one chunk, and one reader. On the way the
/// relation is looked at, so that what cannot be read is told before anything is waited for.
async fn connections_wanted(
    server: &Server,
    from: &From,
    request: &ReadRequest,
) -> Result<usize, ExtractError> {
    let mut conn = server.connect().await?;
    fixed::require_snapshots(&mut conn, server, from).await?;
    let described = describe(&mut conn, server, from).await?;
    columns::chosen(&described, request.fields.as_deref())?;
    interval_rows(request, &described)?;
    if let Some(incremental) = &request.incremental {
        origin::require_kept(&mut conn, server, from, &incremental.cursor_field).await?;
    }
    let key = key(&mut conn, server, from, &described, &request.chunking).await?;
    let _ = conn.disconnect().await;
    let parallelism = usize::try_from(request.chunking.parallelism).unwrap_or(MOST_CONNECTIONS);
    Ok(if key.is_some() { parallelism.clamp(1, MOST_CONNECTIONS) } else { 1 })
}

/// The relation's columns.
async fn describe(
    conn: &mut Conn,
    server: &Server,
    from: &From,
) -> Result<Vec<(String, SourceType)>, ExtractError> {
    let doing = format!("{}: asking for the columns of {}", server.shown, from.shown);
    let failed = |error| explain(Stage::Reading, &doing, error);
    if let Some(query) = &from.query {
        // By itself it must be a statement too: one that ends our bracket is none.
        let alone = conn.prep(query.as_str()).await.map_err(failed)?;
        conn.close(alone).await.map_err(failed)?;
    }
    let statement = conn.prep(select("*", from, [], "").sql).await.map_err(failed)?;
    let columns = statement.columns();
    if statement.num_params() > 0 || columns.is_empty() {
        let what = format!("{doing}: it is no SELECT without parameters");
        return Err(ExtractError::permanent(Reason::SourceRefused, what));
    }
    Ok(columns.iter().map(|c| (c.name_str().into_owned(), SourceType::of(c))).collect())
}

/// The column by which the relation is divided: what `chunking.field` names, else the first of a
/// table's primary key where it is a number or a time.
async fn key(
    conn: &mut Conn,
    server: &Server,
    from: &From,
    described: &[(String, SourceType)],
    chunking: &Chunking,
) -> Result<Option<Key>, ExtractError> {
    let of = |name: &str| described.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
    if let Some(field) = &chunking.field {
        let refuse = |what| Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
        return match of(field) {
            None => {
                refuse(format!("the source has no column {field:?}, which chunking.field names"))
            }
            Some((_, source)) if !Key::divides(source) => refuse(format!(
                "chunking.field {field:?} is {source}; only whole numbers, dates and times divide a table"
            )),
            Some((name, source)) => {
                origin::require_stored(conn, server, from, name).await?;
                Ok(Some(Key { name: name.clone(), source: source.clone() }))
            }
        };
    }
    let first = primary_key(conn, server, from).await?;
    let found = first.as_deref().and_then(of).filter(|(_, source)| Key::divides(source));
    Ok(found.map(|(name, source)| Key { name: name.clone(), source: source.clone() }))
}

/// The first column of a table's primary key.
async fn primary_key(
    conn: &mut Conn,
    server: &Server,
    from: &From,
) -> Result<Option<String>, ExtractError> {
    let Some((schema, table)) = &from.table else { return Ok(None) };
    let doing = format!("{}: asking for the key of {}", server.shown, from.shown);
    conn.exec_first(
        "SELECT column_name FROM information_schema.statistics \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? \
         AND index_name = 'PRIMARY' AND seq_in_index = 1",
        (schema, table),
    )
    .await
    .map_err(|error| explain(Stage::Reading, &doing, error))
}

/// The rows of the request's interval, as parts of WHERE.
fn interval_rows(
    request: &ReadRequest,
    described: &[(String, SourceType)],
) -> Result<Vec<Condition>, ExtractError> {
    let (Some(interval), Some(incremental)) = (request.interval, &request.incremental) else {
        return Ok(Vec::new());
    };
    let name = &incremental.cursor_field;
    let found = described.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
    let Some((_, source)) = found else {
        let what =
            format!("the source has no column {name:?}, which incremental.cursorField names");
        return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
    };
    Ok(vec![cursor::rows_of(interval, incremental, source)?])
}
