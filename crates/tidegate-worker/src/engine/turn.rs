//! One round of the engine's loop: whether more may be taken in, what is shown, and how much of it was
//! busy.
//!
//! Rows per busy second are what a worker can do; per second of the clock they are what arrives. While
//! messages wait every moment is busy, whatever it goes by with (fetching, decoding, a commit); else only
//! those in which messages are judged.

use std::time::Duration;

use tidegate_dedup::Window;
use tidegate_telemetry::PipelineMetrics;
use tokio::time::Instant;

use super::{Engine, IN_FLIGHT};

/// How often a long piece of work shows that it goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// One round of the engine's loop.
pub(super) struct Turn {
    began: Instant,
    backlog: bool,
    works_since: Option<Instant>,
}

impl Turn {
    /// A round begins, with or without messages that wait.
    pub(super) fn begin(backlog: bool) -> Self {
        Self { began: Instant::now(), backlog, works_since: None }
    }

    /// What the round waited for is there; it counts from here when it is `messages`.
    pub(super) fn works_from_here(&mut self, messages: bool) {
        self.works_since = messages.then(Instant::now);
    }

    /// How much of the round, until now, was busy.
    pub(super) fn busy(&self) -> Duration {
        let since = if self.backlog { Some(self.began) } else { self.works_since };
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Does one long piece of work, beating meanwhile.
pub(super) async fn showing_life<T>(metrics: &PipelineMetrics, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SIGN_OF_LIFE) => metrics.beat(),
        }
    }
}

impl Engine {
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < IN_FLIGHT || self.batch.buffered_bytes() < self.parts.max_batch_bytes
    }

    /// Whether messages wait that could be read.
    pub(super) fn has_backlog(&self) -> bool {
        let waiting = self.active.values().any(|active| active.pending > 0);
        self.trouble.is_none() && (waiting || !self.chunks.1.is_empty())
    }

    /// Where a partition kills workers, the next messages wait until the last ones are committed, so
    /// that their death cannot take those along (S8).
    pub(super) fn waits_for_proof(&self) -> bool {
        let usual = self.parts.reader.batch_messages;
        let mut small = self.active.iter().filter(|(_, active)| active.batch_limit < usual);
        small.any(|(k, _)| self.in_flight > 0 || self.batch.progress.contains_key(k))
    }

    pub(super) fn report(&self) {
        let metrics = &self.parts.metrics;
        if self.leaving.is_none() {
            metrics.set_ready(self.active.len() == self.wanted);
        }
        metrics.set_lag(self.active.values().map(|active| active.pending).sum());
        metrics.set_buffered(self.batch.buffered_bytes() as u64);
        let ids = self.active.values().filter_map(|a| a.window.as_ref()).map(Window::len);
        metrics.set_window_ids(ids.sum::<usize>() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_is_busy_only_while_messages_wait() {
        const WAIT: Duration = Duration::from_secs(3);
        const WORK: Duration = Duration::from_secs(1);
        for (backlog, messages, busy) in [
            (false, false, Duration::ZERO),
            (false, true, WORK),
            (true, false, WAIT + WORK),
            (true, true, WAIT + WORK),
        ] {
            let mut turn = Turn::begin(backlog);
            tokio::time::advance(WAIT).await;
            turn.works_from_here(messages);
            tokio::time::advance(WORK).await;
            assert_eq!(turn.busy(), busy, "{backlog} {messages}");
        }
    }
}
