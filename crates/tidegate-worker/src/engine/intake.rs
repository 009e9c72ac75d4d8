//! What the source brings: chunks judged and written, faults sorted.

use std::time::Duration;

use tidegate_config::OnGap;
use tidegate_dedup::Window;
use tidegate_runtime::{RunError, failpoint};
use tidegate_source::{KnownMessage, ReaderOptions, Receipt, SourceError};
use tidegate_table::files::system::RowCoordinates;
use tidegate_types::{Counters, Message, PartitionId, Position, Reason, StreamTime};
use tokio::time::Instant;
use tracing::warn;

use super::{Engine, Leaving};
use crate::batch::{OpenBatch, PartitionProgress};
use crate::dead_letters::DeadLetter;
use crate::reading::{Read, Reading};
use crate::verdicts::{Dead, Judged};

impl Engine {
    pub(super) async fn on_reading(&mut self, reading: Reading) -> Result<(), RunError> {
        let Some(active) = self.active.get_mut(&reading.partition) else { return Ok(()) };
        if active.number != reading.number {
            return Ok(());
        }
        if matches!(reading.what, Read::Chunk { .. } | Read::Idle { .. })
            && self.trouble.take().is_some()
        {
            self.parts.metrics.set_state(Reason::Ok);
        }
        match reading.what {
            Read::Idle { caught_up, as_of } => {
                active.caught_up = caught_up;
                if caught_up {
                    active.pending = 0;
                    active.complete = active.complete.max(as_of.unwrap_or_default());
                }
                Ok(())
            }
            Read::Stalled(reason, why) => {
                self.parts.metrics.set_trouble(reason, why);
                self.trouble.get_or_insert_with(Instant::now);
                Ok(())
            }
            Read::Chunk { messages, last, receipt, pending, room } => {
                active.pending = pending;
                active.caught_up = false;
                self.last_message = Instant::now();
                let done = self.take_in(reading.partition, &messages, (last, receipt)).await;
                drop(room);
                done
            }
            Read::Failed(error) => self.on_source_failure(reading.partition, error).await,
        }
    }

    pub(super) async fn on_source_failure(
        &mut self,
        partition: PartitionId,
        error: SourceError,
    ) -> Result<(), RunError> {
        if let (SourceError::Gap { from, to, .. }, OnGap::RecordAndContinue) =
            (&error, self.parts.config.source.on_gap)
        {
            let (from, to) = (*from, *to);
            warn!(partition = partition.0, from, to, reason = %Reason::SourceGap, "messages are gone, going on behind them");
            return self.read_on_behind(partition, (from, Position(to))).await;
        }
        let reason = error.reason();
        let failure = RunError::permanent(reason, format!("partition {partition} cannot be read"))
            .because(error);
        if reason == Reason::SourceIdentity {
            // What was read since the last check may come from another stream (S6).
            self.discard(self.lineage + 1);
            return Err(failure);
        }
        self.leave(Leaving::Failed(failure));
        Ok(())
    }

    /// Starts a new reading that knows of a gap, without giving up what the window and the batch hold. A
    /// hole further ahead may have messages before it.
    pub(super) async fn read_on_behind(
        &mut self,
        partition: PartitionId,
        (from, to): (u64, Position),
    ) -> Result<(), RunError> {
        let Some(active) = self.active.get_mut(&partition) else { return Ok(()) };
        if active.cursor.next() >= from {
            active.cursor = active.cursor.max(to);
        }
        let (cursor, stop) = (active.cursor, active.stop.clone());
        let reader = ReaderOptions {
            partition,
            epoch: active.epoch,
            batch_messages: active.batch_limit,
            known_holes_to: to,
            empty_to: active.empty_to.clone(),
            ..self.parts.reader.clone()
        };
        let (number, orders) = self.start_reading(reader, cursor, None, stop);
        if let Some(active) = self.active.get_mut(&partition) {
            (active.number, active.orders) = (number, orders);
        }
        Ok(())
    }

    /// Judges a chunk and writes its rows.
    pub(super) async fn take_in(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        last: (KnownMessage, Receipt),
    ) -> Result<(), RunError> {
        let mut rest = messages;
        while !rest.is_empty() && self.leaving.is_none() {
            let taken = self.take_in_some(partition, rest, last).await?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Judges as many messages as one decode takes, and answers how many.
    async fn take_in_some(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        last: (KnownMessage, Receipt),
    ) -> Result<usize, RunError> {
        let deadly = self.try_out(partition, messages).await?;
        let Some(active) = self.active.get_mut(&partition) else { return Ok(messages.len()) };
        let (judge, window) = (&mut self.parts.judge, active.window.as_mut());
        let judged = match deadly {
            Some((message, how)) => judge.condemn(message, how, window),
            None => judge.judge(messages, window),
        };
        let judged = judged.map_err(|source| {
            RunError::transient(Reason::ResourceExhausted, "messages could not be judged")
                .because(source)
        })?;
        failpoint::hit("batch.judged");
        if let Some(jump) = active.window.as_mut().and_then(Window::clock_jump) {
            warn!(partition = partition.0, ?jump, reason = %Reason::StreamClockJump, "the broker's clock jumped");
        }
        let judged_messages = &messages[..usize::try_from(judged.counters.read).unwrap_or(0)];
        self.note(partition, judged_messages, last, &judged);
        self.set_dead_aside(partition, judged_messages, &judged.dead);
        self.write_rows(partition, judged_messages, &judged).await?;
        if let Some(dead) = judged.halted_at {
            self.halt_on(partition, messages, &dead);
        } else {
            self.ask_the_breaker(partition, &judged.counters);
        }
        Ok(judged_messages.len())
    }

    /// A message that stands alone because its partition kills workers is tried in another process
    /// (S8). The message if it is deadly, and how the decoder died of it.
    async fn try_out<'m>(
        &mut self,
        partition: PartitionId,
        messages: &'m [Message],
    ) -> Result<Option<(&'m Message, String)>, RunError> {
        let alone = self.active.get(&partition).is_some_and(|active| active.batch_limit == 1);
        match (&self.parts.isolation, messages) {
            (Some(isolation), [message]) if alone => {
                Ok(isolation.try_out(message).await?.map(|how| (message, how)))
            }
            _ => Ok(None),
        }
    }

    /// Moves the cursor and counts.
    pub(super) fn note(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        (last, receipt): (KnownMessage, Receipt),
        judged: &Judged,
    ) {
        let (Some(active), Some(newest)) = (self.active.get_mut(&partition), messages.last())
        else {
            return;
        };
        let newest_time = messages.iter().map(|m| m.time).max().unwrap_or_default();
        active.time = active.time.max(newest_time);
        active.cursor = active.cursor.max(Position(newest.sequence));
        active.complete = active.complete.max(active.time);
        // After a halt the last message is not the reading's last, and after a redelivery not the
        // highest: then the fingerprint at the cursor is not known.
        let whole = last.sequence == newest.sequence;
        let at_cursor = whole && active.cursor.0 == newest.sequence;
        let fingerprint = if at_cursor { last.fingerprint } else { 0 };
        let progress = self.batch.progress.entry(partition).or_insert(PartitionProgress {
            epoch: active.epoch,
            base: active.base,
            cursor: active.base,
            fingerprint: 0,
            counters: Counters::default(),
            time: active.time,
            complete: active.complete,
            receipt: Receipt::default(),
        });
        progress.cursor = active.cursor;
        progress.fingerprint = fingerprint;
        progress.counters += judged.counters;
        progress.time = active.time;
        progress.complete = active.complete;
        if whole {
            progress.receipt = receipt;
        }
        self.batch.opened.get_or_insert_with(Instant::now);
        self.summary.unkeyed += judged.unkeyed;
        self.summary.unknown_fields += judged.unknown_fields;
        self.parts.metrics.unkeyed(judged.unkeyed);
        self.parts.metrics.unknown_fields(judged.unknown_fields);
    }

    pub(super) fn set_dead_aside(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        dead: &[Dead],
    ) {
        for each in dead {
            let message = &messages[each.index as usize];
            self.parts.metrics.dead_letter(each.reason, 1);
            self.batch.dead_bytes += message.footprint() + each.detail.len();
            self.batch.dead.push(DeadLetter {
                partition,
                sequence: message.sequence,
                subject: message.subject.clone(),
                time: message.time,
                reason: each.reason,
                detail: each.detail.clone(),
                payload: message.payload.clone(),
                id: message.id.clone(),
            });
        }
    }

    pub(super) async fn write_rows(
        &mut self,
        partition: PartitionId,
        messages: &[Message],
        judged: &Judged,
    ) -> Result<(), RunError> {
        if judged.rows.num_rows() == 0 {
            return Ok(());
        }
        let Some(epoch) = self.active.get(&partition).map(|active| active.epoch) else {
            return Ok(());
        };
        let of = |index: &u32| &messages[*index as usize];
        let sequences: Vec<u64> = judged.source.iter().map(|index| of(index).sequence).collect();
        let times: Vec<StreamTime> = judged.source.iter().map(|index| of(index).time).collect();
        let coordinates = RowCoordinates {
            source: &self.parts.source_column,
            partition,
            sequences: &sequences,
            ordinals: None,
            ids: &judged.ids,
            times: &times,
        };
        let rows = self.parts.system.append(&judged.rows, &coordinates)?;
        self.batch.write(&rows, self.parts.judge.router(), epoch, &self.parts.files).await
    }

    pub(super) fn halt_on(&mut self, partition: PartitionId, messages: &[Message], dead: &Dead) {
        let sequence = messages[dead.index as usize].sequence;
        let what = format!(
            "message {sequence} of partition {partition} is bad ({}: {}) and decode.onError is Halt; \
             correct the schema or set decode.onError: DeadLetter",
            dead.reason, dead.detail
        );
        self.leave(Leaving::Failed(RunError::permanent(dead.reason, what)));
    }

    /// In stream time: catching up on a day of the stream is no matter of minutes.
    pub(super) fn ask_the_breaker(&mut self, partition: PartitionId, counters: &Counters) {
        let Some(breaker) = &mut self.breaker else { return };
        let time = self.active.get(&partition).map_or(0, |active| active.time.0);
        let now = Duration::from_micros(u64::try_from(time).unwrap_or(0));
        if let Some(percent) = breaker.record(now, counters.read, counters.dead) {
            let what = format!(
                "{percent} percent of the records were dead letters, more than deadLetter.breaker allows; \
                 nothing of the open batch was committed"
            );
            self.batch = OpenBatch::new(&self.parts.files, &mut self.parts.random);
            self.leave(Leaving::Failed(RunError::permanent(Reason::BreakerOpen, what)));
        }
    }
}
