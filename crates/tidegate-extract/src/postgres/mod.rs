//! PostgreSQL: one exported snapshot, read by `COPY` in binary form over a connection per chunk.

mod address;
mod bounds;
mod connect;
mod cursor;
mod decode;
mod failure;
mod join;
mod plan;
mod read;
mod relation;
mod resolve;
mod tls;
mod types;
mod wait;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_config::{DatabaseSource, Incremental, NullCursorPolicy};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{DataInterval, Reason};
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use self::connect::{Server, Session};
use self::cursor::Cursor;
use self::failure::{failed, snapshot_lost};
use self::join::Ticket;
pub(crate) use self::join::join;
use self::plan::Task;
use self::read::Reading;
use self::relation::{Origin, select};
use self::types::Selected;
use crate::{Chunk, ChunkCounts, ExtractError, Piece, Plan, ReadRequest, Snapshot};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A snapshot, held by a transaction that stays open.
pub(crate) struct Opened {
    /// Whose transaction holds the snapshot.
    session: Session,
    reading: Arc<Reading>,
    request: ReadRequest,
    ticket: Ticket,
}

/// Whether the secret that leads to the server can be read.
pub(crate) fn check_secret(source: &DatabaseSource, secrets: &Secrets) -> Result<(), ExtractError> {
    connect::asked(source, secrets)?;
    connect::connector(source, secrets).map(drop)
}

pub(crate) async fn open(
    source: DatabaseSource,
    request: ReadRequest,
) -> Result<Opened, ExtractError> {
    let (server, session) =
        Server::connect(&source, &request.secrets, &request.application).await?;
    let client = &session.client;
    let origin = Origin::find(client, &source.relation).await?;
    if let Some((incremental, interval)) = incremental(&request)? {
        // What is wrong is told before the waiting.
        resolve(client, &origin, &request).await?;
        wait::until_complete(client, &source, &request, incremental, interval).await?;
    }
    let id = take_snapshot(client, &origin).await?;
    let ticket = Ticket::new(client, id).await?;
    Opened::new(server, session, origin, request, ticket).await
}

fn incremental(
    request: &ReadRequest,
) -> Result<Option<(&Incremental, DataInterval)>, ExtractError> {
    match (&request.incremental, request.interval) {
        (None, _) => Ok(None),
        (Some(incremental), Some(interval)) => Ok(Some((incremental, interval))),
        (Some(_), None) => {
            let what = "a run of a pipeline with bulk.incremental needs an interval";
            Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
        }
    }
}

/// The columns that the request names, in the relation as it is now.
async fn resolve(
    client: &Client,
    origin: &Origin,
    request: &ReadRequest,
) -> Result<(Vec<Selected>, Option<Cursor>), ExtractError> {
    let described = origin.describe(client).await?;
    let selected = select(&described, request.fields.as_deref(), &origin.label)?;
    if let Some(field) = &request.chunking.field
        && !described.iter().any(|column| column.name == *field)
    {
        let what = format!(
            "{} has no column {field:?}: set bulk.chunking.field to one that it has",
            origin.label
        );
        return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
    }
    let cursor = incremental(request)?
        .map(|(by, interval)| Cursor::new(by, interval, &described, &origin.label))
        .transpose()?;
    Ok((selected, cursor))
}

/// Locks the table, then fixes what is seen of it.
async fn take_snapshot(client: &Client, origin: &Origin) -> Result<String, ExtractError> {
    let doing = format!("taking a snapshot of {}", origin.label);
    let begin = |error| failed(&doing, error);
    client.batch_execute(BEGIN).await.map_err(begin)?;
    if let Some(lock) = origin.lock()
        && let Err(error) = client.batch_execute(&lock).await
    {
        // Whoever may read only some of the columns may not lock.
        if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return Err(failed(&doing, error));
        }
        client.batch_execute("ROLLBACK").await.map_err(begin)?;
        client.batch_execute(BEGIN).await.map_err(begin)?;
    }
    let row = client.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(begin)
}

fn schema(selected: &[Selected]) -> SchemaRef {
    let fields = selected.iter();
    let fields = fields.map(|column| Field::new(&column.name, column.wire.data_type(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Opened {
    /// The session's transaction is under the snapshot already.
    async fn new(
        server: Server,
        session: Session,
        origin: Origin,
        request: ReadRequest,
        ticket: Ticket,
    ) -> Result<Self, ExtractError> {
        let (selected, cursor) = resolve(&session.client, &origin, &request).await?;
        let reading = Reading {
            server,
            id: ticket.snapshot.clone(),
            origin,
            schema: schema(&selected),
            selected,
            cursor,
            batch_rows: request.batch_rows,
            batch_bytes: request.batch_bytes,
        };
        Ok(Self { session, reading: Arc::new(reading), request, ticket })
    }
}

impl Snapshot for Opened {
    fn id(&self) -> &str {
        &self.reading.id
    }

    fn ticket(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.ticket).ok()
    }

    fn columns(&self) -> SchemaRef {
        self.reading.schema.clone()
    }

    fn plan(&self) -> BoxFuture<'_, Result<Plan, ExtractError>> {
        let on_null_cursor = self
            .request
            .incremental
            .as_ref()
            .map_or(NullCursorPolicy::Fail, |incremental| incremental.on_null_cursor);
        async move {
            let task = Task {
                client: &self.session.client,
                origin: &self.reading.origin,
                cursor: self.reading.cursor.as_ref(),
                on_null_cursor,
                field: self.request.chunking.field.as_deref(),
                target_rows: self.request.chunking.target_rows,
            };
            task.plan().await
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        chunk: &'a Chunk,
        into: mpsc::Sender<Piece>,
    ) -> BoxFuture<'a, Result<ChunkCounts, ExtractError>> {
        read::read(self.reading.clone(), chunk.clone(), into).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), ExtractError>> {
        // A transaction that failed answers nothing but that it failed.
        async move {
            let answer = self.session.client.simple_query("SELECT 1").await;
            answer.map(|_| ()).map_err(snapshot_lost)
        }
        .boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move { self.session.close().await }.boxed()
    }
}
