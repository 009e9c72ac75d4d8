//! What silence means (S4).

use tidegate_types::StreamTime;
use tokio::time::Instant;

use super::{Collected, PartitionReader};
use crate::caught_up::{Silence, Verdict, judge_silence};
use crate::consumer;
use crate::error::SourceError;
use crate::leader_samples::next_message;
use crate::options::{Fetched, ReadMode};
use crate::stream_facts::complete_as_of;

impl PartitionReader {
    /// What silence means (S4); none: deliveries were lost, and reading goes on from the cursor.
    pub(super) async fn judge_quiet(&mut self) -> Result<Option<Fetched>, SourceError> {
        if self.needs_check() {
            // A message that the client cannot read ends the connection each time it is delivered:
            // this too must come to an end.
            self.recover("the connection was made anew")?;
            return Ok(None);
        }
        if let Some((at, as_of)) = self.caught_up
            && at.elapsed() < self.options.periods.caught_up
        {
            return Ok(Some(Fetched::Idle { caught_up: true, as_of }));
        }
        let (connection, stream) = (&self.connection, &self.options.stream);
        let Some(info) = consumer::info(connection, stream, &self.name).await? else {
            self.recover("the consumer is gone")?;
            return Ok(None);
        };
        let as_of = complete_as_of(info.ts.as_deref(), self.copies);
        if self.options.mode != ReadMode::FromFloor {
            let all_held = info.num_ack_pending <= self.held.len() as u64;
            let caught_up = info.num_pending == 0 && all_held;
            return Ok(Some(Fetched::Idle { caught_up, as_of }));
        }
        let silence = Silence {
            received: self.received,
            delivered: info.delivered.consumer_seq,
            pending: info.num_pending,
        };
        match judge_silence(silence) {
            Verdict::Lost => self.wait_for_late_deliveries().await,
            Verdict::MoreToCome => Ok(Some(Fetched::Idle { caught_up: false, as_of })),
            Verdict::AskTheStream => self.ask_the_stream(as_of).await.map(Some),
        }
    }

    /// Deliveries may still be in this process or on the wire: what has not come within the grace is
    /// lost, and reading it again is right in either case.
    async fn wait_for_late_deliveries(&mut self) -> Result<Option<Fetched>, SourceError> {
        let grace = Instant::now() + self.options.periods.delivery_grace;
        match self.collect(grace).await? {
            Collected::Batch(batch, session) => self.hand_on(batch, session).await.map(Some),
            Collected::Broken(detail) => self.recover(&detail).map(|()| None),
            Collected::Quiet => {
                self.recover("the broker delivered more than was received").map(|()| None)
            }
        }
    }

    async fn ask_the_stream(&mut self, as_of: Option<StreamTime>) -> Result<Fetched, SourceError> {
        let (stream, filter) = (&self.options.stream, self.options.filter.as_deref());
        let next = next_message(&self.connection, stream, filter, self.cursor.next()).await?;
        match next {
            None => {
                self.recoveries = 0;
                self.strikes.clear();
                self.caught_up = Some((Instant::now(), as_of));
            }
            Some(sequence) => {
                if self.strikes.note(sequence) {
                    self.strikes.clear();
                    self.recover("the consumer does not deliver what the stream holds")?;
                }
            }
        }
        Ok(Fetched::Idle { caught_up: next.is_none(), as_of })
    }
}
