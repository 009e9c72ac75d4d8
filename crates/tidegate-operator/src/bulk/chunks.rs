//! The readers of chunks: made when an attempt waits for them, removed when it does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::runs_seen::{RunDecision, RunsSeen};
use crate::apply::{create, remove};
use crate::failure::Failure;
use crate::runs::{ChunkFacts, ChunkStep, Step, chunk_job, chunk_step, left_over, newest_job};

/// Looks after the readers of all attempts, by what was decided about the runs.
pub(super) async fn look_after_readers(seen: &mut RunsSeen<'_>, decisions: &[RunDecision]) {
    for decision in decisions {
        let step = chunk_step(ChunkFacts {
            run: &seen.runs[decision.run],
            step: &decision.step,
            attempt: decision.attempt.as_ref(),
            jobs: &seen.jobs,
            pods: &seen.pods,
        });
        let done = match step {
            Some(step) => carry_out(seen, decision.run, step).await,
            None => Ok(()),
        };
        seen.note(done);
    }
    remove_left_over(seen, decisions).await;
}

async fn carry_out(seen: &RunsSeen<'_>, run: usize, step: ChunkStep) -> Result<(), Failure> {
    let (context, key) = (seen.field.context, seen.field.key);
    match step {
        ChunkStep::Make(work) => {
            let Some((_, coordinator)) = newest_job(&seen.runs[run], &seen.jobs) else {
                return Ok(());
            };
            create(context, &key.namespace, chunk_job(coordinator, &work)).await.map(drop)
        }
        ChunkStep::Remove(job) => remove(context, &key.namespace, job.as_ref()).await,
        ChunkStep::GiveUp { address, told } => {
            context.pods.give_up_chunks(&address, &told).await;
            Ok(())
        }
    }
}

async fn remove_left_over(seen: &mut RunsSeen<'_>, decisions: &[RunDecision]) {
    let followed = decisions.iter().filter(|decision| decision.step == Step::Follow);
    let under_way: BTreeSet<(&str, u32)> = followed
        .filter_map(|decision| {
            Some((seen.runs[decision.run].uid.as_str(), decision.attempt.as_ref()?.number))
        })
        .collect();
    let goes: Vec<_> = left_over(&seen.jobs, &under_way).into_iter().map(Arc::clone).collect();
    for job in goes {
        let removed = remove(seen.field.context, &seen.field.key.namespace, job.as_ref()).await;
        seen.note(removed);
    }
}
