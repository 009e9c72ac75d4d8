//! Numbers from their text, exact where the type is exact.

use crate::cursor::SmallDecimal;

/// Why a number does not become the declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inexact {
    /// Digits that are not zero stand beyond the last place of the type.
    Fraction,
    /// The value is too large.
    TooLarge,
}

/// `token × 10^scale` as a whole number, computed digit by digit. JSON has one number type: `1.0` and
/// `1e3` are whole numbers.
pub(crate) fn scaled(token: &[u8], scale: u8) -> Result<i128, Inexact> {
    let negative = token.first() == Some(&b'-');
    let unsigned = &token[usize::from(negative)..];
    let split = unsigned.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned.split_at(split);
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let kept = point as i64 + exponent_value(exponent) + i64::from(scale);

    let mut value: i128 = 0;
    let mut place: i64 = 0;
    for digit in mantissa.iter().filter(|b| **b != b'.').map(|b| b - b'0') {
        if place < kept {
            value = times_ten_plus(value, digit)?;
        } else if digit != 0 {
            return Err(Inexact::Fraction);
        }
        place += 1;
    }
    // Ends after 39 rounds at the latest: what is not zero overflows.
    while place < kept && value != 0 {
        value = times_ten_plus(value, 0)?;
        place += 1;
    }
    Ok(if negative { -value } else { value })
}

fn times_ten_plus(value: i128, digit: u8) -> Result<i128, Inexact> {
    value
        .checked_mul(10)
        .and_then(|value| value.checked_add(i128::from(digit)))
        .ok_or(Inexact::TooLarge)
}

/// The value of `e+12`; saturates far outside of any type's range.
fn exponent_value(text: &[u8]) -> i64 {
    const FAR: i64 = 1 << 40;
    let negative = text.get(1) == Some(&b'-');
    let digits = text.iter().filter(|b| b.is_ascii_digit());
    let value = digits.fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(FAR));
    if negative { -value } else { value }
}

/// The nearest double; none when the number is beyond the largest.
pub(crate) fn double(token: &[u8]) -> Option<f64> {
    std::str::from_utf8(token).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The nearest float; none when the number is beyond the largest. Not by way of a double, which would
/// round twice.
pub(crate) fn float(token: &[u8]) -> Option<f32> {
    std::str::from_utf8(token).ok()?.parse().ok().filter(|value: &f32| value.is_finite())
}

/// Powers of ten that are exact as doubles.
const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The nearest double: dividend and divisor are exact, so that the division is the only rounding.
#[inline]
pub(crate) fn small_double(number: SmallDecimal) -> f64 {
    let value = number.mantissa as f64 / POWERS[number.fraction];
    if number.negative { -value } else { value }
}

/// As [`small_double`] for floats, where both parts are exact: below 2^24 and up to 10^10.
#[inline]
pub(crate) fn small_float(number: SmallDecimal) -> Option<f32> {
    if number.mantissa >= 1 << 24 || number.fraction > 10 {
        return None;
    }
    let value = number.mantissa as f32 / POWERS[number.fraction] as f32;
    Some(if number.negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cursor::Cursor;

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        for (text, scale, value) in [
            ("1.0", 0, Ok(1)),
            ("1e3", 0, Ok(1_000)),
            ("-12.50", 2, Ok(-1_250)),
            ("1500e-2", 0, Ok(15)),
            ("0.001e3", 0, Ok(1)),
            ("0e999999999999999999999", 0, Ok(0)),
            ("0.0000", 2, Ok(0)),
            ("1.5", 0, Err(Inexact::Fraction)),
            ("1e-99999999999999999999", 0, Err(Inexact::Fraction)),
            ("1.005", 2, Err(Inexact::Fraction)),
            ("1e40", 0, Err(Inexact::TooLarge)),
            ("1e999999999999999999999", 0, Err(Inexact::TooLarge)),
            ("-0", 0, Ok(0)),
        ] {
            assert_eq!(scaled(text.as_bytes(), scale), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(value: i64, zeros in 0_usize..4) {
            let text = format!("{value}.{}", "0".repeat(zeros + 1));
            prop_assert_eq!(scaled(text.as_bytes(), 0), Ok(i128::from(value)));
        }

        #[test]
        fn the_short_way_rounds_like_the_long_one(mantissa in 0_u64..1_000_000_000_000_000, point in 0_usize..15) {
            let mut text = format!("{mantissa:015}");
            text.insert(15 - point, '.');
            let text = format!("-{}0", text.trim_start_matches('0'));
            let text = text.replace("-.", "-0.");
            let token = if text.ends_with(".0") || !text.contains('.') { text } else { text[..text.len() - 1].to_owned() };
            if let Some(small) = Cursor::new(token.as_bytes()).small_decimal() {
                prop_assert_eq!(Some(small_double(small)), double(token.as_bytes()), "{}", token);
                if let Some(value) = small_float(small) {
                    prop_assert_eq!(Some(value), float(token.as_bytes()), "{}", token);
                }
            }
        }
    }
}
