use proptest::prelude::*;
use tidegate_config::Calendar;

use super::*;
use crate::bulk::BulkMemory;
use crate::calendar::Purpose;
use crate::calendar::fixtures::{at, hour, hours};

fn minutes(hour: i64, minute: i64) -> Timestamp {
    at(hour).checked_add(SignedDuration::from_mins(minute)).unwrap()
}

fn hourly() -> Grid {
    Grid::new("0 * * * *", "UTC").unwrap()
}

fn book(start: i64, end: i64, done: &[DataInterval]) -> Book {
    let answer = Calendar { done: done.to_vec(), ..Calendar::default() };
    Book::of(&answer, hours(start, end), at(end)).unwrap()
}

/// What the log was found to hold of everything up to an hour.
fn whole_book(end: i64, done: &[DataInterval], tried: &[DataInterval]) -> Book {
    let (done, tried) = (done.to_vec(), tried.to_vec());
    let answer = Calendar { done, tried, ..Calendar::default() };
    Book::of(&answer, everything(end), at(end)).unwrap()
}

fn everything(end: i64) -> DataInterval {
    DataInterval::new(Timestamp::UNIX_EPOCH, at(end)).unwrap()
}

fn facts(grid: &Grid) -> ScheduleFacts<'_> {
    ScheduleFacts {
        grid,
        policy: CatchupPolicy::All,
        start_at: None,
        created: minutes(0, 30),
        delay: Duration::ZERO,
        begin: None,
        last: Some(at(0)),
        room: 3,
        book: None,
        now: minutes(0, 40),
    }
}

#[test]
fn a_new_pipeline_waits_for_the_end_of_the_interval_that_it_was_made_in() {
    let grid = hourly();
    let nothing = whole_book(0, &[], &[]);
    let new = ScheduleFacts { last: None, book: Some(&nothing), ..facts(&grid) };
    let found = owed(&new);
    assert_eq!(found, Owed { last: Some(at(0)), next: Some(at(1)), ..Owed::default() });
    let next = owed(&ScheduleFacts { last: Some(at(0)), now: at(1), ..new });
    assert_eq!((next.make, next.last, next.next), (vec![hour(0)], Some(at(1)), Some(at(2))));
}

#[test]
fn b1_a_pipeline_that_is_made_anew_goes_on_where_its_log_ends() {
    let grid = hourly();
    let anew = ScheduleFacts { last: None, room: 99, ..facts(&grid) };
    let asked = owed(&anew);
    assert_eq!((asked.ask, asked.last), (Some(everything(0)), None), "nothing is decided before");

    // Nobody ran anything for four hours, and one run had failed.
    let known = whole_book(0, &[hour(-9), hour(-8), hour(-6), hour(-5)], &[hour(-10)]);
    let anew = ScheduleFacts { book: Some(&known), ..anew };
    let found = owed(&anew);
    assert_eq!(found.make, [-10, -7, -4, -3, -2, -1].map(hour));
    assert_eq!((found.last, found.ask), (Some(at(0)), None));
    assert_eq!(origin(&anew), Some(at(-10)));
    let later = ScheduleFacts { begin: Some(at(-10)), last: Some(at(0)), book: None, ..anew };
    assert_eq!(origin(&later), Some(at(-10)), "it is remembered when the book is old");
    assert_eq!(origin(&ScheduleFacts { begin: None, ..later }), Some(at(0)));

    for (done, tried) in
        [(vec![hour(-200_000), hour(-2)], vec![]), (vec![hour(-2)], vec![hour(-200_000)])]
    {
        let known = whole_book(0, &done, &tried);
        let found = owed(&ScheduleFacts { book: Some(&known), ..anew });
        assert_eq!(found.make, [hour(-1)], "one interval of long ago is not the beginning");
    }

    let written = ScheduleFacts { start_at: Some(at(-3)), ..anew };
    assert_eq!(owed(&written).make, [-3, -2, -1].map(hour), "who writes a start means it");
    let written = ScheduleFacts { begin: Some(at(-10)), ..written };
    assert_eq!(origin(&written), Some(at(-3)));
    for policy in [CatchupPolicy::Latest, CatchupPolicy::None] {
        let other = ScheduleFacts { policy, book: None, now: minutes(0, 55), ..anew };
        assert_eq!((owed(&other).ask, owed(&other).last), (None, Some(at(0))), "{policy:?}");
    }
}

#[test]
fn b1_an_answer_in_pages_begins_with_the_first_one() {
    let grid = hourly();
    let cut_at = Some(at(-5).to_string());
    let page = Calendar { done: vec![hour(-9), hour(-7)], cut_at, ..Calendar::default() };
    let first = Book::of(&page, everything(0), at(0)).unwrap();
    let anew = ScheduleFacts { last: None, room: 99, book: Some(&first), ..facts(&grid) };
    let found = owed(&anew);
    assert_eq!((found.make, found.last), ([-8, -6].map(hour).into(), Some(at(-5))));
    assert_eq!(found.ask, DataInterval::new(at(-5), at(0)).ok());
}

#[test]
fn a_status_that_was_restored_with_an_object_that_is_newer_is_gone_on_from() {
    let grid = hourly();
    let restored = ScheduleFacts { created: minutes(4, 30), last: Some(at(2)), ..facts(&grid) };
    let found = owed(&ScheduleFacts { now: minutes(5, 1), ..restored });
    assert_eq!(found.make, [2, 3, 4].map(hour), "when it was made anew says nothing");
}

#[test]
fn ticks_of_many_years_that_are_done_cost_nothing() {
    let grid = Grid::new("*/5 * * * *", "UTC").unwrap();
    let done = DataInterval::new(Timestamp::from_second(300).unwrap(), at(-1)).unwrap();
    let known = whole_book(0, &[done], &[]);
    let anew = ScheduleFacts { last: None, room: 99, book: Some(&known), ..facts(&grid) };
    let begun = std::time::Instant::now();
    assert_eq!(owed(&anew).make.len(), 12);
    // Walking six million ticks takes longer.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn a_delay_moves_the_time_and_not_the_interval() {
    let grid = hourly();
    let delayed =
        ScheduleFacts { delay: Duration::from_secs(300), now: minutes(1, 4), ..facts(&grid) };
    let before = owed(&delayed);
    assert_eq!((before.make, before.next), (vec![], Some(minutes(1, 5))));
    let after = owed(&ScheduleFacts { now: minutes(1, 5), ..delayed });
    assert_eq!(after.make, [hour(0)]);
}

#[test]
fn a_few_ticks_are_made_without_asking_and_many_are_not() {
    let grid = hourly();
    let three = owed(&ScheduleFacts { now: minutes(3, 1), ..facts(&grid) });
    assert_eq!((three.make.len(), three.ask, three.last), (3, None, Some(at(3))));
    let four = owed(&ScheduleFacts { now: minutes(4, 1), ..facts(&grid) });
    let all = DataInterval::new(at(0), at(4)).unwrap();
    assert_eq!((four.make, four.ask, four.last), (vec![], Some(all), Some(at(0))));
}

#[test]
fn after_an_outage_all_makes_exactly_what_the_log_does_not_hold() {
    let grid = hourly();
    let known = book(0, 8, &[hour(1), hour(2), hour(5)]);
    let facts = ScheduleFacts { book: Some(&known), room: 99, now: minutes(8, 1), ..facts(&grid) };
    let found = owed(&facts);
    let wanted: Vec<_> = [0, 3, 4, 6, 7].map(hour).into();
    assert_eq!((found.make, found.last, found.ask), (wanted, Some(at(8)), None));
}

#[test]
fn only_so_many_are_made_as_there_is_room_for_and_the_rest_waits() {
    let grid = hourly();
    let known = book(0, 8, &[hour(0)]);
    let facts = ScheduleFacts { book: Some(&known), room: 2, now: minutes(8, 1), ..facts(&grid) };
    let found = owed(&facts);
    assert_eq!((found.make, found.last), (vec![hour(1), hour(2)], Some(at(3))));
    assert_eq!(found.waiting, 5);
    let full = owed(&ScheduleFacts { room: 0, ..facts });
    assert_eq!((full.make, full.last), (vec![], Some(at(1))), "what is done is passed over");
}

#[test]
fn latest_makes_the_newest_alone_unless_the_log_holds_it() {
    let grid = hourly();
    let latest =
        ScheduleFacts { policy: CatchupPolicy::Latest, now: minutes(8, 1), ..facts(&grid) };
    assert_eq!(owed(&latest).ask, Some(hour(7)), "the newest alone is asked for");
    let known = book(7, 8, &[]);
    let found = owed(&ScheduleFacts { book: Some(&known), ..latest });
    assert_eq!((found.make, found.last, found.left_out), (vec![hour(7)], Some(at(8)), 7));
    let known = book(7, 8, &[hour(7)]);
    let found = owed(&ScheduleFacts { book: Some(&known), ..latest });
    assert_eq!((found.make, found.last), (vec![], Some(at(8))));
    let full = owed(&ScheduleFacts { room: 0, now: minutes(2, 1), ..latest });
    assert_eq!((full.make, full.last), (vec![], Some(at(0))), "a newer one may take its place");
}

#[test]
fn none_makes_a_tick_that_is_seen_in_time_and_no_other() {
    let grid = hourly();
    let none = ScheduleFacts { policy: CatchupPolicy::None, ..facts(&grid) };
    for (now, wanted) in [
        (minutes(1, 0), vec![hour(0)]),
        (minutes(1, 5), vec![hour(0)]),
        (minutes(1, 6), vec![]),
        (minutes(3, 2), vec![hour(2)]),
        (minutes(3, 30), vec![]),
    ] {
        let found = owed(&ScheduleFacts { now, ..none });
        assert_eq!(found.make, wanted, "{now}");
        assert!(found.last.is_some_and(|last| last >= at(1)), "what was missed is passed over");
    }
}

#[test]
fn a_start_in_the_past_asks_for_what_was_and_nothing_begins_before_it() {
    let grid = hourly();
    let start_at = Some(minutes(-5, 30));
    let known = book(-4, 1, &[]);
    let past = ScheduleFacts { start_at, last: None, room: 99, now: minutes(1, 1), ..facts(&grid) };
    let all = DataInterval::new(at(-4), at(1)).unwrap();
    assert_eq!(owed(&past).ask, Some(all), "the log may hold them");
    let found = owed(&ScheduleFacts { book: Some(&known), ..past });
    assert_eq!(found.make, [-4, -3, -2, -1, 0].map(hour));
    let ahead = ScheduleFacts { start_at: Some(at(9)), last: None, ..past };
    assert_eq!(owed(&ahead).make, []);
}

#[test]
fn a_later_start_leaves_out_and_an_earlier_one_does_not_go_back() {
    let grid = hourly();
    let facts = ScheduleFacts { now: minutes(3, 1), room: 99, ..facts(&grid) };
    let later = owed(&ScheduleFacts { start_at: Some(at(2)), ..facts });
    assert_eq!(later.make, [hour(2)]);
    let earlier = owed(&ScheduleFacts { start_at: Some(at(-9)), ..facts });
    assert_eq!(earlier.make, [0, 1, 2].map(hour));
}

#[test]
fn a_schedule_that_has_changed_goes_on_from_where_it_was() {
    let daily = Grid::new("0 0 * * *", "UTC").unwrap();
    let midnight = daily.next_tick(at(0)).unwrap();
    let last = midnight.checked_add(SignedDuration::from_hours(7)).unwrap();
    let next = daily.next_tick(last).unwrap();
    let facts = ScheduleFacts { last: Some(last), now: next, ..facts(&daily) };
    let found = owed(&facts);
    assert_eq!(found.make, [DataInterval::new(midnight, next).unwrap()]);
}

/// An answer of at most `most` stretches.
fn page(done: &[DataInterval], ask: DataInterval, most: usize) -> Calendar {
    let inside = done.iter().copied().filter(|one| one.overlaps(ask));
    let mut done = DataInterval::merged(inside);
    let cut_at = done.get(most).map(|next| next.start().to_string());
    done.truncate(most);
    Calendar { done, cut_at, ..Calendar::default() }
}

/// With room for one, a look every two minutes and pages of twenty stretches; the log holds every third
/// hour before.
#[test]
fn a_catch_up_of_many_hours_asks_now_and_then_and_comes_to_its_end() {
    let grid = Grid::new("0 * * * *", "UTC").unwrap();
    let mut done: Vec<_> = (0..300).filter(|start| start % 3 == 0).map(hour).collect();
    let mut memory = BulkMemory::default();
    let mut last = Some(at(0));
    let (mut made, mut asked) = (0, 0);
    for look in 0..260 {
        let now = minutes(300, 1 + 2 * look);
        let book = memory.books.get(&Purpose::Schedule).filter(|book| book.is_fresh(now));
        let found = owed(&ScheduleFacts { last, room: 1, book, now, ..facts(&grid) });
        made += found.make.len();
        done.extend(&found.make);
        last = found.last;
        if let Some(ask) = found.ask {
            asked += 1;
            memory.take(&Purpose::Schedule, Book::of(&page(&done, ask, 20), ask, now).unwrap());
        }
    }
    assert_eq!(last, Some(at(308)), "{made} were made");
    assert!(made >= 200, "{made}");
    assert!(asked <= 20, "{asked} questions");
}

#[test]
fn what_there_is_no_room_for_is_not_asked_about() {
    let grid = hourly();
    let full = ScheduleFacts { room: 0, now: minutes(30, 1), ..facts(&grid) };
    let found = owed(&full);
    assert_eq!((found.ask, found.make, found.last), (None, vec![], Some(at(0))));
    assert!(owed(&ScheduleFacts { room: 1, ..full }).ask.is_some());
}

/// A pipeline whose schedule is followed until nothing changes any more: what is made, and up to where.
fn follow(
    mut last: Option<Timestamp>,
    done: &[DataInterval],
    facts: &ScheduleFacts<'_>,
) -> (Vec<DataInterval>, Option<Timestamp>, bool) {
    let (mut known, mut made, mut asked): (Option<Book>, Vec<_>, _) = (None, Vec::new(), false);
    for _ in 0..200 {
        let found = owed(&ScheduleFacts { last, book: known.as_ref(), ..*facts });
        if let Some(ask) = found.ask {
            let answer = Calendar { done: done.to_vec(), ..Calendar::default() };
            known = Book::of(&answer, ask, facts.now);
            asked = true;
        }
        let nothing = found.make.is_empty() && found.ask.is_none() && found.last == last;
        made.extend(&found.make);
        last = found.last;
        if nothing {
            break;
        }
    }
    (made, last, asked)
}

proptest! {
    /// However long nobody looked and however little room there is: what is made in the end is what the
    /// policy asks for, each once.
    #[test]
    fn an_outage_of_any_length_ends_with_exactly_what_is_missing(
        outage in 1i64..60,
        done in proptest::collection::btree_set(0i64..60, 0..30),
        room in 1usize..5,
    ) {
        let grid = hourly();
        let done: Vec<DataInterval> = done.into_iter().map(hour).collect();
        let facts = ScheduleFacts { room, now: minutes(outage, 1), ..facts(&grid) };
        let (made, last, asked) = follow(Some(at(0)), &done, &facts);
        // A few are made unseen; the log then says that they are done already.
        prop_assert_eq!(asked, outage > i64::try_from(FEW).unwrap());
        let wanted: Vec<DataInterval> =
            (0..outage).map(hour).filter(|one| !asked || !done.contains(one)).collect();
        prop_assert_eq!(made, wanted);
        prop_assert_eq!(last, Some(at(outage)));
    }

    /// B1: Whenever the pipeline is deleted and made anew, and whatever its log holds by then: everything
    /// between the oldest interval that the log knows and the newest tick is there in the end, once.
    #[test]
    fn b1_a_pipeline_made_anew_owes_what_is_missing_since_its_first_interval(
        away in 1i64..60,
        later in 0i64..10,
        done in proptest::collection::btree_set(0i64..60, 0..30),
        room in 1usize..5,
    ) {
        let grid = hourly();
        let done: Vec<DataInterval> =
            done.into_iter().filter(|start| *start < away).map(hour).collect();
        let (created, now) = (minutes(away, 30), minutes(away + later, 45));
        let facts = ScheduleFacts { created, room, now, ..facts(&grid) };
        let (made, last, _) = follow(None, &done, &facts);
        let first = done.first().map_or(away, |one| one.start().duration_since(at(0)).as_hours());
        let wanted: Vec<DataInterval> =
            (first..away + later).map(hour).filter(|one| !done.contains(one)).collect();
        prop_assert_eq!(made, wanted);
        prop_assert_eq!(last, Some(at(away + later)));
    }
}
