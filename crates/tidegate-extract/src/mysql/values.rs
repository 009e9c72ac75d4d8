//! Values of the binary protocol as those of the table.

use mysql_async::Value;

use super::source_type::SourceType;

/// Why a value cannot stand in its column; the text goes on after "column x of row y …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// `0000-00-00`, a month or day that is zero, or a day that its month does not have.
    NoDate(String),
    /// A number outside of the column's type.
    OutOfRange(String),
    /// Text that is not UTF-8.
    NotUtf8,
    /// A kind of value that the server did not announce.
    Unexpected(&'static str),
}

/// A whole number.
pub(super) fn integer(value: &Value, source: &SourceType) -> Result<i128, Unfit> {
    match (value, source) {
        (Value::Int(number), _) => Ok(i128::from(*number)),
        (Value::UInt(number), _) => Ok(i128::from(*number)),
        (Value::Bytes(bytes), SourceType::Bits(_)) => bits(bytes).map(i128::from),
        (Value::Bytes(text), _) => decimal(text, 0),
        _ => Err(Unfit::Unexpected("a whole number")),
    }
}

/// BIT(n), the most significant byte first.
fn bits(bytes: &[u8]) -> Result<u64, Unfit> {
    if bytes.len() > 8 {
        return Err(Unfit::Unexpected("at most 64 bits"));
    }
    Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A decimal's text as a number of units of the last of `scale` places. Exact: what has more places, or
/// more digits than 38, is refused.
pub(super) fn decimal(text: &[u8], scale: u8) -> Result<i128, Unfit> {
    let shown = || Unfit::OutOfRange(String::from_utf8_lossy(text).into_owned());
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut number: i128 = 0;
    let mut places: Option<u8> = None;
    for &byte in digits {
        match byte {
            b'.' if places.is_none() => places = Some(0),
            b'0'..=b'9' => {
                number = shifted(number, byte - b'0').ok_or_else(shown)?;
                places = places.map(|places| places.saturating_add(1));
            }
            _ => return Err(Unfit::Unexpected("a decimal")),
        }
    }
    let places = places.unwrap_or(0);
    for _ in places..scale {
        number = shifted(number, 0).ok_or_else(shown)?;
    }
    for _ in scale..places {
        if number % 10 != 0 {
            return Err(shown());
        }
        number /= 10;
    }
    Ok(if negative { -number } else { number })
}

fn shifted(number: i128, digit: u8) -> Option<i128> {
    const LIMIT: i128 = 10_i128.pow(38);
    let next = number.checked_mul(10)?.checked_add(i128::from(digit))?;
    (next < LIMIT).then_some(next)
}

/// Days since 1970.
pub(super) fn days(value: &Value) -> Result<i32, Unfit> {
    let Value::Date(year, month, day, ..) = *value else {
        return Err(Unfit::Unexpected("a date"));
    };
    civil_days(year, month, day).ok_or_else(|| Unfit::NoDate(date_text(year, month, day)))
}

/// Microseconds since 1970, of a clock without zone or in UTC.
pub(super) fn micros(value: &Value) -> Result<i64, Unfit> {
    let Value::Date(_, _, _, hour, minute, second, micros) = *value else {
        return Err(Unfit::Unexpected("a date and time"));
    };
    let seconds = i64::from(days(value)?) * 86_400
        + i64::from(hour) * 3_600
        + i64::from(minute) * 60
        + i64::from(second);
    Ok(seconds * 1_000_000 + i64::from(micros))
}

/// Days since 1970; none for what is no day.
fn civil_days(year: u16, month: u8, day: u8) -> Option<i32> {
    let days = tidegate_decode::civil_days(year.into(), month.into(), day.into())?;
    i32::try_from(days).ok()
}

/// A value as text, as the server prints it.
pub(super) fn text(value: Value, source: &SourceType) -> Result<String, Unfit> {
    Ok(match value {
        Value::Bytes(bytes) if matches!(source, SourceType::Bits(_)) => bits(&bytes)?.to_string(),
        Value::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| Unfit::NotUtf8)?,
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = date_text(year, month, day);
            let decimals = match source {
                SourceType::DateTime { decimals } | SourceType::Timestamp { decimals } => *decimals,
                _ => return Ok(date),
            };
            let fraction = fraction(micros, decimals);
            format!("{date} {hour:02}:{minute:02}:{second:02}{fraction}")
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            let decimals = if let SourceType::Time { decimals } = source { *decimals } else { 6 };
            let (sign, hours) = (if negative { "-" } else { "" }, days * 24 + u32::from(hours));
            let fraction = fraction(micros, decimals);
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}")
        }
        Value::NULL => return Err(Unfit::Unexpected("a value")),
    })
}

fn date_text(year: u16, month: u8, day: u8) -> String {
    format!("{year:04}-{month:02}-{day:02}")
}

/// The first `decimals` of six places of a second, with the point.
fn fraction(micros: u32, decimals: u8) -> String {
    match usize::from(decimals.min(6)) {
        0 => String::new(),
        decimals => format!(".{}", &format!("{micros:06}")[..decimals]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let table: [(&str, u8, Option<i128>); 12] = [
            ("12.34", 2, Some(1234)),
            ("-0.05", 2, Some(-5)),
            ("7", 3, Some(7000)),
            ("+7.5", 1, Some(75)),
            ("1.500", 1, Some(15)),
            ("1.501", 1, None),
            ("99999999999999999999999999999999999999", 0, Some(10_i128.pow(38) - 1)),
            ("100000000000000000000000000000000000000", 0, None),
            ("99999999999999999999999999999999999999", 1, None),
            ("0.000000000000000000000000000001", 30, Some(1)),
            ("1e5", 0, None),
            ("1.2.3", 1, None),
        ];
        for (text, scale, expected) in table {
            assert_eq!(decimal(text.as_bytes(), scale).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_day_is_told_as_it_stands() {
        for (date, told) in [
            (Value::Date(0, 0, 0, 0, 0, 0, 0), "0000-00-00"),
            (Value::Date(2026, 0, 1, 0, 0, 0, 0), "2026-00-01"),
            (Value::Date(2026, 5, 0, 0, 0, 0, 0), "2026-05-00"),
            (Value::Date(2026, 2, 29, 1, 2, 3, 4), "2026-02-29"),
            (Value::Date(2026, 13, 1, 0, 0, 0, 0), "2026-13-01"),
        ] {
            assert_eq!(days(&date), Err(Unfit::NoDate(told.into())));
            assert_eq!(micros(&date), Err(Unfit::NoDate(told.into())));
        }
    }

    #[test]
    fn text_is_what_the_server_prints() {
        let time =
            |source_decimals, value| text(value, &SourceType::Time { decimals: source_decimals });
        assert_eq!(time(0, Value::Time(true, 34, 22, 59, 59, 0)).as_deref(), Ok("-838:59:59"));
        assert_eq!(time(3, Value::Time(false, 0, 1, 2, 3, 4_000)).as_deref(), Ok("01:02:03.004"));
        let local = SourceType::DateTime { decimals: 6 };
        let zero = text(Value::Date(0, 0, 0, 0, 0, 0, 0), &local);
        assert_eq!(zero.as_deref(), Ok("0000-00-00 00:00:00.000000"));
        assert_eq!(text(Value::Bytes(vec![1, 2]), &SourceType::Bits(16)).as_deref(), Ok("258"));
        assert_eq!(text(Value::Bytes(vec![0xff]), &SourceType::Text), Err(Unfit::NotUtf8));
    }

    proptest! {
        #[test]
        fn days_are_those_of_the_calendar(year in 0_u16..=9999, month in 0_u8..=13, day in 0_u8..=32) {
            let expected = jiff::civil::Date::new(
                year.cast_signed(), month.cast_signed(), day.cast_signed(),
            ).ok().map(|date| date.since(jiff::civil::date(1970, 1, 1)).expect("a span").get_days());
            prop_assert_eq!(civil_days(year, month, day), expected);
        }

        #[test]
        fn a_decimal_is_its_digits(number in -(10_i128.pow(37))..10_i128.pow(37), scale in 0_u8..=30) {
            let digits = format!("{:0>40}", number.unsigned_abs());
            let (whole, places) = digits.split_at(40 - usize::from(scale));
            let sign = if number < 0 { "-" } else { "" };
            let text = if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{places}") };
            prop_assert_eq!(decimal(text.as_bytes(), scale), Ok(number));
        }
    }
}
