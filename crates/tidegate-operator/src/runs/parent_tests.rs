use proptest::prelude::*;
use serde_json::json;
use tidegate_config::Calendar;

use super::*;
use crate::calendar::fixtures::{at, hour, hours};
use crate::runs::read::read;
use crate::runs::read::tests::object;

struct World {
    grid: Grid,
    range: DataInterval,
    reprocess: Reprocess,
    dry_run: bool,
    append: bool,
    previous: Option<ChildrenStatus>,
    children: BTreeMap<DataInterval, ChildState>,
    elsewhere: BTreeSet<DataInterval>,
    book: Option<Book>,
    room: usize,
}

impl World {
    fn new(range: DataInterval) -> Self {
        Self {
            grid: Grid::new("0 * * * *", "UTC").unwrap(),
            range,
            reprocess: Reprocess::Missing,
            dry_run: false,
            append: false,
            previous: None,
            children: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            book: None,
            room: 2,
        }
    }

    fn knowing(mut self, done: &[DataInterval], tried: &[DataInterval]) -> Self {
        let (done, tried) = (done.to_vec(), tried.to_vec());
        let answer = Calendar { done, tried, ..Calendar::default() };
        self.book = Book::of(&answer, self.range, at(0));
        self
    }

    fn step(&mut self) -> ParentStep {
        let step = parent(&ParentFacts {
            range: self.range,
            reprocess: self.reprocess,
            dry_run: self.dry_run,
            grid: &self.grid,
            append: self.append,
            previous: self.previous.as_ref(),
            children: &self.children,
            elsewhere: &self.elsewhere,
            book: self.book.as_ref(),
            room: self.room,
            now: at(100),
        });
        self.previous.clone_from(&step.children);
        step
    }
}

#[test]
fn the_log_is_asked_before_anything_is_made() {
    let mut world = World::new(hours(0, 6));
    let step = world.step();
    assert_eq!((step.ask, step.make, step.end), (Some(hours(0, 6)), vec![], None));
    assert!(step.waits.is_some());
    world = world.knowing(&[hours(0, 3)], &[]);
    let step = world.step();
    assert_eq!((step.ask, step.make), (None, vec![hour(3), hour(4)]));
    let counts = step.children.unwrap();
    assert_eq!((counts.total, counts.skipped, counts.active), (3, 3, 2));
    assert_eq!(counts.made_through.map(|time| time.0), Some(at(3)));
}

#[test]
fn all_needs_no_log_unless_rows_would_come_twice() {
    let mut world = World { reprocess: Reprocess::All, ..World::new(hours(0, 2)) };
    assert_eq!(world.step().make, [hour(0), hour(1)]);
    let mut world = World { append: true, reprocess: Reprocess::All, ..World::new(hours(0, 2)) };
    assert!(world.step().ask.is_some());
    world = world.knowing(&[hour(0)], &[]);
    assert_eq!(world.step().make, [hour(1)]);
}

#[test]
fn failed_runs_what_was_begun_and_is_not_done() {
    let mut world = World { reprocess: Reprocess::Failed, ..World::new(hours(0, 5)) }
        .knowing(&[hour(0)], &[hour(2), hour(4)]);
    assert_eq!(world.step().make, [hour(2), hour(4)]);
}

#[test]
fn failed_leaves_alone_what_its_run_would_leave_alone() {
    let failed = || World { reprocess: Reprocess::Failed, ..World::new(hours(0, 5)) };
    // One run over three hours failed, of which one is done by itself.
    let mut world = failed().knowing(&[hour(1)], &[hours(0, 3)]);
    assert_eq!(world.step().make, [hour(0), hour(2)]);
    let mut world = World { dry_run: true, ..failed() }.knowing(&[hour(1)], &[hours(0, 3)]);
    let planned = world.step().children.unwrap();
    assert_eq!((planned.total, planned.skipped), (2, 3), "the plan says the same");
    // What was done, and failed when it was done again, is done again.
    let mut world = failed().knowing(&[hour(0), hour(1)], &[hour(1), hour(3)]);
    assert_eq!(world.step().make, [hour(1), hour(3)]);
    let append = World { append: true, ..failed() };
    let mut world = append.knowing(&[hour(0), hour(1)], &[hour(1), hour(3)]);
    assert_eq!(world.step().make, [hour(3)], "its rows would come twice");
}

#[test]
fn failed_leaves_alone_what_somebody_else_is_doing_or_has_just_done() {
    let all = [hour(0), hour(2), hour(4)];
    let mut world =
        World { reprocess: Reprocess::Failed, ..World::new(hours(0, 5)) }.knowing(&[], &all);
    world.elsewhere = BTreeSet::from([hour(0), hours(3, 5)]);
    let step = world.step();
    assert_eq!(step.make, [hour(2)], "the log cannot tell it from what failed");
    assert_eq!(step.children.map(|counts| counts.total), Some(1));
    let mut missing = World { reprocess: Reprocess::Missing, room: 9, previous: None, ..world };
    assert_eq!(missing.step().make.len(), 5, "it finds what is done by then");
}

#[test]
fn what_others_work_on_or_did_since_the_log_was_asked_is_elsewhere() {
    let of = |name: &str, start: i64, status: serde_json::Value| {
        let interval = json!({"start": at(start).to_string(), "end": at(start + 1).to_string()});
        let spec = json!({"trigger": "Scheduled", "interval": interval});
        read(&object(name, &spec, &status)).unwrap()
    };
    let over =
        |phase: &str, hour: i64| json!({"phase": phase, "completionTime": at(hour).to_string()});
    let parent = of("parent", 90, json!({}));
    let mut child = of("child", 5, json!({"phase": "Running"}));
    child.maker = Some(parent.uid.clone());
    let runs = [
        of("waits", 0, json!({})),
        of("runs", 1, json!({"phase": "Running"})),
        of("done-since", 2, over("Succeeded", 20)),
        of("done-before", 3, over("Succeeded", 19)),
        of("failed-since", 4, over("Failed", 21)),
        child,
    ];
    let book = Book::of(&Calendar::default(), hours(0, 9), at(20));
    let found = elsewhere(&runs, &parent, book.as_ref());
    assert_eq!(found, BTreeSet::from([0, 1, 2].map(hour)));
}

#[test]
fn a_run_of_what_failed_does_again_only_what_was_done_before() {
    let world = World::new(hours(0, 5)).knowing(&[hour(1)], &[hour(1), hour(2)]);
    let book = world.book.as_ref();
    for (reprocess, book, start, wanted) in [
        (Reprocess::Failed, book, 1, true),
        (Reprocess::Failed, book, 2, false),
        (Reprocess::Missing, book, 1, false),
        (Reprocess::All, None, 1, true),
    ] {
        assert_eq!(does_again(reprocess, book, hour(start)), wanted, "{reprocess:?} {start}");
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_makes_nothing() {
    let mut world =
        World { dry_run: true, ..World::new(hours(0, 300)) }.knowing(&[hours(0, 10)], &[]);
    let step = world.step();
    let counts = step.children.unwrap();
    assert_eq!((counts.total, counts.skipped, counts.planned.len()), (290, 10, 100));
    assert_eq!(counts.planned[0].start, at(10).to_string());
    let end = step.end.unwrap();
    assert!(end.succeeded && end.message.contains("290 of 300"), "{end:?}");
    assert_eq!(step.make, []);
}

#[test]
fn what_is_over_is_counted_once_though_its_object_goes() {
    let mut world = World { reprocess: Reprocess::All, room: 1, ..World::new(hours(0, 4)) };
    world.children =
        BTreeMap::from([(hour(0), ChildState::Succeeded), (hour(1), ChildState::Open)]);
    let counts = world.step().children.unwrap();
    assert_eq!((counts.succeeded, counts.active), (1, 2), "one is open and one is made");
    world.children.remove(&hour(0));
    world.children.insert(hour(1), ChildState::Failed);
    let counts = world.step().children.unwrap();
    assert_eq!((counts.succeeded, counts.failed), (1, 1));
    assert_eq!(counts.made_through.map(|time| time.0), Some(at(2)));
}

#[test]
fn it_ends_well_when_all_did_and_badly_when_one_did_not() {
    for (last, succeeded) in [(ChildState::Succeeded, true), (ChildState::Failed, false)] {
        let mut world = World { reprocess: Reprocess::All, ..World::new(hours(0, 2)) };
        world.children = BTreeMap::from([(hour(0), ChildState::Succeeded), (hour(1), last)]);
        let end = world.step().end.unwrap();
        assert_eq!(end.succeeded, succeeded, "{end:?}");
    }
    let mut nothing = World::new(hours(0, 2)).knowing(&[hours(0, 2)], &[]);
    assert!(nothing.step().end.unwrap().succeeded, "nothing is missing");
}

#[test]
fn after_many_failures_no_more_are_made() {
    let mut world = World { reprocess: Reprocess::All, room: 1, ..World::new(hours(0, 50)) };
    for start in 0..20 {
        world.children.insert(hour(start), ChildState::Failed);
    }
    let step = world.step();
    assert_eq!(step.make, []);
    let end = step.end.unwrap();
    assert!(!end.succeeded && end.message.contains("no more"), "{end:?}");
}

#[test]
fn failures_behind_a_run_that_is_not_over_count_too() {
    let mut world = World { reprocess: Reprocess::All, room: 1, ..World::new(hours(0, 50)) };
    world.children.insert(hour(0), ChildState::Open);
    world.children.extend((1..20).map(|start| (hour(start), ChildState::Failed)));
    assert_eq!(world.step().make, [hour(20)], "19 may have causes of their own");
    world.children.insert(hour(20), ChildState::Failed);
    let step = world.step();
    assert_eq!((step.make, step.end), (vec![], None), "the open one is waited for");
    assert_eq!(step.children.unwrap().failed, 0, "and nothing is counted before it");
    world.children.insert(hour(0), ChildState::Succeeded);
    let end = world.step().end.unwrap();
    assert!(end.message.contains("20 of 21 runs failed, no more"), "{end:?}");

    // Its object is gone with the answer.
    world.previous = None;
    world.children.remove(&hour(0));
    let end = world.step().end.unwrap();
    assert!(end.message.contains("20 of 20 runs failed, no more"), "{end:?}");
}

#[test]
fn a_range_off_the_grid_and_one_without_end_are_refused() {
    let half = DataInterval::new(at(0), Timestamp::from_second(at(0).as_second() + 1800).unwrap());
    let mut world = World::new(half.unwrap());
    assert_eq!(world.step().end.unwrap().reason, Reason::IntervalNotAligned);
    let mut world = World::new(hours(0, 20_001));
    assert_eq!(world.step().end.unwrap().reason, Reason::InvalidConfiguration);
}

#[test]
fn a_restarted_operator_asks_for_what_is_left() {
    let previous = json!({"total": 6, "succeeded": 4, "madeThrough": at(4).to_string()});
    let previous = serde_json::from_value(previous).ok();
    let mut world = World { previous, ..World::new(hours(0, 6)) };
    let step = world.step();
    assert_eq!(step.ask, Some(hours(4, 6)));
    assert_eq!(step.children.map(|counts| counts.succeeded), Some(4), "what was counted stays");
}

proptest! {
    #[test]
    fn each_interval_that_is_wanted_is_made_once_and_all_are_counted(
        length in 1i64..40,
        done in proptest::collection::btree_set(0i64..40, 0..20),
        room in 1usize..5,
        order in proptest::collection::vec(0usize..8, 0..400),
        fails in proptest::collection::btree_set(0i64..40, 0..10),
    ) {
        let done: Vec<DataInterval> = done.into_iter().filter(|h| *h < length).map(hour).collect();
        let mut world = World::new(hours(0, length)).knowing(&done, &[]);
        let mut made: Vec<DataInterval> = Vec::new();
        let mut order = order.into_iter();
        for _ in 0..1000 {
            let open = world.children.values().filter(|c| **c == ChildState::Open).count();
            world.room = room.saturating_sub(open);
            let step = world.step();
            prop_assert!(open + step.make.len() <= room.max(open));
            for interval in step.make {
                prop_assert!(!made.contains(&interval), "{interval} again");
                made.push(interval);
                world.children.insert(interval, ChildState::Open);
            }
            if let Some(end) = step.end {
                let counts = world.previous.unwrap();
                let wanted: Vec<_> = (0..length).map(hour).filter(|h| !done.contains(h)).collect();
                let failed = wanted.iter().filter(|h| fails.iter().any(|f| hour(*f) == **h)).count();
                prop_assert_eq!(made.len(), wanted.len());
                prop_assert_eq!(usize::try_from(counts.total).unwrap(), wanted.len());
                prop_assert_eq!(usize::try_from(counts.failed).unwrap(), failed);
                prop_assert_eq!(counts.succeeded + counts.failed, counts.total);
                prop_assert_eq!(usize::try_from(counts.skipped).unwrap(), done.len());
                prop_assert_eq!(end.succeeded, failed == 0);
                return Ok(());
            }
            // One that is open ends, and objects that were counted go.
            let open: Vec<_> = world.children.iter().filter(|(_, c)| **c == ChildState::Open)
                .map(|(h, _)| *h).collect();
            let which = order.next().unwrap_or(0);
            if let Some(interval) = open.get(which % open.len().max(1)) {
                let failed = fails.iter().any(|f| hour(*f) == *interval);
                let state = if failed { ChildState::Failed } else { ChildState::Succeeded };
                world.children.insert(*interval, state);
            }
            let through = world.previous.as_ref().unwrap().made_through.as_ref().unwrap().0;
            world.children.retain(|interval, _| interval.end() > through);
        }
        prop_assert!(false, "it does not end");
    }
}
