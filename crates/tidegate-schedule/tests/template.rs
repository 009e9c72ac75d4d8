//! Which files are an interval's by their names: in tables, and as a property over years of random schedules.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use tidegate_schedule::{Grid, Template};
use tidegate_types::DataInterval;

const DAY: &str = "dt=%Y-%m-%d/*.csv";
const HOUR: &str = "%Y-%m-%dT%H.csv";
const MINUTE: &str = "%Y%m%d%H%M.csv";

fn at(text: &str) -> Timestamp {
    text.parse().expect("valid")
}

fn of(text: &str) -> DataInterval {
    text.parse().expect("valid")
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("valid")
}

fn grid(cron: &str, zone: &str) -> Grid {
    Grid::new(cron, zone).unwrap_or_else(|error| panic!("{error}"))
}

fn template(text: &str) -> Template {
    Template::new(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn an_interval_has_the_names_of_every_unit_from_its_start_to_its_end() {
    for (text, in_zone, interval, names) in [
        // A tick at six in the morning has the day that it ends in still to come.
        (DAY, "UTC", "2026-06-01T06:00:00Z/2026-06-02T06:00:00Z", vec!["dt=2026-06-01/*.csv"]),
        // From Friday to Monday.
        (
            "%Y%m%d",
            "UTC",
            "2026-06-05T06:00:00Z/2026-06-08T06:00:00Z",
            vec!["20260605", "20260606", "20260607"],
        ),
        // The day on which summer time ends in London: it has 25 hours, and is one day.
        (
            "%d.%m.%Y",
            "Europe/London",
            "2026-10-24T23:00:00Z/2026-10-26T00:00:00Z",
            vec!["25.10.2026"],
        ),
        ("%Y-%m", "Europe/London", "2026-09-30T23:00:00Z/2026-11-01T00:00:00Z", vec!["2026-10"]),
        ("%Y-%m-%d", "Asia/Seoul", "2026-05-31T15:00:00Z/2026-06-01T15:00:00Z", vec!["2026-06-01"]),
        ("%Y", "UTC", "2026-12-31T23:00:00Z/2027-01-01T23:00:00Z", vec!["2026"]),
        // An hour that never comes has a name like any other.
        (
            "%Y/%m/%dT%H",
            "Europe/Berlin",
            "2026-03-29T00:00:00Z/2026-03-29T02:00:00Z",
            vec!["2026/03/29T01", "2026/03/29T02", "2026/03/29T03"],
        ),
        // One that comes twice is one.
        (
            "%Y%m%d%H",
            "Europe/Berlin",
            "2026-10-25T00:00:00Z/2026-10-25T02:00:00Z",
            vec!["2026102502"],
        ),
        (
            "%Y%m%d-%H%M%S%%",
            "UTC",
            "2026-06-01T23:59:00Z/2026-06-02T00:01:00Z",
            vec!["20260601-235900%", "20260602-000000%"],
        ),
        ("100%%/*", "UTC", "2026-06-01T00:00:00Z/2026-06-09T00:00:00Z", vec!["100%/*"]),
    ] {
        let found = template(text).names(Some(of(interval)), &zone(in_zone));
        assert_eq!(found.expect(text), names, "{text} in {in_zone}");
    }
    assert_eq!(template("*").names(None, &TimeZone::UTC).expect("no field"), ["*"]);
}

#[test]
fn what_cannot_name_files_of_intervals_is_refused_with_what_to_write() {
    for (text, says) in [
        ("%Q", "has the field %Q, which no interval has; write %Y"),
        ("a%", "has the field %, which"),
        ("%d/*.csv", "no %m, so that other intervals would have the same files"),
        ("%Y-%m-%d/%M.csv", "no %H"),
        ("%H", "no %d"),
        ("{a,b/*.csv", "has a brace that is not closed; write {a,b}"),
    ] {
        let error = Template::new(text).expect_err(text).to_string();
        assert!(error.contains(says) && error.contains(&format!("{text:?}")), "{error}");
    }
    let names = |text: &str, interval: Option<&str>| {
        template(text).names(interval.map(of), &TimeZone::UTC).expect_err(text).to_string()
    };
    assert!(names(DAY, None).contains("give the pipeline a schedule"));
    let year = "2026-01-01T00:00:00Z/2027-01-01T00:00:00Z";
    assert!(names(HOUR, Some(year)).contains(&format!("more than 2000 names for {year}")));
    let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    assert!(names(DAY, Some(hour)).contains(&format!("no day of its own for {hour}")));
}

#[test]
fn schedules_that_divide_the_names_are_accepted_and_others_told_what_to_do() {
    let checked = |cron: &str, in_zone: &str, text: &str| {
        template(text).check(&grid(cron, in_zone), at("2026-06-01T00:30:00Z"))
    };
    for (cron, in_zone, text) in [
        ("0 6 * * *", "UTC", DAY),
        ("0 6 * * 1-5", "UTC", DAY),
        ("0 0 * * 1", "America/New_York", DAY),
        ("0 12 1,2 * *", "Europe/Berlin", DAY),
        ("0 0 29 2 *", "UTC", DAY),
        ("0 0 * * *", "Europe/London", DAY),
        ("30 2 * * *", "Europe/Berlin", HOUR),
        ("0 */6 * * *", "Europe/Berlin", HOUR),
        ("0 * * * *", "UTC", HOUR),
        ("0 * * * *", "Asia/Seoul", HOUR),
        ("*/5 * * * *", "UTC", MINUTE),
        ("0 0 1 * *", "Australia/Lord_Howe", "%Y/%m.csv"),
        // Its hour that comes twice does so by half.
        ("0 * * * *", "Australia/Lord_Howe", HOUR),
        ("*/5 * * * *", "Europe/Berlin", "*.csv"),
        ("0 0 * * *", "UTC", "%Y%m%d%H%M/{a,b,c,d,e,f}*.csv"),
    ] {
        assert_eq!(checked(cron, in_zone, text), Ok(()), "{cron} in {in_zone}: {text}");
    }
    let same = "begins and ends in the same one; write finer fields";
    let back = "as the clock is turned back; tell the time of files in UTC";
    for (cron, in_zone, text, says) in [
        ("0 * * * *", "UTC", DAY, same),
        ("0 0,12 * * *", "UTC", DAY, same),
        ("0 0 1,15 * *", "UTC", "%Y-%m.csv", same),
        ("0 0 * * *", "UTC", "%Y/*.csv", same),
        // 02:30 of the day when summer begins is at 03:00, in the hour of the next tick.
        ("30 1,2,3 * * *", "Europe/Berlin", HOUR, same),
        ("0 * * * *", "Europe/Berlin", HOUR, back),
        ("*/30 * * * *", "America/New_York", MINUTE, back),
        // Minutes that come again when their interval is over.
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            MINUTE,
            "minutes that come again after the tick at 2026-10-25T00:30:00Z",
        ),
        ("0 0 1 1 *", "UTC", HOUR, "more than 2000 names"),
        ("0 0 1 * *", "UTC", MINUTE, "more than 2000 names"),
        (
            "0 0 * * *",
            "UTC",
            "%Y%m%d%H%M/{a,b,c,d,e,f,g}*.csv",
            "has 1440 names for 2026-06-01T00:00:00Z/2026-06-02T00:00:00Z, and its braces make each 7 \
             patterns: more than 10000 in all; write *",
        ),
        // From October to March, behind thousands of ticks.
        ("0 * * 3-10 *", "UTC", HOUR, "more than 2000 names for 2026-10-31T23:00:00Z/2027-03-01"),
    ] {
        let error = checked(cron, in_zone, text).expect_err(cron).to_string();
        assert!(error.contains(says), "{cron} in {in_zone}: {error}");
    }
}

/// Controllers read specifications again and again.
#[test]
fn looking_at_a_schedule_is_no_work() {
    let before = std::time::Instant::now();
    for (cron, text) in [("*/5 * * * *", MINUTE), ("0 0,1 * * 1", HOUR), ("0 6 * * *", DAY)] {
        for _ in 0..5 {
            let _ = template(text).check(&grid(cron, "Europe/Berlin"), at("2026-06-01T00:30:00Z"));
        }
    }
    assert!(before.elapsed().as_millis() < 1_500, "{:?}", before.elapsed());
}

/// Mexico's clocks have not been turned since October 2022, when at 07:00 UTC it was 1 o'clock once more.
#[test]
fn an_interval_of_long_ago_is_looked_at_when_it_is_run() {
    let (hourly, halves) = ("0 * * * *", "*/30 * * * *");
    for (cron, text, interval, says) in [
        (hourly, HOUR, "2022-10-30T05:00:00Z/2022-10-30T06:00:00Z", None),
        (hourly, HOUR, "2022-10-30T06:00:00Z/2022-10-30T07:00:00Z", Some("turned back")),
        (hourly, HOUR, "2022-10-30T07:00:00Z/2022-10-30T08:00:00Z", None),
        // Both passes together are the hour.
        (hourly, HOUR, "2022-10-30T06:00:00Z/2022-10-30T08:00:00Z", None),
        (halves, MINUTE, "2022-10-30T05:30:00Z/2022-10-30T06:00:00Z", None),
        (halves, MINUTE, "2022-10-30T06:00:00Z/2022-10-30T06:30:00Z", Some("come again")),
        (halves, MINUTE, "2022-10-30T07:00:00Z/2022-10-30T07:30:00Z", Some("come again")),
        (halves, MINUTE, "2022-10-30T08:00:00Z/2022-10-30T08:30:00Z", None),
        (hourly, "*.csv", "2022-10-30T06:00:00Z/2022-10-30T07:00:00Z", None),
    ] {
        let (grid, text) = (grid(cron, "America/Mexico_City"), template(text));
        assert_eq!(text.check(&grid, at("2026-06-01T00:30:00Z")), Ok(()), "seen when accepted");
        let found = text.check_interval(&grid, of(interval)).map_err(|error| error.to_string());
        match says {
            None => assert_eq!(found, Ok(()), "{interval}"),
            Some(says) => assert!(found.expect_err(interval).contains(says), "{interval}"),
        }
    }
}

/// Every template beside how many digits of `%Y%m%d%H%M` its finest field leaves, and its name without
/// wildcards as `strftime` writes it.
const TEMPLATES: [(&str, usize); 6] =
    [(DAY, 8), ("%d.%m.%Y", 8), (HOUR, 10), ("%Y-%m.csv", 6), ("in/%Y", 4), (MINUTE, 12)];

fn crons() -> impl Strategy<Value = String> {
    let minute = prop::sample::select(vec!["0", "30", "0,30", "*/15", "5"]);
    let hour =
        prop::sample::select(vec!["*", "*/2", "*/6", "0", "2", "1,2,3", "23", "0,12", "*/12"]);
    let day = prop::sample::select(vec![
        "* * *", "* * *", "* * 1-5", "* * 1", "1,2 * *", "1 * *", "L * *", "1 1,7 *", "25 10 *",
        "* 3,10 *",
    ]);
    (minute, hour, day).prop_map(|(minute, hour, day)| format!("{minute} {hour} {day}"))
}

fn zones() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/London",
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "America/Havana",
        "America/Santiago",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Australia/Lord_Howe",
        "Pacific/Chatham",
    ])
}

/// What intervals in a row have, by the name; the end of the last one too.
fn claims(
    grid: &Grid,
    text: &Template,
    zone: &TimeZone,
    (from, to): (Timestamp, Timestamp),
) -> Result<(BTreeMap<String, DataInterval>, Timestamp), TestCaseError> {
    let mut claimed = BTreeMap::new();
    let mut start = from;
    while let Some(end) = grid.next_tick(start).filter(|end| *end <= to) {
        let interval = DataInterval::new(start, end).expect("valid");
        prop_assert_eq!(text.check_interval(grid, interval), Ok(()));
        let names = text.names(Some(interval), zone);
        prop_assert!(names.as_ref().is_ok_and(|names| !names.is_empty()), "{names:?}");
        for name in names.into_iter().flatten() {
            let other = claimed.insert(name.clone(), interval);
            prop_assert_eq!(other, None, "{} belongs to {} as well", name, interval);
        }
        start = end;
    }
    Ok((claimed, start))
}

proptest! {
    #[test]
    fn every_units_files_belong_to_one_interval_which_ends_behind_it(
        cron in crons(),
        in_zone in zones(),
        (text, digits) in prop::sample::select(TEMPLATES.to_vec()),
        day in 0_i64..1_000,
    ) {
        let now = at("2026-01-01T00:30:00Z") + SignedDuration::from_hours(24 * day);
        let (text_, of_zone) = (template(text), zone(in_zone));
        let Ok(grid) = Grid::new(&cron, in_zone) else { return Ok(()) };
        if text_.check(&grid, now).is_err() {
            return Ok(());
        }
        // Three years; of minutes one, for they are many.
        let is_fine = digits == 12;
        let span = SignedDuration::from_hours(if is_fine { 366 * 24 } else { 3 * 366 * 24 });
        let first = grid.next_tick(now).expect("it ticks");
        let (claimed, last) = claims(&grid, &text_, &of_zone, (first, now + span))?;
        let wall = |at: Timestamp| {
            let all = of_zone.to_datetime(at).strftime("%Y%m%d%H%M").to_string();
            all[..digits].to_owned()
        };
        // Whoever writes a file names it for the time that the clock shows.
        let step = SignedDuration::from_mins(if is_fine { 1 } else { 15 });
        let (mut at, end) = (first, wall(last));
        while at < last {
            if wall(at) < end {
                let name = of_zone.to_datetime(at).strftime(text).to_string();
                let interval = claimed.get(&name);
                prop_assert!(interval.is_some(), "{} at {} belongs to nobody", name, at);
                prop_assert!(interval.is_some_and(|one| at < one.end()), "{} is read before {}", name, at);
            }
            at += step;
        }
    }
}
