//! What became of the messages of a batch: the verdicts while they are found, and all of them at the end.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use tidegate_dedup::Fingerprint;
use tidegate_types::{Counters, Reason};

/// A record that is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dead {
    /// Index into the messages.
    pub(crate) index: u32,
    /// Why.
    pub(crate) reason: Reason,
    /// In words.
    pub(crate) detail: String,
}

/// The verdicts over a run of messages.
pub(crate) struct Judged {
    /// The rows, declared columns only.
    pub(crate) rows: RecordBatch,
    /// For each row the index of its message.
    pub(crate) source: Vec<u32>,
    /// For each row the fingerprint of its key, when ids are compared.
    pub(crate) ids: Vec<Option<[u8; 16]>>,
    /// The records set aside, in stream order.
    pub(crate) dead: Vec<Dead>,
    /// What became of all of them.
    pub(crate) counters: Counters,
    /// Rows without a key.
    pub(crate) unkeyed: u64,
    /// Undeclared fields that were dropped.
    pub(crate) unknown_fields: u64,
    /// Under `onError: Halt`: the first bad record. The verdicts cover only the messages before it.
    pub(crate) halted_at: Option<Dead>,
}

/// What was decoded.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    /// The rows, declared columns only.
    pub(crate) batch: &'a RecordBatch,
    /// For each row the index of its message.
    pub(crate) source: &'a [u32],
    /// For each message the fingerprint of its key.
    pub(crate) keys: &'a [Option<Fingerprint>],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alive,
    Dead,
    Filtered,
    Duplicate,
}

/// One fate a message; the first verdict stands.
pub(crate) struct Fates {
    fates: Vec<Fate>,
    dead: Vec<Dead>,
}

impl Fates {
    /// All of them are alive.
    pub(crate) fn new(messages: usize) -> Self {
        Self { fates: vec![Fate::Alive; messages], dead: Vec::new() }
    }

    /// Whether nothing was found against it yet.
    pub(crate) fn alive(&self, index: u32) -> bool {
        self.fates[index as usize] == Fate::Alive
    }

    /// It becomes a dead letter.
    pub(crate) fn kill(&mut self, index: u32, reason: Reason, detail: String) {
        if self.alive(index) {
            self.fates[index as usize] = Fate::Dead;
            self.dead.push(Dead { index, reason, detail });
        }
    }

    /// The filter does not want it.
    pub(crate) fn filter(&mut self, index: u32) {
        if self.alive(index) {
            self.fates[index as usize] = Fate::Filtered;
        }
    }

    /// Its id was seen before.
    pub(crate) fn repeat(&mut self, index: u32) {
        if self.alive(index) {
            self.fates[index as usize] = Fate::Duplicate;
        }
    }

    /// A record that came after a repair is not bad: it is set aside whatever becomes of those.
    pub(crate) fn first_bad(&self) -> Option<Dead> {
        let bad = self.dead.iter().filter(|dead| dead.reason != Reason::IntervalRepaired);
        bad.min_by_key(|dead| dead.index).cloned()
    }

    /// Only the first `end` messages are judged.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.fates.truncate(end);
        self.dead.retain(|dead| (dead.index as usize) < end);
        self.dead.sort_by_key(|dead| dead.index);
    }

    fn count(&self, fate: Fate) -> u64 {
        self.fates.iter().filter(|each| **each == fate).count() as u64
    }

    /// Takes out the rows of those that are still alive.
    pub(crate) fn assemble(self, records: Records<'_>) -> Result<Judged, ArrowError> {
        let Records { batch, source, keys } = records;
        let alive = |index: u32| self.fates.get(index as usize) == Some(&Fate::Alive);
        let kept: Vec<u32> =
            (0_u32..).zip(source).filter(|(_, index)| alive(**index)).map(|(row, _)| row).collect();
        let source: Vec<u32> = kept.iter().map(|row| source[*row as usize]).collect();
        let rows = if kept.len() == batch.num_rows() {
            batch.clone()
        } else {
            take_record_batch(batch, &UInt32Array::from(kept))?
        };
        let ids = source
            .iter()
            .map(|index| keys[*index as usize].map(Fingerprint::to_be_bytes))
            .collect();
        let counters = Counters {
            read: self.fates.len() as u64,
            rows: self.count(Fate::Alive),
            dead: self.count(Fate::Dead),
            duplicate: self.count(Fate::Duplicate),
            filtered: self.count(Fate::Filtered),
        };
        debug_assert!(counters.conserved(), "every record has one fate");
        debug_assert_eq!(counters.rows, rows.num_rows() as u64, "alive means row");
        Ok(Judged {
            rows,
            source,
            ids,
            dead: self.dead,
            counters,
            unkeyed: 0,
            unknown_fields: 0,
            halted_at: None,
        })
    }
}
