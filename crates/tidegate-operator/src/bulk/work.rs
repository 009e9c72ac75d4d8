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
use super::history::tidy;
use super::memory::BulkMemory;
use super::parents::{Family, go_on_with_parents};
use super::runs_seen::{Done, RunDecision, RunsSeen};
use super::scheduling::{Scheduled, dependencies, follow_schedule};
use super::terms::{Field, Stand};
use crate::apply::create;
use crate::calendar::{Ask, Purpose};
use crate::runs::{
    Attempt, Contender, LeafFacts, NextAttempt, Run, StatusFacts, Step, What, attempt, create_run,
    decide, limit, next_status, transfer_job, write_status,
};
use crate::schedule::{Dependency, waits_for};

/// Takes every run one step on; `schedule` is what the status said before.
pub(crate) async fn work(
    field: &Field<'_>,
    schedule: Option<&ScheduleStatus>,
    memory: &mut BulkMemory,
) -> Done {
    let mut seen = RunsSeen::look(field, schedule);
    let uids: BTreeSet<String> = seen.runs.iter().map(|run| run.uid.clone()).collect();
    memory.keep_only(&uids);

    let leaves = decide_on_leaves(&seen).await;
    look_after_readers(&mut seen, &leaves).await;
    carry_out(&mut seen, memory, leaves).await;
    // What has just ended is counted at once: nobody would wake them for it.
    let Family { decisions: parents, mut asks, make } = go_on_with_parents(&seen, memory);
    carry_out(&mut seen, memory, parents).await;
    for document in make {
        let made = create_run(field.context, field.key, &document).await;
        seen.note(made);
    }

    let scheduled = follow_schedule(&mut seen, memory, schedule).await;
    if let Some(Scheduled { status, ask }) = scheduled {
        let begun = seen.terms.as_ref().is_none_or(|terms| terms.begun);
        // Runs waited for that.
        seen.done.reads_on |= !begun && status.last_scheduled_tick.is_some();
        seen.done.schedule = Some(status);
        asks.extend(ask.map(|range| Ask { purpose: Purpose::Schedule, range }));
    }
    ask_calendar(&mut seen, memory, &asks).await;
    tidy(&mut seen).await;
    seen.done
}

/// What is to be done about the runs that are not over and are not of a range.
async fn decide_on_leaves(seen: &RunsSeen<'_>) -> Vec<RunDecision> {
    let is_leaf = |run: &Run| {
        let range = run.wish.as_ref().is_ok_and(|wish| matches!(wish.what, What::Range { .. }));
        run.succeeded().is_none() && !range
    };
    let leaves: Vec<usize> =
        (0..seen.runs.len()).filter(|index| is_leaf(&seen.runs[*index])).collect();
    let context = seen.field.context;
    let schedule = seen.terms.as_ref().and_then(|terms| terms.bulk.schedule.as_ref());
    let schedule = schedule.filter(|_| !leaves.is_empty());
    let others = schedule.map(|it| dependencies(context, seen.field.key, it)).unwrap_or_default();
    let looks =
        leaves.iter().map(|index| attempt(context, &seen.runs[*index], &seen.jobs, &seen.pods));
    let attempts = join_all(looks).await;
    let mut decisions: Vec<RunDecision> = leaves
        .into_iter()
        .zip(attempts)
        .map(|(run, attempt)| {
            let step = step_of(seen, &others, &seen.runs[run], attempt.as_ref());
            RunDecision { run, step, attempt, children: None }
        })
        .collect();
    make_room(seen, &mut decisions);
    decisions
}

fn step_of(
    seen: &RunsSeen<'_>,
    others: &[Dependency],
    run: &Run,
    attempt: Option<&Attempt>,
) -> Step {
    let pipeline = seen.pipeline();
    let waits_for = run.interval().and_then(|interval| waits_for(others, interval.end()));
    let waits_for = waits_for.as_deref();
    decide(&LeafFacts { run, attempt, pipeline, waits_for, now: seen.field.now })
}

/// Not everybody may begin at once.
fn make_room(seen: &RunsSeen<'_>, decisions: &mut [RunDecision]) {
    let Some(terms) = &seen.terms else { return };
    let contender = |decision: &RunDecision| {
        let run = &seen.runs[decision.run];
        Contender {
            name: run.name.clone(),
            trigger: run.trigger().unwrap_or(RunTrigger::Manual),
            interval: run.interval(),
            created: run.created,
            active: run.is_active() || decision.attempt.is_some(),
            step: decision.step.clone(),
        }
    };
    let mut contenders: Vec<Contender> = decisions.iter().map(contender).collect();
    limit(&mut contenders, terms.most);
    for (decision, contender) in decisions.iter_mut().zip(contenders) {
        decision.step = contender.step;
    }
}

/// Jobs and statuses.
async fn carry_out(seen: &mut RunsSeen<'_>, memory: &mut BulkMemory, decisions: Vec<RunDecision>) {
    for decision in decisions {
        if let Step::Start(number) = decision.step
            && !start(seen, decision.run, number).await
        {
            continue;
        }
        seen.at(match &decision.step {
            Step::Wait(waiting) => waiting.until,
            _ => None,
        });
        seen.done.is_busy |= is_busy(&decision.step);
        tell(seen, memory, &decision).await;
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

async fn start(seen: &mut RunsSeen<'_>, run: usize, number: u32) -> bool {
    let context = seen.field.context;
    let (Stand::There(pipeline, _), Ok(wish)) = (seen.field.stand, &seen.runs[run].wish) else {
        return false;
    };
    let attempt = NextAttempt { run: &seen.runs[run], wish, number, token: &fresh_token() };
    let job = transfer_job(pipeline, &context.options.pods, attempt);
    let made = create(context, &seen.field.key.namespace, job).await;
    // One that was there was counted by whoever made it.
    if matches!(made, Ok(true)) {
        context.metrics.run_attempted(seen.field.key, number);
    }
    seen.note(made.map(drop))
}

/// 128 bits that nobody guesses: the keys of a hash map are from the operating system's randomness.
fn fresh_token() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", bits(), bits())
}

/// Writes the status, if it says something new.
async fn tell(seen: &mut RunsSeen<'_>, memory: &mut BulkMemory, decision: &RunDecision) {
    let run = &seen.runs[decision.run];
    let facts = StatusFacts {
        run,
        step: &decision.step,
        attempt: decision.attempt.as_ref(),
        pipeline_generation: pipeline_generation(seen),
        children: decision.children.as_ref(),
        written: memory.written.get(&run.uid).copied(),
        now: seen.field.now,
    };
    let Some(status) = next_status(&facts) else { return };
    let (context, key) = (seen.field.context, seen.field.key);
    let written = write_status(context, key, run, &status).await;
    if seen.note(written) {
        announce(seen, decision, &status).await;
        memory.written.insert(seen.runs[decision.run].uid.clone(), seen.field.now);
        seen.runs[decision.run].status = status;
    }
}

fn pipeline_generation(seen: &RunsSeen<'_>) -> Option<i64> {
    let object = seen.field.context.caches.pipelines.get(seen.field.key, &seen.field.key.name)?;
    object.metadata.generation
}
