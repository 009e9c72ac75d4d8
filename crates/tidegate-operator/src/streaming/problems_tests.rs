use tidegate_types::Guarantee;

use super::*;
use crate::pods::Trouble;
use crate::streaming::fixtures::{World, at, state};

fn found(world: &World, patient: bool) -> Vec<(Reason, String)> {
    let problems = problems(&world.facts(), patient, at(world.now));
    problems.into_iter().map(|problem| (problem.reason, problem.message)).collect()
}

fn reasons(world: &World) -> Vec<Reason> {
    found(world, true).into_iter().map(|(reason, _)| reason).collect()
}

#[test]
fn nothing_is_wrong_when_all_is_well() {
    assert_eq!(found(&World::new(), false), []);
    assert_eq!(found(&World::new().with_workers(0), false), []);
}

#[test]
fn what_the_agent_says_counts_at_once() {
    let down = World::new().edit(|world| {
        world.agent().source = Some(state(Reason::SourceUnreachable, "no route"));
        world.agent().sink = Some(state(Reason::SinkUnreachable, "403"));
    });
    assert_eq!(
        found(&down, true),
        [
            (Reason::SourceUnreachable, "the agent: no route".to_owned()),
            (Reason::SinkUnreachable, "the agent: 403".to_owned()),
        ]
    );
}

#[test]
fn a_guarantee_that_is_not_met_names_the_weakest_hop() {
    let world = World::new().edit(|world| {
        let guarantee = world.agent().guarantee.as_mut().expect("it was looked at");
        guarantee.effective = Guarantee::AtLeastOnce;
        guarantee.weakest_hop = Some("store: it overwrites".into());
    });
    assert_eq!(found(&world, true), [(Reason::GuaranteeNotMet, "store: it overwrites".to_owned())]);
}

#[test]
fn what_passes_by_itself_counts_of_a_worker_after_a_minute_and_the_rest_at_once() {
    for (reason, seconds, counts) in [
        (Reason::Fenced, 59, false),
        (Reason::Fenced, 60, true),
        (Reason::SinkUnreachable, 5, false),
        (Reason::SinkUnreachable, 61, true),
        (Reason::SecretMissing, 0, true),
        (Reason::SourceGap, 0, true),
        (Reason::Malformed, 0, true),
    ] {
        let world = World::new().worker_says(1, reason, seconds);
        let wanted = if counts { vec![reason] } else { vec![] };
        assert_eq!(reasons(&world), wanted, "{reason} for {seconds} s");
    }
}

#[test]
fn the_worst_worker_speaks_for_the_pipeline() {
    let world = World::new()
        .with_workers(4)
        .worker_says(0, Reason::SinkUnreachable, 100)
        .worker_says(1, Reason::SecretMissing, 100)
        .worker_says(2, Reason::TableRewound, 100)
        .worker_says(3, Reason::SourceGap, 100);
    let all = problems(&world.facts(), true, at(0));
    assert_eq!(worst(&all).map(|problem| problem.reason), Some(Reason::SourceGap));
    assert_eq!(
        worst(&all).map(|problem| problem.message.as_str()),
        Some("clicks-worker-3: its own words")
    );
    assert_eq!(worst_of(&all, Part::Sink).map(|p| p.reason), Some(Reason::TableRewound));
    assert_eq!(worst_of(&all, Part::Guarantee), None);
    assert_eq!(worst(&all[..2]).map(|problem| problem.reason), Some(Reason::SecretMissing));
}

#[test]
fn of_equals_the_first_is_told() {
    let world =
        World::new().worker_says(0, Reason::SourceGap, 0).worker_says(1, Reason::SourceGap, 0);
    let all = problems(&world.facts(), true, at(0));
    assert!(worst(&all).is_some_and(|problem| problem.message.starts_with("clicks-worker-0")));
}

#[test]
fn a_pod_that_cannot_speak_is_spoken_for_by_kubernetes() {
    let mut world = World::new();
    let pod = world.worker(1);
    pod.ready = false;
    pod.report = None;
    pod.trouble = Some(Trouble { reason: Reason::Unschedulable, message: "0/3 nodes".into() });
    for (seconds, patient, counts) in
        [(0, true, false), (59, true, false), (60, true, true), (0, false, true)]
    {
        world.worker(1).not_ready_since = Some(at(-seconds));
        let wanted = if counts {
            vec![(Reason::Unschedulable, "clicks-worker-1: 0/3 nodes".to_owned())]
        } else {
            vec![]
        };
        assert_eq!(found(&world, patient), wanted, "{seconds} s, patient: {patient}");
    }
}

#[test]
fn a_worker_that_is_missed_for_a_minute_is_a_problem_whatever_is_known_of_it() {
    let mut silent = World::new().worker_says(1, Reason::Ok, 60);
    assert_eq!(reasons(&silent), [Reason::Progressing]);
    silent.worker(1).report = None;
    assert_eq!(reasons(&silent), [Reason::WorkerUnreachable]);
    let mut gone = World::new();
    gone.observed.worker_pods.remove("clicks-worker-1");
    let gone = gone.noted();
    assert_eq!(reasons(&gone), []);
    assert_eq!(reasons(&World { now: 60, ..gone }.noted()), [Reason::PodFailing]);
}

#[test]
fn who_leaves_or_should_not_exist_is_not_asked() {
    let mut leaving = World::new().worker_says(1, Reason::SourceGap, 5);
    leaving.worker(1).leaving = true;
    assert_eq!(reasons(&leaving), []);
    let mut surplus = World::new().worker_says(1, Reason::SourceGap, 100);
    surplus.decisions.as_mut().expect("decided").replicas = 1;
    assert_eq!(reasons(&surplus), []);
    let suspended =
        World::new().worker_says(1, Reason::SourceGap, 100).spec(|p| p.spec.suspend = true);
    assert_eq!(reasons(&suspended), []);
}

#[test]
fn a_word_of_another_release_does_not_become_a_reason() {
    let world = World::new().edit(|world| {
        world.agent().pod.state.reason = "WarpCoreBreach".into();
        world.agent().pod.state.message = "run".into();
    });
    assert_eq!(
        found(&world, true),
        [(Reason::PodFailing, "the agent: WarpCoreBreach: run".to_owned())]
    );
}

#[test]
fn every_reason_that_keeps_from_work_reaches_the_pipeline_from_the_agent() {
    for reason in Reason::ALL.iter().copied() {
        let world = World::new().edit(|world| world.agent().pod.state = state(reason, "so"));
        let wanted = if outlook(reason) == Outlook::Well { vec![] } else { vec![reason] };
        assert_eq!(reasons(&world), wanted);
    }
}
