//! The looks at the stream that vouch for what is handed on (S1, S2, S6).

use tidegate_types::Position;
use tokio::time::Instant;

use super::PartitionReader;
use super::gathering::Batch;
use crate::error::SourceError;
use crate::holes::first_loss;
use crate::identity::{Expected, check_known, judge};
use crate::options::ReadMode;
use crate::stream_facts::{StreamFacts, deleted_sequences, stream_facts};

impl PartitionReader {
    /// Whether the connection was made anew since the last check (S6).
    pub(super) fn needs_check(&self) -> bool {
        self.connection.reconnects() != self.reconnects_seen
    }

    /// Checks identity, settings and loss (S1, S2, S6): at the start and after every reconnect.
    pub(super) async fn check_source(&mut self) -> Result<(), SourceError> {
        let reconnects = self.connection.reconnects();
        let facts = stream_facts(&self.connection, &self.options.stream).await?;
        judge(&facts, self.expected(self.cursor))?;
        for known in [self.floor_message, self.last].into_iter().flatten() {
            check_known(&self.connection, &self.options.stream, known).await?;
        }
        self.check_holes(&facts, &[]).await?;
        self.copies = facts.copies;
        self.checked_at = Instant::now();
        self.reconnects_seen = reconnects;
        Ok(())
    }

    /// Vouches for a batch that was received but not handed on yet.
    pub(super) async fn vouch(&mut self, batch: &Batch) -> Result<(), SourceError> {
        if self.needs_check() {
            self.check_source().await?;
        }
        match self.options.mode {
            ReadMode::FromFloor => {
                let facts = stream_facts(&self.connection, &self.options.stream).await?;
                judge(&facts, self.expected(self.cursor))?;
                self.copies = facts.copies;
                if facts.holes > 0 {
                    let read: Vec<_> = batch.messages.iter().map(|m| m.sequence).collect();
                    self.check_holes(&facts, &read).await?;
                }
                self.checked_at = Instant::now();
                Ok(())
            }
            ReadMode::AckAfterCommit => Ok(()),
            ReadMode::AckOnReceipt => self.acknowledge_receipt(batch).await,
        }
    }

    /// X5: acknowledged before it is handed on. When the answer is in doubt the batch is given up,
    /// because it may not come again, but it must not come twice.
    async fn acknowledge_receipt(&self, batch: &Batch) -> Result<(), SourceError> {
        let Some(reply) = batch.replies.last() else { return Ok(()) };
        let answer = self.connection.client().request(reply.clone(), "+ACK".into()).await;
        answer.map(drop).map_err(|source| SourceError::Unreachable {
            operation: "acknowledging a batch, which is given up".to_owned(),
            source: source.into(),
        })
    }

    async fn check_holes(&mut self, facts: &StreamFacts, read: &[u64]) -> Result<(), SourceError> {
        let changed = facts.holes != self.holes_seen;
        let matters = self.options.mode == ReadMode::FromFloor && facts.holes > 0;
        // Without ExactlyOnce a stream may be full of holes by its own settings: only a change is
        // looked into.
        if matters && (changed || self.options.exactly_once) {
            let known = self.cursor.max(self.options.known_holes_to).0;
            let deleted = deleted_sequences(&self.connection, &self.options.stream).await?;
            if let Some((from, to)) = first_loss(&deleted, known, read) {
                return Err(SourceError::Gap { stream: self.options.stream.clone(), from, to });
            }
        }
        self.holes_seen = facts.holes;
        Ok(())
    }

    fn expected(&self, cursor: Position) -> Expected<'_> {
        Expected {
            created: &self.created,
            cursor: cursor.max(self.options.empty_to.position()),
            exactly_once: self.options.exactly_once,
            positions_count: self.options.mode == ReadMode::FromFloor,
        }
    }
}
