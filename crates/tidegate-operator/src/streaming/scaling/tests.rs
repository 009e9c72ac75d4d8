use super::*;
use crate::streaming::fixtures::at;

pub(super) const COOLDOWN: i64 = 300;

/// Two workers of 800/s, eight partitions, nothing remembered.
pub(super) fn facts(spec: &ScalingSpec) -> ScalingFacts<'_> {
    ScalingFacts {
        spec,
        suspended: false,
        replicas: 1,
        partitions: 8,
        current: 2,
        flush: Span::seconds(60),
        unclaimed: false,
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

#[test]
fn one_worker_stays_until_every_partition_was_claimed() {
    let spec = ScalingSpec::default();
    assert_eq!(spec.min_replicas, 0);
    let unclaimed = ScalingFacts { unclaimed: true, current: 0, ..facts(&spec) };
    assert_eq!(replicas(&unclaimed), (1, Reason::ScaledUp), "though nothing waits");
    let previous = ScalingStatus { fewer_since: ago(9 * COOLDOWN), ..remembered(1) };
    let step = |unclaimed| {
        replicas(&ScalingFacts { unclaimed, previous: Some(&previous), ..facts(&spec) })
    };
    assert_eq!(step(true), (1, Reason::Ok));
    assert_eq!(step(false), (0, Reason::ScaledToZero));
    let suspended = ScalingFacts { suspended: true, ..unclaimed.clone() };
    assert_eq!(replicas(&suspended).0, 0);
    assert!(decide(&unclaimed).1.message.contains("where reading begins: 1 worker"));
}
