//! Looks at the stream beside the readings: idle floors (S5), and its identity before a commit (S6).

use std::time::Duration;

use tidegate_runtime::RunError;
use tidegate_source::{KnownMessage, SourceError, check_same_stream, idle_advance};
use tokio::time::Instant;

use super::{Engine, Leaving};
use crate::committer::{FloorMove, Request};

/// How long a look may hold the loop up; the broker answers in milliseconds.
const LOOK: Duration = Duration::from_secs(2);

impl Engine {
    /// Moves the floors of the partitions that have nothing to read, all in one commit: once an
    /// interval, and once more before they are given back.
    pub(super) async fn advance_idle(&mut self) -> Result<(), RunError> {
        let period = self.parts.config.sink.flush.max_interval.to_duration();
        let due = match self.leaving {
            None => self.looked_idle.elapsed() >= period,
            Some(_) => self.owes_idle_look(),
        };
        if !due || self.in_flight > 0 || self.advancing > 0 {
            return Ok(());
        }
        self.looked_idle = Instant::now();
        self.looked_before_release |= self.leaving.is_some();
        if !self.is_same_stream().await? {
            return Ok(());
        }
        let moves = match tokio::time::timeout(LOOK, self.idle_moves()).await {
            Ok(Ok(moves)) => moves,
            Ok(Err(error)) if !error.is_transient() => {
                self.leave(Leaving::Failed(error.into()));
                return Ok(());
            }
            // The readings see the same trouble and report it.
            Ok(Err(_)) | Err(_) => return Ok(()),
        };
        for step in &moves {
            // Once the floor stands in the log anybody may trim to it, before the answer is here.
            if let Some(active) = self.active.get(&step.partition) {
                active.empty_to.note(step.to);
            }
        }
        if !moves.is_empty() {
            self.advancing += 1;
            self.ask(Request::Advance { lineage: self.lineage, moves }).await?;
        }
        Ok(())
    }

    /// An orderly end looks once more, so that short lives move idle floors too (S5).
    pub(super) fn owes_idle_look(&self) -> bool {
        let orderly = matches!(self.leaving, Some(Leaving::Drained | Leaving::CaughtUp));
        orderly && !self.looked_before_release
    }

    /// Takes `&mut self` for the same reason as `ask`.
    async fn idle_moves(&mut self) -> Result<Vec<FloorMove>, SourceError> {
        let mut moves = Vec::new();
        let Some(aged) = self.parts.channels.news.borrow().aged_last_sequence else {
            return Ok(moves);
        };
        let idle: Vec<_> = self
            .active
            .iter()
            .filter(|(k, _)| !self.batch.progress.contains_key(k))
            // Without a record behind the floor the cursor is there too, or behind a gap that is accepted.
            .map(|(k, active)| (*k, active.base, active.cursor, active.complete))
            .collect();
        for (partition, base, cursor, complete) in idle {
            let stream = &self.parts.config.source.stream;
            let filter = self.parts.filters.get(&partition).cloned().flatten();
            let to = idle_advance(&self.parts.connection, stream, filter.as_deref(), cursor, aged);
            moves.extend(to.await?.map(|to| FloorMove { partition, base, to, complete }));
        }
        Ok(moves)
    }

    /// Before a commit that follows a reconnect: whether this is still the stream that was read. False:
    /// that cannot be told yet.
    pub(super) async fn is_same_stream(&mut self) -> Result<bool, RunError> {
        let reconnects = self.parts.connection.reconnects();
        if reconnects == self.vouched_reconnects {
            return Ok(true);
        }
        match tokio::time::timeout(LOOK, self.check_identity()).await {
            Ok(Ok(())) => {
                self.vouched_reconnects = reconnects;
                Ok(true)
            }
            Ok(Err(error)) if !error.is_transient() => {
                self.discard(self.lineage + 1);
                Err(error.into())
            }
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    async fn check_identity(&mut self) -> Result<(), SourceError> {
        let created = self.parts.reader.created.clone().unwrap_or_default();
        let in_batch = (self.batch.progress.values())
            .map(|p| KnownMessage { sequence: p.cursor.0, fingerprint: p.fingerprint });
        let cursors = (self.active.values())
            .map(|active| KnownMessage { sequence: active.cursor.0, fingerprint: 0 });
        let read: Vec<_> = in_batch.chain(cursors).collect();
        check_same_stream(&self.parts.connection, &self.parts.reader.stream, &created, &read).await
    }
}
