use tidegate_config::{CommitReport, WorkerReport};
use tidegate_types::{Counters, PartitionId, Reason};

use super::*;
use crate::streaming::facts::Observed;
use crate::streaming::fixtures::{World, at, clicks, settled, well};

/// What is decided while nothing was written yet.
fn decided(
    pipeline: &ValidatedPipeline,
    observed: &Observed,
    memory: &mut Memory,
    now: Timestamp,
) -> Decisions {
    decide(DecisionFacts { pipeline, observed, status: None, now }, memory)
}

/// Lets the decisions be carried out and made again, ten seconds later.
fn carry_out(world: &mut World, pipeline: &ValidatedPipeline) -> Decisions {
    world.now += 10;
    let observed = world.observed.clone();
    world.memory.observe("clicks", &observed, None, at(world.now));
    let decisions = decided(pipeline, &observed, &mut world.memory, at(world.now));
    world.observed.assignment = Some(decisions.assignment.clone());
    let agent = world.observed.agent_pod.take();
    *world = world.clone().with_workers(decisions.replicas);
    world.observed.agent = settled(decisions.agents);
    world.observed.agent_pod = agent.filter(|_| decisions.agents > 0);
    decisions
}

fn busy(pod: &mut WorkerReport, read: u64) {
    pod.counters = Counters { read, rows: read, ..Counters::default() };
    pod.busy_seconds = 10.0;
    pod.last_commit = Some(CommitReport { version: 1, time: at(0).as_microsecond() });
}

#[test]
fn a_new_pipeline_begins_with_its_least_workers_and_an_agent() {
    for (least, mode, replicas) in
        [(0, ScalingMode::Lag, 0), (2, ScalingMode::Lag, 2), (0, ScalingMode::Fixed, 1)]
    {
        let pipeline = clicks(|p| {
            p.spec.scaling.min_replicas = least;
            p.spec.scaling.mode = mode;
        });
        let mut memory = Memory::default();
        let decisions = decided(&pipeline, &Observed::default(), &mut memory, at(0));
        assert_eq!((decisions.replicas, decisions.agents), (replicas, 1));
        let workers = decisions.assignment.workers.len();
        assert_eq!(i32::try_from(workers).expect("few"), replicas);
        assert!(!decisions.hold_templates);
    }
}

#[test]
fn lag_brings_workers_and_partitions_to_them() {
    let pipeline = clicks(|_| {});
    let mut world = World::new();
    world.agent().lag = Some(1_000_000);
    busy(world.worker(0).report.as_mut().expect("it answers"), 20_000);
    busy(world.worker(1).report.as_mut().expect("it answers"), 20_000);
    let first = carry_out(&mut world, &pipeline);
    assert_eq!((first.replicas, first.scaling.reason), (8, Reason::ScaledUp));
    assert_eq!(first.assignment.generation, 7, "newcomers get partitions when they are there");
    let second = carry_out(&mut world, &pipeline);
    assert_eq!((second.replicas, second.scaling.reason), (8, Reason::Ok));
    assert_eq!(second.assignment.workers.len(), 8);
    assert_eq!(carry_out(&mut world, &pipeline).assignment, second.assignment);
}

#[test]
fn suspended_is_nobody_and_resumed_goes_on() {
    let suspended = clicks(|p| p.spec.suspend = true);
    let mut world = World::new();
    let decisions = carry_out(&mut world, &suspended);
    assert_eq!((decisions.replicas, decisions.agents), (0, 0));
    assert!(decisions.assignment.workers.is_empty());
    let resumed = clicks(|_| {});
    assert_eq!(carry_out(&mut world, &resumed).replicas, 0, "the agent has to look first");
    world.observed.agent_pod = World::new().observed.agent_pod;
    world.agent().lag = Some(1);
    let decisions = carry_out(&mut world, &resumed);
    assert_eq!((decisions.replicas, decisions.scaling.reason), (1, Reason::ScaledUp));
    assert_eq!(decisions.assignment.partitions_of("clicks-worker-0").len(), 8);
}

#[test]
fn a_drift_of_the_workload_is_not_followed() {
    let pipeline = clicks(|_| {});
    let mut world = World::new().edit(|world| world.agent().lag = Some(0));
    assert_eq!(carry_out(&mut world, &pipeline).replicas, 2);
    world = world.with_workers(5);
    assert_eq!(carry_out(&mut world, &pipeline).replicas, 2);
}

#[test]
fn a_restarted_operator_goes_on_from_the_status() {
    let pipeline = clicks(|_| {});
    let mut world = World::new().edit(|world| world.agent().lag = Some(0));
    let first = carry_out(&mut world, &pipeline);
    let status = IngestionPipelineStatus {
        scaling: first.scaling.memory.clone(),
        ..IngestionPipelineStatus::default()
    };
    let observed = world.observed.clone();
    let mut memory = Memory::default();
    let facts = DecisionFacts {
        pipeline: &pipeline,
        observed: &observed,
        status: Some(&status),
        now: at(20),
    };
    let again = decide(facts, &mut memory);
    assert_eq!((again.replicas, again.assignment), (2, first.assignment));
}

#[test]
fn workers_that_are_to_leave_do_not_count() {
    let pipeline = clicks(|_| {});
    let mut world = World::new();
    let mut stray = WorkerReport::default();
    busy(&mut stray, 1);
    stray.partitions = vec![PartitionId(3)];
    world.observed.worker_pods.insert("clicks-worker-9".into(), well(stray));
    busy(world.worker(0).report.as_mut().expect("it answers"), 8_000);
    let decisions = carry_out(&mut world, &pipeline);
    let rate = decisions.scaling.memory.and_then(|memory| memory.rate_per_worker);
    assert_eq!(rate, Some(800));
}

#[test]
fn a_pipeline_that_nobody_claimed_gets_a_worker_as_soon_as_the_log_was_seen() {
    let pipeline = clicks(|_| {});
    let mut world = World::new().with_workers(0);
    world.agent().floors.clear();
    world.agent().lag = None;
    assert_eq!(carry_out(&mut world, &pipeline).replicas, 0, "the log was not seen");
    world.agent().lag = Some(0);
    assert_eq!(carry_out(&mut world, &pipeline).replicas, 1);
    for _ in 0..100 {
        assert_eq!(carry_out(&mut world, &pipeline).replicas, 1, "it stays until it has claimed");
    }
    world.agent().floors = World::new().agent().floors.clone();
    let left = (0..100).find(|_| carry_out(&mut world, &pipeline).replicas == 0);
    assert!(left.is_some());
}

#[test]
fn what_workers_follow_and_the_log_knows_is_passed_by_the_next_generation() {
    let pipeline = clicks(|_| {});
    let mut world = World::new();
    let far = at(1_000_000).as_second();
    world.agent().claimed_generation = far;
    assert_eq!(carry_out(&mut world, &pipeline).assignment.generation, far + 1);
    world.worker(1).report.as_mut().expect("it answers").assignment_generation = far + 5;
    assert_eq!(carry_out(&mut world, &pipeline).assignment.generation, far + 6);
}
