//! A source in memory: rows that a test may change while a run reads, and faults at will.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;
use tidegate_config::BulkSource;
use tidegate_extract::{
    Chunk, ChunkCounts, DeadRecord, ExtractError, Piece, Plan, ReadRequest, Snapshot,
};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{DataInterval, Reason};
use tokio::sync::{Notify, mpsc};

use crate::source::Sources;

/// Rows of one batch.
const BATCH: usize = 7;

/// A row of the source: when it came, in seconds, and a value that tells versions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) value: i64,
}

/// What goes wrong in one reading of a chunk, half way through.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It breaks off and may be tried again.
    Breaks,
    /// It breaks off for good.
    Refuses,
    /// It waits until told to go on.
    Waits { reached: Arc<Notify>, go: Arc<Notify> },
    /// It hands over a row less than it says.
    SwallowsRow,
}

/// A database.
#[derive(Debug, Default)]
pub(crate) struct Database {
    rows: Mutex<Vec<Row>>,
    pub(crate) chunks: AtomicU32,
    /// What happens to the next readings of the chunk, in order.
    faults: Mutex<VecDeque<(u32, Fault)>>,
    /// The snapshot is gone.
    pub(crate) lost: AtomicBool,
    /// Rows that the count leaves out.
    pub(crate) miscounts: AtomicU32,
    /// Each so many rows one is dead; 0: none.
    pub(crate) dead_each: AtomicU32,
    /// The snapshots that were taken, by their names.
    exported: Mutex<BTreeMap<String, Vec<Row>>>,
    /// How often a snapshot was joined by another reader.
    pub(crate) joined: AtomicU32,
    /// Whether it has a column more from now on.
    pub(crate) has_more_columns: AtomicBool,
    /// How often it was opened.
    pub(crate) opened: AtomicU32,
    /// How often a chunk was read.
    pub(crate) read: AtomicU32,
    /// How often a snapshot was given back.
    pub(crate) closed: AtomicU32,
    pub(crate) fingerprint: Mutex<Option<String>>,
    /// The rows are those of files that say their columns themselves: without rows there are neither.
    pub(crate) says_columns: AtomicBool,
    /// The requests, as they came.
    pub(crate) requests: Mutex<Vec<ReadRequest>>,
}

impl Database {
    pub(crate) fn put(&self, rows: impl IntoIterator<Item = Row>) {
        self.rows.lock().expect("not poisoned").extend(rows);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<Row>)) {
        change(&mut self.rows.lock().expect("not poisoned"));
    }

    /// The rows of an interval as they are now, or all.
    pub(crate) fn rows(&self, interval: Option<DataInterval>) -> Vec<Row> {
        let inside = |row: &&Row| {
            interval.is_none_or(|i| (i.start_second()..i.end_second()).contains(&row.at))
        };
        let mut rows: Vec<_> =
            self.rows.lock().expect("not poisoned").iter().filter(inside).copied().collect();
        rows.sort_unstable();
        rows
    }

    /// The next reading of the chunk fails so.
    pub(crate) fn fail(&self, chunk: u32, fault: Fault) {
        self.faults.lock().expect("not poisoned").push_back((chunk, fault));
    }

    /// How many faults did not come yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.faults.lock().expect("not poisoned").len()
    }

    fn fault(&self, chunk: u32) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("not poisoned");
        let at = faults.iter().position(|(of, _)| *of == chunk)?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    pub(crate) fn last_request(&self) -> ReadRequest {
        self.requests.lock().expect("not poisoned").last().expect("opened").clone()
    }
}

/// Opens the database.
pub(crate) struct MemorySources(pub(crate) Arc<Database>);

impl Sources for MemorySources {
    fn check_secret(&self, _: &BulkSource, _: &Secrets) -> Result<(), ExtractError> {
        Ok(())
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn Snapshot>, ExtractError>> {
        let database = Arc::clone(&self.0);
        Box::pin(async move {
            let number = database.opened.fetch_add(1, Ordering::SeqCst);
            let rows = database.rows(request.interval);
            database.requests.lock().expect("not poisoned").push(request);
            // Files are named by their listing.
            let listing = database.fingerprint.lock().expect("not poisoned").clone();
            let id = listing.unwrap_or_else(|| format!("snapshot-{number}"));
            database.exported.lock().expect("not poisoned").insert(id.clone(), rows.clone());
            let has_more_columns = database.has_more_columns.load(Ordering::SeqCst);
            let snapshot = MemorySnapshot { database, rows, id, has_more_columns };
            Ok(Box::new(snapshot) as Box<dyn Snapshot>)
        })
    }

    fn join(
        &self,
        request: ReadRequest,
        ticket: Value,
    ) -> BoxFuture<'_, Result<Box<dyn Snapshot>, ExtractError>> {
        let database = Arc::clone(&self.0);
        Box::pin(async move {
            database.joined.fetch_add(1, Ordering::SeqCst);
            database.requests.lock().expect("not poisoned").push(request);
            let id = ticket.as_str().unwrap_or_default().to_owned();
            let rows = database.exported.lock().expect("not poisoned").get(&id).cloned();
            let rows = rows.ok_or_else(gone)?;
            let has_more_columns = database.has_more_columns.load(Ordering::SeqCst);
            let snapshot = MemorySnapshot { database, rows, id, has_more_columns };
            Ok(Box::new(snapshot) as Box<dyn Snapshot>)
        })
    }
}

/// The rows as they were when it was opened.
struct MemorySnapshot {
    database: Arc<Database>,
    rows: Vec<Row>,
    id: String,
    has_more_columns: bool,
}

pub(crate) fn columns() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("at", time, true),
        Field::new("value", DataType::Int64, true),
    ]))
}

fn more_columns() -> SchemaRef {
    let more = Field::new("more", DataType::Int64, true);
    let fields = columns().fields().iter().cloned().chain([Arc::new(more)]).collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}

fn with_more_columns(batch: &RecordBatch) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![7; batch.num_rows()])));
    RecordBatch::try_new(more_columns(), columns).expect("columns of one length")
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times = rows.iter().map(|row| row.at * 1_000_000);
    RecordBatch::try_new(
        columns(),
        vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.value))),
        ],
    )
    .expect("columns of one length")
}

fn gone() -> ExtractError {
    ExtractError::Transient {
        reason: Reason::SnapshotLost,
        what: "the snapshot is gone".to_owned(),
        source: None,
    }
}

impl MemorySnapshot {
    fn is_without_files(&self) -> bool {
        self.rows.is_empty() && self.database.says_columns.load(Ordering::SeqCst)
    }

    fn chunks(&self) -> u32 {
        if self.is_without_files() {
            return 0;
        }
        self.database.chunks.load(Ordering::SeqCst).max(1)
    }

    fn of_chunk(&self, number: u32) -> Vec<Row> {
        let (count, number) = (self.chunks() as usize, number as usize);
        self.rows.iter().skip(number).step_by(count).copied().collect()
    }

    async fn send(
        &self,
        rows: &[Row],
        first: u64,
        into: &mpsc::Sender<Piece>,
    ) -> Result<ChunkCounts, ExtractError> {
        let each = u64::from(self.database.dead_each.load(Ordering::SeqCst));
        let mut counts = ChunkCounts::default();
        let mut good = Vec::new();
        for (ordinal, row) in (first..).zip(rows) {
            if each > 0 && row.id.unsigned_abs().is_multiple_of(each) {
                let dead = DeadRecord {
                    ordinal,
                    place: format!("row {}", row.id),
                    reason: Reason::WrongType,
                    detail: format!("value {}", row.value),
                    payload: Bytes::from(row.id.to_string()),
                };
                into.send(Piece::Dead(dead)).await.map_err(|_| ExtractError::Cancelled)?;
                counts.dead += 1;
            } else {
                good.push(*row);
                counts.rows += 1;
            }
        }
        for rows in good.chunks(BATCH) {
            let rows = match self.has_more_columns {
                true => with_more_columns(&batch(rows)),
                false => batch(rows),
            };
            let piece = Piece::Rows(rows);
            into.send(piece).await.map_err(|_| ExtractError::Cancelled)?;
        }
        Ok(counts)
    }
}

impl Snapshot for MemorySnapshot {
    fn id(&self) -> &str {
        &self.id
    }

    fn ticket(&self) -> Option<Value> {
        Some(Value::from(self.id.as_str()))
    }

    fn columns(&self) -> SchemaRef {
        match self.has_more_columns {
            true => more_columns(),
            false if self.is_without_files() => Arc::new(Schema::empty()),
            false => columns(),
        }
    }

    fn plan(&self) -> BoxFuture<'_, Result<Plan, ExtractError>> {
        Box::pin(async move {
            let chunks = (0..self.chunks())
                .map(|number| Chunk {
                    number,
                    what: format!("each row number {number}"),
                    bounds: serde_json::Value::Null,
                    estimated_rows: 0,
                })
                .collect();
            let missing = u64::from(self.database.miscounts.load(Ordering::SeqCst));
            let fingerprint = self.database.fingerprint.lock().expect("not poisoned").clone();
            let rows = self.rows.len() as u64 - missing;
            let pinned = fingerprint.is_some();
            Ok(Plan { chunks, rows: Some(rows), fingerprint, pinned, null_cursors: 0 })
        })
    }

    fn read<'a>(
        &'a self,
        chunk: &'a Chunk,
        into: mpsc::Sender<Piece>,
    ) -> BoxFuture<'a, Result<ChunkCounts, ExtractError>> {
        Box::pin(async move {
            self.database.read.fetch_add(1, Ordering::SeqCst);
            let rows = self.of_chunk(chunk.number);
            let (first, rest) = rows.split_at(rows.len() / 2);
            let mut counts = self.send(first, 0, &into).await?;
            let mut rest = rest;
            match self.database.fault(chunk.number) {
                None => {}
                Some(Fault::Breaks) => {
                    return Err(ExtractError::Transient {
                        reason: Reason::SourceUnreachable,
                        what: "connection reset".to_owned(),
                        source: None,
                    });
                }
                Some(Fault::Refuses) => {
                    return Err(ExtractError::Permanent {
                        reason: Reason::SourceRefused,
                        what: "no privilege".to_owned(),
                        source: None,
                    });
                }
                Some(Fault::Waits { reached, go }) => {
                    reached.notify_one();
                    go.notified().await;
                }
                Some(Fault::SwallowsRow) => {
                    counts.rows += 1;
                    rest = rest.split_at(rest.len().min(1)).1;
                }
            }
            if self.database.lost.load(Ordering::SeqCst) {
                return Err(gone());
            }
            let more = self.send(rest, first.len() as u64, &into).await?;
            Ok(ChunkCounts { rows: counts.rows + more.rows, dead: counts.dead + more.dead })
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), ExtractError>> {
        let lost = self.database.lost.load(Ordering::SeqCst);
        Box::pin(async move { if lost { Err(gone()) } else { Ok(()) } })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.database.closed.fetch_add(1, Ordering::SeqCst);
        Box::pin(async {})
    }
}
