//! Lower and upper bounds of a column in the form that Delta's statistics have.
//!
//! A bound may be left out, which costs a reader a skipped file; it may never be wrong, which costs
//! rows. So what the form cannot hold exactly is widened where every reader allows for it (text,
//! milliseconds) and left out elsewhere.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::compute::{cast, max, max_string, min, min_string};
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::{Number, Value};

/// Characters of text that a bound keeps; what Delta's other writers keep.
const TEXT_CHARACTERS: usize = 32;
/// Digits that every 64-bit float holds.
const FLOAT_DIGITS: i128 = 1_000_000_000_000_000;

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// The smallest value.
    Lower,
    /// The largest.
    Upper,
}

impl Bound {
    /// The bound over an array of bounds; nulls are left aside. `None` when there is none or it
    /// cannot be written down.
    pub(super) fn over(self, array: &ArrayRef) -> Option<Value> {
        match array.data_type() {
            DataType::Int8 => self.of::<Int8Type>(array).map(Value::from),
            DataType::Int16 => self.of::<Int16Type>(array).map(Value::from),
            DataType::Int32 => self.of::<Int32Type>(array).map(Value::from),
            DataType::Int64 => self.of::<Int64Type>(array).map(Value::from),
            DataType::Float32 => self.float(self.of::<Float32Type>(array)?.into()),
            DataType::Float64 => self.float(self.of::<Float64Type>(array)?),
            DataType::Date32 => date(self.of::<Date32Type>(array)?),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                self.timestamp(self.of::<TimestampMicrosecondType>(array)?, zone.is_some())
            }
            DataType::Decimal128(_, scale) => decimal(self.of::<Decimal128Type>(array)?, *scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => self.text(array),
            _ => None,
        }
    }

    fn of<T: ArrowPrimitiveType>(self, array: &dyn Array) -> Option<T::Native>
    where
        T::Native: ArrowNativeTypeOp,
    {
        match self {
            Self::Lower => min(array.as_primitive::<T>()),
            Self::Upper => max(array.as_primitive::<T>()),
        }
    }

    /// Zero has two signs, which some readers take for one value and some order: the bound is the
    /// outer one.
    fn float(self, value: f64) -> Option<Value> {
        let value = match (value == 0.0, self) {
            (false, _) => value,
            (true, Self::Lower) => -0.0,
            (true, Self::Upper) => 0.0,
        };
        Number::from_f64(value).map(Value::Number)
    }

    /// Milliseconds, rounded outwards. Readers expect the upper one rounded down and allow for it,
    /// which does no harm.
    fn timestamp(self, micros: i64, utc: bool) -> Option<Value> {
        let millis = match self {
            Self::Lower => micros.div_euclid(1000),
            Self::Upper => micros.checked_add(999)?.div_euclid(1000),
        };
        let time = Timestamp::from_millisecond(millis).ok()?.to_zoned(TimeZone::UTC);
        let zone = if utc { "Z" } else { "" };
        let text = time.strftime("%Y-%m-%dT%H:%M:%S%.3f");
        (time.year() >= 1).then(|| Value::from(format!("{text}{zone}")))
    }

    fn text(self, array: &ArrayRef) -> Option<Value> {
        let array = cast(array, &DataType::Utf8).ok()?;
        let array = array.as_string::<i32>();
        match self {
            Self::Lower => Some(Value::from(cut_down(min_string(array)?))),
            Self::Upper => cut_up(max_string(array)?).map(Value::from),
        }
    }
}

/// The day, within the years that the form has.
fn date(days: i32) -> Option<Value> {
    let days = Span::new().try_days(days).ok()?;
    let date = Date::constant(1970, 1, 1).checked_add(days).ok()?;
    (date.year() >= 1).then(|| Value::from(date.to_string()))
}

/// A number that is read back digit by digit; `None` where a float would not hold it.
fn decimal(unscaled: i128, scale: i8) -> Option<Value> {
    if scale <= 0 {
        let factor = 10_i128.checked_pow(u32::from(scale.unsigned_abs()))?;
        return i64::try_from(unscaled.checked_mul(factor)?).ok().map(Value::from);
    }
    if unscaled.abs() >= FLOAT_DIGITS {
        return None;
    }
    // Up to fifteen digits come back from a float as they went in.
    format!("{unscaled}e-{scale}").parse().ok().and_then(Number::from_f64).map(Value::Number)
}

/// The beginning of the text: not larger than it.
fn cut_down(text: &str) -> &str {
    text.char_indices().nth(TEXT_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

/// A short text that is not smaller: the beginning with its last character raised. `None` when every
/// character of the beginning is the largest there is.
fn cut_up(text: &str) -> Option<String> {
    let kept = cut_down(text);
    if kept.len() == text.len() {
        return Some(text.to_owned());
    }
    let mut kept: Vec<char> = kept.chars().collect();
    while let Some(last) = kept.pop() {
        if let Some(raised) = next_character(last) {
            kept.push(raised);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

fn next_character(character: char) -> Option<char> {
    match character {
        char::MAX => None,
        '\u{D7FF}' => Some('\u{E000}'),
        other => char::from_u32(u32::from(other) + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Date32Array, Decimal128Array, Float64Array, StringArray, TimestampMicrosecondArray,
    };
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn both(array: impl Array + 'static) -> (Option<Value>, Option<Value>) {
        let array: ArrayRef = Arc::new(array);
        (Bound::Lower.over(&array), Bound::Upper.over(&array))
    }

    #[test]
    fn timestamps_are_rounded_outwards_to_milliseconds() {
        let utc = TimestampMicrosecondArray::from(vec![-1, 1_780_318_800_123_001]);
        assert_eq!(
            both(utc.clone().with_timezone("UTC")),
            (Some(json!("1969-12-31T23:59:59.999Z")), Some(json!("2026-06-01T13:00:00.124Z")))
        );
        assert_eq!(both(utc).0, Some(json!("1969-12-31T23:59:59.999")));
        let exact = TimestampMicrosecondArray::from(vec![1_000]);
        assert_eq!(both(exact).1, Some(json!("1970-01-01T00:00:00.001")));
    }

    #[test]
    fn times_outside_the_years_1_to_9999_have_no_bound() {
        assert_eq!(both(TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX])), (None, None));
        assert_eq!(both(Date32Array::from(vec![i32::MIN, i32::MAX])), (None, None));
        assert_eq!(
            both(Date32Array::from(vec![-719_162, 2_932_896])),
            (Some(json!("0001-01-01")), Some(json!("9999-12-31")))
        );
    }

    #[test]
    fn zero_is_bounded_by_both_its_signs() {
        let (lower, upper) = both(Float64Array::from(vec![0.0]));
        assert_eq!(lower.expect("a number").to_string(), "-0.0");
        assert_eq!(upper.expect("a number").to_string(), "0.0");
        assert_eq!(
            both(Float64Array::from(vec![f64::NEG_INFINITY, 1.5])),
            (None, Some(json!(1.5)))
        );
    }

    #[test]
    fn decimals_are_exact_or_left_out() {
        let of = |unscaled: i128, scale| {
            both(
                Decimal128Array::from(vec![unscaled])
                    .with_precision_and_scale(38, scale)
                    .expect("valid"),
            )
            .0
        };
        assert_eq!(of(-123, 2), Some(json!(-1.23)));
        assert_eq!(of(999_999_999_999_999, 2), Some(json!(9_999_999_999_999.99)));
        assert_eq!(of(1_000_000_000_000_000, 2), None);
        assert_eq!(of(1, 10), Some(json!(1e-10)));
        assert_eq!(of(1_000_000_000_000_000_001, 0), Some(json!(1_000_000_000_000_000_001_i64)));
        assert_eq!(of(i128::from(i64::MAX) + 1, 0), None);
    }

    #[test]
    fn long_text_is_cut_at_characters_and_raised_at_the_upper_end() {
        let of = |text: &str| both(StringArray::from(vec![text]));
        let a = |n| "a".repeat(n);
        assert_eq!(of(&a(32)), (Some(json!(a(32))), Some(json!(a(32)))));
        assert_eq!(of(&a(33)), (Some(json!(a(32))), Some(json!(a(31) + "b"))));
        let emoji = "😀".repeat(33);
        assert_eq!(of(&emoji), (Some(json!("😀".repeat(32))), Some(json!("😀".repeat(31) + "😁"))));
        let edge = a(31) + "\u{10FFFF}x";
        assert_eq!(of(&edge).1, Some(json!(a(30) + "b")));
        assert_eq!(of(&"\u{10FFFF}".repeat(33)).1, None);
        assert_eq!(of(&(a(31) + "\u{D7FF}x")).1, Some(json!(a(31) + "\u{E000}")));
    }

    proptest! {
        #[test]
        fn cut_text_bounds_what_it_was_cut_from(text in "\\PC{0,80}") {
            prop_assert!(cut_down(&text) <= text.as_str());
            prop_assert!(cut_down(&text).chars().count() <= TEXT_CHARACTERS);
            if let Some(upper) = cut_up(&text) {
                prop_assert!(upper.as_str() >= text.as_str());
                prop_assert!(upper.chars().count() <= TEXT_CHARACTERS);
            }
        }

        #[test]
        fn a_decimal_bound_is_read_back_digit_by_digit(unscaled in -999_999_999_999_999_i128..=999_999_999_999_999, scale in 1i8..=15) {
            let value = decimal(unscaled, scale).expect("fits").as_f64().expect("a number");
            let digits = usize::try_from(scale).expect("positive");
            let printed = format!("{value:.digits$}").replace('.', "");
            prop_assert_eq!(printed.parse::<i128>().expect("digits"), unscaled);
        }
    }
}
