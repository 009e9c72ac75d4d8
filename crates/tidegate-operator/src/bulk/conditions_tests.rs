use super::*;
use crate::status::find;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn facts() -> BulkFacts<'static> {
    BulkFacts {
        generation: 1,
        deleting: false,
        rejection: None,
        withheld: false,
        accepted: true,
        suspended: false,
        scheduled: true,
        freshness: None,
        failure: None,
        newest: None,
        calendar_trouble: None,
        of_files: false,
        looked: None,
        schedule: None,
    }
}

fn told(facts: &BulkFacts<'_>) -> Vec<String> {
    let found = conditions(facts, &[], at(0));
    found.into_iter().map(|it| format!("{}={} {}", it.type_, it.status, it.reason)).collect()
}

fn schedule(last: i64, through: Option<i64>, missed: u32) -> ScheduleStatus {
    ScheduleStatus {
        last_scheduled_tick: Some(Time(at(last))),
        complete_through: through.map(|second| Time(at(second))),
        missed,
        active: 1,
        ..ScheduleStatus::default()
    }
}

#[test]
fn a_pipeline_that_is_well_is_ready() {
    let schedule = schedule(-10, Some(-10), 0);
    let well = BulkFacts { schedule: Some(&schedule), ..facts() };
    assert_eq!(told(&well), ["Ready=True Ok", "SpecAccepted=True Ok", "CaughtUp=True Ok"]);
    let by_hand = BulkFacts { scheduled: false, ..facts() };
    assert_eq!(told(&by_hand), ["Ready=True Ok", "SpecAccepted=True Ok"]);
}

#[test]
fn the_newest_run_that_was_given_up_is_told() {
    let failed = Newest {
        run: "orders-1".into(),
        succeeded: false,
        reason: "SourceRefused".into(),
        message: "permission denied".into(),
    };
    let facts = BulkFacts { newest: Some(&failed), ..facts() };
    let ready = conditions(&facts, &[], at(0)).remove(0);
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "RunFailed"));
    assert!(ready.message.contains("orders-1") && ready.message.contains("permission denied"));
}

#[test]
fn a_refused_edit_leaves_what_was_accepted_ready_and_is_stalled() {
    let rejection = Rejection { reason: Reason::InvalidConfiguration, message: "no".into() };
    let edited = BulkFacts { rejection: Some(&rejection), ..facts() };
    assert_eq!(
        told(&edited)[..3],
        [
            "Ready=True InvalidConfiguration",
            "Stalled=True InvalidConfiguration",
            "SpecAccepted=False InvalidConfiguration",
        ]
    );
    let new = BulkFacts { accepted: false, ..edited };
    assert_eq!(told(&new)[0], "Ready=False InvalidConfiguration");
    let account = Rejection { reason: Reason::ServiceAccountRefused, message: "no".into() };
    let withheld = BulkFacts { rejection: Some(&account), withheld: true, ..facts() };
    assert_eq!(
        told(&withheld)[..2],
        ["Ready=False ServiceAccountRefused", "Reconciling=True ServiceAccountRefused"]
    );
}

#[test]
fn it_is_behind_until_what_is_due_is_done_and_late_against_its_promise() {
    let caught_up = |schedule: &ScheduleStatus, freshness: Option<u64>| {
        let freshness = freshness.map(Duration::from_secs);
        told(&BulkFacts { schedule: Some(schedule), freshness, ..facts() }).pop().unwrap()
    };
    assert_eq!(caught_up(&schedule(-10, Some(-70), 0), None), "CaughtUp=False Behind");
    assert_eq!(caught_up(&schedule(-70, Some(-70), 2), None), "CaughtUp=False Behind");
    assert_eq!(caught_up(&schedule(-70, Some(-70), 0), Some(71)), "CaughtUp=True Ok");
    assert_eq!(caught_up(&schedule(-70, Some(-70), 0), Some(70)), "CaughtUp=False Late");
    let idle = ScheduleStatus { active: 0, ..schedule(-10, None, 0) };
    assert_eq!(caught_up(&idle, None), "CaughtUp=True Ok");
}

#[test]
fn suspended_and_deleted_are_told_before_anything_else() {
    let trouble = (Reason::SinkUnreachable, "no answer".to_owned());
    let facts = BulkFacts { calendar_trouble: Some(&trouble), ..facts() };
    assert_eq!(told(&facts)[0], "Ready=False SinkUnreachable");
    let suspended = BulkFacts { suspended: true, ..facts };
    assert_eq!(told(&suspended)[0], "Ready=False Suspended");
    assert_eq!(told(&suspended).pop().unwrap(), "CaughtUp=Unknown Suspended");
    let deleting = BulkFacts { deleting: true, ..suspended };
    assert_eq!(told(&deleting)[..2], ["Ready=False Deleting", "Reconciling=True Deleting"]);
}

#[test]
fn what_a_run_saw_of_late_files_stands_until_another_one_looks() {
    let saw = |status: &str, reason: &str| Condition {
        type_: INTERVALS_CURRENT.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "files of an hour were added".to_owned(),
        observed_generation: None,
        last_transition_time: Time(at(-5)),
    };
    let (stale, mended) = (saw("False", "IntervalStale"), saw("True", "Ok"));
    let told = |looked, previous: &[Condition]| {
        let facts = BulkFacts { of_files: true, looked, ..facts() };
        let found = conditions(&facts, previous, at(0));
        find(&found, INTERVALS_CURRENT).map(|it| (it.status.clone(), it.last_transition_time.0))
    };
    assert_eq!(told(None, &[]), None, "nobody has looked yet");
    let first = told(Some(&stale), &[]);
    assert_eq!(first, Some(("False".to_owned(), at(0))));
    let kept = told(None, std::slice::from_ref(&stale));
    assert_eq!(kept, Some(("False".to_owned(), at(-5))), "the run's object is gone");
    let after = told(Some(&mended), std::slice::from_ref(&stale));
    assert_eq!(after, Some(("True".to_owned(), at(0))));
    let database = BulkFacts { looked: Some(&stale), ..facts() };
    assert!(find(&conditions(&database, &[], at(0)), INTERVALS_CURRENT).is_none());
}
