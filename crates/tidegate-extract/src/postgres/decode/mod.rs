//! The hot loop: the bytes of `COPY … (FORMAT BINARY)` become Arrow columns.
//!
//! A server sends one row per message, so that a row nearly always lies whole in the bytes at hand and is
//! appended from there, without a copy in between. Where a piece ends within a value, and only there,
//! the value's beginning is set aside until the rest has come.

mod column;
mod fault;
mod numeric;
#[cfg(test)]
mod tests;

use std::mem;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use self::column::Column;
pub(crate) use self::fault::{Fault, Problem};
use super::types::Selected;
use crate::limits::LARGEST_ROW;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, and the length of what follows them.
const HEADER: usize = SIGNATURE.len() + 4 + 4;

/// How far decoding came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All bytes are used up.
    More,
    /// A batch is full: [`Decoder::take`] it, then go on with the same bytes.
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// Bytes of a header's extension that are to be skipped.
    Extension(usize),
    Row,
    /// The column whose value comes next.
    Value(usize),
    End,
}

/// Makes batches out of a stream of bytes that is cut anywhere.
pub(crate) struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Columns that must not be null.
    required: Vec<usize>,
    state: State,
    /// The beginning of what was cut.
    carry: Vec<u8>,
    /// Rows handed over in earlier batches.
    before: u64,
    rows: usize,
    bytes: usize,
    batch_rows: usize,
    batch_bytes: usize,
}

impl Decoder {
    pub(crate) fn new(
        schema: SchemaRef,
        selected: &[Selected],
        batch_rows: usize,
        batch_bytes: usize,
    ) -> Self {
        let required = selected.iter().enumerate().filter(|(_, column)| column.required);
        Self {
            schema,
            required: required.map(|(index, _)| index).collect(),
            columns: selected.iter().map(|column| Column::new(&column.wire)).collect(),
            state: State::Header,
            carry: Vec::new(),
            before: 0,
            rows: 0,
            bytes: 0,
            batch_rows: batch_rows.max(1),
            batch_bytes: batch_bytes.max(1),
        }
    }

    /// Decodes from the beginning of `input` and leaves there what is not used up yet.
    pub(crate) fn feed(&mut self, input: &mut &[u8]) -> Result<Progress, Fault> {
        if self.carry.is_empty() {
            let progress = self.decode(input)?;
            if progress == Progress::More && !input.is_empty() {
                self.carry.extend_from_slice(input);
                *input = &[];
            }
            return Ok(progress);
        }
        let mut carry = mem::take(&mut self.carry);
        carry.extend_from_slice(input);
        *input = &[];
        let mut rest = carry.as_slice();
        let progress = self.decode(&mut rest)?;
        let used = carry.len() - rest.len();
        carry.drain(..used);
        self.carry = carry;
        Ok(progress)
    }

    /// The rows so far, as a batch; none when there are none.
    pub(crate) fn take(&mut self) -> Result<Option<RecordBatch>, Fault> {
        if matches!(self.state, State::Value(_)) {
            return Err(self.malformed("it ends within a row"));
        }
        if self.rows == 0 {
            return Ok(None);
        }
        let mut arrays = Vec::with_capacity(self.columns.len());
        for index in 0..self.columns.len() {
            let array = self.columns[index].finish();
            // What is appended was looked at already, but for the encoding of text.
            arrays.push(array.map_err(|_| self.fault(Some(index), Problem::Encoding))?);
        }
        self.look_for_missing(&arrays)?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        let batch = batch.map_err(|_| self.fault(None, Problem::Malformed("columns differ")))?;
        self.before += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        Ok(Some(batch))
    }

    /// Whether the stream's end was read.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::End && self.carry.is_empty()
    }

    /// What is wrong with the row that comes next, when it is too large to be taken; `column` is where that showed.
    #[cold]
    pub(crate) fn too_large(&self, column: Option<usize>) -> Fault {
        self.fault(column.filter(|index| *index < self.columns.len()), Problem::RowTooLarge)
    }

    /// Rows handed over.
    pub(crate) fn rows(&self) -> u64 {
        self.before
    }

    fn decode(&mut self, input: &mut &[u8]) -> Result<Progress, Fault> {
        loop {
            match self.state {
                State::Row | State::Value(_) => {}
                State::End if input.is_empty() => return Ok(Progress::More),
                State::End => return Err(self.malformed("bytes behind the end")),
                State::Header | State::Extension(_) => {
                    if !self.header(input)? {
                        return Ok(Progress::More);
                    }
                    continue;
                }
            }
            if !self.row(input)? {
                return Ok(Progress::More);
            }
            if self.rows >= self.batch_rows || self.bytes >= self.batch_bytes {
                return Ok(Progress::Full);
            }
        }
    }

    /// Whether the header is through.
    fn header(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        let mut skip = match self.state {
            State::Extension(skip) => skip,
            _ => {
                let Some((header, rest)) = input.split_first_chunk::<HEADER>() else {
                    return Ok(false);
                };
                let length = [header[15], header[16], header[17], header[18]];
                let length = usize::try_from(i32::from_be_bytes(length));
                let known = header.starts_with(SIGNATURE) && header[11..13] == [0, 0];
                let (Ok(skip), true) = (length, known) else {
                    return Err(self.malformed("it does not begin like a binary copy"));
                };
                *input = rest;
                skip
            }
        };
        let here = skip.min(input.len());
        *input = &input[here..];
        skip -= here;
        self.state = if skip == 0 { State::Row } else { State::Extension(skip) };
        Ok(skip == 0)
    }

    /// Appends a row, or the part of it that is there; whether it was whole.
    #[inline]
    fn row(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        let first = match self.state {
            State::Value(index) => index,
            _ => {
                let Some((count, rest)) = input.split_first_chunk::<2>() else { return Ok(false) };
                let count = i16::from_be_bytes(*count);
                if count == -1 {
                    *input = rest;
                    self.state = State::End;
                    // What may follow the end is looked at there.
                    return Ok(true);
                }
                if usize::try_from(count) != Ok(self.columns.len()) {
                    return Err(self.malformed("a row has another number of columns"));
                }
                *input = rest;
                0
            }
        };
        let whole = input.len();
        for index in first..self.columns.len() {
            if !self.value(index, input)? {
                self.state = State::Value(index);
                self.bytes += whole - input.len();
                return Ok(false);
            }
        }
        let size = whole - input.len();
        // A row comes in one piece.
        if size > LARGEST_ROW {
            return Err(self.too_large(None));
        }
        self.bytes += size;
        self.rows += 1;
        self.state = State::Row;
        Ok(true)
    }

    #[inline]
    fn value(&mut self, index: usize, input: &mut &[u8]) -> Result<bool, Fault> {
        let Some((length, rest)) = input.split_first_chunk::<4>() else { return Ok(false) };
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            self.columns[index].append_null();
            *input = rest;
            return Ok(true);
        }
        let Ok(size) = usize::try_from(length) else {
            return Err(self.fault(Some(index), Problem::Malformed("a negative length")));
        };
        if size > LARGEST_ROW {
            return Err(self.too_large(Some(index)));
        }
        let Some((value, rest)) = rest.split_at_checked(size) else { return Ok(false) };
        if let Err(problem) = self.columns[index].append(value) {
            return Err(self.fault(Some(index), problem));
        }
        *input = rest;
        Ok(true)
    }

    fn look_for_missing(&self, arrays: &[arrow::array::ArrayRef]) -> Result<(), Fault> {
        for &index in &self.required {
            let Some(nulls) = arrays[index].nulls().filter(|nulls| nulls.null_count() > 0) else {
                continue;
            };
            let row = (0..nulls.len()).find(|&row| nulls.is_null(row)).unwrap_or(0);
            let fault = self.fault(Some(index), Problem::Missing);
            return Err(Fault { row: self.before + row as u64, ..fault });
        }
        Ok(())
    }

    #[cold]
    fn fault(&self, column: Option<usize>, problem: Problem) -> Fault {
        let row = self.before + self.rows as u64;
        let column = column.map(|index| self.schema.field(index).name().clone());
        Fault { row, column, problem }
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> Fault {
        self.fault(None, Problem::Malformed(what))
    }
}
