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
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// When the system refuses a handler.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let signals = Self::default();
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
            tracing::warn!("leaving at once, what is not committed will be read again");
            self.leave.cancel();
        } else {
            tracing::info!("draining: committing what is held, a second signal leaves at once");
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
