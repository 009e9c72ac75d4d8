use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_types::Reason;

use super::*;
use crate::cluster::names::worker_pod;
use crate::streaming::facts::WorkloadFacts;
use crate::streaming::fixtures::{World, assigned, at};

fn facts(able: &[bool]) -> Vec<WorkerFacts> {
    let fact = |(ordinal, able): (usize, &bool)| WorkerFacts {
        name: worker_pod("clicks", u32::try_from(ordinal).expect("few")),
        able: *able,
    };
    able.iter().enumerate().map(fact).collect()
}

/// Nothing is known beside the assignment itself.
fn assign(
    previous: Option<&Assignment>,
    partitions: u32,
    workers: &[WorkerFacts],
    now: Timestamp,
) -> Assignment {
    super::assign(previous, partitions, workers, GenerationFacts { known: 0, now })
}

fn owners(assignment: &Assignment) -> BTreeMap<PartitionId, Vec<&str>> {
    let mut owners: BTreeMap<PartitionId, Vec<&str>> = BTreeMap::new();
    for worker in &assignment.workers {
        for partition in &worker.partitions {
            owners.entry(*partition).or_default().push(&worker.name);
        }
    }
    owners
}

/// The fewest moves that equal shares allow: whoever has more than its share gives the rest away, and
/// the larger shares are where most is held.
fn fewest_moves(previous: &Assignment, partitions: u32, takers: &[&str]) -> usize {
    let partitions = partitions as usize;
    let mut held: Vec<usize> = takers.iter().map(|t| previous.partitions_of(t).len()).collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    let (least, larger) = (partitions / takers.len(), partitions % takers.len());
    let share = |rank| least + usize::from(rank < larger);
    let kept: usize = held.iter().enumerate().map(|(rank, held)| *held.min(&share(rank))).sum();
    partitions - kept
}

fn able_steps() -> impl Strategy<Value = Vec<Vec<bool>>> {
    prop::collection::vec(prop::collection::vec(any::<bool>(), 0..20), 1..12)
}

proptest! {
    #[test]
    fn every_partition_has_one_worker_and_shares_are_equal(
        partitions in 1_u32..=64, steps in able_steps(),
    ) {
        let mut previous: Option<Assignment> = None;
        for able in &steps {
            let workers = facts(able);
            let next = assign(previous.as_ref(), partitions, &workers, at(0));
            let owners = owners(&next);
            if workers.is_empty() {
                prop_assert!(owners.is_empty());
            } else {
                prop_assert_eq!(owners.len(), partitions as usize);
                prop_assert!(owners.values().all(|owners| owners.len() == 1));
                prop_assert!(owners.keys().all(|partition| partition.0 < partitions));
                let takers = takers(previous.as_ref(), &workers);
                let sizes: Vec<usize> =
                    takers.iter().map(|taker| next.partitions_of(taker).len()).collect();
                let (least, most) = (sizes.iter().min(), sizes.iter().max());
                prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
                prop_assert!(next.workers.iter().all(|worker| takers.contains(&&*worker.name)));
                if able.contains(&true) {
                    let able: Vec<&str> =
                        workers.iter().filter(|w| w.able).map(|w| w.name.as_str()).collect();
                    prop_assert_eq!(takers, able);
                }
            }
            previous = Some(next);
        }
    }

    #[test]
    fn no_more_moves_than_equal_shares_need(partitions in 1_u32..=64, steps in able_steps()) {
        let mut previous: Option<Assignment> = None;
        for able in steps.iter().filter(|able| !able.is_empty()) {
            let workers = facts(able);
            let next = assign(previous.as_ref(), partitions, &workers, at(0));
            if let Some(previous) = &previous {
                let takers = takers(Some(previous), &workers);
                let before = owners(previous);
                let moves = owners(&next)
                    .iter()
                    .filter(|(partition, owner)| before.get(*partition) != Some(*owner))
                    .count();
                prop_assert_eq!(moves, fewest_moves(previous, partitions, &takers));
            }
            previous = Some(next);
        }
    }

    #[test]
    fn the_generation_grows_exactly_when_something_changes(
        partitions in 1_u32..=16, steps in able_steps(), clock in prop::collection::vec(0_i64..100, 12),
    ) {
        let mut previous = assign(None, partitions, &facts(&[true]), at(0));
        for (able, second) in steps.iter().zip(clock) {
            let next = assign(Some(&previous), partitions, &facts(able), at(second));
            let again = assign(Some(&next), partitions, &facts(able), at(second + 5));
            prop_assert_eq!(&again, &next, "a second pass does nothing");
            if next.workers == previous.workers {
                prop_assert_eq!(next.generation, previous.generation);
            } else {
                prop_assert!(next.generation > previous.generation);
            }
            previous = next;
        }
    }
}

#[test]
fn nobody_able_leaves_everything_where_it_is() {
    let before = assigned(7, &[("clicks-worker-0", &[0, 1, 2]), ("clicks-worker-1", &[3])]);
    let after = assign(Some(&before), 4, &facts(&[false, false, false]), at(0));
    // The two that hold something share it; who held nothing gets nothing.
    assert_eq!(after.workers.len(), 2);
    let even = assigned(7, &[("clicks-worker-0", &[0, 1]), ("clicks-worker-1", &[2, 3])]);
    assert_eq!(assign(Some(&even), 4, &facts(&[false, false, false]), at(0)), even);
}

#[test]
fn a_pipeline_that_was_made_again_has_a_higher_generation_than_the_log() {
    let before = assign(None, 4, &facts(&[true]), at(0));
    let after = assign(None, 4, &facts(&[true]), at(60));
    assert!(after.generation > before.generation);
    let fits_an_epoch = (1_i64 << 42) - 1;
    assert!(at(100 * 365 * 86_400).as_second() < fits_an_epoch);
}

#[test]
fn a_generation_below_what_workers_follow_or_the_log_knows_is_given_out_anew() {
    let lost = assigned(7, &[("clicks-worker-0", &[0, 1, 2, 3])]);
    let of = |previous, known, second| {
        let generations = GenerationFacts { known, now: at(second) };
        super::assign(previous, 4, &facts(&[true]), generations)
    };
    assert_eq!(of(Some(&lost), 7, 0), lost);
    let behind = at(1_000).as_second();
    assert_eq!(of(Some(&lost), behind, 0).generation, behind + 1, "clocks differ");
    assert_eq!(of(None, behind, 0).generation, behind + 1, "the ConfigMap was lost");
    let anew = of(Some(&lost), behind, 0);
    assert_eq!(of(Some(&anew), behind, 5), anew, "once is enough");
    for nonsense in [i64::MAX, (1 << 42) - 1, -1] {
        assert_eq!(of(Some(&lost), nonsense, 0), lost);
    }
}

#[test]
fn a_clock_that_went_back_does_not_take_the_generation_along() {
    let before = assign(None, 4, &facts(&[true]), at(1_000));
    let after = assign(Some(&before), 4, &facts(&[true, true]), at(0));
    assert_eq!(after.generation, before.generation + 1);
}

#[test]
fn a_document_that_somebody_edited_is_put_in_order() {
    let edited = assigned(7, &[("clicks-worker-0", &[0, 0, 9, 3]), ("clicks-worker-1", &[0, 3])]);
    let after = assign(Some(&edited), 4, &facts(&[true, true]), at(0));
    assert_eq!(owners(&after).len(), 4);
    assert!(owners(&after).values().all(|owners| owners.len() == 1));
}

fn seen(world: &World) -> Seen<'_> {
    Seen { observed: &world.observed, memory: &world.memory, now: at(world.now) }
}

fn able(world: &World, replicas: u32) -> Vec<bool> {
    let workers = worker_facts("clicks", replicas, seen(world));
    workers.into_iter().map(|worker| worker.able).collect()
}

#[test]
fn a_worker_keeps_its_partitions_for_a_minute() {
    for (seconds, keeps) in [(0, true), (59, true), (60, false), (600, false)] {
        let world = World::new().worker_says(1, Reason::ResourceExhausted, seconds);
        assert_eq!(able(&world, 2), [true, keeps], "{seconds} s");
    }
}

#[test]
fn a_pod_that_is_gone_has_a_minute_to_come_back() {
    let mut world = World::new();
    world.observed.worker_pods.remove("clicks-worker-1");
    let world = world.noted();
    assert_eq!(able(&world, 2), [true, true]);
    let world = World { now: 59, ..world }.noted();
    assert_eq!(able(&world, 2), [true, true]);
    let world = World { now: 60, ..world }.noted();
    assert_eq!(able(&world, 2), [true, false]);
}

#[test]
fn a_worker_whose_data_is_at_fault_keeps_it() {
    for reason in [Reason::SourceGap, Reason::BreakerOpen, Reason::SchemaChangeRefused] {
        let world = World::new().worker_says(1, reason, 600);
        assert_eq!(able(&world, 2), [true, true], "{reason}: another would meet the same");
    }
}

#[test]
fn nothing_moves_while_nobody_is_ready_to_take_it() {
    let world = World::new().worker_says(0, Reason::SinkUnreachable, 600).worker_says(
        1,
        Reason::SinkUnreachable,
        30,
    );
    assert_eq!(able(&world, 2), [true, true]);
}

#[test]
fn newcomers_join_together_or_after_a_minute() {
    let mut world = World::new();
    world.observed.workers = WorkloadFacts { wanted: 4, ..world.observed.workers };
    let started = world.observed.worker_pods["clicks-worker-0"].clone();
    world.observed.worker_pods.insert("clicks-worker-2".into(), started.clone());
    let world = world.noted();
    assert_eq!(able(&world, 4), [true, true, false, false], "2 waits for 3");
    let mut both = world.clone();
    both.observed.worker_pods.insert("clicks-worker-3".into(), started);
    assert_eq!(able(&both.noted(), 4), [true, true, true, true]);
    let late = World { now: 60, ..world }.noted();
    assert_eq!(able(&late, 4), [true, true, true, false], "3 does not come");
}

#[test]
fn a_new_pipeline_is_given_to_all_that_are_to_come() {
    let mut world = World::new().with_workers(0);
    world.observed.assignment = None;
    assert_eq!(able(&world, 3), [true, true, true]);
    world.observed.assignment = Some(assigned(3, &[]));
    assert_eq!(able(&world, 3), [true, true, true], "from zero too");
}

#[test]
fn who_is_to_leave_gets_nothing() {
    let world = World::new().with_workers(4);
    let workers = worker_facts("clicks", 1, seen(&world));
    let after = assign(world.observed.assignment.as_ref(), 8, &workers, at(0));
    assert_eq!(after.workers.len(), 1);
    assert_eq!(after.partitions_of("clicks-worker-0").len(), 8);
    let none = assign(Some(&after), 8, &[], at(0));
    assert_eq!((none.workers.len(), none.generation > after.generation), (0, true));
}
