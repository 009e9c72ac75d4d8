//! What coordinator and chunk readers say to each other, in JSON.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_extract::Chunk;
use tidegate_runtime::{RunError, in_words};
use tidegate_types::{DataInterval, Reason};

use crate::attempt::Keeping;
use crate::chunk_outcome::{
    ChunkOutcome, Unreadable, WrittenOutcome, line_and_payloads, split_line,
};

/// The largest outcome that is taken, in bytes: dead letters have half of it at most.
pub const LARGEST_OUTCOME: usize = 32 << 20;

/// Which attempt under which snapshot. What was read under another one is another table's (B5, B6).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pass {
    /// The attempt's number in the log (B2).
    pub(crate) generation: u64,
    /// The snapshot's name in the source.
    pub(crate) snapshot: String,
    /// Of the coordinator's process: another one that has its number or its address is told apart. The
    /// secret of its readers stands behind it.
    pub(crate) nonce: String,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, snapshot, nonce: _ } = self;
        write!(f, "Pass({generation}, {snapshot})")
    }
}

/// What all readers of an attempt are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    /// To be shown with the outcome.
    pub(crate) pass: Pass,
    /// How to join the snapshot; see `Snapshot::ticket`.
    pub(crate) ticket: Value,
    /// Whose rows.
    pub(crate) interval: Option<DataInterval>,
    /// A hash of the columns: rows in other ones would not be the table's.
    pub(crate) columns: u64,
    /// How finished chunks are kept for the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) keeping: Option<Keeping>,
}

/// What a chunk's reader is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChunkOrder {
    /// What every other one is told as well.
    #[serde(flatten)]
    pub(crate) terms: Terms,
    /// What is read.
    pub(crate) chunk: Chunk,
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum DeskAnswer {
    /// Read this.
    Order(Box<ChunkOrder>),
    /// The outcome counts.
    Taken,
    /// Another reader of the chunk was first; nothing is left to do.
    AlreadyThere,
    /// Why not, for people.
    Refused(String),
}

/// How the reading of a chunk ended.
#[derive(Debug)]
pub(crate) struct ChunkResult {
    pub(crate) pass: Pass,
    pub(crate) chunk: u32,
    pub(crate) result: Result<ChunkOutcome, ChunkFailure>,
}

/// Why a chunk cannot be read under this snapshot, however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkFailure {
    /// A word of the closed set.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Whether the next attempt, under a snapshot of its own, may do better.
    pub(crate) retry: bool,
}

/// A result as it travels, the payloads aside.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    pass: Pass,
    chunk: u32,
    result: Result<WrittenOutcome, ChunkFailure>,
}

impl ChunkFailure {
    pub(crate) fn of(error: &RunError) -> Self {
        Self {
            reason: error.reason().to_string(),
            message: in_words(error),
            retry: error.is_transient(),
        }
    }

    /// The attempt's error. `label` names the chunk.
    pub(crate) fn into_error(self, label: &str) -> RunError {
        let reason = Reason::from_word(&self.reason).unwrap_or(Reason::RunFailed);
        let what = format!("{label}: {}", self.message);
        match self.retry {
            true => RunError::transient(reason, what),
            false => RunError::permanent(reason, what),
        }
    }
}

impl ChunkResult {
    /// As it travels.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, RunError> {
        let result = self.result.as_ref().map(WrittenOutcome::of).map_err(Clone::clone);
        let line = Line { pass: self.pass.clone(), chunk: self.chunk, result };
        line_and_payloads(&line, self.result.as_ref().ok()).map_err(|error| {
            let what = format!("the outcome of chunk {} cannot be written down", self.chunk);
            RunError::permanent(Reason::RunFailed, what).because(error)
        })
    }

    /// Read back; whatever is cut short or has something behind it is refused.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (Line { pass, chunk, result }, payloads) = split_line(bytes)?;
        let result = match result {
            Ok(written) => Ok(written.into_outcome(chunk, payloads)?),
            Err(failure) => Err(failure),
        };
        Ok(Self { pass, chunk, result })
    }
}

/// A hash of columns by name and type, in their order.
pub(crate) fn columns_mark(columns: &arrow::datatypes::Schema) -> u64 {
    let fields = columns.fields().iter();
    let texts: Vec<String> =
        fields.map(|field| format!("{:?}", (field.name(), field.data_type()))).collect();
    xxhash_rust::xxh3::xxh3_64(texts.join("\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use serde_json::json;
    use tidegate_extract::{ChunkCounts, DeadRecord};
    use tidegate_table::files::DataFile;

    use super::*;

    fn result() -> ChunkResult {
        let file = DataFile {
            path: "tg-shop.orders-1-2-0.parquet".to_owned(),
            size: 900,
            rows: 8,
            partition_values: BTreeMap::from([("day".to_owned(), Some("2026-06-01".to_owned()))]),
            modification_time_ms: 5,
            stats: json!({"numRecords": 8}),
        };
        let letter = |ordinal, payload: &'static [u8]| DeadRecord {
            ordinal,
            place: format!("a.csv, line {ordinal}"),
            reason: Reason::WrongType,
            detail: "no number".to_owned(),
            payload: Bytes::from_static(payload),
        };
        let outcome = ChunkOutcome {
            number: 3,
            files: vec![file],
            counts: ChunkCounts { rows: 8, dead: 2 },
            written: 8,
            dead: vec![letter(1, b"\x00\xff\n"), letter(7, b"two")],
        };
        let nonce = "00000000000000ab".to_owned();
        let pass = Pass { generation: 4, snapshot: "s".to_owned(), nonce };
        ChunkResult { pass, chunk: 3, result: Ok(outcome) }
    }

    #[test]
    fn an_order_arrives_as_it_was_sent_and_is_one_object() {
        let terms = Terms {
            pass: result().pass,
            ticket: json!({"snapshot": "00000003-0000001B-1"}),
            interval: Some("2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().unwrap()),
            columns: u64::MAX,
            keeping: None,
        };
        let chunk =
            Chunk { number: 3, what: "rows".into(), bounds: json!([1, 2]), estimated_rows: 9 };
        let of = |terms| ChunkOrder { terms, chunk: chunk.clone() };
        for sent in [of(Terms { interval: None, ..terms.clone() }), of(terms)] {
            let text = serde_json::to_string(&sent).unwrap();
            assert_eq!(serde_json::from_str::<ChunkOrder>(&text).unwrap(), sent);
            let keys: Value = serde_json::from_str(&text).unwrap();
            let keys: Vec<_> = keys.as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys.len(), 5, "{keys:?}");
        }
    }

    #[test]
    fn an_outcome_arrives_as_it_was_sent() {
        let sent = result();
        let read = ChunkResult::from_bytes(&sent.to_bytes().unwrap()).unwrap();
        let (sent_outcome, read_outcome) = (sent.result.unwrap(), read.result.unwrap());
        assert_eq!((read.pass, read.chunk), (sent.pass, sent.chunk));
        assert_eq!(read_outcome.files, sent_outcome.files);
        assert_eq!(read_outcome.dead, sent_outcome.dead);
        assert_eq!(
            (read_outcome.number, read_outcome.counts, read_outcome.written),
            (sent_outcome.number, sent_outcome.counts, sent_outcome.written)
        );
    }

    #[test]
    fn whatever_is_cut_short_or_too_long_is_refused() {
        let bytes = result().to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert!(ChunkResult::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(ChunkResult::from_bytes(&longer).unwrap_err().contains("more"));
    }

    #[test]
    fn a_failure_keeps_its_reason_and_whether_another_attempt_may_do() {
        for error in [
            RunError::permanent(Reason::SourceRefused, "no privilege"),
            RunError::transient(Reason::SnapshotLost, "gone"),
        ] {
            let result = ChunkResult { result: Err(ChunkFailure::of(&error)), ..result() };
            let read = ChunkResult::from_bytes(&result.to_bytes().unwrap()).unwrap();
            let told = read.result.unwrap_err().into_error("chunk 3 (rows)");
            assert_eq!((told.reason(), told.exit_code()), (error.reason(), error.exit_code()));
            assert_eq!(told.to_string(), format!("chunk 3 (rows): {error}"));
        }
    }
}
