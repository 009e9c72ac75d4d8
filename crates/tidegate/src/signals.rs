//! SIGINT and SIGTERM: the first asks for a drain, the second for the door.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the process was asked to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Stop fetching, commit what is held, leave.
    pub(crate) drain: CancellationToken,
    /// Leave at once; what is not committed is read again later.
    pub(crate) leave: CancellationToken,
    words: Words,
}

/// What the log says of the two signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Words {
    /// The first.
    pub(crate) drain: &'static str,
    /// The second.
    pub(crate) leave: &'static str,
}

impl Default for Words {
    /// Those of whoever reads and commits.
    fn default() -> Self {
        Self {
            drain: "draining: committing what is held, a second signal leaves at once",
            leave: "leaving at once, what is not committed will be read again",
        }
    }
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses a handler.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Self::listen_saying(Words::default())
    }

    /// The same for a process that holds nothing to commit.
    ///
    /// # Errors
    ///
    /// When the system refuses a handler.
    pub(crate) fn listen_saying(words: Words) -> std::io::Result<Self> {
        let signals = Self { words, ..Self::default() };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let told = signals.clone();
        tokio::spawn(async move {
            while !told.leave.is_cancelled() {
                tokio::select! {
                    _ = interrupt.recv() => told.received(),
                    _ = terminate.recv() => told.received(),
                }
            }
        });
        Ok(signals)
    }

    fn received(&self) {
        if self.drain.is_cancelled() {
            tracing::warn!("{}", self.words.leave);
            self.leave.cancel();
        } else {
            tracing::info!("{}", self.words.drain);
            self.drain.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_drains_and_the_second_leaves() {
        let signals = Signals::default();
        signals.received();
        assert!(signals.drain.is_cancelled() && !signals.leave.is_cancelled());
        signals.received();
        assert!(signals.leave.is_cancelled());
    }
}
