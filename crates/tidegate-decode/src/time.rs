//! Dates and times from text, without the general machinery of a calendar library: this runs once per
//! value.
//!
//! * `timestamp`: RFC 3339 with an offset (`2026-06-01T12:00:00.25+09:00`; `t`, `z` and a space between
//!   day and time are taken too). Digits beyond the microsecond are cut off.
//! * `timestamp_ntz`: the same without an offset.
//! * `date`: `2026-06-01`.
//!
//! Years 0000 to 9999, Gregorian throughout. The second 60 is refused: no instant of the table could
//! hold it.

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The first and the last microsecond that the four-digit years hold.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

/// Microseconds since 1970 of an RFC 3339 instant.
pub(crate) fn instant(text: &[u8]) -> Option<i64> {
    let (local, rest) = local(text)?;
    Some(local - offset_seconds(rest)? * MICROS_PER_SECOND)
}

/// Microseconds since 1970 of a date and time without zone.
pub(crate) fn local_time(text: &[u8]) -> Option<i64> {
    local(text).filter(|(_, rest)| rest.is_empty()).map(|(micros, _)| micros)
}

/// Days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    if text.len() == 10 { i32::try_from(days(text.first_chunk()?)?).ok() } else { None }
}

/// Microseconds since 1970 of milliseconds since 1970, where the year has four digits.
pub(crate) fn from_millis(millis: i64) -> Option<i64> {
    millis.checked_mul(1_000).filter(|micros| RANGE.contains(micros))
}

fn local(text: &[u8]) -> Option<(i64, &[u8])> {
    let (day, rest) = text.split_first_chunk::<10>()?;
    let (clock, rest) = rest.split_first_chunk::<9>()?;
    let [separator, h1, h2, b':', m1, m2, b':', s1, s2] = *clock else { return None };
    if !matches!(separator, b'T' | b't' | b' ') {
        return None;
    }
    let (hour, minute, second) = (two(h1, h2)?, two(m1, m2)?, two(s1, s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(day)? * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    let (micros, rest) = fraction(rest)?;
    Some((seconds * MICROS_PER_SECOND + micros, rest))
}

/// Days since 1970 of `YYYY-MM-DD`.
fn days(text: &[u8; 10]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *text else { return None };
    civil_days(two(y1, y2)? * 100 + two(y3, y4)?, two(m1, m2)?, two(d1, d2)?)
}

/// Days since 1970 in the proleptic Gregorian calendar; none for what is no day.
#[must_use]
#[inline]
pub fn civil_days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > month_length(year, month) {
        return None;
    }
    // Years begin in March, so that the leap day is the last; 719 468 days lie between the 1st of
    // March of year 0 and 1970.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
            - 719_468,
    )
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Microseconds of `.123456789`, zero when there is no point.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(count);
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    let micros = padded.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    (count > 0).then_some((micros, rest))
}

fn offset_seconds(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            let seconds = hours * 3_600 + minutes * 60;
            let sign = if sign == b'-' { -1 } else { 1 };
            (hours <= 23 && minutes <= 59).then_some(sign * seconds)
        }
        _ => None,
    }
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_are_read() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01 00:00:01z", 1_000_000),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2024-02-29t12:00:00.25+09:00", 1_709_175_600_250_000),
            ("2000-01-01T00:00:00-23:59", 946_771_140_000_000),
            ("2026-06-01T00:00:00.1234569Z", 1_780_272_000_123_456),
            ("0000-01-01T00:00:00Z", *RANGE.start()),
            ("9999-12-31T23:59:59.999999Z", *RANGE.end()),
        ] {
            assert_eq!(instant(text.as_bytes()), Some(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-06-01",
            "2026-06-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2016-12-31T23:59:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0900",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00Zx",
            "2026-1-1T00:00:00Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(instant(text.as_bytes()), None, "{text}");
        }
        assert_eq!(local_time(b"2026-06-01T00:00:00"), Some(1_780_272_000_000_000));
        assert_eq!(local_time(b"2026-06-01T00:00:00Z"), None);
        assert_eq!(
            (date(b"1970-01-02"), date(b"1970-01-02T"), date(b"2026-02-30")),
            (Some(1), None, None)
        );
        assert_eq!((from_millis(1_500), from_millis(i64::MAX)), (Some(1_500_000), None));
    }

    proptest! {
        #[test]
        fn a_calendar_library_agrees(micros in RANGE) {
            let time = jiff::Timestamp::from_microsecond(micros).expect("in range");
            let text = time.to_string();
            // The library writes years before 1 with six digits and a sign.
            prop_assume!(!text.starts_with('-'));
            prop_assert_eq!(instant(text.as_bytes()), Some(micros));
            let days = date(&text.as_bytes()[..10]).map(i64::from);
            prop_assert_eq!(days, Some(micros.div_euclid(SECONDS_PER_DAY * MICROS_PER_SECOND)));
        }

        #[test]
        fn no_text_makes_it_panic(text: Vec<u8>) {
            let _ = (instant(&text), local_time(&text), date(&text));
        }
    }
}
