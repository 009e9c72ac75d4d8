use tidegate_config::Calendar;

use super::*;
use crate::calendar::fixtures::{at, hour};

struct World {
    grid: Grid,
    succeeded: BTreeSet<DataInterval>,
    open: BTreeSet<DataInterval>,
}

impl World {
    fn new(succeeded: &[i64], open: &[i64]) -> Self {
        Self {
            grid: Grid::new("0 * * * *", "UTC").unwrap(),
            succeeded: succeeded.iter().copied().map(hour).collect(),
            open: open.iter().copied().map(hour).collect(),
        }
    }

    fn facts(&self) -> ThroughFacts<'_> {
        ThroughFacts {
            grid: &self.grid,
            policy: CatchupPolicy::All,
            whole: false,
            previous: None,
            origin: Some(at(0)),
            last: Some(at(5)),
            succeeded: &self.succeeded,
            open: &self.open,
            book: None,
        }
    }
}

#[test]
fn it_goes_up_to_the_first_interval_that_is_not_done() {
    let world = World::new(&[0, 1, 3], &[2, 4]);
    assert_eq!(through(&world.facts()), Through { at: Some(at(2)), ask: None });
    let world = World::new(&[], &[0]);
    assert_eq!(through(&world.facts()), Through::default(), "nothing is done yet");
}

#[test]
fn it_never_goes_back_and_needs_no_object_for_what_it_passed() {
    let world = World::new(&[3], &[]);
    let facts = ThroughFacts { previous: Some(at(3)), last: Some(at(4)), ..world.facts() };
    assert_eq!(through(&facts).at, Some(at(4)));
    let world = World::new(&[], &[1]);
    let facts = ThroughFacts { previous: Some(at(3)), last: Some(at(3)), ..world.facts() };
    assert_eq!(through(&facts).at, Some(at(3)));
}

#[test]
fn a_run_over_several_ticks_counts_for_each_of_them() {
    let mut world = World::new(&[], &[]);
    world.succeeded.insert(DataInterval::new(at(0), at(3)).unwrap());
    let facts = ThroughFacts { last: Some(at(3)), ..world.facts() };
    assert_eq!(through(&facts).at, Some(at(3)));
}

#[test]
fn an_interval_of_which_nobody_tells_is_asked_for_and_the_log_decides() {
    let world = World::new(&[0], &[]);
    let found = through(&world.facts());
    assert_eq!(found.at, Some(at(1)));
    assert_eq!(found.ask, DataInterval::new(at(1), at(5)).ok());
    let answer = Calendar { done: vec![hour(1), hour(2)], ..Calendar::default() };
    let book = Book::of(&answer, found.ask.unwrap(), at(6)).unwrap();
    let found = through(&ThroughFacts { book: Some(&book), ..world.facts() });
    assert_eq!(found, Through { at: Some(at(3)), ask: None });
}

#[test]
fn what_the_log_holds_of_many_years_is_stepped_over_and_a_rerun_does_not_undo_it() {
    let mut world = World::new(&[0], &[90_000]);
    world.open.insert(hour(99_999));
    let done = vec![DataInterval::new(at(1), at(100_000)).unwrap()];
    let answer = Calendar { done, ..Calendar::default() };
    let book = Book::of(&answer, DataInterval::new(at(1), at(100_000)).unwrap(), at(0)).unwrap();
    let facts = ThroughFacts { last: Some(at(100_000)), book: Some(&book), ..world.facts() };
    assert_eq!(through(&facts), Through { at: Some(at(100_000)), ask: None });
    let more = ThroughFacts { last: Some(at(100_001)), ..facts };
    assert_eq!(through(&more).at, Some(at(100_000)));
}

#[test]
fn what_the_policy_leaves_out_holds_nothing_up_but_a_failed_run_does() {
    let world = World::new(&[0, 4], &[]);
    let latest = ThroughFacts { policy: CatchupPolicy::Latest, ..world.facts() };
    assert_eq!(through(&latest).at, Some(at(5)));
    let world = World::new(&[0], &[3]);
    let latest = ThroughFacts { policy: CatchupPolicy::Latest, ..world.facts() };
    assert_eq!(through(&latest).at, Some(at(3)));
}

#[test]
fn the_newest_load_of_everything_stands_for_all_before() {
    let world = World::new(&[3], &[1, 4]);
    let whole = ThroughFacts { whole: true, ..world.facts() };
    assert_eq!(through(&whole).at, Some(at(4)));
    let later = ThroughFacts { previous: Some(at(5)), ..whole };
    assert_eq!(through(&later).at, Some(at(5)));
}
