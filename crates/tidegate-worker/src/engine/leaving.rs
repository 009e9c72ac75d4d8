//! The end: caught up, drained or failed.

use std::time::Duration;

use tidegate_runtime::{RunError, in_words};
use tidegate_source::ReadMode;
use tidegate_types::Reason;
use tracing::info;

use super::{Active, Engine, Leaving};
use crate::committer::Request;
use crate::options::Summary;

/// How long a finite run waits for a source that fails.
const FINITE_PATIENCE: Duration = Duration::from_secs(60);

impl Engine {
    /// In a finite run: whether the partition has everything up to E.
    pub(super) fn done(&self, active: &Active) -> bool {
        // With redelivery the highest sequence may come before lower ones (P3).
        let in_order = self.parts.reader.mode == ReadMode::FromFloor;
        let beyond = self.parts.until.is_some_and(|until| active.cursor.0 >= until);
        active.caught_up || (in_order && beyond)
    }

    pub(super) fn all_done(&self) -> bool {
        self.active.len() == self.wanted && self.active.values().all(|active| self.done(active))
    }

    pub(super) fn look_for_the_end(&mut self) {
        if self.parts.until.is_some() && self.leaving.is_none() && self.all_done() {
            info!("caught up");
            self.leave(Leaving::CaughtUp);
        }
        // A finite run is waited for by somebody; a worker without end goes on trying.
        let given_up = self.trouble.is_some_and(|since| since.elapsed() > FINITE_PATIENCE);
        if self.parts.until.is_some() && self.leaving.is_none() && given_up {
            let what = format!("the source could not be read for {} s", FINITE_PATIENCE.as_secs());
            let failure = RunError::transient(Reason::SourceUnreachable, what);
            self.leave(Leaving::Failed(failure));
        }
    }

    pub(super) fn leave(&mut self, leaving: Leaving) {
        for active in self.active.values() {
            active.stop.cancel();
        }
        self.parts.metrics.set_ready(false);
        if let Leaving::Failed(error) = &leaving {
            self.parts.metrics.set_trouble(error.reason(), in_words(error));
        }
        // The first reason stands.
        self.leaving.get_or_insert(leaving);
    }

    /// Once the last batch is sealed (it carries the release), or when there is none: give back.
    pub(super) async fn release_when_empty(&mut self) -> Result<(), RunError> {
        let nothing_open = self.batch.is_empty() && self.in_flight == 0 && self.advancing == 0;
        if self.leaving.is_some() && nothing_open && !self.releasing && !self.owes_idle_look() {
            self.releasing = true;
            self.ask(Request::Release).await?;
        }
        Ok(())
    }

    pub(super) fn left(mut self) -> Result<Summary, RunError> {
        self.parts.metrics.finish(!matches!(self.leaving, Some(Leaving::Failed(_)) | None));
        self.summary.lag = self.active.values().map(|active| active.pending).sum();
        match self.leaving {
            Some(Leaving::Failed(error)) => Err(error),
            Some(Leaving::Drained | Leaving::CaughtUp) => Ok(self.summary),
            None => Err(RunError::transient(Reason::Fenced, "the committer ended by itself")),
        }
    }
}
