use serde_json::{Value, json};

use super::*;
use crate::runs::read::read;
use crate::runs::read::tests::object;

fn at(second: i64) -> Timestamp {
    // A minute after the interval's end.
    Timestamp::from_second(1_780_275_660 + second).unwrap()
}

fn hour() -> Value {
    json!({"start": "2026-06-01T00:00:00Z", "end": "2026-06-01T01:00:00Z"})
}

fn run(spec: &Value, status: &Value) -> Run {
    read(&object("orders-20260601t010000z", spec, status)).unwrap()
}

fn scheduled(status: &Value) -> Run {
    run(&json!({"trigger": "Scheduled", "interval": hour()}), status)
}

struct World {
    grid: Grid,
    retry: RetrySpec,
    suspended: bool,
    begun: bool,
    by_interval: bool,
    scheduled: bool,
    delay: SignedDuration,
    waits_for: Option<&'static str>,
    now: i64,
}

impl World {
    fn new() -> Self {
        Self {
            grid: Grid::new("0 * * * *", "UTC").unwrap(),
            retry: RetrySpec::default(),
            suspended: false,
            begun: true,
            by_interval: true,
            scheduled: true,
            delay: SignedDuration::ZERO,
            waits_for: None,
            now: 0,
        }
    }

    fn decide(&self, run: &Run, attempt: Option<&Attempt>) -> Step {
        let pipeline = PipelineFacts::There {
            suspended: self.suspended,
            grid: self.scheduled.then_some(&self.grid),
            delay: self.delay,
            begun: self.begun,
            by_interval: self.by_interval,
            retry: &self.retry,
        };
        self.decide_by(run, attempt, pipeline)
    }

    fn decide_by(&self, run: &Run, attempt: Option<&Attempt>, pipeline: PipelineFacts<'_>) -> Step {
        let (waits_for, now) = (self.waits_for, at(self.now));
        decide(&LeafFacts { run, attempt, pipeline, waits_for, now })
    }
}

fn waits(step: &Step) -> (Reason, &str) {
    let Step::Wait(waiting) = step else { panic!("{step:?}") };
    (waiting.reason, &waiting.message)
}

fn over(step: Step) -> Outcome {
    let Step::Finish(outcome) = step else { panic!("{step:?}") };
    outcome
}

fn ended(number: u32, end: End) -> Attempt {
    Attempt {
        number,
        ended: Some(Ended { at: at(0), end }),
        pod: None,
        address: None,
        readers_wait: None,
    }
}

fn exit(code: i32, said: &Value) -> End {
    End::Exit { code, said: said.to_string() }
}

fn report(reason: &str, message: &str) -> Value {
    json!({
        "phase": "Failed", "reason": reason, "message": message, "generation": 1, "chunksDone": 0,
        "chunks": 0, "rowsRead": 0, "rowsCommitted": 0, "deadLetters": 0, "rowsReplaced": 0,
    })
}

#[test]
fn a_run_begins_when_everything_is_there() {
    let mut world = World::new();
    let new = scheduled(&Value::Null);
    assert_eq!(world.decide(&new, None), Step::Start(1));
    world.suspended = true;
    assert_eq!(waits(&world.decide(&new, None)).0, Reason::Suspended);
    world.suspended = false;
    world.begun = false;
    let step = world.decide(&new, None);
    assert!(waits(&step).1.contains("asked first"), "a run would change what the log answers");
    world.begun = true;
    world.delay = SignedDuration::from_mins(5);
    let step = world.decide(&new, None);
    assert_eq!(waits(&step).0, Reason::WaitingForTick);
    let Step::Wait(waiting) = step else { panic!() };
    assert_eq!(waiting.until, Some(at(4 * 60)));
    world.delay = SignedDuration::ZERO;
    world.waits_for = Some("waits for pipeline customers, which is at noon");
    let step = world.decide(&new, None);
    assert_eq!(waits(&step).0, Reason::WaitingForDependency);
    assert!(waits(&step).1.contains("customers"));
    let manual = run(&json!({"trigger": "Manual", "interval": hour()}), &Value::Null);
    assert_eq!(world.decide(&manual, None), Step::Start(1), "a person need not wait for others");
}

#[test]
fn a_run_waits_for_its_pipeline_and_ends_where_there_are_no_runs() {
    let world = World::new();
    let new = scheduled(&Value::Null);
    let missing = world.decide_by(&new, None, PipelineFacts::Missing);
    assert_eq!(waits(&missing).0, Reason::PipelineMissing);
    let rejection =
        Rejection { reason: Reason::InvalidConfiguration, message: "spec.bulk: no".into() };
    let refused = world.decide_by(&new, None, PipelineFacts::Unusable(&rejection));
    assert!(waits(&refused).1.contains("spec.bulk: no"), "{refused:?}");
    let streams = over(world.decide_by(&new, None, PipelineFacts::Streams));
    assert!(!streams.succeeded && streams.message.contains("stream"));
}

#[test]
fn what_does_not_fit_the_pipeline_fails_at_once() {
    let mut world = World::new();
    world.suspended = true;
    let half = json!({"start": "2026-06-01T00:30:00Z", "end": "2026-06-01T01:00:00Z"});
    let half = run(&json!({"trigger": "Manual", "interval": half}), &Value::Null);
    let outcome = over(world.decide(&half, None));
    assert_eq!((outcome.succeeded, outcome.reason), (false, Reason::IntervalNotAligned));
    assert!(
        outcome.message.contains("2026-06-01T00:00:00Z"),
        "it names what would fit: {outcome:?}"
    );
    let whole = run(&json!({"trigger": "Manual"}), &Value::Null);
    assert_eq!(over(world.decide(&whole, None)).reason, Reason::InvalidConfiguration);
    world.by_interval = false;
    world.suspended = false;
    assert_eq!(world.decide(&whole, None), Step::Start(1));
    world.scheduled = false;
    let outcome = over(world.decide(&scheduled(&Value::Null), None));
    assert!(outcome.message.contains("no schedule"), "{outcome:?}");
    let odd = json!({"start": "2026-06-01T00:00:07Z", "end": "2026-06-01T00:59:00Z"});
    let repair = run(&json!({"trigger": "Repair", "interval": odd}), &Value::Null);
    assert_eq!(world.decide(&repair, None), Step::Start(1), "b10: repairs need no ticks");
    let malformed = over(world.decide(&run(&json!({"trigger": "Sometimes"}), &Value::Null), None));
    assert_eq!((malformed.succeeded, malformed.reason), (false, Reason::InvalidConfiguration));
}

#[test]
fn an_attempt_is_followed_and_its_success_is_the_run_s() {
    let world = World::new();
    let begun = scheduled(&json!({"attempt": 1, "phase": "Running"}));
    let under_way =
        Attempt { number: 1, ended: None, pod: None, address: None, readers_wait: None };
    assert_eq!(world.decide(&begun, Some(&under_way)), Step::Follow);
    let well = ended(1, exit(0, &report("Ok", "")));
    let outcome = over(world.decide(&begun, Some(&well)));
    assert_eq!((outcome.succeeded, outcome.reason), (true, Reason::Ok));
    assert_eq!(outcome.report.map(|report| report.generation), Some(1));
    let already = ended(1, exit(0, &report("AlreadyComplete", "")));
    assert_eq!(over(world.decide(&begun, Some(&already))).reason, Reason::AlreadyComplete);
    let unheard = over(world.decide(&begun, Some(&ended(1, End::Unheard))));
    assert!(unheard.succeeded && unheard.report.is_none());
}

#[test]
fn a_passing_failure_is_tried_again_after_a_pause_up_to_the_limit() {
    let mut world = World::new();
    let begun = scheduled(&json!({"attempt": 1, "phase": "Running"}));
    let failed = ended(1, exit(75, &report("SourceUnreachable", "no answer")));
    let step = world.decide(&begun, Some(&failed));
    let (reason, message) = waits(&step);
    assert_eq!(reason, Reason::SourceUnreachable);
    assert!(message.contains("attempt 1") && message.contains("no answer"), "{message}");
    let Step::Wait(waiting) = &step else { panic!() };
    let next = waiting.until.unwrap();
    assert!(next >= at(30) && next <= at(31), "{next}");
    world.now = 31;
    assert_eq!(world.decide(&begun, Some(&failed)), Step::Start(2));
    // What was told stays, though the object that told when it ended is gone.
    let told = scheduled(&json!({"attempt": 1, "nextAttemptTime": at(40).to_string()}));
    assert_eq!(waits(&world.decide(&told, None)).0, Reason::PodFailing);
    world.now = 40;
    assert_eq!(world.decide(&told, None), Step::Start(2));
    let last = scheduled(&json!({"attempt": 4}));
    let failed = ended(4, exit(75, &report("SourceUnreachable", "no answer")));
    let outcome = over(world.decide(&last, Some(&failed)));
    assert_eq!((outcome.succeeded, outcome.reason), (false, Reason::SourceUnreachable));
    assert!(outcome.message.contains("attempt 4 was the last"), "{outcome:?}");
}

#[test]
fn a_lasting_failure_is_not_tried_again() {
    let world = World::new();
    let begun = scheduled(&json!({"attempt": 1}));
    let refused = ended(1, exit(65, &report("SourceRefused", "permission denied")));
    let outcome = over(world.decide(&begun, Some(&refused)));
    assert_eq!((outcome.succeeded, outcome.reason), (false, Reason::SourceRefused));
    assert_eq!(outcome.message, "permission denied");
}

#[test]
fn whatever_else_ends_an_attempt_is_tried_again_and_told() {
    let world = World::new();
    let begun = scheduled(&json!({"attempt": 1}));
    for (end, reason, words) in [
        (End::Lost, Reason::PodFailing, "lost"),
        (End::Deadline { said: String::new() }, Reason::DeadlineExceeded, "longer"),
        (End::Exit { code: 137, said: String::new() }, Reason::PodFailing, "137"),
        (End::Exit { code: 1, said: "a\nlast line\n".into() }, Reason::PodFailing, "last line"),
        (exit(75, &report("NewerWord", "?")), Reason::PodFailing, "75"),
    ] {
        let step = world.decide(&begun, Some(&ended(1, end.clone())));
        let (found, message) = waits(&step);
        assert_eq!(found, reason, "{end:?}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn an_attempt_whose_time_is_up_tells_what_it_did_and_why_unless_it_was_only_told_to_end() {
    let world = World::new();
    let last = scheduled(&json!({"attempt": 4}));
    for (said, reason, words) in [
        ("DeadLetterCommitPending", Reason::DeadLetterCommitPending, "words"),
        ("Interrupted", Reason::DeadlineExceeded, "longer"),
        ("Ok", Reason::DeadlineExceeded, "longer"),
    ] {
        let mut report = report(said, "words");
        report["version"] = json!(7);
        report["rowsCommitted"] = json!(5);
        let end = End::Deadline { said: report.to_string() };
        let outcome = over(world.decide(&last, Some(&ended(4, end))));
        assert_eq!((outcome.succeeded, outcome.reason), (false, reason));
        assert!(outcome.message.contains(words), "{outcome:?}");
        let report = outcome.report.unwrap();
        assert_eq!((report.version, report.rows_committed), (Some(7), 5), "{said}");
    }
}

#[test]
fn an_attempt_whose_job_is_gone_was_lost_and_an_older_one_says_nothing() {
    let mut world = World::new();
    let second = scheduled(&json!({"attempt": 2}));
    let first = ended(1, exit(0, &report("Ok", "")));
    for attempt in [None, Some(&first)] {
        let step = world.decide(&second, attempt);
        assert!(waits(&step).1.contains("attempt 2"), "{step:?}");
    }
    // The status was lost with the cluster, the Job was not.
    let forgotten = scheduled(&Value::Null);
    let third = Attempt { number: 3, ended: None, pod: None, address: None, readers_wait: None };
    assert_eq!(world.decide(&forgotten, Some(&third)), Step::Follow);
    world.suspended = true;
    assert_eq!(world.decide(&forgotten, Some(&third)), Step::Follow, "what is active ends");
    world.now = 31;
    let failed = ended(1, exit(75, &report("SourceUnreachable", "")));
    let begun = scheduled(&json!({"attempt": 1}));
    assert_eq!(world.decide(&begun, Some(&failed)), Step::Start(2), "and is tried again");
}
