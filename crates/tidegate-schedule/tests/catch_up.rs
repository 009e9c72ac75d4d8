//! What a schedule owes, whenever and however seldom somebody looks.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tidegate_schedule::{CatchUp, Due, DueFacts, Grid, Since, due, known_since, origin};
use tidegate_types::DataInterval;

fn at(text: &str) -> Timestamp {
    text.parse().expect("valid")
}

/// What is due by a policy, since a start or the pipeline's making.
fn due_of(
    grid: &Grid,
    (policy, start_at, created): (CatchUp, Option<Timestamp>, Timestamp),
    delay_seconds: i64,
    done: &[DataInterval],
    now: Timestamp,
    limit: usize,
) -> Due {
    let since = Since { policy, start_at, created, oldest: known_since(done, &[], None) };
    due(&DueFacts { grid, since, delay_seconds, done, now, limit })
}

fn hourly() -> Grid {
    Grid::new("0 * * * *", "UTC").expect("valid")
}

/// The hour that begins then, of 2026-06-01.
fn hour(start: i8) -> DataInterval {
    hours(start, start + 1)
}

fn hours(start: i8, end: i8) -> DataInterval {
    let day = at("2026-06-01T00:00:00Z");
    let edge = |hour: i8| day + SignedDuration::from_hours(i64::from(hour));
    DataInterval::new(edge(start), edge(end)).expect("valid")
}

/// What is owed at a time of 2026-06-01 by a pipeline that was made at half past nine.
fn owed(policy: CatchUp, start: Option<&str>, done: &[DataInterval], now: &str) -> Due {
    let now = at(&format!("2026-06-01T{now}Z"));
    let start = start.map(|time| at(&format!("2026-06-01T{time}Z")));
    let created = at("2026-06-01T09:30:00Z");
    // Its log is younger than it is.
    let since = Since { policy, start_at: start, created, oldest: None };
    due(&DueFacts { grid: &hourly(), since, delay_seconds: 0, done, now, limit: 100 })
}

#[test]
fn the_first_interval_is_the_one_in_which_the_pipeline_is_made() {
    use CatchUp::{All, Latest, None as Nothing};
    for policy in [All, Latest, Nothing] {
        let early = owed(policy, None, &[], "09:59:59");
        assert_eq!(early.now, []);
        assert_eq!(early.next, Some(at("2026-06-01T10:00:00Z")));
        assert_eq!(owed(policy, None, &[], "10:00:00").now, [hour(9)]);
    }
}

#[test]
fn what_went_by_is_run_as_the_policy_asks() {
    use CatchUp::{All, Latest, None as Nothing};
    let all = vec![hour(9), hour(10), hour(11)];
    for (policy, start, done, wanted) in [
        (All, None, vec![], all.clone()),
        (All, None, vec![hour(10)], vec![hour(9), hour(11)]),
        (All, None, vec![hours(9, 12)], vec![]),
        // Covered by several, and by larger ones that begin earlier.
        (All, None, vec![hours(3, 10), hours(10, 11)], vec![hour(11)]),
        (All, Some("07:00:00"), vec![], vec![hour(7), hour(8), hour(9), hour(10), hour(11)]),
        (All, Some("07:00:01"), vec![hour(9)], vec![hour(8), hour(10), hour(11)]),
        (All, Some("11:00:00"), vec![], vec![hour(11)]),
        (Latest, None, vec![], vec![hour(11)]),
        (Latest, None, vec![hour(9)], vec![hour(11)]),
        (Latest, None, vec![hour(11)], vec![]),
        (Latest, Some("12:00:00"), vec![], vec![]),
        // Only what ends after the pipeline was made, whatever it begins with.
        (Nothing, Some("07:00:00"), vec![], all.clone()),
        (Nothing, Some("11:00:00"), vec![], vec![hour(11)]),
    ] {
        let due = owed(policy, start, &done, "12:20:00");
        assert_eq!(due.now, wanted, "{policy:?} {start:?} {done:?}");
        assert_eq!(due.next, Some(at("2026-06-01T13:00:00Z")));
    }
}

#[test]
fn what_the_log_knows_a_pipeline_since_is_the_beginning_where_nobody_wrote_one() {
    let created = at("2026-06-01T09:30:00Z");
    let of = |policy, start: Option<&str>, oldest: Option<DataInterval>| {
        let start_at = start.map(|time| at(&format!("2026-06-01T{time}Z")));
        let oldest = oldest.map(DataInterval::start);
        origin(&hourly(), &Since { policy, start_at, created, oldest }).expect("it ticks")
    };
    let (made, older) = (hour(9).start(), hour(3).start());
    assert_eq!(of(CatchUp::All, None, None), made);
    assert_eq!(of(CatchUp::All, None, Some(hour(3))), older);
    assert_eq!(of(CatchUp::All, None, Some(hour(12))), made, "the log may begin later");
    assert_eq!(of(CatchUp::All, Some("07:00:00"), Some(hour(3))), hour(7).start());
    assert_eq!(of(CatchUp::Latest, None, Some(hour(3))), made);
    assert_eq!(of(CatchUp::None, None, Some(hour(3))), made);
}

#[test]
fn one_interval_of_long_ago_is_not_what_a_pipeline_began_with() {
    let day = |day: &str| {
        let start = at(&format!("{day}T00:00:00Z"));
        DataInterval::new(start, start + SignedDuration::from_hours(1)).expect("valid")
    };
    let long_ago = day("1999-06-01");
    let (first, second) = (day("2025-06-01"), day("2026-06-01"));
    for (what, done, begun, wanted) in [
        ("nothing", vec![], vec![], None),
        ("nothing is done", vec![], vec![first], None),
        ("one", vec![second], vec![], Some(second)),
        ("a year's gap", vec![second, first], vec![], Some(first)),
        ("done long ago", vec![long_ago, first, second], vec![], Some(first)),
        ("failed long ago", vec![second], vec![long_ago], Some(second)),
        ("nothing else", vec![long_ago], vec![], Some(long_ago)),
        ("the first one failed", vec![hour(4), hour(6)], vec![hour(2), hour(3)], Some(hour(2))),
        ("one before it failed", vec![hour(4)], vec![hour(2)], Some(hour(4))),
        ("a later one failed", vec![hour(4)], vec![hour(5)], Some(hour(4))),
    ] {
        let found = known_since(&done, &begun, None);
        assert_eq!(found, wanted.map(DataInterval::start), "{what}");
    }
    let all = DataInterval::new(long_ago.start(), second.start()).expect("it has a length");
    assert_eq!(
        known_since(&[second], &[all], None),
        Some(second.start()),
        "nor is one that is too long"
    );
    assert_eq!(known_since(&[second, all], &[], None), Some(all.start()), "what is done is done");
}

#[test]
fn what_failed_before_anything_was_done_counts_as_it_will_once_something_is() {
    let (first, failed) = (hour(6), [hour(3), hour(4), hour(5)]);
    let before = known_since(&[], &failed, Some(first.start()));
    assert_eq!(before, Some(hour(3).start()));
    assert_eq!(known_since(&[first], &failed, Some(first.start())), before, "the first is done");
    assert_eq!(known_since(&[], &[hour(4)], Some(first.start())), Some(first.start()), "a gap");
    assert_eq!(known_since(&[], &[], Some(first.start())), Some(first.start()));
}

#[test]
fn nothing_is_due_before_its_delay() {
    let of = |now: &str| {
        let created = at("2026-06-01T09:30:00Z");
        due_of(&hourly(), (CatchUp::All, None, created), 300, &[], at(now), 10)
    };
    let early = of("2026-06-01T10:04:59Z");
    assert_eq!((early.now, early.next), (vec![], Some(at("2026-06-01T10:05:00Z"))));
    let on_time = of("2026-06-01T10:05:00Z");
    assert_eq!((on_time.now, on_time.next), (vec![hour(9)], Some(at("2026-06-01T11:05:00Z"))));
}

#[test]
fn a_start_in_the_future_is_waited_for() {
    let due = owed(CatchUp::All, Some("20:30:00"), &[], "12:00:00");
    assert_eq!((due.now, due.next), (vec![], Some(at("2026-06-01T22:00:00Z"))));
}

#[test]
fn a_schedule_that_never_ticks_again_owes_nothing() {
    let never = (CatchUp::All, None, Timestamp::MAX);
    let due = due_of(&hourly(), never, 0, &[], Timestamp::MAX, 10);
    assert_eq!(due, Due { now: vec![], next: None });
}

#[test]
fn an_outage_of_a_hundred_years_costs_no_more_than_the_limit() {
    let every = Grid::new("*/5 * * * *", "Europe/Berlin").expect("valid");
    let (start, now) = (at("1970-01-02T00:00:00Z"), at("2070-01-01T00:00:00Z"));
    let before = std::time::Instant::now();
    let first = due_of(&every, (CatchUp::All, Some(start), start), 0, &[], now, 3);
    assert_eq!(first.now.len(), 3);
    assert_eq!(first.now[0].start(), start);
    // Nearly all is done: it is stepped over at once.
    let done = DataInterval::new(start, at("2069-12-31T23:50:00Z")).expect("valid");
    let rest = due_of(&every, (CatchUp::All, Some(start), start), 0, &[done], now, 3);
    assert_eq!(rest.now.len(), 2);
    // Walking ten million ticks takes longer.
    assert!(before.elapsed().as_secs() < 2, "{:?}", before.elapsed());
}

fn crons() -> impl Strategy<Value = Grid> {
    prop::sample::select(vec![
        ("0 * * * *", "UTC"),
        ("*/20 * * * *", "Europe/Berlin"),
        ("30 2 * * *", "Europe/Berlin"),
        ("0 0 * * MON", "America/New_York"),
        ("15 1,13 * * *", "Australia/Lord_Howe"),
        ("0 0 1 * *", "Asia/Seoul"),
    ])
    .prop_map(|(cron, zone)| Grid::new(cron, zone).expect("valid"))
}

/// The times at which somebody looks: pauses of minutes to days.
fn looks() -> impl Strategy<Value = Vec<i64>> {
    let pause = prop_oneof![60_i64..7_200, 3_600_i64..400_000, 86_400_i64..900_000];
    prop::collection::vec(pause, 1..8)
}

struct History {
    runs: Vec<DataInterval>,
    /// The same as the log tells them: joined where they touch.
    done: Vec<DataInterval>,
    /// What was made at each look, and when.
    rounds: Vec<(Timestamp, Vec<DataInterval>)>,
}

/// A pipeline's life: at each look everything that is due is run, `limit` at a time, and is then in the log.
fn live(
    grid: &Grid,
    policy: CatchUp,
    start: Option<Timestamp>,
    created: Timestamp,
    delay: i64,
    looks: &[i64],
    limit: usize,
) -> History {
    let mut history = History { runs: Vec::new(), done: Vec::new(), rounds: Vec::new() };
    let mut now = created;
    for pause in looks {
        now += SignedDuration::from_secs(*pause);
        let mut made = Vec::new();
        loop {
            let due = due_of(grid, (policy, start, created), delay, &history.done, now, limit);
            if due.now.is_empty() {
                break;
            }
            made.extend(due.now.iter().copied());
            for interval in due.now {
                history.runs.push(interval);
                match history.done.last_mut() {
                    Some(last) if last.end() == interval.start() => {
                        *last = DataInterval::new(last.start(), interval.end()).expect("valid");
                    }
                    _ => history.done.push(interval),
                }
            }
        }
        history.rounds.push((now, made));
    }
    history
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn all_runs_every_interval_once_whenever_somebody_looks(
        grid in crons(), created in 1_767_225_600_i64..1_798_761_600, looks in looks(),
        delay in 0_i64..4_000, limit in 1_usize..5,
    ) {
        let created = Timestamp::from_second(created).expect("valid");
        let history = live(&grid, CatchUp::All, None, created, delay, &looks, limit);
        let last = history.rounds.last().expect("valid").0 - SignedDuration::from_secs(delay);
        let mut wanted = Vec::new();
        let mut end = grid.next_tick(created - SignedDuration::from_secs(1)).expect("valid");
        while end <= last {
            wanted.push(grid.interval_ending(end).expect("valid"));
            end = grid.next_tick(end).expect("valid");
        }
        prop_assert_eq!(history.runs, wanted);
    }

    #[test]
    fn latest_runs_the_newest_and_none_twice(
        grid in crons(), created in 1_767_225_600_i64..1_798_761_600, looks in looks(),
    ) {
        let created = Timestamp::from_second(created).expect("valid");
        let history = live(&grid, CatchUp::Latest, None, created, 0, &looks, 3);
        for (now, made) in &history.rounds {
            prop_assert!(made.len() <= 1);
            for interval in made {
                prop_assert_eq!(Some(interval.end()), grid.tick_at_or_before(*now));
            }
        }
        let mut once = history.runs.clone();
        once.dedup();
        prop_assert_eq!(once.len(), history.runs.len());
        prop_assert!(history.runs.is_sorted());
        // Somebody who looks after every tick misses none.
        let newest = grid.tick_at_or_before(history.rounds.last().expect("valid").0);
        if let (Some(newest), Some(run)) = (newest, history.runs.last()) {
            prop_assert_eq!(newest, run.end());
        }
    }

    /// Objects are long gone, the log is there: a second life does nothing again.
    #[test]
    fn whoever_starts_anew_with_the_log_owes_nothing(
        grid in crons(), created in 1_767_225_600_i64..1_798_761_600, looks in looks(),
        policy in prop::sample::select(vec![CatchUp::All, CatchUp::Latest]),
    ) {
        let created = Timestamp::from_second(created).expect("valid");
        let history = live(&grid, policy, None, created, 0, &looks, 7);
        let now = history.rounds.last().expect("valid").0;
        let again = due_of(&grid, (policy, None, created), 0, &history.runs, now, 7);
        prop_assert_eq!(again.now, vec![]);
        prop_assert_eq!(again.next, grid.next_tick(now.max(created)));
    }

    /// A pipeline that is deleted and made anew knows nothing of its first life, but the log does: what
    /// nobody ran while it was away is owed, and nothing else (B1).
    #[test]
    fn b1_a_pipeline_that_is_made_anew_goes_on_where_the_log_ends(
        grid in crons(), created in 1_767_225_600_i64..1_798_761_600, looks in looks(),
        away in 0_i64..900_000, limit in 1_usize..5,
    ) {
        let created = Timestamp::from_second(created).expect("valid");
        let first = live(&grid, CatchUp::All, None, created, 0, &looks, 7);
        let gone = first.rounds.last().expect("valid").0;
        let anew = gone + SignedDuration::from_secs(away);
        let mut done = first.done.clone();
        let mut runs = first.runs.clone();
        loop {
            let due = due_of(&grid, (CatchUp::All, None, anew), 0, &done, anew, limit);
            if due.now.is_empty() {
                break;
            }
            runs.extend(&due.now);
            done.extend(due.now);
        }
        let whole = live(&grid, CatchUp::All, None, created, 0, &[anew.duration_since(created).as_secs()], 7);
        // Of a first life without any run nothing is known.
        if !first.runs.is_empty() {
            prop_assert_eq!(runs, whole.runs);
        }
    }

    /// Holes of random backfills are filled, and nothing else is run.
    #[test]
    fn what_backfills_did_is_left_out(
        holes in prop::collection::btree_set(0_i8..24, 0..24), merge in any::<bool>(), limit in 1_usize..30,
    ) {
        let mut done: Vec<_> = (0..24).filter(|one| !holes.contains(one)).map(hour).collect();
        if merge {
            // Larger intervals that touch in the middle of nothing.
            done.extend((0..22).filter(|one| (0..3).all(|more| !holes.contains(&(one + more)))).map(|one| hours(one, one + 3)));
        }
        done.reverse();
        let start = at("2026-06-01T00:00:00Z");
        let now = at("2026-06-02T00:00:00Z");
        let all = (CatchUp::All, Some(start), start);
        let due = due_of(&hourly(), all, 0, &done, now, limit);
        let wanted: Vec<_> = holes.iter().map(|one| hour(*one)).take(limit).collect();
        prop_assert_eq!(due.now, wanted);
    }
}
