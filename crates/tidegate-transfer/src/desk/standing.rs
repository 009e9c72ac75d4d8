//! How far an attempt is whose chunks others read.

use std::time::Duration;

use tidegate_config::GivenUp;
use tidegate_extract::Chunk;
use tidegate_runtime::RunError;
use tidegate_types::Reason;
use tokio::time::Instant;

use super::messages::{ChunkFailure, ChunkOrder, ChunkResult, DeskAnswer, Terms};
use super::reply::{Reply, answer, refused};
use crate::chunk_outcome::ChunkOutcome;
use crate::chunks::{DEAD_BYTES, PlannedChunks, dead_bytes, label, too_many_dead};
use crate::decide::{DeskDecision, DeskFacts, check_outcome, decide_desk};
use crate::progress::Progress;

/// How long nobody may be heard: a reader speaks up every ten seconds, but its pod may have to wait for
/// a node that has to be bought first.
pub(super) const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What an attempt hands out.
pub(super) struct Opening {
    pub(super) terms: Terms,
    pub(super) chunks: PlannedChunks,
    /// Readers at a time.
    pub(super) parallelism: u32,
    pub(super) progress: Progress,
}

/// How far an attempt is with its chunks.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) terms: Terms,
    pub(super) chunks: Vec<Chunk>,
    pub(super) outcomes: Vec<Option<ChunkOutcome>>,
    pub(super) missing: usize,
    pub(super) dead_bytes: u64,
    pub(super) failed: Option<RunError>,
    pub(super) open: bool,
    pub(super) heard: Instant,
    pub(super) progress: Progress,
}

impl Standing {
    pub(super) fn new(opening: Opening) -> Self {
        let Opening { terms, chunks: PlannedChunks { all: chunks, kept }, progress, .. } = opening;
        let mut standing = Self {
            terms,
            outcomes: chunks.iter().map(|_| None).collect(),
            missing: chunks.len(),
            chunks,
            dead_bytes: 0,
            failed: None,
            open: true,
            heard: Instant::now(),
            progress,
        };
        for outcome in kept {
            standing.dead_bytes += outcome.dead.iter().map(dead_bytes).sum::<u64>();
            standing.keep(outcome.number as usize, outcome);
        }
        standing
    }

    pub(super) fn decide(&self, own: bool, number: u32) -> DeskDecision {
        let planned = self.chunks.get(number as usize);
        decide_desk(DeskFacts {
            open: self.open && self.failed.is_none(),
            own,
            planned: planned.is_some(),
            // What was taken out to be committed has won too.
            won: self.missing == 0 || matches!(self.outcomes.get(number as usize), Some(Some(_))),
        })
    }

    pub(super) fn order_for(&self, number: u32) -> ChunkOrder {
        let chunk = self.chunks[number as usize].clone();
        ChunkOrder { terms: self.terms.clone(), chunk }
    }

    pub(super) fn take(&mut self, result: ChunkResult) -> Reply {
        let label = label(&self.chunks[result.chunk as usize]);
        let outcome = match result.result {
            Ok(outcome) => outcome,
            Err(failure) => {
                self.fail(failure.into_error(&label));
                return answer(200, &DeskAnswer::Taken);
            }
        };
        let in_files = outcome.files.iter().map(|file| file.rows).sum();
        let read = (outcome.counts.rows, outcome.counts.dead);
        let arrived = (outcome.written, in_files, outcome.dead.len() as u64);
        if let Err((_, what)) = check_outcome(&label, read, arrived) {
            return refused(422, &what);
        }
        self.dead_bytes += outcome.dead.iter().map(dead_bytes).sum::<u64>();
        match self.dead_bytes > DEAD_BYTES {
            true => self.fail(too_many_dead(&label)),
            false => self.keep(result.chunk as usize, outcome),
        }
        answer(200, &DeskAnswer::Taken)
    }

    /// The outcome wins.
    fn keep(&mut self, at: usize, outcome: ChunkOutcome) {
        self.progress.brought(&outcome);
        let (what, rows) = (&self.chunks[at].what, outcome.written);
        tracing::info!(chunk = at, what, rows, "chunk brought");
        self.outcomes[at] = Some(outcome);
        self.missing -= 1;
    }

    /// Whoever was given up, the chunks that are missing will not come. What is won already is no
    /// reason against another attempt.
    pub(super) fn give_up(&mut self, told: GivenUp) {
        let number = told.chunk.and_then(|number| usize::try_from(number).ok());
        let chunk = number.and_then(|number| self.chunks.get(number));
        let won = number.is_some_and(|number| matches!(self.outcomes.get(number), Some(Some(_))));
        let failure = match told.permanent.filter(|_| chunk.is_some() && !won) {
            Some(reason) => ChunkFailure { reason, message: told.message, retry: false },
            None => ChunkFailure {
                reason: Reason::ChunksFailed.to_string(),
                message: told.message,
                retry: true,
            },
        };
        let label = chunk.map_or_else(|| "the readers".to_owned(), label);
        self.fail(failure.into_error(&label));
    }

    /// The first failure is told: others follow from it.
    fn fail(&mut self, error: RunError) {
        self.failed.get_or_insert(error);
    }

    pub(super) fn forsaken(&self) -> RunError {
        let first = self.outcomes.iter().position(Option::is_none).unwrap_or_default();
        let what = format!(
            "no reader was heard for {} minutes; {} of {} chunks are missing, the first is {}: see \
             whether the operator runs, which makes the readers' pods, and whether these find a node and \
             reach the coordinator",
            PATIENCE.as_secs() / 60,
            self.missing,
            self.chunks.len(),
            self.chunks.get(first).map(label).unwrap_or_default()
        );
        RunError::transient(Reason::ChunksFailed, what)
    }
}
