//! Ticks and intervals, in tables and against an oracle that walks through time minute by minute.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use proptest::prelude::*;
use tidegate_schedule::{Grid, ScheduleError};
use tidegate_types::DataInterval;

fn at(text: &str) -> Timestamp {
    text.parse().expect("valid")
}

fn grid(cron: &str, zone: &str) -> Grid {
    Grid::new(cron, zone).unwrap_or_else(|error| panic!("{error}"))
}

fn of(text: &str) -> DataInterval {
    text.parse().expect("valid")
}

/// The ticks after `from`, up to and with `to`.
fn ticks(grid: &Grid, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let next = |tick: &Timestamp| grid.next_tick(*tick);
    std::iter::successors(grid.next_tick(from), next).take_while(|tick| *tick <= to).collect()
}

/// The ticks of a stretch, as the wall clock shows them.
fn shown(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let of_zone = TimeZone::get(zone).expect("valid");
    let show =
        |tick: Timestamp| tick.to_zoned(of_zone.clone()).strftime("%m-%d %H:%M%:z").to_string();
    ticks(&grid(cron, zone), at(from), at(to)).into_iter().map(show).collect()
}

#[test]
fn named_hours_that_are_skipped_come_at_once_after_and_repeated_ones_once() {
    // 02:00 to 03:00 does not exist in Berlin on 2026-03-29, and comes twice on 2026-10-25.
    for (cron, spring, autumn) in [
        (
            "30 2 * * *",
            ["03-28 02:30+01:00", "03-29 03:00+02:00", "03-30 02:30+02:00"],
            ["10-24 02:30+02:00", "10-25 02:30+02:00", "10-26 02:30+01:00"],
        ),
        (
            "0 2 * * *",
            ["03-28 02:00+01:00", "03-29 03:00+02:00", "03-30 02:00+02:00"],
            ["10-24 02:00+02:00", "10-25 02:00+02:00", "10-26 02:00+01:00"],
        ),
        (
            "0 3 * * *",
            ["03-28 03:00+01:00", "03-29 03:00+02:00", "03-30 03:00+02:00"],
            ["10-24 03:00+02:00", "10-25 03:00+01:00", "10-26 03:00+01:00"],
        ),
    ] {
        let berlin = "Europe/Berlin";
        assert_eq!(shown(cron, berlin, "2026-03-27T12:00:00Z", "2026-03-30T12:00:00Z"), spring);
        assert_eq!(shown(cron, berlin, "2026-10-23T12:00:00Z", "2026-10-26T12:00:00Z"), autumn);
    }
    // Two that fall together are one.
    let both =
        shown("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(both, ["03-29 03:00+02:00"]);
    let list =
        shown("0 2,14 * * *", "Europe/Berlin", "2026-10-24T20:00:00Z", "2026-10-25T20:00:00Z");
    assert_eq!(list, ["10-25 02:00+02:00", "10-25 14:00+01:00"]);
}

#[test]
fn every_hour_is_every_hour_that_passes() {
    let spring =
        shown("0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z");
    assert_eq!(spring, ["03-29 03:00+02:00", "03-29 04:00+02:00"]);
    let autumn =
        shown("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:30:00Z");
    assert_eq!(autumn, ["10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"]);
    // Half an hour in Lord Howe.
    let half =
        shown("0 * * * *", "Australia/Lord_Howe", "2026-10-03T14:00:00Z", "2026-10-03T17:00:00Z");
    assert_eq!(half, ["10-04 01:00+10:30", "10-04 03:00+11:00", "10-04 04:00+11:00"]);
}

#[test]
fn calendars_end_months_and_years_and_leap() {
    for (cron, from, to, wanted) in [
        (
            "0 0 29 2 *",
            "2026-01-01T00:00:00Z",
            "2037-01-01T00:00:00Z",
            vec!["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z", "2036-02-29T00:00:00Z"],
        ),
        (
            "0 0 31 * *",
            "2026-01-31T00:00:00Z",
            "2026-06-01T00:00:00Z",
            vec!["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"],
        ),
        (
            "0 0 L * *",
            "2028-01-31T00:00:00Z",
            "2028-03-31T00:00:00Z",
            vec!["2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z"],
        ),
        (
            "59 23 31 12 *",
            "2026-01-01T00:00:00Z",
            "2028-01-01T00:00:00Z",
            vec!["2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"],
        ),
        // The day of the month or that of the week.
        (
            "0 0 1 * MON",
            "2026-05-31T00:00:00Z",
            "2026-06-09T00:00:00Z",
            vec!["2026-06-01T00:00:00Z", "2026-06-08T00:00:00Z"],
        ),
        (
            "0 12 * * SUN-TUE",
            "2026-06-03T00:00:00Z",
            "2026-06-07T12:00:00Z",
            vec!["2026-06-07T12:00:00Z"],
        ),
    ] {
        let wanted: Vec<_> = wanted.into_iter().map(at).collect();
        assert_eq!(ticks(&grid(cron, "UTC"), at(from), at(to)), wanted, "{cron}");
    }
}

#[test]
fn what_cannot_be_a_schedule_is_refused_by_name() {
    for (cron, zone, says) in [
        ("0 * * *", "UTC", "it has 4 fields"),
        ("0 0 * * * *", "UTC", "it has 6 fields"),
        ("@daily", "UTC", "it has 1 fields"),
        ("61 * * * *", "UTC", "cannot be read"),
        ("0 25 * * *", "UTC", "cannot be read"),
        ("0 0 31 2 *", "UTC", "no day is like that"),
        ("* * * * *", "UTC", "ticks at 2024-01-01T00:01:00Z and 2024-01-01T00:02:00Z"),
        ("*/4 * * * *", "UTC", "five minutes or longer"),
        ("0,58 * * * *", "UTC", "five minutes or longer"),
        ("0,58 0,23 * * *", "UTC", "ticks at 2024-01-01T23:58:00Z and 2024-01-02T00:00:00Z"),
        // 02:58 of the day when summer begins comes at 03:00.
        ("57 1,2 * * *", "Europe/Berlin", "ticks at 2024-03-31T00:57:00Z and 2024-03-31T01:00:00Z"),
        ("0 * * * *", "Mars/Olympus", "time zone \"Mars/Olympus\" is not known"),
    ] {
        let error = Grid::new(cron, zone).expect_err(cron).to_string();
        assert!(error.contains(says), "{cron}: {error}");
    }
    for (cron, zone) in [
        ("*/5 * * * *", "UTC"),
        ("0,55 * 1 * *", "UTC"),
        ("0 0 29 2 *", "Asia/Seoul"),
        ("57 1,2 * * *", "UTC"),
        ("0,58 0,23 1 * *", "UTC"),
        ("  0   *  * * * ", "utc"),
    ] {
        grid(cron, zone);
    }
}

/// Controllers read schedules again and again.
#[test]
fn reading_a_schedule_is_no_work() {
    let before = std::time::Instant::now();
    for _ in 0..20 {
        grid("*/5 * * * *", "Europe/Berlin");
    }
    assert!(before.elapsed().as_millis() < 500, "{:?}", before.elapsed());
}

#[test]
fn the_interval_of_a_tick_reaches_back_to_the_one_before() {
    let daily = grid("0 9 * * *", "Asia/Seoul");
    let interval = daily.interval_ending(at("2026-06-02T00:00:00Z"));
    assert_eq!(interval, Ok(of("2026-06-01T00:00:00Z/2026-06-02T00:00:00Z")));
    let error = daily.interval_ending(at("2026-06-02T00:00:01Z"));
    let nearest = of("2026-06-02T00:00:00Z/2026-06-03T00:00:00Z");
    assert!(
        matches!(error, Err(ScheduleError::NotAligned { nearest: found, .. }) if found == nearest),
        "{error:?}"
    );
    // The day on which summer ends has 25 hours.
    let berlin = grid("0 0 * * *", "Europe/Berlin");
    let long = berlin.interval_ending(at("2026-10-25T23:00:00Z")).expect("valid");
    assert_eq!(long.end_second() - long.start_second(), 25 * 3600);
}

#[test]
fn what_lies_beside_the_grid_is_refused_with_the_nearest_that_does_not() {
    let hourly = grid("0 * * * *", "UTC");
    for (asked, nearest) in [
        ("2026-06-01T00:30:00Z/2026-06-01T01:00:00Z", "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z"),
        ("2026-06-01T00:00:00Z/2026-06-01T00:00:01Z", "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z"),
        ("2026-06-01T00:59:59Z/2026-06-01T01:00:01Z", "2026-06-01T00:00:00Z/2026-06-01T02:00:00Z"),
    ] {
        let (interval, nearest) = (of(asked), of(nearest));
        let wanted = Err(ScheduleError::NotAligned { interval, nearest });
        assert_eq!(hourly.check_aligned(interval), wanted);
        assert!(hourly.split(interval).is_err());
    }
    let days = of("2026-06-01T00:00:00Z/2026-06-04T00:00:00Z");
    assert_eq!(hourly.check_aligned(days), Ok(()));
    assert_eq!(hourly.split(days).expect("valid").count(), 72);
}

#[test]
fn the_ends_of_time_are_no_panic() {
    let hourly = grid("0 * * * *", "America/New_York");
    for instant in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let _ = (hourly.next_tick(instant), hourly.tick_at_or_before(instant));
        let _ = hourly.interval_ending(instant);
    }
    assert!(hourly.next_tick(Timestamp::MAX).is_none());
}

/// The fields of an expression, as sets; none: any.
#[derive(Debug, Clone)]
struct Fields {
    text: String,
    minutes: BTreeSet<i8>,
    hours: Option<BTreeSet<i8>>,
    every: Option<i8>,
    days: Option<BTreeSet<i8>>,
    months: Option<BTreeSet<i8>>,
    weekdays: Option<BTreeSet<i8>>,
}

impl Fields {
    fn matches(&self, time: DateTime) -> bool {
        let any = |set: &Option<BTreeSet<i8>>, value: i8| {
            set.as_ref().is_none_or(|set| set.contains(&value))
        };
        let weekday = time.weekday().to_sunday_zero_offset();
        let day = match (&self.days, &self.weekdays) {
            (Some(days), Some(weekdays)) => {
                days.contains(&time.day()) || weekdays.contains(&weekday)
            }
            _ => any(&self.days, time.day()) && any(&self.weekdays, weekday),
        };
        self.minutes.contains(&time.minute())
            && any(&self.hours, time.hour())
            && self.every.is_none_or(|every| time.hour() % every == 0)
            && any(&self.months, time.month())
            && day
    }
}

fn listed(set: &BTreeSet<i8>) -> String {
    set.iter().map(i8::to_string).collect::<Vec<_>>().join(",")
}

fn set(of: std::ops::Range<i8>, most: usize) -> impl Strategy<Value = BTreeSet<i8>> {
    prop::collection::btree_set(of, 1..=most)
}

fn maybe(of: std::ops::Range<i8>) -> impl Strategy<Value = Option<BTreeSet<i8>>> {
    prop::option::weighted(0.3, set(of, 3))
}

fn fields() -> impl Strategy<Value = Fields> {
    let minutes = prop_oneof![
        set(0..60, 2),
        Just((0..60).step_by(5).collect()),
        Just(BTreeSet::from([0, 30])),
        Just(BTreeSet::from([0]))
    ];
    let hours = prop_oneof![
        Just((None, None)),
        prop::sample::select(vec![2_i8, 3, 6]).prop_map(|every| (None, Some(every))),
        set(0..24, 3).prop_map(|hours| (Some(hours), None)),
        set(0..4, 3).prop_map(|hours| (Some(hours), None)),
    ];
    (minutes, hours, maybe(1..32), maybe(1..13), maybe(0..7)).prop_map(
        |(minutes, (hours, every), days, months, weekdays)| {
            let star = |set: &Option<BTreeSet<i8>>| set.as_ref().map_or("*".to_owned(), listed);
            let hour = every.map_or_else(|| star(&hours), |every| format!("*/{every}"));
            let minute = listed(&minutes);
            let text =
                format!("{minute} {hour} {} {} {}", star(&days), star(&months), star(&weekdays));
            Fields { text, minutes, hours, every, days, months, weekdays }
        },
    )
}

const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Seoul",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kathmandu",
];

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(ZONES.to_vec())
}

/// Days around which something happens to clocks or calendars.
fn days() -> impl Strategy<Value = Timestamp> {
    let days = [
        date(2026, 3, 8),
        date(2026, 3, 29),
        date(2026, 4, 5),
        date(2026, 9, 6),
        date(2026, 10, 4),
        date(2026, 10, 25),
        date(2026, 11, 1),
        date(2028, 2, 29),
        date(2026, 12, 31),
        date(2026, 6, 30),
    ];
    (prop::sample::select(days.to_vec()), 0_i64..86_400).prop_map(|(day, second)| {
        let midnight = day.to_zoned(TimeZone::UTC).expect("valid").timestamp();
        midnight + SignedDuration::from_secs(second - 86_400)
    })
}

/// Ticks by walking: while the wall clock is where it never was before, whatever it passes is due at that
/// moment; where hours are not named, whatever it shows.
fn oracle(fields: &Fields, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let minute = SignedDuration::from_mins(1);
    // Far enough back that the highest mark is right.
    let mut now = Timestamp::from_second((from.as_second() / 60) * 60 - 86_400).expect("valid");
    let mut mark = now.to_zoned(zone.clone()).datetime();
    let mut found = Vec::new();
    while now < to {
        now += minute;
        let shows = now.to_zoned(zone.clone()).datetime();
        let mut due = fields.hours.is_none() && fields.matches(shows);
        while mark < shows {
            mark = mark.checked_add(1.minute()).expect("valid");
            due |= fields.hours.is_some() && fields.matches(mark);
        }
        if due && now > from && now <= to {
            found.push(now);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn ticks_are_those_of_a_walk_through_time(fields in fields(), zone in zones(), from in days()) {
        let Ok(grid) = Grid::new(&fields.text, zone) else { return Ok(()) };
        let to = from + SignedDuration::from_hours(72);
        let walked = oracle(&fields, &TimeZone::get(zone).expect("valid"), from, to);
        prop_assert_eq!(ticks(&grid, from, to), walked, "{} in {}", fields.text, zone);
    }

    #[test]
    fn intervals_tile_time_and_every_instant_knows_its_own(
        fields in fields(), zone in zones(), from in days(), steps in 1_usize..40,
    ) {
        let Ok(grid) = Grid::new(&fields.text, zone) else { return Ok(()) };
        let first = grid.next_tick(from).expect("it never ends");
        let mut last = first;
        for _ in 0..steps {
            let next = grid.next_tick(last).expect("it never ends");
            let interval = grid.interval_ending(next).expect("valid");
            prop_assert_eq!((interval.start(), interval.end()), (last, next));
            let middle = Timestamp::from_second(i64::midpoint(last.as_second(), next.as_second())).expect("valid");
            for inside in [last, middle, next - SignedDuration::from_secs(1)] {
                prop_assert_eq!(grid.tick_at_or_before(inside), Some(last));
                prop_assert_eq!(grid.next_tick(inside), Some(next));
            }
            last = next;
        }
        // Divided and put together again.
        let whole = DataInterval::new(first, last).expect("valid");
        let parts: Vec<_> = grid.split(whole).expect("valid").collect();
        prop_assert_eq!(parts.len(), steps);
        prop_assert_eq!(parts[0].start(), first);
        prop_assert_eq!(parts[steps - 1].end(), last);
        prop_assert!(parts.windows(2).all(|pair| pair[0].end() == pair[1].start()));
    }

    /// A changed schedule takes exactly those earlier intervals that are unions of its own ticks.
    #[test]
    fn after_a_change_of_the_grid_intervals_of_the_old_one_are_taken_or_widened(
        old in fields(), new in fields(), zones in (zones(), zones()), from in days(),
        skip in 0_usize..5, length in 1_usize..5,
    ) {
        let (Ok(old), Ok(new)) = (Grid::new(&old.text, zones.0), Grid::new(&new.text, zones.1)) else {
            return Ok(());
        };
        let after = ticks_after(&old, from, skip + length);
        let asked = DataInterval::new(after[skip], after[skip + length]).expect("valid");
        match new.check_aligned(asked) {
            Ok(()) => {
                let parts: Vec<_> = new.split(asked).expect("valid").collect();
                prop_assert_eq!(parts[0].start(), asked.start());
                prop_assert_eq!(parts[parts.len() - 1].end(), asked.end());
            }
            Err(ScheduleError::NotAligned { interval, nearest }) => {
                prop_assert_eq!(interval, asked);
                prop_assert!(nearest.contains(asked) && nearest != asked);
                prop_assert_eq!(new.check_aligned(nearest), Ok(()));
                // None that is smaller would do.
                let start = new.next_tick(nearest.start()).expect("valid");
                let end = new.interval_ending(nearest.end()).expect("valid").start();
                prop_assert!(start > asked.start() && end < asked.end());
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

fn ticks_after(grid: &Grid, from: Timestamp, count: usize) -> Vec<Timestamp> {
    let next = |tick: &Timestamp| grid.next_tick(*tick);
    std::iter::successors(grid.next_tick(from), next).take(count + 1).collect()
}
