//! How much of the time the engine had something to do.
//!
//! Rows per busy second are what a worker can do; per second of the clock they are what arrives. While
//! messages wait every moment is busy, whatever it goes by with (fetching, decoding, a commit); else only
//! those in which messages are judged.

use std::time::Duration;

use tokio::time::Instant;

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
