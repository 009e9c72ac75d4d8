//! Runs that are over: counted, told, and removed when their time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidegate_api::IngestionRunStatus;

use super::runs_seen::{Newest, RunsSeen};
use crate::runs::{Finished, KeepFacts, Run, delete_run, keep, tally};
use crate::status::{INTERVALS_CURRENT, READY, find};

/// What is over: counted, told, and removed when its time has come.
pub(super) async fn tidy(seen: &mut RunsSeen<'_>) {
    seen.done.newest = newest(&seen.runs);
    seen.done.looked = last_look(&seen.runs);
    seen.done.tally = Some(tally(&seen.runs));
    let Some(terms) = &seen.terms else { return };
    let bulk = &terms.bulk;
    let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let ttl = bulk.run_template.ttl_seconds_after_finished;
    let facts = KeepFacts {
        succeeded: count(bulk.successful_runs_history_limit),
        failed: count(bulk.failed_runs_history_limit),
        ttl: ttl.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs),
        now: seen.field.now,
    };
    let (goes, next) = keep(&finished(&seen.runs), &facts);
    seen.at(next);
    for run in goes {
        let (context, key) = (seen.field.context, seen.field.key);
        let removed = delete_run(context, key, &run.name, &run.uid).await;
        seen.note(removed);
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
    use crate::runs::read;

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
