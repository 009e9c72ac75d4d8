use proptest::prelude::*;

use super::*;
use crate::streaming::fixtures::{World, at, settled, state};

/// What stands there after the world was seen for the first time.
fn written(world: &mut World) -> IngestionPipelineStatus {
    let status = world.status(None).expect("the first is always written");
    world.before.clone_from(&status.conditions);
    world.memory.status_written = Some(at(world.now));
    // As it is read back.
    let json = serde_json::to_value(&status).expect("a status has a form");
    serde_json::from_value(json).expect("and is read back")
}

/// Whether a change is written so many seconds after the last write.
fn writes(change: impl FnOnce(&mut World), seconds: i64) -> bool {
    let mut world = World::new();
    let status = written(&mut world);
    world.now += seconds;
    change(&mut world);
    world.status(Some(&status)).is_some()
}

#[test]
fn the_first_status_says_everything() {
    let mut world = World::new();
    let status = written(&mut world);
    insta::assert_yaml_snapshot!("status", status);
}

#[test]
fn a_pipeline_to_which_nothing_happens_gets_no_write() {
    for seconds in [1, 59, 60, 3_599, 86_400] {
        assert!(!writes(|_| {}, seconds), "after {seconds} s");
    }
}

#[test]
fn what_somebody_may_wait_for_is_written_at_once() {
    type Change = fn(&mut World);
    let changes: [(&str, Change); 9] = [
        ("a generation", |world| world.generation = 2),
        ("a condition", |w| w.agent().sink = Some(state(Reason::SinkUnreachable, "403"))),
        ("a worker", |world| world.observed.workers = settled(3)),
        ("a ready worker", |world| world.observed.workers.ready = 1),
        ("a guarantee", |world| {
            world.agent().guarantee.as_mut().expect("there").weakest_hop = Some("x".into())
        }),
        ("lag that is not known any more", |world| world.agent().lag = None),
        ("a step of the scaling", |world| {
            let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
            scaling.memory.as_mut().expect("lag").desired_replicas = 3;
        }),
        ("that fewer have sufficed for a minute", |world| {
            let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
            scaling.memory.as_mut().expect("lag").fewer_since = Some(Time(at(-60)));
        }),
        ("a suspension", |world| {
            world.pipeline = Some(crate::streaming::fixtures::clicks(|p| p.spec.suspend = true));
        }),
    ];
    for (what, change) in changes {
        assert!(writes(change, 1), "{what}");
    }
}

#[test]
fn that_fewer_sufficed_for_a_moment_is_no_write_and_its_end_is_one() {
    let set = |world: &mut World, since: Option<Timestamp>| {
        let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
        scaling.memory.as_mut().expect("lag").fewer_since = since.map(Time);
    };
    assert!(!writes(|world| set(world, Some(at(-30))), 1));
    let mut world = World::new();
    set(&mut world, Some(at(-100)));
    let status = written(&mut world);
    assert_eq!(status.scaling.as_ref().and_then(|s| s.fewer_since.clone()), Some(Time(at(-100))));
    world.now += 1;
    assert_eq!(world.status(Some(&status)), None);
    set(&mut world, None);
    assert!(world.status(Some(&status)).is_some());
}

#[test]
fn numbers_are_refreshed_once_a_minute_when_they_moved_by_more_than_a_tenth() {
    let lag = |lag: u64| move |world: &mut World| world.agent().lag = Some(lag);
    assert!(!writes(lag(110), 60), "a tenth");
    assert!(!writes(lag(90), 60), "a tenth");
    assert!(writes(lag(111), 60));
    assert!(writes(lag(89), 60));
    assert!(!writes(lag(1_000_000), 59), "not yet");
    assert!(writes(lag(0), 60));
    let records: [fn(&mut World, u64); 4] = [
        |world, n| world.agent().counters.read = n,
        |world, n| world.agent().counters.rows = n,
        |world, n| world.agent().counters.duplicate = n,
        |world, n| world.agent().counters.filtered = n,
    ];
    for (index, record) in records.into_iter().enumerate() {
        assert!(writes(|world| record(world, 5_000), 60), "number {index}");
        assert!(!writes(|world| record(world, 5_000), 59), "number {index}");
    }
}

#[test]
fn other_words_for_the_same_are_a_number() {
    let words = |world: &mut World, message: &str| {
        world.agent().source = Some(state(Reason::SourceUnreachable, message));
    };
    let mut world = World::new();
    words(&mut world, "try 1");
    let status = written(&mut world);
    words(&mut world, "try 2");
    world.now += 59;
    assert_eq!(world.status(Some(&status)), None);
    world.now += 1;
    assert!(world.status(Some(&status)).is_some());
}

#[test]
fn the_newest_commit_is_at_most_five_minutes_old_while_records_flow() {
    let commit = |seconds: i64, read: u64| {
        move |world: &mut World| {
            let agent = world.agent();
            agent.counters.read = read;
            agent.last_commit.as_mut().expect("there").time = at(seconds - 10).as_microsecond();
        }
    };
    assert!(!writes(commit(299, 1_001), 299));
    assert!(writes(commit(300, 1_001), 300));
    assert!(!writes(commit(3_599, 1_000), 3_599), "floors that move without records");
    assert!(writes(commit(3_600, 1_000), 3_600));
}

#[test]
fn complete_through_is_refreshed_hourly_while_idle() {
    let through = |seconds: i64| {
        move |world: &mut World| {
            world.agent().complete_through = Some(at(seconds - 10).as_microsecond());
        }
    };
    assert!(!writes(through(3_599), 3_599));
    assert!(writes(through(3_600), 3_600));
}

#[test]
fn a_write_takes_every_fresh_number_along() {
    let mut world = World::new();
    let status = written(&mut world);
    world.now += 1;
    world.generation = 2;
    world.agent().lag = Some(101);
    let next = world.status(Some(&status)).expect("a new generation");
    assert_eq!(next.lag.map(|lag| lag.messages), Some(101));
}

#[test]
fn counters_of_an_agent_that_has_not_read_the_log_are_not_believed() {
    let mut world = World::new();
    let status = written(&mut world);
    let agent = world.agent();
    agent.counters = tidegate_types::Counters::default();
    (agent.lag, agent.last_commit, agent.complete_through) = (None, None, None);
    world.generation = 2;
    let next = world.status(Some(&status)).expect("a new generation");
    assert_eq!((next.records, next.dedup), (status.records, status.dedup));
    assert_eq!(
        (next.last_commit, next.complete_through),
        (status.last_commit, status.complete_through)
    );
    assert_eq!(next.lag, None);
}

#[test]
fn what_was_not_looked_at_stands_as_it_was() {
    let mut world = World::new();
    let status = written(&mut world);
    let failure = crate::failure::Failure::transient(Reason::ApiRefused, "quota");
    let blind =
        World { decisions: None, observed: Default::default(), failure: Some(failure), ..world };
    let next = blind.status(Some(&status)).expect("Ready is False");
    assert_eq!(next.replicas, status.replicas);
    assert_eq!(next.scaling, status.scaling);
    assert_eq!(next.lag, status.lag);
    assert_eq!(next.phase, Some(Phase::Degraded));
}

#[test]
fn the_phase_is_a_word_for_the_conditions() {
    let mut suspended = World::new().spec(|p| p.spec.suspend = true);
    suspended.decisions.as_mut().expect("decided").replicas = 0;
    let phases = [
        (World::new(), Phase::Running),
        (World::new().with_workers(0), Phase::Idle),
        (
            World::new().with_workers(0).spec(|p| p.spec.scaling.mode = ScalingMode::Fixed),
            Phase::Running,
        ),
        (suspended, Phase::Suspended),
        (World::new().worker_says(0, Reason::Ok, 5), Phase::Pending),
        (World::new().worker_says(0, Reason::SinkUnreachable, 100), Phase::Degraded),
        (World::new().worker_says(0, Reason::SourceGap, 100), Phase::Stalled),
        (World { deleting: Some("so".into()), ..World::new() }, Phase::Deleting),
    ];
    for (world, phase) in phases {
        let status = world.status(None).expect("the first");
        assert_eq!(status.phase, Some(phase));
    }
}

proptest! {
    #[test]
    fn what_was_just_written_is_not_written_again(
        lag in 0_u64..1_000, seconds in 0_u64..1_000, dead in 0_u64..3, workers in 0_i32..4,
        unready in any::<bool>(), silent in any::<bool>(), later in 0_i64..59,
    ) {
        let mut world = World::new().with_workers(workers);
        world.agent().lag = Some(lag);
        world.agent().lag_seconds = Some(seconds);
        world.agent().counters.dead = dead;
        if unready && workers > 0 {
            world = world.worker_says(0, Reason::SinkUnreachable, 200);
        }
        if silent {
            world = world.agent_silent(200);
        }
        let mut world = world.noted();
        let status = written(&mut world);
        let mut world = world.noted();
        let second = world.status(Some(&status));
        // What was said may have been the first word about it; from then on it stands.
        let status = second.unwrap_or(status);
        world.before.clone_from(&status.conditions);
        world.memory.status_written = Some(at(world.now));
        world.now += later;
        prop_assert_eq!(world.status(Some(&status)), None);
    }

    #[test]
    fn a_tenth_is_a_tenth(before: u64, fresh: u64) {
        prop_assert!(!moved(before, before));
        if before > 0 && fresh > 0 {
            let ratio = u128::from(before.abs_diff(fresh)) * 10;
            prop_assert_eq!(moved(before, fresh), ratio > u128::from(before));
        } else {
            prop_assert_eq!(moved(before, fresh), before != fresh);
        }
    }
}
