//! The coordinator's side of the desk: chunks are handed out, and what comes back is looked for.

use std::time::Duration;

use tidegate_config::DeskReport;
use tidegate_extract::Snapshot;
use tidegate_runtime::RunError;
use tidegate_types::{Nonce, Reason};
use tokio::time::{Instant, MissedTickBehavior};

use super::chunk_desk::ChunkDesk;
use super::messages::{Pass, Terms, columns_mark};
use super::standing::{Opening, PATIENCE, Standing};
use crate::attempt::Attempt;
use crate::chunk_outcome::ChunkOutcome;
use crate::chunks::PlannedChunks;
use crate::confirm::confirm;
use crate::decide::{GatherDecision, GatherFacts, decide_gather};
use crate::progress::Progress;

/// How often the source is asked meanwhile whether it holds the snapshot.
const LOOKS_AFTER: Duration = Duration::from_secs(30);
/// Most chunks of a plan whose readers have pods of their own: what Kubernetes takes with room.
const MOST_CHUNKS: usize = 10_000;

/// A desk that hands out chunks: closed when nobody waits for them any longer, however that ends.
struct Opened<'a> {
    desk: &'a ChunkDesk,
    progress: Progress,
}

impl ChunkDesk {
    /// Others read the chunks; what they say they wrote is looked for.
    ///
    /// # Errors
    ///
    /// When nobody else can read them, a chunk cannot be read, its Job was given up, the snapshot is lost,
    /// nobody is heard, or a file is not there.
    pub(crate) async fn gather(
        &self,
        attempt: Attempt<'_>,
        nonce: Nonce,
        snapshot: &dyn Snapshot,
        chunks: PlannedChunks,
        progress: Progress,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        let Some(ticket) = snapshot.ticket() else {
            let what = "the source's snapshot belongs to one connection, so that no other pod can read \
                        it: set bulk.chunking.placement to InProcess";
            return Err(RunError::permanent(Reason::InvalidConfiguration, what));
        };
        let pass = Pass {
            generation: attempt.generation,
            snapshot: snapshot.id().to_owned(),
            nonce: nonce.to_string(),
        };
        let columns = columns_mark(&snapshot.columns());
        let opening = Opening {
            terms: Terms {
                pass,
                ticket,
                interval: attempt.interval,
                columns,
                keeping: attempt.keeping.cloned(),
            },
            chunks,
            parallelism: attempt.config.chunking.parallelism,
            progress,
        };
        let outcomes = self.hand_out(opening, snapshot).await?;
        confirm(attempt, outcomes).await
    }

    /// Hands out the chunks and waits until all of them are there.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read, its Job was given up, the snapshot is lost, or nobody is heard.
    pub(super) async fn hand_out(
        &self,
        mut opening: Opening,
        snapshot: &dyn Snapshot,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        if opening.chunks.all.len() > MOST_CHUNKS {
            let what = format!(
                "the plan has {} chunks, more than the {MOST_CHUNKS} that may be read in pods of their \
                 own: raise bulk.chunking.targetRows",
                opening.chunks.all.len()
            );
            return Err(RunError::permanent(Reason::InvalidConfiguration, what));
        }
        let progress = opening.progress.clone();
        let told = DeskReport {
            nonce: opening.terms.pass.nonce.clone(),
            parallelism: opening.parallelism,
        };
        opening.terms.pass.nonce = self.token.key(&opening.terms.pass.nonce);
        *self.standing() = Some(Standing::new(opening));
        progress.set(|report| report.desk = Some(told));
        let _opened = Opened { desk: self, progress };
        self.until_gathered(snapshot).await
    }

    async fn until_gathered(&self, snapshot: &dyn Snapshot) -> Result<Vec<ChunkOutcome>, RunError> {
        // Made once: outcomes that come one upon the other must not put the look off.
        let mut looks = tokio::time::interval_at(Instant::now() + LOOKS_AFTER, LOOKS_AFTER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(end) = self.look(Instant::now()) {
                return end;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                _ = looks.tick() => snapshot.check().await?,
            }
        }
    }

    /// The end, if this is one.
    fn look(&self, now: Instant) -> Option<Result<Vec<ChunkOutcome>, RunError>> {
        let mut standing = self.standing();
        let standing = standing.as_mut()?;
        let facts = GatherFacts {
            missing: standing.missing,
            failed: standing.failed.is_some(),
            silent_for: now.saturating_duration_since(standing.heard),
            patience: PATIENCE,
        };
        match decide_gather(facts) {
            GatherDecision::Wait => None,
            GatherDecision::Done => {
                standing.open = false;
                Some(Ok(standing.outcomes.iter_mut().filter_map(Option::take).collect()))
            }
            GatherDecision::Failed => standing.failed.take().map(Err),
            GatherDecision::Forsaken => Some(Err(standing.forsaken())),
        }
    }

    /// From now on everybody is turned away but those whose chunk is there.
    fn close(&self) {
        if let Some(standing) = self.standing().as_mut() {
            standing.open = false;
        }
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.progress.set(|report| report.desk = None);
        self.desk.close();
    }
}
