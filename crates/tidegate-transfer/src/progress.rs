//! What a run says of itself while it runs.

use tidegate_config::{LONGEST_MESSAGE, RunPhase, RunReport};
use tidegate_runtime::{RunError, in_words};
use tidegate_types::Reason;
use tokio::sync::watch;

use crate::chunk_outcome::ChunkOutcome;

/// Where a run's report is kept, for whoever looks.
#[derive(Debug, Clone)]
pub(crate) struct Progress(watch::Sender<RunReport>);

impl Progress {
    pub(crate) fn new(report: watch::Sender<RunReport>) -> Self {
        Self(report)
    }

    /// A further phase.
    pub(crate) fn enter(&self, phase: RunPhase) {
        self.0.send_modify(|report| report.phase = phase);
    }

    /// Changes what is said.
    pub(crate) fn set(&self, change: impl FnOnce(&mut RunReport)) {
        self.0.send_modify(change);
    }

    /// A chunk is there that others read.
    pub(crate) fn brought(&self, outcome: &ChunkOutcome) {
        self.set(|report| {
            report.chunks_done += 1;
            report.rows_read += outcome.counts.rows + outcome.counts.dead;
            report.rows_committed += outcome.written;
            report.dead_letters += outcome.counts.dead;
        });
    }

    /// Ends well.
    pub(crate) fn succeeded(&self, reason: Reason, message: &str) -> RunReport {
        self.end(RunPhase::Succeeded, reason, message)
    }

    /// Ends badly.
    pub(crate) fn failed(&self, error: &RunError) -> RunReport {
        self.end(RunPhase::Failed, error.reason(), &in_words(error))
    }

    fn end(&self, phase: RunPhase, reason: Reason, message: &str) -> RunReport {
        self.0.send_modify(|report| {
            report.phase = phase;
            report.reason = reason.to_string();
            report.message = shortened(message).to_owned();
        });
        self.0.borrow().clone()
    }
}

/// The beginning of a message, cut between characters.
fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST_MESSAGE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(200);
        assert_eq!(shortened(&long).len(), 256);
        let odd = format!("x{long}");
        assert_eq!(shortened(&odd).len(), 255);
    }
}
