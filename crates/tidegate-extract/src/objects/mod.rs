//! Files in an object store or a directory.
//!
//! The files are listed once and pinned by their etags: every request says which version it means, and a
//! file that was written again or is gone ends the attempt (B5). The listing's fingerprint names the snapshot
//! and is kept with the interval (B8).
//!
//! Files are read on threads that may block, streamed and unpacked on the way; memory does not depend on
//! their sizes. A record that cannot be a row is set aside, or stops the run; so is a file whose bytes are
//! damaged, as a whole: none of its rows counts.

mod chunk_reader;
mod chunks;
mod csv;
mod fetch;
mod glob;
mod listing;
mod missing;
mod ndjson;
mod outbox;
mod parquet;
mod store_error;
mod text;
mod trouble;
mod unpack;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::tz::TimeZone;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use tidegate_config::{BadFilePolicy, Chunking, FileCompression, FileFormat, ObjectSource};
use tidegate_decode::arrow_schema;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, open_source_store};
use tidegate_schedule::Template;
use tidegate_types::{BadRowPolicy, Field, Reason};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use self::chunk_reader::Reading;
use self::chunks::{Bounds, gather, split, target_bytes};
use self::fetch::Fetch;
use self::glob::Glob;
use self::listing::{PinnedFile, fingerprint, list};
use self::outbox::{BatchSize, Outbox};
use self::parquet::{ParquetFile, Turns, Wanted};
use self::trouble::Trouble;
use crate::{Chunk, ChunkCounts, ExtractError, Piece, Plan, ReadRequest, Snapshot};

/// The files of a run, pinned.
pub(crate) struct Files {
    store: Arc<dyn ObjectStore>,
    /// None where the listing is another process'.
    files: Vec<PinnedFile>,
    ticket: Ticket,
    schema: SchemaRef,
    reading: Arc<Reading>,
    chunking: Chunking,
    batch: BatchSize,
    on_error: BadRowPolicy,
}

/// What reading chunks of a listing takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// Of the listing.
    fingerprint: String,
    /// The columns.
    fields: Vec<Field>,
    /// Whether the pipeline declares them; otherwise they are those of the first file.
    declared: bool,
}

/// Whether the store's secret can be read. What else a store lacks is told when it is opened.
pub(crate) fn check_secret(source: &ObjectSource, secrets: &Secrets) -> Result<(), ExtractError> {
    match open_source_store(source, secrets) {
        Err(error) if error.reason() == Reason::SecretMissing => Err(of_store(error)),
        _ => Ok(()),
    }
}

/// Lists and pins the files that the request means.
pub(crate) async fn open(
    source: ObjectSource,
    request: ReadRequest,
) -> Result<Files, ExtractError> {
    let store = open_source_store(&source, &request.secrets).map_err(of_store)?;
    open_in(store, source, request).await
}

async fn open_in(
    store: Arc<dyn ObjectStore>,
    source: ObjectSource,
    request: ReadRequest,
) -> Result<Files, ExtractError> {
    let refuse = |what: String| ExtractError::permanent(Reason::InvalidConfiguration, what);
    if source.format == FileFormat::Parquet
        && matches!(source.compression, FileCompression::Gzip | FileCompression::Zstd)
    {
        return Err(refuse("Parquet files are compressed inside; remove compression".to_owned()));
    }
    let patterns = patterns(&source, &request).map_err(refuse)?;
    let files = list(&store, &Glob::any(&patterns).map_err(refuse)?).await?;
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    let (first, names) = (patterns.first().map(String::as_str), patterns.len());
    tracing::info!(first, names, files = files.len(), bytes, "files listed");
    let declared = request.fields.is_some();
    let fields = match request.fields.clone() {
        Some(fields) => fields,
        None => fields_of_first(&store, &source, &files).await?,
    };
    let ticket = Ticket { fingerprint: fingerprint(&files), fields, declared };
    Files::new(store, files, source, request, ticket)
}

/// The patterns of the interval's files; without fields of time the one that is written.
fn patterns(source: &ObjectSource, request: &ReadRequest) -> Result<Vec<String>, String> {
    let template = Template::new(&source.glob).map_err(|error| error.to_string())?;
    let zone = match request.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name).map_err(|error| error.to_string())?,
    };
    template.names(request.interval, &zone).map_err(|error| error.to_string())
}

/// Goes by the listing of another process: chunks name their files and their versions.
pub(crate) fn join(
    source: ObjectSource,
    request: ReadRequest,
    ticket: Ticket,
) -> Result<Files, ExtractError> {
    let store = open_source_store(&source, &request.secrets).map_err(of_store)?;
    Files::new(store, Vec::new(), source, request, ticket)
}

/// A failure to open the store, told of a source.
fn of_store(error: RunError) -> ExtractError {
    let reason = match error.reason() {
        Reason::SinkUnreachable => Reason::SourceUnreachable,
        other => other,
    };
    let what = "the source's store could not be opened";
    let made = if error.is_transient() {
        ExtractError::transient(reason, what)
    } else {
        ExtractError::permanent(reason, what)
    };
    made.because(error)
}

/// The columns of the first file, where none are declared; none when there is no file.
async fn fields_of_first(
    store: &Arc<dyn ObjectStore>,
    source: &ObjectSource,
    files: &[PinnedFile],
) -> Result<Vec<Field>, ExtractError> {
    if source.format != FileFormat::Parquet {
        let what = "CSV and NDJSON do not say which types their columns have; declare them under schema.fields";
        return Err(ExtractError::permanent(Reason::InvalidConfiguration, what));
    }
    let Some(first) = files.first().cloned() else { return Ok(Vec::new()) };
    let path = first.path.clone();
    let read = move |fetch: &Fetch| ParquetFile::open(fetch, &first)?.fields();
    let fields = blocking(store, read).await?;
    fields.map_err(|trouble| match trouble {
        Trouble::Failed(error) => error,
        Trouble::Damaged { reason, what } => {
            let text = format!("the columns cannot be learnt from {path}: {what}");
            ExtractError::permanent(reason, text)
        }
    })
}

/// Runs `work` on a thread that may block. Requests are given up when the future is dropped.
async fn blocking<T: Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    work: impl FnOnce(&Fetch) -> T + Send + 'static,
) -> Result<T, ExtractError> {
    let (_asking, asked) = watch::channel(());
    let fetch = Fetch::new(Arc::clone(store), Handle::current(), asked);
    spawn_blocking(move || work(&fetch)).await.map_err(|error| {
        ExtractError::transient(Reason::RunFailed, "reading stopped unexpectedly").because(error)
    })
}

impl Files {
    fn new(
        store: Arc<dyn ObjectStore>,
        files: Vec<PinnedFile>,
        source: ObjectSource,
        request: ReadRequest,
        ticket: Ticket,
    ) -> Result<Self, ExtractError> {
        let fields = ticket.fields.clone();
        let schema = arrow_schema(&fields).map_err(|error| {
            let what = "the columns make no schema";
            ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
        })?;
        let wanted = Wanted::new(fields.clone(), Arc::clone(&schema), ticket.declared);
        let on_bad_file = request.on_bad_file;
        let damaged = Mutex::default();
        let turns = Turns::new(request.chunking.parallelism);
        Ok(Self {
            ticket,
            files,
            store,
            schema,
            reading: Arc::new(Reading { source, on_bad_file, fields, wanted, turns, damaged }),
            chunking: request.chunking,
            batch: BatchSize { rows: request.batch_rows.max(1), bytes: request.batch_bytes.max(1) },
            on_error: request.on_error,
        })
    }

    async fn divide(&self) -> Result<Plan, ExtractError> {
        let target = target_bytes(&self.chunking, &self.files);
        // A damaged file goes as a whole, so it must be read as a whole where it is set aside.
        let by_groups = self.reading.source.format == FileFormat::Parquet
            && self.reading.on_bad_file == BadFilePolicy::Fail;
        let (large, small): (Vec<_>, Vec<_>) =
            self.files.iter().cloned().partition(|file| by_groups && file.size > target);
        let mut parts: Vec<(Bounds, u64)> =
            gather(small, target).into_iter().map(|bounds| (bounds, 0)).collect();
        for file in large {
            parts.extend(self.by_row_groups(file, target).await?);
        }
        let chunks = (0..)
            .zip(parts)
            .map(|(number, (bounds, rows))| Chunk::new(number, bounds.what(), &bounds, rows));
        Ok(Plan {
            chunks: chunks.collect::<Result<_, _>>()?,
            rows: None,
            fingerprint: Some(self.ticket.fingerprint.clone()),
            pinned: self.files.iter().all(|file| file.etag.is_some()),
            null_cursors: 0,
        })
    }

    async fn by_row_groups(
        &self,
        file: PinnedFile,
        target: u64,
    ) -> Result<Vec<(Bounds, u64)>, ExtractError> {
        let pinned = file.clone();
        let read = move |fetch: &Fetch| Ok(ParquetFile::open(fetch, &pinned)?.row_groups());
        match blocking(&self.store, read).await? {
            Ok(groups) if !groups.is_empty() => Ok(split(&file, &groups, target)),
            Err(Trouble::Failed(error)) => Err(error),
            // Reading it will say what is wrong with it.
            Ok(_) | Err(Trouble::Damaged { .. }) => {
                Ok(vec![(Bounds { files: vec![file], row_groups: None }, 0)])
            }
        }
    }

    async fn read_chunk(
        &self,
        chunk: &Chunk,
        into: mpsc::Sender<Piece>,
    ) -> Result<ChunkCounts, ExtractError> {
        let bounds: Bounds = chunk.bounds()?;
        let reading = Arc::clone(&self.reading);
        let out = Outbox::new(into, Arc::clone(&self.schema), self.batch, self.on_error);
        blocking(&self.store, move |fetch| reading.read(&bounds, fetch, out)).await?
    }
}

impl Snapshot for Files {
    fn id(&self) -> &str {
        &self.ticket.fingerprint
    }

    fn ticket(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.ticket).ok()
    }

    fn columns(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn plan(&self) -> BoxFuture<'_, Result<Plan, ExtractError>> {
        self.divide().boxed()
    }

    fn read<'a>(
        &'a self,
        chunk: &'a Chunk,
        into: mpsc::Sender<Piece>,
    ) -> BoxFuture<'a, Result<ChunkCounts, ExtractError>> {
        self.read_chunk(chunk, into).boxed()
    }

    /// Nothing is held: every answer was of the pinned version.
    fn check(&self) -> BoxFuture<'_, Result<(), ExtractError>> {
        futures::future::ready(Ok(())).boxed()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }
}
