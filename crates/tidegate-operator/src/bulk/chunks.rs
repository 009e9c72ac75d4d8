//! The readers of chunks: made when an attempt waits for them, removed when it does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::scene::{Scene, Turn};
use crate::failure::Failure;
use crate::runs::{
    ChunkStep, Step, chunk_job, chunk_step, create_job, delete_job, left_over, newest_job,
};

/// Looks after the readers of all attempts, by what was decided about the runs.
pub(super) async fn look_after_readers(scene: &mut Scene<'_>, turns: &[Turn]) {
    for turn in turns {
        let run = &scene.runs[turn.run];
        let attempt = turn.attempt.as_ref();
        let step = chunk_step(run, &turn.step, attempt, &scene.jobs, &scene.pods);
        let done = match step {
            Some(step) => carry_out(scene, turn.run, step).await,
            None => Ok(()),
        };
        scene.note(done);
    }
    remove_left_over(scene, turns).await;
}

async fn carry_out(scene: &Scene<'_>, run: usize, step: ChunkStep) -> Result<(), Failure> {
    let (context, key) = (scene.field.context, scene.field.key);
    match step {
        ChunkStep::Make(work) => {
            let Some((_, coordinator)) = newest_job(&scene.runs[run], &scene.jobs) else {
                return Ok(());
            };
            create_job(context, &key.namespace, chunk_job(coordinator, &work)).await.map(drop)
        }
        ChunkStep::Remove(job) => delete_job(context, &key.namespace, &job).await,
        ChunkStep::GiveUp { address, told } => {
            context.pods.give_up_chunks(&address, &told).await;
            Ok(())
        }
    }
}

async fn remove_left_over(scene: &mut Scene<'_>, turns: &[Turn]) {
    let followed = turns.iter().filter(|turn| turn.step == Step::Follow);
    let under_way: BTreeSet<(&str, u32)> = followed
        .filter_map(|turn| Some((scene.runs[turn.run].uid.as_str(), turn.attempt.as_ref()?.number)))
        .collect();
    let goes: Vec<_> = left_over(&scene.jobs, &under_way).into_iter().map(Arc::clone).collect();
    for job in goes {
        let removed = delete_job(scene.field.context, &scene.field.key.namespace, &job).await;
        scene.note(removed);
    }
}
