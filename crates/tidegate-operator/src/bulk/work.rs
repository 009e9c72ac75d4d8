//! All runs of a pipeline, taken one step on.
//!
//! What goes wrong with one run is told at the end and keeps no other from its step.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidegate_api::{ChildrenStatus, IngestionRunStatus, RunTrigger, ScheduleStatus};
use tidegate_types::Reason;

use super::calendars::ask_calendar;
use super::chunks::look_after_readers;
use super::ground::{Field, Stand, Terms};
use super::memory::BulkMemory;
use super::parents::{Family, go_on_with_parents};
use super::report::announce;
use super::scheduling::{Scheduled, dependencies, follow_schedule};
use crate::calendar::{Ask, Purpose};
use crate::pipeline::{Failure, INTERVALS_CURRENT, READY, find, transfer_job};
use crate::runs::{
    Attempt, Contender, Finished, Ground, KeepFacts, LeafFacts, Run, RunTally, Step, What, attempt,
    create_job, decide, delete_run, keep, limit, next_status, read, write_status,
};
use crate::schedule::{Dependency, waits_for};

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The schedule's part of the status; none without a pipeline that is there.
    pub(crate) schedule: Option<ScheduleStatus>,
    /// The newest end of a run of the newest interval.
    pub(crate) newest: Option<Newest>,
    /// What a run saw last of the files of intervals that are done; none where no object tells.
    pub(crate) looked: Option<Condition>,
    /// What the log could not be asked for.
    pub(crate) calendar_trouble: Option<(Reason, String)>,
    /// The runs by phase, and when the last one succeeded; none when it did not come so far.
    pub(crate) tally: Option<RunTally>,
    /// Whether the log has answered, so that its readers have to look again at once.
    pub(crate) reads_on: bool,
    /// Whether something is under way that has to be looked at soon.
    pub(crate) is_busy: bool,
    /// When there will be something to do.
    pub(crate) next: Option<Timestamp>,
    /// The first thing that went wrong.
    pub(crate) failure: Option<Failure>,
}

/// How the newest run that is over ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) run: String,
    pub(crate) succeeded: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The runs of a pipeline as they are seen in one reconcile.
pub(super) struct Scene<'a> {
    pub(super) field: Field<'a>,
    pub(super) terms: Option<Terms<'a>>,
    pub(super) runs: Vec<Run>,
    pub(super) jobs: Vec<Arc<Job>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) done: Done,
}

impl Scene<'_> {
    /// Notes what goes wrong; the first is told.
    pub(super) fn note(&mut self, result: Result<(), Failure>) -> bool {
        let failed = result.err();
        let fine = failed.is_none();
        self.done.failure = self.done.failure.take().or(failed);
        fine
    }

    /// What its runs stand on.
    pub(super) fn ground(&self) -> Ground<'_> {
        match (&self.terms, self.field.stand) {
            (Some(terms), _) => terms.ground(),
            (None, Stand::Streams) => Ground::Streams,
            (None, Stand::Unusable(rejection)) => Ground::Unusable(rejection),
            (None, _) => Ground::Missing,
        }
    }

    /// There will be something to do then.
    pub(super) fn at(&mut self, when: Option<Timestamp>) {
        self.done.next = self.done.next.into_iter().chain(when).min();
    }
}

/// What a run is to do and say.
pub(super) struct Turn {
    pub(super) run: usize,
    pub(super) step: Step,
    pub(super) attempt: Option<Attempt>,
    pub(super) children: Option<ChildrenStatus>,
}

/// Takes every run one step on; `schedule` is what the status said before.
pub(crate) async fn work(
    field: &Field<'_>,
    schedule: Option<&ScheduleStatus>,
    memory: &mut BulkMemory,
) -> Done {
    let mut scene = look(field, schedule);
    let uids: BTreeSet<String> = scene.runs.iter().map(|run| run.uid.clone()).collect();
    memory.keep_only(&uids);

    let leaves = turns_of_leaves(&scene).await;
    look_after_readers(&mut scene, &leaves).await;
    carry_out(&mut scene, memory, leaves).await;
    // What has just ended is counted at once: nobody would wake them for it.
    let Family { turns: parents, mut asks, make } = go_on_with_parents(&scene, memory);
    carry_out(&mut scene, memory, parents).await;
    for document in make {
        let made = crate::runs::create_run(field.context, field.key, &document).await;
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

fn look<'a>(field: &Field<'a>, schedule: Option<&ScheduleStatus>) -> Scene<'a> {
    let caches = &field.context.caches;
    let runs = caches.runs.of(field.key);
    let terms = match field.stand {
        Stand::There(pipeline, grid) => Some(Terms::of(pipeline, grid, schedule)),
        _ => None,
    };
    Scene {
        field: *field,
        terms,
        runs: runs.iter().filter_map(|run| read(run)).filter(|run| !run.leaving).collect(),
        jobs: caches.jobs.of(field.key),
        pods: caches.pods.of(field.key),
        done: Done::default(),
    }
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
    let facts = crate::runs::StatusFacts {
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

/// What is over: counted, told, and removed when its time has come.
async fn tidy(scene: &mut Scene<'_>) {
    scene.done.newest = newest(&scene.runs);
    scene.done.looked = last_look(&scene.runs);
    scene.done.tally = Some(RunTally::of(&scene.runs));
    let Some(terms) = &scene.terms else { return };
    let bulk = &terms.bulk;
    let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let ttl = bulk.run_template.ttl_seconds_after_finished;
    let facts = KeepFacts {
        succeeded: count(bulk.successful_runs_history_limit),
        failed: count(bulk.failed_runs_history_limit),
        ttl: ttl.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
        now: scene.field.now,
    };
    let (goes, next) = keep(&finished(&scene.runs), &facts);
    scene.at(next);
    for run in goes {
        let (context, key) = (scene.field.context, scene.field.key);
        let removed = delete_run(context, key, &run.name, &run.uid).await;
        scene.note(removed);
    }
}

fn finished(runs: &[Run]) -> Vec<Finished> {
    let parents: BTreeMap<&str, &Run> = runs.iter().map(|run| (run.uid.as_str(), run)).collect();
    let one = |run: &Run| {
        let parent = run.maker.as_deref().and_then(|maker| parents.get(maker).copied());
        Some(Finished {
            name: run.name.clone(),
            uid: run.uid.clone(),
            succeeded: run.succeeded()?,
            at: run.status.completion_time.as_ref().map_or(run.created, |time| time.0),
            by_hand: run.maker.is_none(),
            needed: parent.is_some_and(|parent| !has_counted(parent, run)),
        })
    };
    runs.iter().filter_map(one).collect()
}

fn has_counted(parent: &Run, run: &Run) -> bool {
    let through = parent.status.children.as_ref().and_then(|it| it.made_through.as_ref());
    let counted = through.zip(run.interval()).is_some_and(|(at, own)| own.end() <= at.0);
    counted || parent.succeeded().is_some()
}

/// The last end among the runs of the newest interval; those of a range tell their parent.
fn newest(runs: &[Run]) -> Option<Newest> {
    let uids: BTreeSet<&str> = runs.iter().map(|run| run.uid.as_str()).collect();
    let own = runs.iter().filter(|run| {
        let part = run.maker.as_deref().is_some_and(|maker| uids.contains(maker));
        run.succeeded().is_some() && !part && run.status.children.is_none()
    });
    let run = own.max_by_key(|run| {
        let end = run.interval().map(|interval| interval.end());
        let over = run.status.completion_time.as_ref().map(|time| time.0);
        // Of two that ended in one second the log knows which was later. Where it was not asked, the better
        // one: the interval is in the table.
        (end, over, run.status.generation, run.succeeded(), run.name.clone())
    })?;
    let (reason, message) = ready_of(&run.status);
    let succeeded = run.succeeded() == Some(true);
    Some(Newest { run: run.name.clone(), succeeded, reason, message })
}

/// What the run that ended last among those that looked back saw. Objects know whole seconds: of two that
/// ended in one, and were made in one, the worse.
fn last_look(runs: &[Run]) -> Option<Condition> {
    let looked = runs.iter().filter_map(|run| {
        let saw = find(&run.status.conditions, INTERVALS_CURRENT)?;
        let over = run.status.completion_time.as_ref()?.0;
        Some(((over, run.created, saw.status != "True", &run.name), saw))
    });
    looked.max_by_key(|(order, _)| *order).map(|(_, saw)| saw.clone())
}

fn ready_of(status: &IngestionRunStatus) -> (String, String) {
    let ready = find(&status.conditions, READY);
    ready.map(|ready| (ready.reason.clone(), ready.message.clone())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A run of an hour of the first of June that is over, or is not.
    fn run(name: &str, hour: u32, status: &Value) -> Run {
        let at = |hour: u32| format!("2026-06-01T{hour:02}:00:00Z");
        let object = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionRun",
            "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
            "spec": {"pipelineRef": {"name": "orders"}, "trigger": "Manual", "interval":
                {"start": at(hour), "end": at(hour + 1)}},
            "status": status,
        });
        read(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn over(phase: &str, second: u32) -> Value {
        json!({"phase": phase, "completionTime": format!("2026-06-02T00:00:{second:02}Z")})
    }

    #[test]
    fn the_newest_is_the_last_end_of_the_newest_interval() {
        let of = |runs: &[Run]| newest(runs).map(|newest| (newest.run, newest.succeeded));
        let old = run("old", 1, &over("Failed", 30));
        let first = run("first", 2, &over("Failed", 10));
        let again = run("again", 2, &over("Succeeded", 20));
        let works = run("works", 3, &json!({"phase": "Running"}));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[old.clone(), first.clone()]), Some(("first".to_owned(), false)));
        let all = [old, first, again, works];
        assert_eq!(of(&all), Some(("again".to_owned(), true)));
        let same = [run("a", 2, &over("Succeeded", 10)), run("b", 2, &over("Failed", 10))];
        assert_eq!(of(&same), Some(("a".to_owned(), true)));
        let claimed = |name: &str, phase: &str, generation: u32| {
            let mut status = over(phase, 10);
            status["generation"] = json!(generation);
            run(name, 2, &status)
        };
        let quick = [claimed("a", "Succeeded", 3), claimed("b", "Failed", 4)];
        assert_eq!(of(&quick), Some(("b".to_owned(), false)), "it failed when it was done again");
    }

    #[test]
    fn the_run_that_ended_last_says_whether_intervals_are_current() {
        let looked = |name: &str, hour, second, status: &str| {
            let mut ended = over("Succeeded", second);
            let since = "2026-06-02T00:00:00Z";
            ended["conditions"] = json!([{"type": "IntervalsCurrent", "status": status, "reason": "Ok",
                "message": name, "lastTransitionTime": since}]);
            run(name, hour, &ended)
        };
        let of = |runs: &[Run]| last_look(runs).map(|saw| (saw.message, saw.status));
        let silent = run("silent", 5, &over("Succeeded", 40));
        assert_eq!(of(std::slice::from_ref(&silent)), None);
        // What was mended is of an older interval than the run that saw it.
        let saw = looked("saw", 3, 10, "False");
        let mended = looked("mended", 1, 20, "True");
        let told = Some(("mended".to_owned(), "True".to_owned()));
        assert_eq!(of(&[silent, mended, saw]), told);
        let (well, late) = (looked("well", 3, 10, "True"), looked("late", 3, 10, "False"));
        let told = Some(("late".to_owned(), "False".to_owned()));
        assert_eq!(of(&[late, well]), told, "in one second");
    }

    #[test]
    fn a_part_of_a_range_is_needed_until_it_is_counted_and_does_not_speak_for_the_pipeline() {
        let part = |hour| {
            let run = run("part", hour, &over("Failed", 0));
            Run { maker: Some("uid-range".to_owned()), ..run }
        };
        let made = json!({"total": 9, "madeThrough": "2026-06-01T03:00:00Z"});
        let range = run("range", 0, &json!({"phase": "Running", "children": made}));
        for (hour, needed) in [(2, false), (3, true)] {
            let runs = [range.clone(), part(hour)];
            assert_eq!(finished(&runs)[0].needed, needed);
            assert_eq!(newest(&runs), None);
        }
        assert!(!finished(&[part(3)])[0].needed, "its range is gone");
    }
}
