//! Workers, a stream and its commits, to see where the decisions lead.

use proptest::prelude::*;

use super::tests::{COOLDOWN, facts};
use super::*;
use crate::streaming::fixtures::{at, moved};

/// Workers, a stream and a commit rhythm, in steps of ten seconds.
#[derive(Debug, Clone)]
struct Simulation {
    spec: ScalingSpec,
    partitions: u32,
    /// Records a second that one worker takes.
    rate: f64,
    /// Records a second that all of them can bring into the table together.
    bottleneck: f64,
    flush: i64,
    start: i64,
    noise: Vec<f64>,
    // What happens:
    now: i64,
    backlog: f64,
    uncommitted: f64,
    desired: u32,
    running: u32,
    ready_at: i64,
    same_since: i64,
    last_record: Option<Timestamp>,
    memory: Option<ScalingStatus>,
    history: Vec<(i64, u32)>,
}

const TICK: i64 = 10;

impl Simulation {
    fn new(spec: ScalingSpec, partitions: u32, rate: f64) -> Self {
        Self {
            spec,
            partitions,
            rate,
            bottleneck: f64::INFINITY,
            flush: 60,
            start: 30,
            noise: vec![1.0],
            now: 0,
            backlog: 0.0,
            uncommitted: 0.0,
            desired: 0,
            running: 0,
            ready_at: 0,
            same_since: 0,
            last_record: None,
            memory: None,
            history: Vec::new(),
        }
    }

    fn run(&mut self, seconds: i64, arrival: f64) {
        let end = self.now + seconds;
        while self.now < end {
            self.tick(arrival);
        }
    }

    fn tick(&mut self, arrival: f64) {
        self.now += TICK;
        if self.running != self.desired
            && (self.now >= self.ready_at || self.running > self.desired)
        {
            self.running = self.desired;
            self.same_since = self.now;
        }
        self.backlog += arrival * 10.0;
        let able = (f64::from(self.running) * self.rate).min(self.bottleneck) * 10.0;
        let taken = self.backlog.min(able);
        self.backlog -= taken;
        self.uncommitted += taken;
        if taken > 0.0 {
            self.last_record = Some(at(self.now));
        }
        if self.now % self.flush == 0 {
            self.uncommitted = 0.0;
        }
        self.decide(taken / 10.0);
    }

    fn decide(&mut self, flow: f64) {
        let noise =
            self.noise[usize::try_from(self.now / TICK).expect("not negative") % self.noise.len()];
        let measured = self.running > 0 && self.now - self.same_since >= 30;
        let facts = ScalingFacts {
            spec: &self.spec,
            suspended: false,
            replicas: 1,
            partitions: self.partitions,
            current: self.desired,
            flush: Span::seconds(u64::try_from(self.flush).expect("not negative")),
            unclaimed: false,
            pending: Some((self.backlog + self.uncommitted).round() as u64),
            rate: measured.then_some(self.rate * noise),
            flow: measured.then_some(flow * noise),
            last_record: self.last_record,
            rolling: false,
            starting: self.running < self.desired,
            previous: self.memory.as_ref(),
            now: moved(at(0), self.now),
        };
        let (replicas, decision) = decide(&facts);
        self.memory = decision.memory;
        if replicas != self.desired {
            self.history.push((self.now, replicas));
            self.desired = replicas;
            self.ready_at = self.now + self.start;
        }
    }

    fn steps(&self) -> Vec<u32> {
        self.history.iter().map(|(_, replicas)| *replicas).collect()
    }

    /// Whether a step up follows a step down.
    fn turns_back(&self) -> bool {
        let steps = self.steps();
        let ups: Vec<bool> =
            std::iter::once(&0).chain(&steps).zip(&steps).map(|(a, b)| b > a).collect();
        ups.windows(2).any(|pair| !pair[0] && pair[1])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_constant_arrival_is_met_without_going_to_and_fro(
        load in 0.01_f64..7.0,
        rate in 1.0_f64..50_000.0,
        flush in prop::sample::select(vec![10_i64, 20, 60, 120, 600]),
        start in prop::sample::select(vec![10_i64, 30, 90]),
        backlog in 0.0_f64..5_000.0,
        noise in prop::collection::vec(0.98_f64..1.02, 1..40),
        least in 0_u32..3,
    ) {
        // At least a message in each interval, so that it is never idle.
        prop_assume!(load * rate * 10.0 > 1.0);
        let spec = ScalingSpec { min_replicas: least, ..ScalingSpec::default() };
        let mut simulation = Simulation { flush, start, noise, ..Simulation::new(spec, 8, rate) };
        simulation.backlog = backlog * rate;
        simulation.run(4 * 3_600, load * rate);
        prop_assert!(!simulation.turns_back(), "{:?}", simulation.history);
        prop_assert!(simulation.backlog < rate * 60.0 * 8.0, "{simulation:?}");
        prop_assert!(f64::from(simulation.desired) >= load, "{:?}", simulation.history);
        prop_assert!(f64::from(simulation.desired) <= (load / 0.85).ceil().max(2.0).max(least.into()) + 1.0,
            "load {load}: {:?}", simulation.history);
        let settled = simulation.history.len();
        simulation.run(3_600, load * rate);
        prop_assert!(simulation.history.len() - settled <= 1, "{:?}", simulation.history);
    }

    #[test]
    fn the_number_stays_within_its_limits_whatever_is_seen(
        least in 0_u32..20, more in 0_u32..20, partitions in 1_u32..300,
        seen in prop::collection::vec(
            (any::<Option<u64>>(), any::<Option<f64>>(), any::<Option<f64>>(), any::<bool>(), any::<bool>()), 1..60),
    ) {
        let most = (least + more).max(1);
        let spec = ScalingSpec { min_replicas: least, max_replicas: Some(most), ..ScalingSpec::default() };
        let mut memory: Option<ScalingStatus> = None;
        for (tick, (pending, rate, flow, rolling, starting)) in (0_i64..).zip(seen) {
            let facts = ScalingFacts {
                partitions, pending, rate, flow, rolling, starting,
                previous: memory.as_ref(), now: at(tick * 60), ..facts(&spec)
            };
            let (replicas, decision) = decide(&facts);
            prop_assert!(replicas <= most.min(partitions));
            prop_assert!(replicas >= least.min(most).min(partitions));
            memory = decision.memory;
        }
    }

    #[test]
    fn an_idle_pipeline_ends_at_zero_and_comes_back(
        load in 0.5_f64..7.0, rate in 10.0_f64..50_000.0, pause in 1_200_i64..5_000,
    ) {
        let mut simulation = Simulation::new(ScalingSpec::default(), 8, rate);
        simulation.run(3_600, load * rate);
        simulation.run(pause, 0.0);
        prop_assert_eq!(simulation.desired, 0);
        let idle_for = simulation.history.last().map(|(when, _)| when - 3_600);
        prop_assert!(idle_for.is_some_and(|idle| idle >= COOLDOWN), "{:?}", simulation.history);
        let steps = simulation.history.len();
        simulation.run(TICK, load * rate);
        prop_assert_eq!(simulation.history.len(), steps + 1, "at once");
        simulation.run(3_600, load * rate);
        prop_assert!(simulation.backlog < rate * 60.0);
    }
}

#[test]
fn a_bottleneck_elsewhere_does_not_fill_the_cluster_with_workers() {
    let mut simulation =
        Simulation { bottleneck: 2_000.0, ..Simulation::new(ScalingSpec::default(), 64, 1_000.0) };
    simulation.run(1_800, 30_000.0);
    // Two reach what the bottleneck lets through; one more step shows that it brings nothing.
    assert!(simulation.history.len() <= 4, "{:?}", simulation.history);
    let reached = simulation.desired;
    assert!(reached < 64, "{:?}", simulation.history);
    simulation.run(1_200, 30_000.0);
    assert!(simulation.history.len() <= 5, "{:?}", simulation.history);
}

#[test]
fn a_burst_is_worked_off_and_the_workers_go() {
    let mut simulation = Simulation::new(ScalingSpec::default(), 8, 1_000.0);
    simulation.run(600, 500.0);
    simulation.backlog += 400_000.0;
    simulation.run(400, 500.0);
    assert!(simulation.backlog < 1_000.0, "{:?}", simulation.history);
    simulation.run(3_600, 500.0);
    assert_eq!(simulation.steps(), [1, 7, 1], "{:?}", simulation.history);
}
