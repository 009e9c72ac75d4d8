//! Cutting CSV into records and cells, by RFC 4180.
//!
//! A cell that begins with a quote ends with one; within, two quotes are one, and line ends and delimiters
//! are text. A quote inside of a cell that does not begin with one is itself. Lines end with LF or CR LF.
//! One pass, in place: cells are stretches of the buffer.

use std::io::Read;
use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::objects::trouble::{Cause, Trouble};

/// Longest record: behind a quote that is never closed the whole file would be one.
const MAX_RECORD: usize = 16 << 20;
/// Most cells of a record that are told apart: each takes more memory than the delimiter behind it. What
/// is behind counts as one cell.
pub(crate) const MOST_CELLS: usize = 16 << 10;
/// How much is read at a time.
const BLOCK: usize = 256 << 10;
const QUOTE: u8 = b'"';

/// The records of one file.
pub(crate) struct Records<'a> {
    input: &'a mut dyn Read,
    cause: &'a Cause,
    delimiter: u8,
    buffer: Vec<u8>,
    /// Where the current record begins.
    start: usize,
    /// How far it was looked at.
    at: usize,
    cells: Vec<Cell>,
    state: State,
    ended: bool,
    line: u64,
}

/// Where the scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a cell.
    CellStart,
    /// In a cell without quotes.
    Bare,
    /// Behind an opening quote.
    Quoted,
    /// Behind a quote within a quoted cell: the closing one, or the first of two.
    Closing,
    /// Behind text that follows a closing quote.
    Stray,
}

/// A cell, relative to its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its text, without the quotes around it.
    text: Range<usize>,
    /// It stood in quotes.
    pub(crate) quoted: bool,
    /// Two quotes in it are one.
    escaped: bool,
    /// Text follows its closing quote.
    stray: bool,
}

impl Cell {
    fn at(start: usize) -> Self {
        Self { text: start..start, quoted: false, escaped: false, stray: false }
    }
}

/// A record: one line, or several where a cell holds line ends.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// Its bytes, without the line end.
    pub(crate) bytes: &'a [u8],
    /// Its cells; of an empty line one empty cell.
    pub(crate) cells: &'a [Cell],
    /// The line on which it begins, from 1.
    pub(crate) line: u64,
}

impl Record<'_> {
    /// A cell's text.
    pub(crate) fn text<'a>(&'a self, cell: &Cell, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let text = &self.bytes[cell.text.clone()];
        if !cell.escaped {
            return text;
        }
        scratch.clear();
        let mut rest = text;
        while let Some(quote) = memchr(QUOTE, rest) {
            scratch.extend_from_slice(&rest[..=quote]);
            rest = rest.get(quote + 2..).unwrap_or_default();
        }
        scratch.extend_from_slice(rest);
        scratch
    }

    /// Whether the line is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether some cells were not told apart.
    pub(crate) fn has_too_many_cells(&self) -> bool {
        self.cells.len() > MOST_CELLS
    }

    /// Whether text stands where only a delimiter may.
    pub(crate) fn is_garbled(&self) -> bool {
        self.cells.iter().any(|cell| cell.stray)
    }
}

impl<'a> Records<'a> {
    pub(crate) fn new(input: &'a mut dyn Read, cause: &'a Cause, delimiter: u8) -> Self {
        Self {
            input,
            cause,
            delimiter,
            buffer: Vec::new(),
            start: 0,
            at: 0,
            cells: Vec::new(),
            state: State::CellStart,
            ended: false,
            line: 1,
        }
    }

    /// The next record; none behind the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Trouble> {
        self.cells.clear();
        self.state = State::CellStart;
        self.start = self.at;
        let line = self.line;
        let end = loop {
            if let Some(end) = self.scan() {
                break end;
            }
            if self.ended {
                match self.last_record(line)? {
                    Some(end) => break end,
                    None => return Ok(None),
                }
            }
            self.fill(line)?;
        };
        self.line += memchr::memchr_iter(b'\n', &self.buffer[self.start..self.at]).count() as u64;
        let bytes = &self.buffer[self.start..end];
        Ok(Some(Record { bytes, cells: &self.cells, line }))
    }

    /// Goes on to the end of the record: where its text ends. None when the buffer ends before.
    fn scan(&mut self) -> Option<usize> {
        while self.at < self.buffer.len() {
            let rest = &self.buffer[self.at..];
            match self.state {
                State::CellStart => {
                    let quoted = rest[0] == QUOTE;
                    let offset = self.at - self.start + usize::from(quoted);
                    self.cells.truncate(MOST_CELLS);
                    self.cells.push(Cell { quoted, ..Cell::at(offset) });
                    self.at += usize::from(quoted);
                    self.state = if quoted { State::Quoted } else { State::Bare };
                }
                State::Bare | State::Stray => {
                    let Some(end) = memchr2(self.delimiter, b'\n', rest) else {
                        self.at = self.buffer.len();
                        return None;
                    };
                    let is_line_end = rest[end] == b'\n';
                    self.at += end + 1;
                    if let Some(end) = self.end_of_cell(is_line_end) {
                        return Some(end);
                    }
                }
                State::Quoted => {
                    let Some(quote) = memchr(QUOTE, rest) else {
                        self.at = self.buffer.len();
                        return None;
                    };
                    self.at += quote + 1;
                    self.state = State::Closing;
                }
                State::Closing => self.behind_quote(rest[0]),
            }
        }
        None
    }

    /// Decides what the quote before `next` was.
    fn behind_quote(&mut self, next: u8) {
        let text_end = self.at - self.start - 1;
        let Some(cell) = self.cells.last_mut() else { return };
        if next == QUOTE {
            cell.escaped = true;
            self.at += 1;
            self.state = State::Quoted;
            return;
        }
        cell.text.end = text_end;
        // A line end or a delimiter is found by the next step; a CR before LF is no text.
        self.state = State::Stray;
    }

    /// Ends the cell before the byte at `self.at - 1`; of the last one: where the record's text ends.
    fn end_of_cell(&mut self, is_line_end: bool) -> Option<usize> {
        let mut end = self.at - 1;
        if is_line_end && end > self.start && self.buffer[end - 1] == b'\r' {
            end -= 1;
        }
        self.close_cell(end);
        self.state = State::CellStart;
        is_line_end.then_some(end)
    }

    fn close_cell(&mut self, end: usize) {
        let end = end - self.start;
        let Some(cell) = self.cells.last_mut() else { return };
        if cell.quoted {
            cell.stray = end > cell.text.end + 1;
        } else {
            cell.text.end = end.max(cell.text.start);
        }
    }

    /// What stands behind the last line end.
    fn last_record(&mut self, line: u64) -> Result<Option<usize>, Trouble> {
        if self.start == self.buffer.len() {
            return Ok(None);
        }
        let mut end = self.buffer.len();
        match self.state {
            State::Quoted => {
                return Err(Trouble::damaged(format!(
                    "a quote that opens in the record of line {line} is never closed"
                )));
            }
            State::Closing => self.behind_quote(b'\n'),
            State::CellStart => {
                self.cells.truncate(MOST_CELLS);
                self.cells.push(Cell::at(end - self.start));
            }
            State::Bare | State::Stray => {
                // A CR whose LF is missing.
                end -= usize::from(self.buffer.ends_with(b"\r"));
            }
        }
        self.close_cell(end);
        Ok(Some(end))
    }

    /// Makes room by dropping what was handed out, and reads on.
    fn fill(&mut self, line: u64) -> Result<(), Trouble> {
        self.buffer.drain(..self.start);
        self.at -= self.start;
        self.start = 0;
        if self.buffer.len() > MAX_RECORD {
            let most = MAX_RECORD >> 20;
            return Err(Trouble::damaged(format!(
                "the record of line {line} is longer than {most} MiB; perhaps a quote is not closed"
            )));
        }
        let read = self.input.take(BLOCK as u64).read_to_end(&mut self.buffer);
        let read = read.map_err(|error| {
            self.cause.explain(format!("its content cannot be read behind line {line}: {error}"))
        })?;
        self.ended = read < BLOCK;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
