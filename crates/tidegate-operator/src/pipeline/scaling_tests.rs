use proptest::prelude::*;

use super::*;
use crate::pipeline::fixtures::{at, moved};

const COOLDOWN: i64 = 300;

/// Two workers of 800/s, eight partitions, nothing remembered.
fn facts(spec: &ScalingSpec) -> ScalingFacts<'_> {
    ScalingFacts {
        spec,
        suspended: false,
        replicas: 1,
        partitions: 8,
        current: 2,
        flush: Span::seconds(60),
        pending: Some(0),
        rate: Some(800.0),
        flow: Some(0.0),
        last_record: None,
        rolling: false,
        starting: false,
        previous: None,
        now: at(10_000),
    }
}

fn remembered(desired: i32) -> ScalingStatus {
    ScalingStatus { desired_replicas: desired, ..ScalingStatus::default() }
}

fn ago(seconds: i64) -> Option<Time> {
    Some(Time(at(10_000 - seconds)))
}

fn replicas(facts: &ScalingFacts<'_>) -> (u32, Reason) {
    let (replicas, decision) = decide(facts);
    if let Some(memory) = &decision.memory {
        assert_eq!(memory.desired_replicas, i32::try_from(replicas).expect("few"));
    }
    (replicas, decision.reason)
}

#[test]
fn the_stream_is_emptied_in_the_time_that_the_user_gives() {
    let spec = ScalingSpec::default();
    for (pending, wanted) in [
        (1, 2),
        (96_000, 2),
        (96_001, 3),
        (144_000, 3),
        (300_000, 7),
        (1_000_000, 8),
        (u64::MAX, 8),
    ] {
        let (found, _) = replicas(&ScalingFacts { pending: Some(pending), ..facts(&spec) });
        assert_eq!(found, wanted, "{pending} messages");
    }
}

#[test]
fn inputs_and_answer_are_told() {
    let spec = ScalingSpec::default();
    let told = |facts: ScalingFacts<'_>| decide(&facts).1.message;
    let base = facts(&spec);
    assert_eq!(
        told(ScalingFacts { pending: Some(300_000), ..base.clone() }),
        "300000 messages wait, a worker takes 800/s, the target is to empty the stream within 1m: 7 workers"
    );
    assert_eq!(
        told(ScalingFacts { pending: Some(1), rate: None, current: 0, ..base.clone() }),
        "1 message waits, what a worker takes is not known yet: 1 worker"
    );
    assert_eq!(told(ScalingFacts { pending: Some(0), ..base.clone() }), "nothing waits: 2 workers");
    assert_eq!(told(ScalingFacts { pending: None, ..base }), "what waits is not known: 2 workers");
}

#[test]
fn a_number_that_somebody_fixed_is_capped_by_the_partitions() {
    let of = |mode| ScalingSpec { mode, ..ScalingSpec::default() };
    for (mode, reason) in [
        (ScalingMode::Fixed, Reason::ScalingFixed),
        (ScalingMode::External, Reason::ScaledExternally),
    ] {
        let spec = of(mode);
        for (asked, given) in [(0, 0), (1, 1), (8, 8), (9, 8), (256, 8)] {
            let facts = ScalingFacts { replicas: asked, pending: Some(9_999_999), ..facts(&spec) };
            assert_eq!(replicas(&facts), (given, reason));
            assert_eq!(decide(&facts).1.memory, None);
        }
        let told = decide(&ScalingFacts { replicas: 9, ..facts(&spec) }).1.message;
        assert!(told.contains("8 workers, of 9 asked for"), "{told}");
    }
}

#[test]
fn suspended_is_none_and_remembers_only_the_rate() {
    let spec = ScalingSpec { min_replicas: 2, ..ScalingSpec::default() };
    let previous =
        ScalingStatus { rate_per_worker: Some(800), fewer_since: ago(9), ..remembered(3) };
    let facts = ScalingFacts { suspended: true, previous: Some(&previous), ..facts(&spec) };
    let (replicas, decision) = decide(&facts);
    assert_eq!((replicas, decision.reason), (0, Reason::Suspended));
    let memory = ScalingStatus { rate_per_worker: Some(800), ..remembered(0) };
    assert_eq!(decision.memory, Some(memory));
}

#[test]
fn lag_that_is_not_known_keeps_the_number() {
    let spec = ScalingSpec::default();
    for current in 0..=8 {
        let facts = ScalingFacts { pending: None, current, ..facts(&spec) };
        assert_eq!(replicas(&facts), (current, Reason::Ok));
    }
}

#[test]
fn limits_hold_at_once() {
    let spec = ScalingSpec { min_replicas: 3, max_replicas: Some(4), ..ScalingSpec::default() };
    for (current, wanted, reason) in [
        (0, 3, Reason::ScaledUp),
        (2, 3, Reason::ScaledUp),
        (3, 3, Reason::Ok),
        (8, 4, Reason::ScaledDown),
    ] {
        let facts = ScalingFacts { current, pending: None, rolling: true, ..facts(&spec) };
        assert_eq!(replicas(&facts), (wanted, reason), "from {current}");
    }
    let more_than_partitions =
        ScalingSpec { min_replicas: 20, max_replicas: Some(30), ..ScalingSpec::default() };
    assert_eq!(replicas(&facts(&more_than_partitions)).0, 8);
}

#[test]
fn an_unknown_rate_goes_one_step_at_a_time() {
    let spec = ScalingSpec::default();
    for current in 0..8 {
        let facts = ScalingFacts { rate: None, current, pending: Some(1_000_000), ..facts(&spec) };
        assert_eq!(replicas(&facts).0, current + 1);
    }
}

#[test]
fn a_rate_is_remembered_while_no_worker_runs() {
    let spec = ScalingSpec::default();
    let previous = ScalingStatus { rate_per_worker: Some(800), ..remembered(0) };
    let facts = ScalingFacts {
        rate: None,
        flow: None,
        current: 0,
        pending: Some(300_000),
        previous: Some(&previous),
        ..facts(&spec)
    };
    assert_eq!(replicas(&facts), (7, Reason::ScaledUp));
}

#[test]
fn nothing_rises_while_pods_start_or_roll() {
    let spec = ScalingSpec::default();
    let base = ScalingFacts { pending: Some(1_000_000), ..facts(&spec) };
    for (rolling, starting) in [(true, false), (false, true), (true, true)] {
        let facts = ScalingFacts { rolling, starting, ..base.clone() };
        assert_eq!(replicas(&facts), (2, Reason::Ok));
    }
}

#[test]
fn from_zero_at_once() {
    let spec = ScalingSpec::default();
    let previous = ScalingStatus { last_scale_time: ago(1), ..remembered(0) };
    let facts = ScalingFacts {
        pending: Some(1),
        current: 0,
        rolling: true,
        starting: true,
        previous: Some(&previous),
        ..facts(&spec)
    };
    assert_eq!(replicas(&facts), (1, Reason::ScaledUp));
}

#[test]
fn the_last_worker_goes_when_nothing_waited_for_the_cool_down_period() {
    let spec = ScalingSpec::default();
    let step = |current: i32, since, pending| {
        let previous = ScalingStatus { fewer_since: since, ..remembered(current) };
        let facts =
            ScalingFacts { pending: Some(pending), previous: Some(&previous), ..facts(&spec) };
        let (replicas, decision) = decide(&facts);
        (replicas, decision.reason, decision.memory.and_then(|memory| memory.fewer_since))
    };
    assert_eq!(step(1, None, 0), (1, Reason::Ok, ago(0)));
    assert_eq!(step(1, ago(COOLDOWN - 1), 0), (1, Reason::Ok, ago(COOLDOWN - 1)));
    assert_eq!(step(1, ago(COOLDOWN), 0), (0, Reason::ScaledToZero, None));
    assert_eq!(step(1, ago(COOLDOWN), 1), (1, Reason::Ok, None), "something waits");
    assert_eq!(step(3, ago(COOLDOWN), 0), (1, Reason::ScaledDown, None), "the last goes later");
    let previous = ScalingStatus { fewer_since: ago(9 * COOLDOWN), ..remembered(1) };
    for (seconds, left) in [(COOLDOWN - 1, 1), (COOLDOWN, 0)] {
        let facts = ScalingFacts {
            last_record: Some(at(10_000 - seconds)),
            previous: Some(&previous),
            ..facts(&spec)
        };
        assert_eq!(replicas(&facts).0, left, "a record {seconds} s ago");
    }
}

#[test]
fn what_arrives_keeps_its_workers_though_nothing_waits() {
    let spec = ScalingSpec::default();
    let previous = ScalingStatus { fewer_since: ago(COOLDOWN), ..remembered(4) };
    let step = |flow| {
        let facts =
            ScalingFacts { pending: Some(10), flow, previous: Some(&previous), ..facts(&spec) };
        replicas(&facts).0
    };
    assert_eq!(step(Some(100.0)), 1);
    assert_eq!(step(Some(1_600.0)), 3, "two would be busier than nine tenths of their time");
    assert_eq!(step(Some(3_000.0)), 4);
    assert_eq!(step(None), 4, "not measured: perhaps all are needed");
}

#[test]
fn a_step_that_gained_nothing_is_not_followed_by_another() {
    let spec = ScalingSpec::default();
    let step = |flow, since| {
        let previous = ScalingStatus {
            rate_before_last_step: Some(1_600),
            last_scale_time: ago(since),
            ..remembered(4)
        };
        let facts = ScalingFacts {
            pending: Some(1_000_000),
            flow,
            previous: Some(&previous),
            ..facts(&spec)
        };
        replicas(&facts).0
    };
    assert_eq!(step(Some(3_200.0), 120), 8);
    assert_eq!(step(Some(1_761.0), 120), 8, "more than a tenth");
    assert_eq!(step(Some(1_700.0), 120), 4, "less than a tenth");
    assert_eq!(step(Some(0.0), 120), 4);
    assert_eq!(step(None, 120), 4, "what it gained is not known yet");
    assert_eq!(step(Some(1_700.0), 6 * COOLDOWN), 8, "the bottleneck may have gone");
}

#[test]
fn a_small_step_of_many_workers_may_gain_less_than_a_tenth() {
    let spec = ScalingSpec::default();
    let previous = ScalingStatus {
        rate_before_last_step: Some(16 * 800),
        last_scale_time: ago(120),
        ..remembered(17)
    };
    let step = |flow| {
        let facts = ScalingFacts {
            partitions: 64,
            pending: Some(1_000_000),
            flow: Some(flow),
            previous: Some(&previous),
            ..facts(&spec)
        };
        replicas(&facts).0
    };
    assert_eq!(step(16.9 * 800.0), 21);
    assert_eq!(step(16.1 * 800.0), 17);
}

#[test]
fn a_target_below_the_flush_interval_is_taken_for_it() {
    let spec = ScalingSpec { target_drain: Span::seconds(1), ..ScalingSpec::default() };
    assert_eq!(replicas(&ScalingFacts { pending: Some(96_000), ..facts(&spec) }).0, 2);
}

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
    #![proptest_config(ProptestConfig::with_cases(400))]

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
        simulation.run(6 * 3_600, load * rate);
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
