//! A JSON object a line.
//!
//! Lines are cut out of blocks without being copied and read by the same decoder as messages of a stream:
//! the same text is the same row, or bad for the same reason, whichever way it came. Empty lines are passed
//! over; a byte order mark at the beginning of a file is too. One thing is bad here that a stream counts as an
//! undeclared field: a record that lacks a declared field and has one by nearly its name.

use std::io::Read;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memrchr};
use tidegate_decode::{DecodeOptions, Decoder};
use tidegate_types::{
    ByteSize, Coercion, Field, Message, PayloadCompression, Reason, StreamTime, UnknownFields,
};

use super::outbox::{BadRecord, MAX_PAYLOAD, Outbox};
use super::text::Text;
use super::trouble::{Cause, Trouble};
use crate::ExtractError;

/// Longest line. A longer one is set aside without being held.
const MAX_LINE: usize = 16 << 20;
/// How much is read at a time.
const BLOCK: usize = 256 << 10;
/// What an empty cell counts.
const CELL: usize = 8;
const MAX_DEPTH: u32 = 64;

/// Decodes files of one chunk.
pub(crate) struct NdJson {
    decoder: Decoder,
    pending: Vec<Message>,
    pending_bytes: usize,
    row_cost: usize,
}

impl NdJson {
    /// # Errors
    ///
    /// When the columns cannot stand beside each other.
    pub(crate) fn new(fields: &[Field]) -> Result<Self, ExtractError> {
        let options = DecodeOptions {
            fields: fields.to_vec(),
            unknown_fields: UnknownFields::Ignore,
            coercion: Coercion::None,
            compression: PayloadCompression::None,
            max_bytes: ByteSize(MAX_LINE as u64),
            max_depth: MAX_DEPTH,
            refuse_near_names: true,
        };
        let decoder = Decoder::new(options).map_err(|error| {
            let what = "the declared fields cannot be read from files";
            ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
        })?;
        let row_cost = CELL * fields.len() + size_of::<Message>();
        Ok(Self { decoder, pending: Vec::new(), pending_bytes: 0, row_cost })
    }

    /// Reads one file.
    pub(crate) fn read(&mut self, text: Text<'_>, out: &mut Outbox) -> Result<(), Trouble> {
        let Text { path, input, cause } = text;
        self.pending.clear();
        self.pending_bytes = 0;
        let mut lines = Lines { line: 1, long: None };
        let mut tail = Vec::new();
        loop {
            let block = next_block(input, std::mem::take(&mut tail), cause)?;
            let ended = block.ended;
            let (whole, rest) = block.split();
            tail = rest;
            self.lines(path, &whole, &mut lines, out)?;
            if ended {
                self.last_line(path, tail, &mut lines, out)?;
                return self.decode(path, out);
            }
            if tail.len() > MAX_LINE || lines.long.is_some() {
                lines.grow(&mut tail);
            }
        }
    }

    /// Takes the lines of a block that ends with one.
    fn lines(
        &mut self,
        path: &str,
        block: &Bytes,
        lines: &mut Lines,
        out: &mut Outbox,
    ) -> Result<(), Trouble> {
        let mut start = 0;
        for end in memchr_iter(b'\n', block) {
            self.line(path, block.slice(start..end), lines, out)?;
            start = end + 1;
        }
        Ok(())
    }

    fn last_line(
        &mut self,
        path: &str,
        tail: Vec<u8>,
        lines: &mut Lines,
        out: &mut Outbox,
    ) -> Result<(), Trouble> {
        if tail.is_empty() && lines.long.is_none() {
            return Ok(());
        }
        self.line(path, tail.into(), lines, out)
    }

    fn line(
        &mut self,
        path: &str,
        line: Bytes,
        lines: &mut Lines,
        out: &mut Outbox,
    ) -> Result<(), Trouble> {
        let number = lines.line;
        lines.line += 1;
        if let Some(beginning) = lines.long.take() {
            self.decode(path, out)?;
            return out.bad_record(BadRecord {
                ordinal: out.ordinal(),
                place: format!("{path}:{number}"),
                reason: Reason::TooLarge,
                detail: format!("the line is longer than {}", ByteSize(MAX_LINE as u64)),
                payload: &beginning,
            });
        }
        let line = if number == 1 { without_mark(line) } else { line };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.pending_bytes += line.len() + self.row_cost;
        self.pending.push(Message {
            sequence: number,
            time: StreamTime(0),
            subject: Box::default(),
            payload: line,
            id: None,
        });
        let size = out.size();
        if self.pending.len() >= size.rows || self.pending_bytes >= size.bytes {
            self.decode(path, out)?;
        }
        Ok(())
    }

    /// Hands over what waits.
    fn decode(&mut self, path: &str, out: &mut Outbox) -> Result<(), Trouble> {
        let mut messages = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let mut rest = messages.as_slice();
        while !rest.is_empty() {
            let first = out.ordinal();
            let decoded = self.decoder.decode(rest);
            out.rows(decoded.batch)?;
            for bad in decoded.bad {
                let message = &rest[bad.index as usize];
                out.bad_record(BadRecord {
                    ordinal: first + u64::from(bad.index),
                    place: format!("{path}:{}", message.sequence),
                    reason: bad.reason,
                    detail: bad.detail,
                    payload: &message.payload,
                })?;
            }
            rest = &rest[decoded.consumed..];
        }
        messages.clear();
        self.pending = messages;
        Ok(())
    }
}

/// How far lines are read.
struct Lines {
    /// The next line's number, from 1.
    line: u64,
    /// The beginning of a line that is too long, while its end is looked for.
    long: Option<Vec<u8>>,
}

impl Lines {
    /// Forgets the middle of a line that is too long.
    fn grow(&mut self, tail: &mut Vec<u8>) {
        if self.long.is_none() {
            self.long = Some(tail[..tail.len().min(MAX_PAYLOAD)].to_vec());
        }
        tail.clear();
    }
}

fn without_mark(line: Bytes) -> Bytes {
    if line.starts_with(b"\xef\xbb\xbf") { line.slice(3..) } else { line }
}

/// A stretch of a file that begins where the last one's last line ended.
struct Block {
    bytes: Vec<u8>,
    /// Where looking for the end of a line begins.
    fresh: usize,
    ended: bool,
}

impl Block {
    /// The whole lines, and what begins the next one.
    fn split(mut self) -> (Bytes, Vec<u8>) {
        let Some(last) = memrchr(b'\n', &self.bytes[self.fresh..]) else {
            return (Bytes::new(), self.bytes);
        };
        let tail = self.bytes.split_off(self.fresh + last + 1);
        (self.bytes.into(), tail)
    }
}

/// Reads on until a block is full and has the end of a line in it.
fn next_block(input: &mut dyn Read, tail: Vec<u8>, cause: &Cause) -> Result<Block, Trouble> {
    let fresh = tail.len();
    let mut bytes = tail;
    let most = fresh + BLOCK;
    bytes.reserve(BLOCK);
    let read = input.take(BLOCK as u64).read_to_end(&mut bytes);
    read.map_err(|error| cause.explain(format!("its content cannot be read: {error}")))?;
    debug_assert!(memchr(b'\n', &bytes[..fresh]).is_none(), "a tail is one line's beginning");
    Ok(Block { ended: bytes.len() < most, bytes, fresh })
}
