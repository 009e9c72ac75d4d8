//! What leaves a chunk: batches of a good size, whatever the sizes of the files, and no row of a file that
//! turns out damaged.
//!
//! Rows are held until a batch is full. When a file turns out damaged, what is held of it is taken back; what
//! was handed over cannot be, so the chunk is given up and read again, now knowing about the file.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use tidegate_types::{BadRowPolicy, Reason};
use tokio::sync::mpsc;

use super::trouble::Trouble;
use crate::{ChunkCounts, DeadRecord, ExtractError, Piece};

/// Longest piece of a record that a dead letter carries.
pub(crate) const MAX_PAYLOAD: usize = 64 << 10;

/// How large batches become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchSize {
    /// Rows.
    pub(crate) rows: usize,
    /// Bytes in memory.
    pub(crate) bytes: usize,
}

/// Where a chunk's rows and dead records go.
pub(crate) struct Outbox {
    into: mpsc::Sender<Piece>,
    schema: SchemaRef,
    size: BatchSize,
    on_error: BadRowPolicy,
    held: Held,
    /// As `held` was when the current file began; none: some of the file was handed over.
    mark: Option<Mark>,
    /// Nothing leaves any more; the rest is read to find out what else is damaged.
    mute: bool,
}

/// What is not handed over yet.
#[derive(Default)]
struct Held {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    dead: Vec<DeadRecord>,
    counts: ChunkCounts,
}

#[derive(Clone, Copy)]
struct Mark {
    rows: usize,
    dead: usize,
    counts: ChunkCounts,
}

impl Outbox {
    /// For rows of `schema`.
    pub(crate) fn new(
        into: mpsc::Sender<Piece>,
        schema: SchemaRef,
        size: BatchSize,
        on_error: BadRowPolicy,
    ) -> Self {
        Self { into, schema, size, on_error, held: Held::default(), mark: None, mute: false }
    }

    /// How large batches should be.
    pub(crate) fn size(&self) -> BatchSize {
        self.size
    }

    /// Another file begins.
    pub(crate) fn begin_file(&mut self) {
        let Held { rows, dead, counts, .. } = &self.held;
        self.mark = Some(Mark { rows: *rows, dead: dead.len(), counts: *counts });
    }

    /// The number of the next record in the chunk.
    pub(crate) fn ordinal(&self) -> u64 {
        self.held.counts.rows + self.held.counts.dead
    }

    /// Takes rows.
    pub(crate) fn rows(&mut self, batch: RecordBatch) -> Result<(), ExtractError> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        if self.held.rows + rows > self.size.rows {
            self.flush()?;
        }
        self.held.counts.rows += rows as u64;
        if self.mute {
            return Ok(());
        }
        self.held.rows += rows;
        self.held.bytes += batch.get_array_memory_size();
        self.held.batches.push(batch);
        if self.held.rows >= self.size.rows {
            return self.flush();
        }
        if self.held.bytes >= self.size.bytes { self.make_room() } else { Ok(()) }
    }

    /// Batches of a few rows take far more memory than their rows: joined they may be small.
    fn make_room(&mut self) -> Result<(), ExtractError> {
        if self.held.batches.len() < 2 {
            return self.flush();
        }
        let joined = self.joined()?;
        let of_dead = self.held.dead.iter().map(footprint).sum::<usize>();
        self.held.bytes = joined.as_ref().map_or(0, RecordBatch::get_array_memory_size) + of_dead;
        self.held.batches = joined.into_iter().collect();
        if self.held.bytes > self.size.bytes / 2 { self.flush() } else { Ok(()) }
    }

    /// Sets a record aside, or stops, as the pipeline says.
    pub(crate) fn bad_record(&mut self, record: BadRecord<'_>) -> Result<(), Trouble> {
        if self.on_error == BadRowPolicy::Halt {
            let what = format!(
                "{}: {}; correct the file, or let such records be set aside with onError: DeadLetter",
                record.place, record.detail
            );
            return Err(ExtractError::permanent(record.reason, what).into());
        }
        Ok(self.dead(record)?)
    }

    /// Sets a record, or a file, aside.
    pub(crate) fn dead(&mut self, record: BadRecord<'_>) -> Result<(), ExtractError> {
        let BadRecord { ordinal, place, reason, detail, payload } = record;
        self.held.counts.dead += 1;
        if self.mute {
            return Ok(());
        }
        let payload = Bytes::copy_from_slice(&payload[..payload.len().min(MAX_PAYLOAD)]);
        let record = DeadRecord { ordinal, place, reason, detail, payload };
        self.held.bytes += footprint(&record);
        self.held.dead.push(record);
        if self.held.bytes >= self.size.bytes { self.flush() } else { Ok(()) }
    }

    /// Takes back everything of the current file. False when some of it was handed over: nothing leaves
    /// any more then.
    pub(crate) fn take_back(&mut self) -> bool {
        let Some(mark) = self.mark.filter(|_| !self.mute) else {
            self.mute = true;
            self.held = Held::default();
            return false;
        };
        let mut left = mark.rows;
        for batch in &mut self.held.batches {
            *batch = batch.slice(0, left.min(batch.num_rows()));
            left -= batch.num_rows();
        }
        self.held.batches.retain(|batch| batch.num_rows() > 0);
        self.held.dead.truncate(mark.dead);
        self.held.rows = mark.rows;
        self.held.counts = mark.counts;
        true
    }

    /// Hands the rest over; what the chunk had.
    pub(crate) fn finish(mut self) -> Result<ChunkCounts, ExtractError> {
        self.flush()?;
        Ok(self.held.counts)
    }

    /// The held rows as one batch; none are held any more.
    fn joined(&mut self) -> Result<Option<RecordBatch>, ExtractError> {
        let mut batches = std::mem::take(&mut self.held.batches);
        if batches.len() < 2 {
            return Ok(batches.pop());
        }
        let joined = concat_batches(&self.schema, &batches).map_err(|error| {
            let what = "batches of several files could not be joined";
            ExtractError::permanent(Reason::UnsupportedType, what).because(error)
        })?;
        Ok(Some(joined))
    }

    fn flush(&mut self) -> Result<(), ExtractError> {
        let rows = self.joined()?;
        let dead = std::mem::take(&mut self.held.dead);
        (self.held.rows, self.held.bytes) = (0, 0);
        if rows.is_none() && dead.is_empty() {
            return Ok(());
        }
        self.mark = None;
        let pieces = rows.map(Piece::Rows).into_iter().chain(dead.into_iter().map(Piece::Dead));
        for piece in pieces {
            self.into.blocking_send(piece).map_err(|_| ExtractError::Cancelled)?;
        }
        Ok(())
    }
}

/// Bytes that a dead record takes.
fn footprint(record: &DeadRecord) -> usize {
    record.payload.len() + record.place.len() + record.detail.len() + size_of::<DeadRecord>()
}

/// A record, or a whole file, that cannot be a row.
pub(crate) struct BadRecord<'a> {
    /// Its number in the chunk.
    pub(crate) ordinal: u64,
    /// Path and line.
    pub(crate) place: String,
    /// Why.
    pub(crate) reason: Reason,
    /// What is wrong with it.
    pub(crate) detail: String,
    /// Its bytes.
    pub(crate) payload: &'a [u8],
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(rows));
        RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap()
    }

    fn outbox(rows: usize) -> (Outbox, mpsc::Receiver<Piece>) {
        let (into, pieces) = mpsc::channel(100);
        let size = BatchSize { rows, bytes: 1 << 20 };
        (Outbox::new(into, batch(0..1).schema(), size, BadRowPolicy::DeadLetter), pieces)
    }

    fn bad(outbox: &Outbox) -> BadRecord<'static> {
        let ordinal = outbox.ordinal();
        let (place, detail) = ("f:1".to_owned(), String::new());
        BadRecord { ordinal, place, reason: Reason::Malformed, detail, payload: b"x" }
    }

    fn received(pieces: &mut mpsc::Receiver<Piece>) -> (Vec<usize>, Vec<u64>) {
        let (mut rows, mut dead) = (Vec::new(), Vec::new());
        while let Ok(piece) = pieces.try_recv() {
            match piece {
                Piece::Rows(batch) => rows.push(batch.num_rows()),
                Piece::Dead(record) => dead.push(record.ordinal),
            }
        }
        (rows, dead)
    }

    #[test]
    fn small_files_are_gathered_into_one_batch() {
        let (mut outbox, mut pieces) = outbox(10);
        for start in [0, 3, 6, 9] {
            outbox.begin_file();
            outbox.rows(batch(start..start + 3)).unwrap();
        }
        assert_eq!(outbox.finish().unwrap(), ChunkCounts { rows: 12, dead: 0 });
        assert_eq!(received(&mut pieces).0, [9, 3]);
    }

    #[test]
    fn a_damaged_file_is_taken_back_while_none_of_it_is_gone() {
        let (mut outbox, mut pieces) = outbox(10);
        outbox.begin_file();
        outbox.rows(batch(0..3)).unwrap();
        outbox.begin_file();
        outbox.rows(batch(3..6)).unwrap();
        outbox.dead(bad(&outbox)).unwrap();
        assert!(outbox.take_back());
        outbox.dead(bad(&outbox)).unwrap();
        assert_eq!(outbox.finish().unwrap(), ChunkCounts { rows: 3, dead: 1 });
        assert_eq!(received(&mut pieces), (vec![3], vec![3]));
    }

    #[test]
    fn after_a_part_of_a_damaged_file_nothing_leaves_any_more() {
        let (mut outbox, mut pieces) = outbox(4);
        outbox.begin_file();
        outbox.rows(batch(0..5)).unwrap();
        assert!(!outbox.take_back());
        outbox.begin_file();
        outbox.rows(batch(0..5)).unwrap();
        assert!(!outbox.take_back(), "also when another file is damaged");
        outbox.finish().unwrap();
        assert_eq!(received(&mut pieces).0, [5]);
    }

    #[test]
    fn halting_names_the_record() {
        let (mut outbox, _pieces) = outbox(4);
        outbox.on_error = BadRowPolicy::Halt;
        let record = bad(&outbox);
        let Err(Trouble::Failed(error)) = outbox.bad_record(record) else { panic!("no error") };
        assert!(error.to_string().starts_with("f:1: "), "{error}");
    }
}
