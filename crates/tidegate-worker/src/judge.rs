//! What becomes of each message: row, dead letter, duplicate or filtered.
//!
//! A verdict depends on the message, on the window, on what was repaired (B10) and on nothing else: not on
//! the wall clock, not on where a batch was cut (S7, D1). Given the same of them it is the same.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use thiserror::Error;
use tidegate_batch::{PartitionRouter, RouterError};
use tidegate_decode::{Decoder, Filter, Verdict as FilterVerdict};
use tidegate_dedup::{
    Candidate, Fingerprint, KeyHasher, Verdict as WindowVerdict, Window, WindowError,
};
use tidegate_runtime::{RunError, failpoint};
use tidegate_table::files::FileError;
use tidegate_table::files::key_bytes::KeyColumn;
use tidegate_types::{
    AfterRepairPolicy, BadRowPolicy, DataInterval, DedupKey, DuplicateWindow, LatePolicy, Message,
    MissingKeyPolicy, Reason,
};

use crate::event_time::{EventTimeRule, event_time, within};
use crate::verdicts::{Fates, Judged, Records};

/// Judging failed as a whole; nothing was accepted into the window of the caller's next attempt.
#[derive(Debug, Error)]
pub(crate) enum JudgeError {
    /// The window is full and cannot spill.
    #[error("deduplication window failed")]
    Window(#[source] WindowError),
    /// The deduplication column is of a type that makes no keys.
    #[error("deduplication keys could not be read")]
    Keys(#[source] FileError),
    /// The rows do not have the columns that the table is partitioned by.
    #[error("rows could not be routed")]
    Router(#[source] RouterError),
    /// Arrow refused an operation on arrays that were checked before.
    #[error("record batch could not be assembled")]
    Arrow(#[source] ArrowError),
}

/// Who judges by the rules of one pipeline.
pub(crate) struct Judge {
    rules: JudgeRules,
    /// What was repaired (B10): in order and apart.
    repaired: Vec<DataInterval>,
}

/// The rules of one pipeline, compiled once.
pub(crate) struct JudgeRules {
    pub(crate) decoder: Decoder,
    pub(crate) filter: Option<Filter>,
    pub(crate) event_time: Option<EventTimeRule>,
    pub(crate) dedup: Option<DedupRule>,
    pub(crate) router: PartitionRouter,
    pub(crate) on_error: BadRowPolicy,
}

/// How ids are found and compared.
pub(crate) struct DedupRule {
    /// The settings.
    pub(crate) window: DuplicateWindow,
    /// The column's index when the key is a field.
    pub(crate) column: Option<usize>,
    /// The keyed fingerprint.
    pub(crate) hasher: KeyHasher,
}

impl Judge {
    /// Knows of no repair.
    #[must_use]
    pub(crate) fn new(rules: JudgeRules) -> Self {
        Self { rules, repaired: Vec::new() }
    }

    /// From here on records of these intervals, which are in order and apart, came after a repair.
    ///
    /// # Errors
    ///
    /// When there are some, and nothing says any more which column is the event's time.
    pub(crate) fn know_repaired(&mut self, repaired: Vec<DataInterval>) -> Result<(), RunError> {
        if !repaired.is_empty() && self.rules.event_time.is_none() {
            let what = "intervals of the table were repaired, and without sink.eventTime it cannot be told \
                        which records belong to them; write it again";
            return Err(RunError::permanent(Reason::InvalidConfiguration, what));
        }
        self.repaired = repaired;
        Ok(())
    }

    /// Splits rows by the table's partition columns.
    #[must_use]
    pub(crate) fn router(&self) -> &PartitionRouter {
        &self.rules.router
    }

    /// Judges `messages`, which follow one another in one partition, and enters the accepted ids into
    /// `window` (present whenever ids are compared). Where they would decode into too much at once the
    /// verdicts cover only the first of them: as many as `counters.read`, at least one.
    ///
    /// # Errors
    ///
    /// [`JudgeError`]; the window is then no longer to be trusted and must be loaded again (D3).
    pub(crate) fn judge(
        &mut self,
        messages: &[Message],
        window: Option<&mut Window>,
    ) -> Result<Judged, JudgeError> {
        failpoint::crash_on(messages);
        let decoded = self.rules.decoder.decode(messages);
        let messages = &messages[..decoded.consumed];
        let mut fates = Fates::new(messages.len());
        for bad in decoded.bad {
            fates.kill(bad.index, bad.reason, bad.detail);
        }
        for (row, field) in
            self.rules.router.unroutable(&decoded.batch).map_err(JudgeError::Router)?
        {
            let detail = format!("the value of {field} cannot be a partition value");
            fates.kill(decoded.source[row], Reason::OutOfRange, detail);
        }
        self.judge_time(&decoded.batch, &decoded.source, messages, &mut fates);
        self.judge_filter(&decoded.batch, &decoded.source, &mut fates);
        let keys = self.keys(&decoded.batch, &decoded.source, messages, &mut fates)?;
        let records = Records { batch: &decoded.batch, source: &decoded.source, keys: &keys };
        let judged = self.conclude(messages, records, fates, window)?;
        Ok(Judged { unknown_fields: decoded.unknown_fields, ..judged })
    }

    /// Sets a message aside that kills the decoder, without decoding it (S8).
    pub(crate) fn condemn(
        &self,
        message: &Message,
        how: String,
        window: Option<&mut Window>,
    ) -> Result<Judged, JudgeError> {
        let mut fates = Fates::new(1);
        fates.kill(0, Reason::CrashedDecoder, how);
        let nothing = RecordBatch::new_empty(self.rules.decoder.schema());
        let records = Records { batch: &nothing, source: &[], keys: &[None] };
        self.conclude(std::slice::from_ref(message), records, fates, window)
    }

    /// Ends at the first bad record where that is the policy, and asks the window about the others.
    fn conclude(
        &self,
        messages: &[Message],
        records: Records<'_>,
        mut fates: Fates,
        window: Option<&mut Window>,
    ) -> Result<Judged, JudgeError> {
        let halted_at = match self.rules.on_error {
            BadRowPolicy::Halt => fates.first_bad(),
            BadRowPolicy::DeadLetter => None,
        };
        let end = halted_at.as_ref().map_or(messages.len(), |dead| dead.index as usize);
        fates.truncate(end);
        let unkeyed = match window {
            Some(window) => judge_window(window, &messages[..end], records.keys, &mut fates)?,
            None => 0,
        };
        let judged = fates.assemble(records).map_err(JudgeError::Arrow)?;
        Ok(Judged { unkeyed, halted_at, ..judged })
    }

    fn judge_time(
        &self,
        batch: &RecordBatch,
        source: &[u32],
        messages: &[Message],
        fates: &mut Fates,
    ) {
        let Some(rule) = &self.rules.event_time else { return };
        let repaired = match rule.after_repair {
            AfterRepairPolicy::DeadLetter => self.repaired.as_slice(),
            AfterRepairPolicy::Append => &[],
        };
        if rule.policy == LatePolicy::Append && repaired.is_empty() {
            return;
        }
        let column = batch.column(rule.column);
        for (row, &index) in source.iter().enumerate() {
            let (event, published) = (event_time(column, row), messages[index as usize].time);
            if let Some((reason, detail)) = rule.untimely(event, published) {
                fates.kill(index, reason, detail);
            } else if let Some(interval) = within(repaired, event) {
                let detail = format!("event time lies in {interval}, which was repaired before");
                fates.kill(index, Reason::IntervalRepaired, detail);
            }
        }
    }

    fn judge_filter(&self, batch: &RecordBatch, source: &[u32], fates: &mut Fates) {
        let Some(filter) = &self.rules.filter else { return };
        for (verdict, &index) in filter.evaluate(batch).into_iter().zip(source) {
            match verdict {
                FilterVerdict::Keep => {}
                FilterVerdict::Drop => fates.filter(index),
                FilterVerdict::Failed(why) => fates.kill(index, Reason::FilterFailed, why),
            }
        }
    }

    /// The fingerprint of each message that is still alive; a missing key is judged by policy.
    fn keys(
        &self,
        batch: &RecordBatch,
        source: &[u32],
        messages: &[Message],
        fates: &mut Fates,
    ) -> Result<Vec<Option<Fingerprint>>, JudgeError> {
        let mut keys = vec![None; messages.len()];
        let Some(rule) = &self.rules.dedup else { return Ok(keys) };
        let column = rule.key_column(batch)?;
        for (row, &index) in source.iter().enumerate() {
            if !fates.alive(index) {
                continue;
            }
            let key: Option<Cow<'_, [u8]>> = match &column {
                None => messages[index as usize].id.as_deref().map(Cow::Borrowed),
                Some(column) => column.get(row),
            };
            keys[index as usize] = key.map(|key| rule.hasher.fingerprint(&key));
            if keys[index as usize].is_none()
                && rule.window.on_missing_key == MissingKeyPolicy::DeadLetter
            {
                fates.kill(index, Reason::MissingKey, "the record has no deduplication key".into());
            }
        }
        Ok(keys)
    }
}

impl DedupRule {
    /// The keys of a batch when they stand in a column; the same bytes as when they are read back from
    /// the table (D2).
    fn key_column(&self, batch: &RecordBatch) -> Result<Option<KeyColumn>, JudgeError> {
        match (&self.window.key, self.column) {
            (DedupKey::Field(name), Some(column)) => {
                KeyColumn::new(name, batch.column(column)).map(Some).map_err(JudgeError::Keys)
            }
            _ => Ok(None),
        }
    }
}

/// Asks the window about every message in stream order. Messages that are no candidates only move
/// stream time, so that time is a function of the stream alone (D4).
fn judge_window(
    window: &mut Window,
    messages: &[Message],
    keys: &[Option<Fingerprint>],
    fates: &mut Fates,
) -> Result<u64, JudgeError> {
    let candidates: Vec<Candidate> = (0..)
        .zip(messages)
        .map(|(index, message)| Candidate {
            id: keys[index as usize].filter(|_| fates.alive(index)),
            time: message.time,
        })
        .collect();
    let verdicts = window.judge(&candidates).map_err(JudgeError::Window)?;
    let mut unkeyed = 0;
    for (index, verdict) in (0..).zip(verdicts) {
        match verdict {
            WindowVerdict::Duplicate => fates.repeat(index),
            WindowVerdict::Unkeyed => unkeyed += u64::from(fates.alive(index)),
            _ => {}
        }
    }
    Ok(unkeyed)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
