use std::collections::BTreeSet;

use tidegate_api::ScalingMode;
use tidegate_types::{Guarantee, Reason, Span};

use super::*;
use crate::failure::Failure;
use crate::pods::Trouble;
use crate::status::{Outlook, Part, find, outlook};
use crate::streaming::fixtures::{World, at, state};
use crate::validation::Rejection;

/// What kstatus makes of an object that it does not know.
fn kstatus(conditions: &[Condition]) -> &'static str {
    let is = |kind, status| find(conditions, kind).is_some_and(|c| c.status == status);
    if is(RECONCILING, "True") {
        "InProgress"
    } else if is(STALLED, "True") {
        "Failed"
    } else if is(READY, "True") {
        "Current"
    } else {
        "InProgress"
    }
}

fn refused(reason: Reason) -> Rejection {
    Rejection { reason, message: "spec.sink: no".into() }
}

fn edit_in_progress(world: &mut World) {
    world.generation = 2;
    world.memory.rolling = true;
}

/// A pipeline that was well a minute ago.
fn was_well() -> World {
    World::new().noted().later(60)
}

/// The same with somebody else, or nobody, deciding about the number of workers.
fn none_as(mode: ScalingMode, reason: Reason) -> World {
    let mut world = was_well().with_workers(0).spec(|p| p.spec.scaling.mode = mode);
    let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
    (scaling.reason, scaling.memory) = (reason, None);
    world
}

/// Situations, by a sentence.
fn situations() -> Vec<(&'static str, World)> {
    vec![
        ("all is well", was_well()),
        ("scaled to zero by lag", was_well().with_workers(0)),
        ("zero workers as the user says", none_as(ScalingMode::Fixed, Reason::ScalingFixed)),
        (
            "zero workers as somebody else says",
            none_as(ScalingMode::External, Reason::ScaledExternally),
        ),
        ("nothing was made yet", nothing_yet()),
        ("nothing was looked at yet", World { pipeline: None, decisions: None, ..nothing_yet() }),
        ("suspended, pods still leave", {
            let mut world = was_well().spec(|p| p.spec.suspend = true);
            let decisions = world.decisions.as_mut().expect("decided");
            (decisions.replicas, decisions.scaling.reason) = (0, Reason::Suspended);
            world
        }),
        ("suspended", suspended()),
        ("an edit rolls", was_well().edit(edit_in_progress)),
        ("a new release rolls", was_well().edit(|world| world.memory.rolling = true)),
        (
            "a new release waits for its turn",
            was_well().edit(|w| w.decisions.as_mut().expect("decided").hold_templates = true),
        ),
        ("workers are added", {
            let mut world = was_well();
            world.decisions.as_mut().expect("decided").replicas = 4;
            world
        }),
        (
            "refused and never accepted",
            World {
                pipeline: None,
                decisions: None,
                rejection: Some(refused(Reason::InvalidConfiguration)),
                ..nothing_yet()
            },
        ),
        (
            "an edit is refused and the last one goes on",
            World {
                generation: 2,
                rejection: Some(refused(Reason::SchemaChangeRefused)),
                ..was_well()
            },
        ),
        (
            "the service account of an edit does not offer itself",
            World {
                generation: 2,
                rejection: Some(refused(Reason::ServiceAccountRefused)),
                ..was_well()
            },
        ),
        ("nobody has claimed yet", World::new().edit(|w| w.agent().floors.clear())),
        ("another fixed number, not there yet", more_as(ScalingMode::Fixed)),
        (
            "the source is down",
            was_well()
                .edit(|w| w.agent().source = Some(state(Reason::SourceUnreachable, "no route"))),
        ),
        (
            "the source is down and the lag not known",
            was_well().edit(|w| {
                w.agent().source = Some(state(Reason::SourceUnreachable, "no route"));
                w.agent().lag = None;
            }),
        ),
        (
            "the store refuses",
            was_well().edit(|w| w.agent().sink = Some(state(Reason::SinkUnreachable, "403"))),
        ),
        (
            "the broker is not durable",
            was_well()
                .edit(|w| w.agent().durable = Some(state(Reason::SourceNotDurable, "one copy"))),
        ),
        (
            "the guarantee is not met",
            was_well().edit(|w| {
                w.agent().guarantee.as_mut().expect("there").effective = Guarantee::AtLeastOnce;
            }),
        ),
        (
            "somebody else keeps the stream from being trimmed",
            was_well().edit(|w| w.agent().trim = Some(state(Reason::TrimBlocked, "consumer x"))),
        ),
        ("messages are missing", was_well().worker_says(1, Reason::SourceGap, 0)),
        ("a secret is missing", was_well().worker_says(1, Reason::SecretMissing, 0)),
        ("a worker was fenced a moment ago", was_well().worker_says(1, Reason::Fenced, 10)),
        ("a worker is fenced for long", was_well().worker_says(1, Reason::Fenced, 100)),
        ("a pod has no place for long", {
            let mut world = was_well().worker_says(1, Reason::Ok, 100);
            world.worker(1).report = None;
            world.worker(1).trouble =
                Some(Trouble { reason: Reason::Unschedulable, message: "0/3 nodes".into() });
            world
        }),
        ("the agent is silent for a moment", was_well().agent_silent(30)),
        ("the agent is silent for long", was_well().agent_silent(60)),
        ("behind", was_well().edit(|w| w.agent().lag_seconds = Some(500))),
        (
            "late",
            was_well()
                .spec(|p| p.spec.objectives.freshness = Some(Span::seconds(30)))
                .edit(|w| w.agent().lag_seconds = Some(31)),
        ),
        ("dead letters are written", {
            let mut world = was_well().noted();
            world.agent().counters.dead = 3;
            world.noted()
        }),
        (
            "a name is taken",
            World {
                failure: Some(Failure::waiting(
                    Reason::NameTaken,
                    "StatefulSet clicks-worker is not ours",
                    std::time::Duration::from_secs(60),
                )),
                ..was_well()
            },
        ),
        (
            "the API server is out of reach",
            World {
                failure: Some(Failure::transient(Reason::ApiUnavailable, "connection refused")),
                decisions: None,
                ..was_well()
            },
        ),
        ("it is being deleted", World { deleting: Some("workers commit".into()), ..was_well() }),
    ]
}

fn nothing_yet() -> World {
    let mut world = World::new();
    world.observed = Default::default();
    world
}

/// An edit asks for two more workers, by whoever decides about their number.
fn more_as(mode: ScalingMode) -> World {
    let mut world = was_well().spec(|p| p.spec.scaling.mode = mode);
    world.generation = 2;
    world.decisions.as_mut().expect("decided").replicas = 4;
    world
}

fn suspended() -> World {
    let mut world = was_well().with_workers(0).spec(|p| p.spec.suspend = true);
    world.observed.agent = crate::streaming::fixtures::settled(0);
    world.observed.agent_pod = None;
    let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
    scaling.reason = Reason::Suspended;
    world.decisions.as_mut().expect("decided").agents = 0;
    world
}

#[test]
fn every_situation_has_its_conditions() {
    let mut table = String::new();
    for (what, world) in situations() {
        let conditions = world.conditions();
        table.push_str(&format!("{what}: {}\n", kstatus(&conditions)));
        for condition in &conditions {
            let line = format!(
                "  {:<16} {:<8} {:<20} {}\n",
                condition.type_, condition.status, condition.reason, condition.message
            );
            table.push_str(&line);
        }
    }
    insta::assert_snapshot!("situations", table);
}

#[test]
fn the_shape_is_what_kubernetes_and_kstatus_want() {
    for (what, world) in situations() {
        let conditions = world.conditions();
        let kinds: BTreeSet<&str> = conditions.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(kinds.len(), conditions.len(), "{what}: a type twice");
        for condition in &conditions {
            let kind = &condition.type_;
            assert_eq!(condition.observed_generation, Some(world.generation), "{what}: {kind}");
            assert!(condition.message.len() <= 256, "{what}: {kind}");
            assert!(Reason::from_word(&condition.reason).is_some(), "{what}: {kind}");
            let only_when_true = kind == RECONCILING || kind == STALLED;
            assert!(!only_when_true || condition.status == "True", "{what}: {kind}");
        }
        let always = [
            READY,
            SPEC_ACCEPTED,
            SOURCE_REACHABLE,
            SOURCE_DURABLE,
            SINK_REACHABLE,
            GUARANTEE_MET,
            CAUGHT_UP,
            DEAD_LETTERING,
            SCALING_ACTIVE,
        ];
        assert!(always.iter().all(|kind| kinds.contains(kind)), "{what}: {kinds:?}");
        assert!(!(kinds.contains(STALLED) && kinds.contains(RECONCILING)), "{what}");
    }
}

#[test]
fn a_second_look_at_the_same_says_the_same() {
    for (what, world) in situations() {
        let settled = world.later(1);
        let again = settled.clone().later(1);
        // What was said first may depend on what was said before; after that it stands.
        let (first, second) = (settled.conditions(), again.conditions());
        assert_eq!(first, second, "{what}");
    }
}

#[test]
fn the_time_of_a_transition_moves_with_the_status_alone() {
    let well = World::new().later(60);
    let since = |world: &World, kind: &str| {
        find(&world.conditions(), kind).map(|condition| condition.last_transition_time.0)
    };
    assert_eq!(since(&well, READY), Some(at(0)));
    let at_zero = well.clone().with_workers(0);
    assert_eq!(at_zero.says(READY), "True/ScaledToZero");
    assert_eq!(since(&at_zero, READY), Some(at(0)), "another reason, the same status");
    let wrong = well.worker_says(0, Reason::SourceGap, 0);
    assert_eq!(since(&wrong, READY), Some(at(60)));
    assert_eq!(since(&wrong.later(60), READY), Some(at(60)));
}

#[test]
fn a_message_of_any_length_is_cut_at_a_character() {
    let world = World::new().edit(|world| {
        world.agent().pod.state = state(Reason::SourceGap, &"ö".repeat(4_000));
    });
    let message = world.message(READY);
    assert!(message.len() <= 256 && message.len() > 240, "{}", message.len());
    assert!(message.ends_with('…'));
}

#[test]
fn a_new_pipeline_becomes_ready_when_everything_is_there_and_the_agent_has_spoken() {
    assert_eq!(nothing_yet().says(READY), "False/Progressing");
    let mut starting = World::new().worker_says(0, Reason::Ok, 5);
    assert_eq!(starting.says(READY), "False/Progressing");
    assert_eq!(starting.says(RECONCILING), "True/Progressing");
    starting = World::new().agent_silent(5);
    assert_eq!(starting.says(READY), "False/Progressing");
    assert_eq!(World::new().says(READY), "True/Ok");
    assert_eq!(World::new().says(RECONCILING), "-");
}

#[test]
fn workers_that_come_and_go_by_lag_leave_it_ready() {
    let mut world = was_well();
    for replicas in [4, 8, 1, 0, 3] {
        world.decisions.as_mut().expect("decided").replicas = replicas;
        world = world.later(10);
        assert!(world.says(READY).starts_with("True/"), "{replicas}: {}", world.says(READY));
        assert_eq!(world.says(RECONCILING), "-");
    }
}

#[test]
fn somebody_elses_scaling_is_an_edit_that_leaves_it_ready() {
    let mut world = was_well().spec(|p| p.spec.scaling.mode = ScalingMode::External);
    world.generation = 2;
    world.decisions.as_mut().expect("decided").replicas = 4;
    assert_eq!(world.says(READY), "True/Ok");
}

#[test]
fn an_edit_of_the_number_of_workers_is_ready_when_they_are_there() {
    for mode in [ScalingMode::Fixed, ScalingMode::Lag] {
        let edited = more_as(mode);
        assert_eq!(edited.says(READY), "False/Progressing", "{mode:?}");
        assert_eq!(edited.says(RECONCILING), "True/Progressing", "{mode:?}");
        let through = edited.later(10).with_workers(4);
        assert_eq!(
            (through.says(READY), through.says(RECONCILING)),
            ("True/Ok".into(), "-".into())
        );
    }
}

#[test]
fn a_new_pipeline_is_ready_only_when_every_partition_was_claimed() {
    let missing = World::new().edit(|w| _ = w.agent().floors.pop_last());
    assert_eq!(missing.says(READY), "False/Progressing");
    assert!(missing.message(READY).contains("first claim"), "{}", missing.message(READY));
    assert_eq!(missing.says(RECONCILING), "True/Progressing");
    // With no worker, as the user says, nobody ever claims.
    let mut none = none_as(ScalingMode::Fixed, Reason::ScalingFixed);
    none.before.clear();
    none.agent().floors.clear();
    assert_eq!(none.says(READY), "True/ScalingFixed");
    // Another life of the stream has none yet; the workers take care of that.
    let reset = was_well().edit(|w| w.agent().floors.clear());
    assert_eq!(reset.says(READY), "True/Ok");
}

#[test]
fn a_refusal_stalls_only_when_somebody_has_to_edit() {
    let with = |reason| World { generation: 2, rejection: Some(refused(reason)), ..was_well() };
    let waits = with(Reason::ServiceAccountRefused);
    assert_eq!(waits.says(STALLED), "-");
    assert_eq!(waits.says(RECONCILING), "True/ServiceAccountRefused");
    assert_eq!(with(Reason::InvalidConfiguration).says(STALLED), "True/InvalidConfiguration");
}

#[test]
fn an_edit_that_rolls_is_ready_only_at_its_end() {
    let rolling = was_well().edit(edit_in_progress);
    assert_eq!(rolling.says(READY), "False/RollingOut");
    let half = rolling.later(10).edit(|w| {
        w.memory.rolling = false;
        w.observed.workers.updated = 1;
    });
    assert_eq!(half.says(READY), "False/RollingOut", "as a restarted operator sees it");
    let through = half.later(10).edit(|world| {
        world.observed.workers.updated = 2;
        world.observed.workers.ready = 1;
    });
    assert_eq!(through.says(READY), "False/Progressing");
    let done = through.later(10).edit(|world| world.observed.workers.ready = 2);
    assert_eq!(done.says(READY), "True/Ok");
    assert_eq!(done.says(RECONCILING), "-");
}

#[test]
fn after_a_pause_nobody_is_blamed_for_the_silence_before() {
    let resumed = suspended().noted().later(100_000);
    let mut resumed =
        World { pipeline: Some(crate::streaming::fixtures::clicks(|_| {})), ..resumed };
    resumed.observed.agent.wanted = 1;
    resumed.decisions.as_mut().expect("decided").agents = 1;
    let resumed = resumed.noted();
    assert_eq!(resumed.says(READY), "False/Progressing");
    assert_eq!(resumed.says(SOURCE_REACHABLE), "Unknown/Progressing");
}

#[test]
fn a_pipeline_that_was_stalled_stays_so_while_nobody_can_look() {
    let stalled = was_well().worker_says(0, Reason::SourceGap, 0).later(10);
    assert_eq!(stalled.says(STALLED), "True/SourceGap");
    let blind = World {
        failure: Some(Failure::transient(Reason::ApiUnavailable, "connection refused")),
        decisions: None,
        observed: Default::default(),
        ..stalled
    };
    assert_eq!(blind.says(STALLED), "True/SourceGap");
    assert_eq!(blind.says(READY), "False/SourceGap");
}

#[test]
fn the_last_step_stays_told_while_the_number_stays() {
    let mut world = was_well();
    let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
    (scaling.reason, scaling.message) = (Reason::ScaledUp, "9000 messages wait: 2 workers".into());
    assert_eq!(world.says(SCALING_ACTIVE), "True/ScaledUp");
    let mut world = world.later(10);
    let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
    (scaling.reason, scaling.message) = (Reason::Ok, "8000 messages wait: 2 workers".into());
    assert_eq!(world.says(SCALING_ACTIVE), "True/ScaledUp");
    assert_eq!(world.message(SCALING_ACTIVE), "9000 messages wait: 2 workers");
    let mut world = world.later(10);
    let scaling = &mut world.decisions.as_mut().expect("decided").scaling;
    (scaling.reason, scaling.message) = (Reason::ScaledToZero, "nothing waits: 0 workers".into());
    assert_eq!(world.says(SCALING_ACTIVE), "True/ScaledToZero");
}

#[test]
fn dead_letters_are_told_for_fifteen_minutes() {
    let mut world = was_well().noted();
    assert_eq!(world.says(DEAD_LETTERING), "False/Ok");
    world.agent().counters.dead = 3;
    let world = world.noted().later(0);
    for (seconds, said) in
        [(0, "True/DeadLettersWritten"), (899, "True/DeadLettersWritten"), (900, "False/Ok")]
    {
        let later = World { now: world.now + seconds, ..world.clone() }.noted();
        assert_eq!(later.says(DEAD_LETTERING), said, "{seconds} s");
    }
}

#[test]
fn every_reason_that_keeps_from_work_can_be_the_reason_of_ready() {
    for reason in Reason::ALL.iter().copied() {
        let world = was_well().edit(|world| world.agent().pod.state = state(reason, "so"));
        let stalls = outlook(reason) == Outlook::Stalled;
        match outlook(reason) {
            Outlook::Well => assert_eq!(world.says(READY), "True/Ok"),
            _ => assert_eq!(world.says(READY), format!("False/{reason}")),
        }
        assert_eq!(world.says(STALLED) == format!("True/{reason}"), stalls, "{reason}");
        let part_of_the_path = match crate::status::part(reason) {
            Part::Source => Some(SOURCE_REACHABLE),
            Part::Sink => Some(SINK_REACHABLE),
            Part::Guarantee => Some(GUARANTEE_MET),
            Part::Other => None,
        };
        for kind in [SOURCE_REACHABLE, SINK_REACHABLE, GUARANTEE_MET] {
            let wanted = if part_of_the_path == Some(kind) {
                format!("False/{reason}")
            } else {
                "True/Ok".to_owned()
            };
            assert_eq!(world.says(kind), wanted, "{reason}");
        }
    }
}

#[test]
fn a_pipeline_whose_account_withdrew_does_not_say_that_its_user_suspended_it() {
    let mut world = World::new();
    if let Some(pipeline) = &mut world.pipeline {
        pipeline.spec.suspend = true;
    }
    assert_eq!(world.says("Ready"), "False/Suspended");
    world.rejection = Some(refused(Reason::ServiceAccountRefused));
    assert_eq!(world.says("Ready"), "False/Suspended", "the accepted account offers itself");
    world.withheld = true;
    assert_eq!(world.says("Ready"), "False/ServiceAccountRefused");
}
