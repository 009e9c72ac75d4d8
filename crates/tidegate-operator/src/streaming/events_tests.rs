use super::*;
use crate::streaming::fixtures::{World, state};
use crate::validation::Rejection;

/// What Kubernetes takes.
const LONGEST_NOTE: usize = 1_024;

/// `Warning SourceGap Stall`, for each Event of the step from one world to another.
fn between(before: &World, after: &World) -> Vec<String> {
    told(before, after, Happenings::default()).into_iter().map(|(head, _)| head).collect()
}

fn told(before: &World, after: &World, happenings: Happenings<'_>) -> Vec<(String, String)> {
    let previous = before.status(None).expect("the first");
    let after = World { before: previous.conditions.clone(), ..after.clone() };
    let next = after.status(Some(&previous));
    let events = events(&after.facts(), Some(&previous), next.as_ref(), happenings);
    events
        .into_iter()
        .map(|event| {
            assert!(event.note.as_ref().is_some_and(|note| note.len() <= LONGEST_NOTE));
            let head = format!("{:?} {} {}", event.type_, event.reason, event.action);
            (head, event.note.unwrap_or_default())
        })
        .collect()
}

fn refused(message: &str) -> World {
    let rejection = Rejection { reason: Reason::SchemaChangeRefused, message: message.to_owned() };
    World { generation: 2, rejection: Some(rejection), ..World::new() }
}

#[test]
fn what_lasts_is_not_told_again() {
    let stalled = World::new().worker_says(0, Reason::SourceGap, 0);
    for world in [World::new(), stalled, refused("no"), World::new().with_workers(0)] {
        assert_eq!(between(&world, &world), [""; 0]);
    }
}

#[test]
fn each_transition_is_told_once() {
    let well = World::new();
    let at_fault = |reason| World::new().worker_says(0, reason, 200);
    let rolling = World::new().edit(|world| {
        world.generation = 2;
        world.memory.rolling = true;
    });
    let table = [
        (well.clone(), at_fault(Reason::SourceGap), vec!["Warning SourceGap Stall"]),
        (well.clone(), at_fault(Reason::SecretMissing), vec!["Warning SecretMissing Run"]),
        (at_fault(Reason::SourceGap), well.clone(), vec!["Normal Ok Run"]),
        (
            at_fault(Reason::SourceGap),
            at_fault(Reason::TableRewound),
            vec!["Warning TableRewound Stall"],
        ),
        (well.clone(), refused("no"), vec!["Warning SchemaChangeRefused Refuse"]),
        (well.clone(), rolling.clone(), vec!["Normal RollingOut RollOut"]),
        (rolling, World { generation: 2, ..well.clone() }, vec!["Normal Ok Run"]),
        (
            well.clone(),
            World::new().spec(|p| p.spec.suspend = true),
            vec!["Normal Suspended Suspend"],
        ),
        (
            well.clone(),
            World::new()
                .edit(|w| w.agent().durable = Some(state(Reason::SourceNotDurable, "one copy"))),
            vec!["Warning SourceNotDurable Check"],
        ),
        (
            well.clone(),
            World::new()
                .spec(|p| p.spec.objectives.freshness = Some(tidegate_types::Span::seconds(1))),
            vec!["Warning Late Read"],
        ),
        (well.clone(), well.with_workers(0), vec![]),
    ];
    for (before, after, wanted) in table {
        assert_eq!(between(&before, &after), wanted);
    }
}

#[test]
fn each_refused_edit_is_told_though_the_reason_is_the_same() {
    let again = World { generation: 3, ..refused("no again") };
    assert_eq!(between(&refused("no"), &again), ["Warning SchemaChangeRefused Refuse"]);
}

#[test]
fn dead_letters_are_told_when_they_begin() {
    let before = World::new().noted();
    let mut after = before.clone();
    after.agent().counters.dead = 5;
    assert_eq!(between(&before, &after.noted()), ["Warning DeadLettersWritten SetAside"]);
}

#[test]
fn a_step_of_the_scaling_is_told_with_inputs_and_answer() {
    let mut after = World::new();
    let scaling = &mut after.decisions.as_mut().expect("decided").scaling;
    (scaling.reason, scaling.message) = (Reason::ScaledUp, "9 messages wait: 3 workers".into());
    let events = told(&World::new(), &after, Happenings::default());
    assert_eq!(
        events,
        [("Normal ScaledUp Scale".to_owned(), "9 messages wait: 3 workers".to_owned())]
    );
}

#[test]
fn a_fence_is_told_when_the_count_rises_and_not_when_it_is_first_seen() {
    let fenced = |world: &World, times: u64| {
        let mut world = world.clone();
        world.worker(1).report.as_mut().expect("it answers").fenced = times;
        world.noted()
    };
    let first = fenced(&World::new(), 4);
    assert_eq!(between(&World::new(), &first), [""; 0]);
    let second = fenced(&first, 5);
    assert_eq!(between(&first, &second), ["Warning Fenced Fence"]);
    assert_eq!(between(&second, &fenced(&second, 5)), [""; 0]);
    assert_eq!(between(&second, &fenced(&second, 0)), [""; 0], "another process");
}

#[test]
fn what_no_condition_tells_is_told() {
    let happenings = Happenings {
        added_columns: &["region".to_owned()],
        repaired: &["Service clicks-worker".to_owned()],
        left_behind: &["stream CLICKS: no route".to_owned()],
    };
    let events = told(&World::new(), &World::new(), happenings);
    assert_eq!(
        events,
        [
            (
                "Normal SchemaChanged AddColumns".to_owned(),
                "the table gets 1 column: region".to_owned()
            ),
            (
                "Warning DriftRepaired Repair".to_owned(),
                "somebody changed Service clicks-worker; it was put back".to_owned()
            ),
            (
                "Warning DeletionIncomplete Delete".to_owned(),
                "deleted, but this is left: stream CLICKS: no route".to_owned()
            ),
        ]
    );
}

#[test]
fn a_note_of_any_length_is_cut() {
    let left = vec!["x".repeat(300); 50];
    let happenings = Happenings { left_behind: &left, ..Happenings::default() };
    assert_eq!(told(&World::new(), &World::new(), happenings).len(), 1);
}
