//! All runs of a pipeline, taken one step on.
//!
//! What goes wrong with one run is told at the end and keeps no other from its step.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use futures::future::join_all;
use tidegate_api::{RunTrigger, ScheduleStatus};
use tidegate_types::Reason;

use super::announce::announce;
use super::calendars::ask_calendar;
use super::chunks::look_after_readers;
use super::ground::{Field, Stand};
use super::history::tidy;
use super::memory::BulkMemory;
use super::parents::{Family, go_on_with_parents};
use super::scene::{Done, Scene, Turn};
use super::scheduling::{Scheduled, dependencies, follow_schedule};
use crate::calendar::{Ask, Purpose};
use crate::runs::{
    Attempt, Contender, LeafFacts, Run, StatusFacts, Step, What, attempt, create_job, create_run,
    decide, limit, next_status, transfer_job, write_status,
};
use crate::schedule::{Dependency, waits_for};

/// Takes every run one step on; `schedule` is what the status said before.
pub(crate) async fn work(
    field: &Field<'_>,
    schedule: Option<&ScheduleStatus>,
    memory: &mut BulkMemory,
) -> Done {
    let mut scene = Scene::look(field, schedule);
    let uids: BTreeSet<String> = scene.runs.iter().map(|run| run.uid.clone()).collect();
    memory.keep_only(&uids);

    let leaves = turns_of_leaves(&scene).await;
    look_after_readers(&mut scene, &leaves).await;
    carry_out(&mut scene, memory, leaves).await;
    // What has just ended is counted at once: nobody would wake them for it.
    let Family { turns: parents, mut asks, make } = go_on_with_parents(&scene, memory);
    carry_out(&mut scene, memory, parents).await;
    for document in make {
        let made = create_run(field.context, field.key, &document).await;
        scene.note(made);
    }

    let scheduled = follow_schedule(&mut scene, memory, schedule).await;
    if let Some(Scheduled { status, ask }) = scheduled {
        let begun = scene.terms.as_ref().is_none_or(|terms| terms.begun);
        // Runs waited for that.
        scene.done.reads_on |= !begun && status.last_scheduled_tick.is_some();
        scene.done.schedule = Some(status);
        asks.extend(ask.map(|range| Ask { purpose: Purpose::Schedule, range }));
    }
    ask_calendar(&mut scene, memory, &asks).await;
    tidy(&mut scene).await;
    scene.done
}

/// What is to be done about the runs that are not over and are not of a range.
async fn turns_of_leaves(scene: &Scene<'_>) -> Vec<Turn> {
    let is_leaf = |run: &Run| {
        let range = run.wish.as_ref().is_ok_and(|wish| matches!(wish.what, What::Range { .. }));
        run.succeeded().is_none() && !range
    };
    let leaves: Vec<usize> =
        (0..scene.runs.len()).filter(|index| is_leaf(&scene.runs[*index])).collect();
    let context = scene.field.context;
    let schedule = scene.terms.as_ref().and_then(|terms| terms.bulk.schedule.as_ref());
    let schedule = schedule.filter(|_| !leaves.is_empty());
    let others = schedule.map(|it| dependencies(context, scene.field.key, it)).unwrap_or_default();
    let looks =
        leaves.iter().map(|index| attempt(context, &scene.runs[*index], &scene.jobs, &scene.pods));
    let attempts = join_all(looks).await;
    let mut turns: Vec<Turn> = leaves
        .into_iter()
        .zip(attempts)
        .map(|(run, attempt)| {
            let step = step_of(scene, &others, &scene.runs[run], attempt.as_ref());
            Turn { run, step, attempt, children: None }
        })
        .collect();
    make_room(scene, &mut turns);
    turns
}

fn step_of(scene: &Scene<'_>, others: &[Dependency], run: &Run, attempt: Option<&Attempt>) -> Step {
    let ground = scene.ground();
    let waits_for = run.interval().and_then(|interval| waits_for(others, interval.end()));
    let waits_for = waits_for.as_deref();
    decide(&LeafFacts { run, attempt, ground, waits_for, now: scene.field.now })
}

/// Not everybody may begin at once.
fn make_room(scene: &Scene<'_>, turns: &mut [Turn]) {
    let Some(terms) = &scene.terms else { return };
    let contender = |turn: &Turn| {
        let run = &scene.runs[turn.run];
        Contender {
            name: run.name.clone(),
            trigger: run.trigger().unwrap_or(RunTrigger::Manual),
            interval: run.interval(),
            created: run.created,
            active: run.is_active() || turn.attempt.is_some(),
            step: turn.step.clone(),
        }
    };
    let mut contenders: Vec<Contender> = turns.iter().map(contender).collect();
    limit(&mut contenders, terms.most);
    for (turn, contender) in turns.iter_mut().zip(contenders) {
        turn.step = contender.step;
    }
}

/// Jobs and statuses.
async fn carry_out(scene: &mut Scene<'_>, memory: &mut BulkMemory, turns: Vec<Turn>) {
    for turn in turns {
        if let Step::Start(number) = turn.step
            && !start(scene, turn.run, number).await
        {
            continue;
        }
        scene.at(match &turn.step {
            Step::Wait(waiting) => waiting.until,
            _ => None,
        });
        scene.done.is_busy |= is_busy(&turn.step);
        tell(scene, memory, &turn).await;
    }
}

/// Whether nothing but time or a look at a pod or at another pipeline shows how it goes on.
fn is_busy(step: &Step) -> bool {
    match step {
        Step::Start(_) | Step::Follow => true,
        Step::Wait(waiting) => waiting.reason == Reason::WaitingForDependency,
        Step::Finish(_) => false,
    }
}

async fn start(scene: &mut Scene<'_>, run: usize, number: u32) -> bool {
    let context = scene.field.context;
    let (Stand::There(pipeline, _), Ok(wish)) = (scene.field.stand, &scene.runs[run].wish) else {
        return false;
    };
    let (pods, token) = (&context.options.pods, fresh_token());
    let job = transfer_job(pipeline, pods, &scene.runs[run], wish, number, &token);
    let made = create_job(context, &scene.field.key.namespace, job).await;
    // One that was there was counted by whoever made it.
    if matches!(made, Ok(true)) {
        context.metrics.run_attempted(scene.field.key, number);
    }
    scene.note(made.map(drop))
}

/// 128 bits that nobody guesses: the keys of a hash map are from the operating system's randomness.
fn fresh_token() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", bits(), bits())
}

/// Writes the status, if it says something new.
async fn tell(scene: &mut Scene<'_>, memory: &mut BulkMemory, turn: &Turn) {
    let run = &scene.runs[turn.run];
    let facts = StatusFacts {
        run,
        step: &turn.step,
        attempt: turn.attempt.as_ref(),
        pipeline_generation: pipeline_generation(scene),
        children: turn.children.as_ref(),
        written: memory.written.get(&run.uid).copied(),
        now: scene.field.now,
    };
    let Some(status) = next_status(&facts) else { return };
    let (context, key) = (scene.field.context, scene.field.key);
    let written = write_status(context, key, run, &status).await;
    if scene.note(written) {
        announce(scene, turn, &status).await;
        memory.written.insert(scene.runs[turn.run].uid.clone(), scene.field.now);
        scene.runs[turn.run].status = status;
    }
}

fn pipeline_generation(scene: &Scene<'_>) -> Option<i64> {
    let object =
        scene.field.context.caches.pipelines.get(scene.field.key, &scene.field.key.name)?;
    object.metadata.generation
}
