use serde_json::{Value, json};

use super::*;
use crate::pods::{End, Ended, PodFacts, Trouble};
use crate::runs::facts::Waiting;
use crate::runs::read::read;
use crate::runs::read::tests::object;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_275_600 + second).unwrap()
}

fn run(status: &Value) -> Run {
    read(&object("r", &json!({"trigger": "Manual"}), status)).unwrap()
}

fn facts<'a>(run: &'a Run, step: &'a Step, second: i64) -> StatusFacts<'a> {
    StatusFacts {
        run,
        step,
        attempt: None,
        pipeline_generation: Some(3),
        children: None,
        written: None,
        now: at(second),
    }
}

/// The run with the status that is written, if one is.
fn told(run: &Run, facts: &StatusFacts<'_>) -> (Run, bool) {
    match next_status(facts) {
        Some(status) => (Run { status, ..run.clone() }, true),
        None => (run.clone(), false),
    }
}

fn report(phase: Phase, chunks_done: u32) -> RunReport {
    RunReport {
        phase,
        reason: "Progressing".into(),
        generation: 7,
        chunks_done,
        chunks: 16,
        rows_read: u64::from(chunks_done) * 100,
        rows_committed: u64::from(chunks_done) * 99,
        dead_letters: u64::from(chunks_done),
        ..RunReport::default()
    }
}

fn attempt(report: Option<RunReport>) -> Attempt {
    let pod =
        PodFacts { ready: true, not_ready_since: None, leaving: false, trouble: None, report };
    Attempt { number: 1, ended: None, pod: Some(pod), address: None, readers_wait: None }
}

#[test]
fn a_run_from_its_start_to_its_end() {
    let new = run(&Value::Null);
    let (begun, _) = told(&new, &facts(&new, &Step::Start(1), 0));
    let status = &begun.status;
    assert_eq!((status.phase, status.attempt), (Some(RunPhase::Pending), Some(1)));
    assert_eq!(status.start_time.as_ref().map(|time| time.0), Some(at(0)));
    assert_eq!(status.pipeline_generation, Some(3));

    let under_way = attempt(Some(report(Phase::Running, 9)));
    let follow = StatusFacts { attempt: Some(&under_way), ..facts(&begun, &Step::Follow, 10) };
    let (running, _) = told(&begun, &follow);
    let status = &running.status;
    assert_eq!((status.phase, status.generation), (Some(RunPhase::Running), Some(7)));
    assert_eq!(status.chunks.as_ref().map(|chunks| chunks.progress.as_str()), Some("9/16"));
    assert_eq!(status.rows.as_ref().map(|rows| rows.committed), Some(891));

    let silent = attempt(None);
    let follow = StatusFacts { attempt: Some(&silent), ..facts(&running, &Step::Follow, 40) };
    assert_eq!(next_status(&follow), None, "a pod that does not answer for once changes nothing");

    let last = RunReport { version: Some(12), ..report(Phase::Succeeded, 16) };
    let over = Step::Finish(Outcome {
        succeeded: true,
        reason: Reason::Ok,
        message: String::new(),
        report: Some(last),
        at: at(192),
    });
    let (done, _) = told(&running, &facts(&running, &over, 193));
    let status = &done.status;
    assert_eq!((status.phase, status.version), (Some(RunPhase::Succeeded), Some(12)));
    assert_eq!(status.duration.as_deref(), Some("3m12s"));
    assert_eq!(done.succeeded(), Some(true));
}

#[test]
fn an_attempt_whose_beginning_nobody_wrote_down_is_told_when_it_is_found() {
    let ended = |number| {
        let end = End::Exit { code: 75, said: String::new() };
        let ended = Some(Ended { at: at(20), end });
        Attempt { number, ended, ..attempt(None) }
    };
    let over = |succeeded| {
        let (reason, message) = (Reason::Ok, String::new());
        Step::Finish(Outcome { succeeded, reason, message, report: None, at: at(20) })
    };
    let waits = || Step::Wait(Waiting { until: Some(at(60)), ..Waiting::new(Reason::Ok, "") });
    let first = run(&json!({"attempt": 1, "startTime": at(0).to_string()}));
    for step in [over(true), over(false), waits(), Step::Follow] {
        let second = ended(2);
        let facts = StatusFacts { attempt: Some(&second), ..facts(&first, &step, 30) };
        let (found, _) = told(&first, &facts);
        assert_eq!(found.status.attempt, Some(2), "{step:?}");
        assert_eq!(found.status.pipeline_generation, Some(3), "{step:?}");
        assert_eq!(found.status.start_time.map(|time| time.0), Some(at(0)), "{step:?}");
    }
    let (new, first) = (run(&Value::Null), ended(1));
    let step = over(true);
    let facts = StatusFacts { attempt: Some(&first), ..facts(&new, &step, 30) };
    let (found, _) = told(&new, &facts);
    assert_eq!(found.status.start_time.map(|time| time.0), Some(at(20)));
    assert_eq!(found.status.duration.as_deref(), Some("0s"));
}

#[test]
fn numbers_alone_wait_and_a_phase_does_not() {
    let begun = run(&json!({"attempt": 1}));
    let nine = attempt(Some(report(Phase::Running, 9)));
    let follow = StatusFacts { attempt: Some(&nine), ..facts(&begun, &Step::Follow, 0) };
    let (running, _) = told(&begun, &follow);
    let ten = attempt(Some(report(Phase::Running, 10)));
    let soon = StatusFacts {
        attempt: Some(&ten),
        written: Some(at(0)),
        ..facts(&running, &Step::Follow, 14)
    };
    assert_eq!(next_status(&soon), None);
    assert!(next_status(&StatusFacts { now: at(15), ..soon }).is_some());
    let committing = attempt(Some(report(Phase::Committing, 10)));
    let soon = StatusFacts { attempt: Some(&committing), ..soon };
    assert!(next_status(&soon).is_some());
}

#[test]
fn between_two_attempts_it_says_when_the_next_one_is_and_the_next_begins_with_no_numbers() {
    let failed = run(&json!({
        "attempt": 1, "phase": "Running", "startTime": at(0).to_string(),
        "chunks": {"total": 16, "done": 9, "progress": "9/16"},
    }));
    let waiting =
        Waiting { until: Some(at(60)), ..Waiting::new(Reason::SourceUnreachable, "later") };
    let (waits, _) = told(&failed, &facts(&failed, &Step::Wait(waiting), 30));
    let next = waits.status.next_attempt_time.as_ref().map(|time| time.0);
    assert_eq!((next, waits.status.phase), (Some(at(60)), Some(RunPhase::Pending)));
    let (again, _) = told(&waits, &facts(&waits, &Step::Start(2), 60));
    assert_eq!((again.status.attempt, again.status.chunks.as_ref()), (Some(2), None));
    assert_eq!(again.status.start_time.as_ref().map(|time| time.0), Some(at(0)));
    assert_eq!(again.status.next_attempt_time, None);
}

#[test]
fn a_run_that_only_waits_is_written_once() {
    let new = run(&Value::Null);
    let waiting = || Step::Wait(Waiting::new(Reason::RunLimitReached, "another run is active"));
    let (waits, written) = told(&new, &facts(&new, &waiting(), 0));
    assert!(written && waits.status.start_time.is_none());
    assert_eq!(next_status(&facts(&waits, &waiting(), 500)), None);
}

#[test]
fn durations_are_told_in_words() {
    for (seconds, words) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (3_601, "1h0m1s")] {
        assert_eq!(in_words(at(0), at(seconds)), words);
    }
}

#[test]
fn readers_of_chunks_that_find_no_node_are_told() {
    let begun = run(&json!({"attempt": 1, "startTime": at(0).to_string()}));
    let message = "0/3 nodes are available".to_owned();
    let readers_wait = Some(Trouble { reason: Reason::Unschedulable, message });
    let attempt = Attempt { readers_wait, ..attempt(Some(report(Phase::Running, 9))) };
    let follow = StatusFacts { attempt: Some(&attempt), ..facts(&begun, &Step::Follow, 10) };
    let (waits, _) = told(&begun, &follow);
    let ready = waits.status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(ready.reason, "Unschedulable");
    assert!(ready.message.contains("read a chunk: 0/3 nodes"), "{}", ready.message);
}
