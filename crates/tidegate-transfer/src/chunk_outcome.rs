//! What became of a chunk, and how it is written down: a line of JSON, and behind it the bytes of its dead
//! letters as they are. Text would make them larger.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_extract::{ChunkCounts, DeadRecord};
use tidegate_table::files::DataFile;
use tidegate_types::Reason;

/// A chunk that was read and written.
#[derive(Debug, Clone)]
pub(crate) struct ChunkOutcome {
    pub(crate) number: u32,
    pub(crate) files: Vec<DataFile>,
    pub(crate) counts: ChunkCounts,
    /// Rows in the files.
    pub(crate) written: u64,
    pub(crate) dead: Vec<DeadRecord>,
}

/// What is wrong with bytes that should be an outcome.
pub(crate) type Unreadable = String;

/// An outcome as it stands in the line.
#[derive(Serialize, Deserialize)]
pub(crate) struct WrittenOutcome {
    files: Vec<DataFile>,
    counts: ChunkCounts,
    written: u64,
    dead: Vec<WrittenDeadLetter>,
}

#[derive(Serialize, Deserialize)]
struct WrittenDeadLetter {
    ordinal: u64,
    place: String,
    reason: String,
    detail: String,
    /// Bytes of its payload.
    bytes: usize,
}

/// The line, and the payloads behind it.
pub(crate) fn line_and_payloads(
    line: &impl Serialize,
    outcome: Option<&ChunkOutcome>,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    for record in outcome.iter().flat_map(|outcome| &outcome.dead) {
        bytes.extend_from_slice(&record.payload);
    }
    Ok(bytes)
}

/// Reads back what [`line_and_payloads`] wrote.
pub(crate) fn split_line<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
) -> Result<(T, Payloads), Unreadable> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or("an outcome's line has no end; it was cut short")?;
    let line = serde_json::from_slice(&bytes[..end])
        .map_err(|error| format!("the outcome cannot be read: {error}"))?;
    Ok((line, Payloads(Bytes::copy_from_slice(&bytes[end + 1..]))))
}

/// What lies behind the line, from the front.
pub(crate) struct Payloads(Bytes);

impl Payloads {
    fn take(&mut self, bytes: usize) -> Result<Bytes, Unreadable> {
        if bytes > self.0.len() {
            return Err("dead letters are missing; the outcome was cut short".to_owned());
        }
        Ok(self.0.split_to(bytes))
    }

    fn end(self) -> Result<(), Unreadable> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err("there is more than the outcome says".to_owned())
        }
    }
}

impl WrittenOutcome {
    pub(crate) fn of(outcome: &ChunkOutcome) -> Self {
        let dead = outcome.dead.iter().map(|record| WrittenDeadLetter {
            ordinal: record.ordinal,
            place: record.place.clone(),
            reason: record.reason.to_string(),
            detail: record.detail.clone(),
            bytes: record.payload.len(),
        });
        Self {
            files: outcome.files.clone(),
            counts: outcome.counts,
            written: outcome.written,
            dead: dead.collect(),
        }
    }

    /// Read back; whatever is cut short or has something behind it is refused.
    pub(crate) fn into_outcome(
        self,
        number: u32,
        mut payloads: Payloads,
    ) -> Result<ChunkOutcome, Unreadable> {
        let Self { files, counts, written, dead } = self;
        let dead = dead.into_iter().map(|record| {
            let reason = Reason::from_word(&record.reason);
            Ok::<_, Unreadable>(DeadRecord {
                ordinal: record.ordinal,
                place: record.place,
                reason: reason.ok_or_else(|| format!("{:?} is no reason", record.reason))?,
                detail: record.detail,
                payload: payloads.take(record.bytes)?,
            })
        });
        let dead = dead.collect::<Result<Vec<_>, _>>()?;
        payloads.end()?;
        Ok(ChunkOutcome { number, files, counts, written, dead })
    }
}

impl ChunkOutcome {
    /// On its own, with its chunk's number.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        line_and_payloads(&(self.number, WrittenOutcome::of(self)), Some(self))
    }

    /// Read back.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let ((number, written), payloads) = split_line::<(u32, WrittenOutcome)>(bytes)?;
        written.into_outcome(number, payloads)
    }
}
