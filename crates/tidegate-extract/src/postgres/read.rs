//! Reading a chunk: `COPY` in binary form into batches.

use std::pin::pin;
use std::sync::Arc;
use std::{io, thread};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::StreamExt;
use tidegate_types::Reason;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, Error};

use super::BEGIN;
use super::bounds::Bounds;
use super::connect::Server;
use super::cursor::Cursor;
use super::decode::{Decoder, Fault, Progress};
use super::failure::{failed, snapshot_lost};
use super::join::Ticket;
use super::large::RefusedRow;
use super::relation::Origin;
use super::types::{Selected, listed};
use crate::sql::literal;
use crate::{Chunk, ChunkCounts, ExtractError, Piece};

/// What the server says of a snapshot that nobody holds any more.
const SNAPSHOT_GONE: [&str; 3] = ["22023", "42704", "55000"];

/// Who joins a snapshot asks for locks that its holder has. It waits only where somebody who wants the table for
/// himself stands between, who waits for the holder, who waits for us.
const GIVES_WAY: &str = "SET LOCAL lock_timeout = '1s'";

/// What every chunk is read by.
pub(super) struct Reading {
    pub(super) server: Server,
    /// The snapshot.
    pub(super) ticket: Ticket,
    pub(super) origin: Origin,
    pub(super) selected: Vec<Selected>,
    pub(super) schema: SchemaRef,
    pub(super) cursor: Option<Cursor>,
    pub(super) batch_rows: usize,
    pub(super) batch_bytes: usize,
}

/// Reads a chunk on a thread of its own, of which there are as many as chunks are read at a time.
pub(super) async fn read(
    reading: Arc<Reading>,
    chunk: Chunk,
    into: mpsc::Sender<Piece>,
) -> Result<ChunkCounts, ExtractError> {
    let statement = reading.statement(&chunk.bounds()?);
    let rows = on_own_thread(async move || {
        let (reading, server) = (&reading, &reading.server);
        let rows = server.with_client(async |client, refused| {
            join_snapshot(client, &reading.ticket).await?;
            let rows = reading.copy((client, refused), &chunk, &statement, &into).await?;
            reading.require_same_names(client).await?;
            end(client).await?;
            Ok(rows)
        });
        rows.await
    });
    Ok(ChunkCounts { rows: rows.await?, dead: 0 })
}

/// Begins a transaction that sees by the snapshot. Servers name their snapshots alike, so that another one
/// behind the same address may have one of that name, or none.
pub(super) async fn join_snapshot(client: &Client, ticket: &Ticket) -> Result<(), ExtractError> {
    let begin = format!("{BEGIN}; SET TRANSACTION SNAPSHOT {}", literal(&ticket.snapshot));
    let joined = client.batch_execute(&begin).await;
    if joined.is_err() {
        // Else it would answer nothing but that it failed.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    ticket.require_same_server(client).await?;
    let joining = |error: Error| {
        let gone = error.code().is_some_and(|state| SNAPSHOT_GONE.contains(&state.code()));
        if gone { snapshot_lost(error) } else { failed("joining the snapshot", error) }
    };
    joined.map_err(joining)?;
    client.batch_execute(GIVES_WAY).await.map_err(joining)
}

async fn end(client: &Client) -> Result<(), ExtractError> {
    client.batch_execute("COMMIT").await.map_err(|error| failed("ending a chunk", error))
}

impl Reading {
    /// To be asked last in a transaction that has joined the snapshot.
    pub(super) async fn require_same_names(&self, client: &Client) -> Result<(), ExtractError> {
        self.ticket.held.require_same(client, &self.server, &self.origin).await
    }

    fn statement(&self, bounds: &Bounds) -> String {
        let columns = listed(&self.selected);
        let cursor = self.cursor.as_ref().map(|cursor| cursor.predicate.clone());
        let conditions: Vec<_> = cursor.into_iter().chain(bounds.predicate()).collect();
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        let from = &self.origin.from;
        format!("COPY (SELECT {columns} FROM {from}{condition}) TO STDOUT (FORMAT BINARY)")
    }

    async fn copy(
        &self,
        (client, refused): (&Client, &RefusedRow),
        chunk: &Chunk,
        statement: &str,
        into: &mpsc::Sender<Piece>,
    ) -> Result<u64, ExtractError> {
        let doing = format!("reading chunk {} ({})", chunk.number, chunk.what);
        let stream = client.copy_out(statement).await;
        let mut stream = pin!(stream.map_err(|error| failed(&doing, error))?);
        let schema = self.schema.clone();
        let mut decoder = Decoder::new(schema, &self.selected, self.batch_rows, self.batch_bytes);
        while let Some(bytes) = stream.next().await {
            let bytes: Bytes = bytes.map_err(|error| match refused.column() {
                Some(column) => faulty(chunk, decoder.too_large(column)),
                None => failed(&doing, error),
            })?;
            let mut input = bytes.as_ref();
            while decoder.feed(&mut input).map_err(|fault| faulty(chunk, fault))? == Progress::Full
            {
                hand_over(&mut decoder, chunk, into).await?;
            }
        }
        if !decoder.is_complete() {
            let what = format!("{doing} failed: the server ended in the middle");
            return Err(ExtractError::transient(Reason::SourceUnreachable, what));
        }
        hand_over(&mut decoder, chunk, into).await?;
        Ok(decoder.rows())
    }
}

async fn hand_over(
    decoder: &mut Decoder,
    chunk: &Chunk,
    into: &mpsc::Sender<Piece>,
) -> Result<(), ExtractError> {
    let Some(batch) = decoder.take().map_err(|fault| faulty(chunk, fault))? else { return Ok(()) };
    into.send(Piece::Rows(batch)).await.map_err(|_| ExtractError::Cancelled)
}

fn faulty(chunk: &Chunk, fault: Fault) -> ExtractError {
    let what = format!("chunk {} ({}): {fault}", chunk.number, chunk.what);
    match fault.problem.reason() {
        Some(reason) => ExtractError::permanent(reason, what),
        None => ExtractError::transient(Reason::SourceUnreachable, what),
    }
}

/// Does `work` on a thread that does nothing else, and gives it up when nobody waits any more.
///
/// A server sends in small pieces, and a thread of a common pool would wake another one for each of them.
async fn on_own_thread<T, W>(work: W) -> Result<T, ExtractError>
where
    T: Send + 'static,
    W: AsyncFnOnce() -> Result<T, ExtractError> + Send + 'static,
{
    let broken = |error: io::Error| {
        ExtractError::transient(Reason::ResourceExhausted, "a reader's thread cannot be started")
            .because(error)
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let (mut done, outcome) = oneshot::channel();
    let span = tracing::Span::current();
    let thread = thread::Builder::new().name("tidegate-read".to_owned());
    thread
        .spawn(move || {
            let _entered = span.entered();
            runtime.block_on(async move {
                tokio::select! {
                    () = done.closed() => {}
                    // Nobody waits when it cannot be handed over.
                    result = work() => drop(done.send(result)),
                }
            });
        })
        .map_err(broken)?;
    outcome.await.unwrap_or_else(|_| {
        let what = "a reader's thread ended without a word";
        Err(ExtractError::transient(Reason::SourceUnreachable, what))
    })
}
