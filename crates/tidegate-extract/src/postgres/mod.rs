//! PostgreSQL: one exported snapshot, read by `COPY` in binary form over a connection per chunk.

mod address;
mod bounds;
mod connect;
mod cursor;
mod decode;
mod failure;
mod held;
mod hold;
mod join;
mod large;
mod plan;
mod read;
mod relation;
mod resolve;
mod stored;
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

use self::connect::{Server, Session};
use self::cursor::Cursor;
use self::failure::snapshot_lost;
use self::held::Held;
use self::join::Ticket;
pub(crate) use self::join::join;
use self::plan::Task;
use self::read::{Reading, join_snapshot};
use self::relation::{Origin, select};
use self::types::Selected;
use crate::{Chunk, ChunkCounts, ExtractError, Piece, Plan, ReadRequest, Snapshot};

/// Of those who join a snapshot.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A snapshot, held by a transaction that stays open, and with it the locks of what is read.
pub(crate) struct Opened {
    /// Whose transaction holds the snapshot.
    session: Session,
    reading: Arc<Reading>,
    request: ReadRequest,
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
        hold::begin(client).await?;
        resolve(client, &origin, &request).await?;
        hold::end(client).await?;
        wait::until_complete(client, &source, &request, incremental, interval).await?;
    } else {
        wait::until_replayed(client, &source, &request).await?;
    }
    hold::begin(client).await?;
    let resolved = resolve(client, &origin, &request).await?;
    // Until it was locked the name may have come to mean another table.
    let origin = Origin::find(client, &source.relation).await?;
    let held = Held::by(client).await?;
    let id = hold::export(client, &origin).await?;
    let ticket = Ticket::new(client, id, held).await?;
    Ok(Opened::new(server, session, origin, request, ticket, resolved))
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

/// The columns that the request names, in the relation as it is now; within a transaction it stays so.
async fn resolve(
    client: &Client,
    origin: &Origin,
    request: &ReadRequest,
) -> Result<(Vec<Selected>, Option<Cursor>), ExtractError> {
    let described = origin.describe(client).await?;
    let selected = select(&described, request.fields.as_deref(), &origin.label)?;
    hold::lock(client, origin, &selected).await?;
    if request.incremental.is_some() {
        hold::refuse_refreshed(client, origin).await?;
    }
    if let Some(field) = &request.chunking.field {
        if !described.iter().any(|column| column.name == *field) {
            let what = format!(
                "{} has no column {field:?}: set bulk.chunking.field to one that it has",
                origin.label
            );
            return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
        }
        stored::require_stored(client, &described, field, &origin.label).await?;
    }
    let cursor = incremental(request)?
        .map(|(by, interval)| Cursor::new(by, interval, &described, &origin.label))
        .transpose()?;
    Ok((selected, cursor))
}

fn schema(selected: &[Selected]) -> SchemaRef {
    let fields = selected.iter();
    let fields = fields.map(|column| Field::new(&column.name, column.wire.data_type(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

impl Opened {
    /// The session's transaction holds the snapshot already.
    fn new(
        server: Server,
        session: Session,
        origin: Origin,
        request: ReadRequest,
        ticket: Ticket,
        (selected, cursor): (Vec<Selected>, Option<Cursor>),
    ) -> Self {
        let reading = Reading {
            server,
            ticket,
            origin,
            schema: schema(&selected),
            selected,
            cursor,
            batch_rows: request.batch_rows,
            batch_bytes: request.batch_bytes,
        };
        Self { session, reading: Arc::new(reading), request }
    }
}

impl Snapshot for Opened {
    fn id(&self) -> &str {
        &self.reading.ticket.snapshot
    }

    fn ticket(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.reading.ticket).ok()
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
            // As readers do: who holds the snapshot does not see by it.
            let reading = &self.reading;
            let session = reading.server.session().await?;
            join_snapshot(&session.client, &reading.ticket).await?;
            let task = Task {
                client: &session.client,
                origin: &reading.origin,
                cursor: reading.cursor.as_ref(),
                on_null_cursor,
                field: self.request.chunking.field.as_deref(),
                target_rows: self.request.chunking.target_rows,
            };
            let plan = async {
                let plan = task.plan().await?;
                reading.require_same_names(&session.client).await?;
                Ok(plan)
            };
            let plan = plan.await;
            session.close().await;
            plan
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
