//! Partition values in the form in which Delta's log writes them.
//!
//! | column | transform | value |
//! |---|---|---|
//! | string | Identity | the text; Delta cannot tell the empty text from null, so it is null |
//! | long, integer, short, byte, boolean | Identity | `-5`, `true` |
//! | decimal | Identity | `12.50`, with all digits of its scale |
//! | date | Identity, Day | `2026-06-01` |
//! | timestamp | Identity | `2026-06-01T13:45:00.000001Z` |
//! | `timestamp_ntz` | Identity | `2026-06-01 13:45:00.000001` |
//! | timestamp, `timestamp_ntz` | Day, Hour, Month | `2026-06-01`, `2026-06-01-13`, `2026-06` |
//! | date | Month | `2026-06` |
//! | anything above, binary | Bucket | `0` to `n − 1`, see [`bucket_of`] |
//!
//! Null stays null. Floats cannot be partitioned by, nor nested types.

use std::collections::HashMap;
use std::hash::Hash;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DecimalType, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType,
};
use tidegate_types::PartitionTransform;
use xxhash_rust::xxh3::xxh3_64;

use crate::calendar::{
    Day, FIRST_DAY, LAST_DAY, MICROS_PER_DAY, MICROS_PER_HOUR, print_day, print_hour,
    print_instant, print_month,
};

/// Longest value as a folder name, where each byte but letters, digits and `-_.` takes three. A folder
/// name of a local file system has at most 255 bytes, and the column's name stands in it too.
const MAX_ENCODED_BYTES: usize = 180;

/// The values of a table partition, in the order of the table's partition columns: names with values
/// in Delta's string form, none for null.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PartitionValues(pub Vec<(String, Option<String>)>);

/// One distinct value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Null, or text.
    Known(Option<String>),
    /// It has no form that every reader of the table understands.
    Refused,
}

impl Value {
    fn text(text: impl Into<String>) -> Self {
        Self::Known(Some(text.into()))
    }

    fn within(
        range: std::ops::RangeInclusive<i64>,
        at: i64,
        print: impl FnOnce() -> String,
    ) -> Self {
        if range.contains(&at) { Self::text(print()) } else { Self::Refused }
    }
}

/// A column as numbers of its distinct values.
pub(crate) struct Coded {
    /// For each row a place in `values`.
    pub(crate) codes: Vec<usize>,
    /// In order of first appearance, all different.
    pub(crate) values: Vec<Value>,
}

/// Whether a column of this type can be partitioned by with this transform.
pub(crate) fn supports(transform: PartitionTransform, data_type: &DataType) -> bool {
    let number =
        matches!(data_type, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64);
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bytes =
        matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let other = matches!(data_type, DataType::Boolean | DataType::Decimal128(..));
    let date = matches!(data_type, DataType::Date32);
    let instant = matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _));
    match transform {
        PartitionTransform::Identity => number || text || other || date || instant,
        PartitionTransform::Hour => instant,
        PartitionTransform::Day | PartitionTransform::Month => date || instant,
        PartitionTransform::Bucket(_) => number || text || bytes || other || date || instant,
    }
}

/// The column's values under `transform`; none when the type is not supported.
pub(crate) fn code(transform: PartitionTransform, column: &dyn Array) -> Option<Coded> {
    match transform {
        PartitionTransform::Identity => identity(column),
        PartitionTransform::Hour => {
            let hours = instants(column)?.map(|at| at.map(|at| at.div_euclid(MICROS_PER_HOUR)));
            let range = FIRST_DAY * 24..=LAST_DAY * 24 + 23;
            Some(intern(hours, |at| Value::within(range.clone(), at, || print_hour(at))))
        }
        PartitionTransform::Day => Some(intern(days(column)?, print_checked_day)),
        PartitionTransform::Month => {
            let months = days(column)?.map(|day| day.map(|d| Day::from_epoch(d).month_number()));
            Some(intern(months, |at| Value::within(12..=9_999 * 12 + 11, at, || print_month(at))))
        }
        PartitionTransform::Bucket(count) => {
            let buckets = hashes(column)?.map(|hash| hash.map(|hash| bucket_of(hash, count)));
            Some(intern(buckets, |bucket| Value::text(bucket.to_string())))
        }
    }
}

/// The bucket of a value: XXH3-64 without a seed over its canonical bytes, modulo `count`. Canonical
/// are: integers of every width, days and microseconds as a 64-bit little-endian integer (so that a
/// widened column keeps its buckets); a decimal's unscaled value as 128 bits; a boolean as one byte;
/// text in UTF-8; binary as it is. Tables depend on it: it never changes.
fn bucket_of(hash: u64, count: u32) -> u64 {
    hash % u64::from(count.max(1))
}

fn identity(column: &dyn Array) -> Option<Coded> {
    if let Some(texts) = texts(column) {
        let texts = texts.map(|text| text.filter(|text| !text.is_empty()));
        return Some(intern(texts, print_checked_text));
    }
    Some(match column.data_type() {
        DataType::Boolean => {
            intern(column.as_boolean().iter(), |value| Value::text(value.to_string()))
        }
        DataType::Decimal128(precision, scale) => {
            let print =
                |value| Value::text(Decimal128Type::format_decimal(value, *precision, *scale));
            intern(column.as_primitive::<Decimal128Type>().iter(), print)
        }
        DataType::Date32 => intern(days(column)?, print_checked_day),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let print = |at: i64| {
                Value::within(FIRST_DAY..=LAST_DAY, at.div_euclid(MICROS_PER_DAY), || match zone {
                    Some(_) => format!("{}Z", print_instant(at, 'T')),
                    None => print_instant(at, ' '),
                })
            };
            intern(instants(column)?, print)
        }
        _ => intern(integers(column)?, |value| Value::text(value.to_string())),
    })
}

fn print_checked_day(day: i64) -> Value {
    Value::within(FIRST_DAY..=LAST_DAY, day, || print_day(day))
}

fn print_checked_text(text: &str) -> Value {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let encoded: usize = text.bytes().map(|byte| if plain(byte) { 1 } else { 3 }).sum();
    if encoded <= MAX_ENCODED_BYTES { Value::text(text) } else { Value::Refused }
}

/// Numbers the distinct values. Neighbouring rows are mostly alike, so the last value is tried first.
fn intern<T: Copy + Eq + Hash>(
    items: impl Iterator<Item = Option<T>>,
    print: impl Fn(T) -> Value,
) -> Coded {
    let (codes, distinct) = number_distinct(items);
    let print = |item: Option<T>| item.map_or(Value::Known(None), &print);
    Coded { codes, values: distinct.into_iter().map(print).collect() }
}

/// For each item the number of its value, and the values in order of first appearance.
pub(crate) fn number_distinct<T: Copy + Eq + Hash>(
    items: impl Iterator<Item = T>,
) -> (Vec<usize>, Vec<T>) {
    let mut numbers = HashMap::new();
    let mut distinct: Vec<T> = Vec::new();
    let mut last = None;
    let number = |item: T| {
        if let Some((value, number)) = last
            && value == item
        {
            return number;
        }
        let number = *numbers.entry(item).or_insert_with(|| {
            distinct.push(item);
            distinct.len() - 1
        });
        last = Some((item, number));
        number
    };
    (items.map(number).collect(), distinct)
}

type Items<'a, T> = Box<dyn Iterator<Item = Option<T>> + 'a>;

fn texts(column: &dyn Array) -> Option<Items<'_, &str>> {
    Some(match column.data_type() {
        DataType::Utf8 => Box::new(column.as_string::<i32>().iter()),
        DataType::LargeUtf8 => Box::new(column.as_string::<i64>().iter()),
        DataType::Utf8View => Box::new(column.as_string_view().iter()),
        _ => return None,
    })
}

fn bytes(column: &dyn Array) -> Option<Items<'_, &[u8]>> {
    Some(match column.data_type() {
        DataType::Binary => Box::new(column.as_binary::<i32>().iter()),
        DataType::LargeBinary => Box::new(column.as_binary::<i64>().iter()),
        DataType::BinaryView => Box::new(column.as_binary_view().iter()),
        _ => Box::new(texts(column)?.map(|text| text.map(str::as_bytes))),
    })
}

fn integers(column: &dyn Array) -> Option<Items<'_, i64>> {
    Some(match column.data_type() {
        DataType::Int8 => Box::new(column.as_primitive::<Int8Type>().iter().map(widen)),
        DataType::Int16 => Box::new(column.as_primitive::<Int16Type>().iter().map(widen)),
        DataType::Int32 => Box::new(column.as_primitive::<Int32Type>().iter().map(widen)),
        DataType::Int64 => Box::new(column.as_primitive::<Int64Type>().iter()),
        _ => return None,
    })
}

fn widen<T: Into<i64>>(value: Option<T>) -> Option<i64> {
    value.map(Into::into)
}

/// Microseconds since 1970.
fn instants(column: &dyn Array) -> Option<Items<'_, i64>> {
    matches!(column.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)).then(|| {
        Box::new(column.as_primitive::<TimestampMicrosecondType>().iter()) as Items<'_, i64>
    })
}

/// Days since 1970, of a date or of an instant.
fn days(column: &dyn Array) -> Option<Items<'_, i64>> {
    if column.data_type() == &DataType::Date32 {
        return Some(Box::new(column.as_primitive::<Date32Type>().iter().map(widen)));
    }
    Some(Box::new(instants(column)?.map(|at| at.map(|at| at.div_euclid(MICROS_PER_DAY)))))
}

/// Hashes of canonical bytes.
fn hashes(column: &dyn Array) -> Option<Items<'_, u64>> {
    if let Some(bytes) = bytes(column) {
        return Some(Box::new(bytes.map(|bytes| bytes.map(xxh3_64))));
    }
    Some(match column.data_type() {
        DataType::Boolean => {
            Box::new(column.as_boolean().iter().map(|value| value.map(|v| xxh3_64(&[u8::from(v)]))))
        }
        DataType::Decimal128(..) => Box::new(
            column
                .as_primitive::<Decimal128Type>()
                .iter()
                .map(|value| value.map(|v| xxh3_64(&v.to_le_bytes()))),
        ),
        DataType::Date32 => Box::new(days(column)?.map(hash_integer)),
        DataType::Timestamp(..) => Box::new(instants(column)?.map(hash_integer)),
        _ => Box::new(integers(column)?.map(hash_integer)),
    })
}

fn hash_integer(value: Option<i64>) -> Option<u64> {
    value.map(|value| xxh3_64(&value.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array,
        Int32Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
    };
    use tidegate_types::PartitionTransform::{Bucket, Day, Hour, Identity, Month};

    use super::*;

    /// 2026-06-01T13:45:00.000001Z.
    const INSTANT: i64 = 1_780_321_500_000_001;

    fn single(transform: PartitionTransform, column: &ArrayRef) -> Value {
        assert!(supports(transform, column.data_type()), "{transform:?} {:?}", column.data_type());
        let coded = code(transform, column).expect("supported");
        assert_eq!(coded.values.len(), 1);
        coded.values[0].clone()
    }

    #[test]
    fn values_have_delta_s_string_form() {
        let instant = TimestampMicrosecondArray::from(vec![INSTANT]);
        let utc: ArrayRef = Arc::new(instant.clone().with_timezone("UTC"));
        let ntz: ArrayRef = Arc::new(instant);
        let date: ArrayRef = Arc::new(Date32Array::from(vec![20_605]));
        let decimal = Decimal128Array::from(vec![-1_250]).with_precision_and_scale(10, 2);
        for (transform, column, expected) in [
            (Identity, Arc::new(StringArray::from(vec!["a/b"])) as ArrayRef, "a/b"),
            (Identity, Arc::new(StringViewArray::from(vec!["ü"])), "ü"),
            (Identity, Arc::new(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
            (Identity, Arc::new(Int8Array::from(vec![-5])), "-5"),
            (Identity, Arc::new(BooleanArray::from(vec![true])), "true"),
            (Identity, Arc::new(decimal.expect("fits")), "-12.50"),
            (Identity, Arc::clone(&date), "2026-06-01"),
            (Identity, Arc::clone(&utc), "2026-06-01T13:45:00.000001Z"),
            (Identity, Arc::clone(&ntz), "2026-06-01 13:45:00.000001"),
            (Day, Arc::clone(&date), "2026-06-01"),
            (Day, Arc::clone(&utc), "2026-06-01"),
            (Hour, Arc::clone(&ntz), "2026-06-01-13"),
            (Month, Arc::clone(&date), "2026-06"),
            (Month, utc, "2026-06"),
        ] {
            assert_eq!(single(transform, &column), Value::text(expected));
        }
    }

    #[test]
    fn buckets_are_the_same_from_release_to_release_and_in_every_width() {
        for (column, expected) in [
            (Arc::new(StringArray::from(vec!["order-1"])) as ArrayRef, "894"),
            (Arc::new(StringViewArray::from(vec!["order-1"])), "894"),
            (Arc::new(BinaryArray::from(vec![b"order-1".as_slice()])), "894"),
            (Arc::new(Int8Array::from(vec![42])), "720"),
            (Arc::new(Int32Array::from(vec![42])), "720"),
            (Arc::new(Int64Array::from(vec![42])), "720"),
            (Arc::new(Date32Array::from(vec![42])), "720"),
            (Arc::new(TimestampMicrosecondArray::from(vec![42])), "720"),
            (Arc::new(Decimal128Array::from(vec![42])), "341"),
            (Arc::new(BooleanArray::from(vec![true])), "715"),
        ] {
            let found = single(Bucket(1_000), &column);
            assert_eq!(found, Value::text(expected), "{:?}", column.data_type());
        }
    }

    #[test]
    fn null_stays_null_and_the_empty_text_becomes_it() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), None]));
        assert_eq!(single(Identity, &texts), Value::Known(None));
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>]));
        assert_eq!(single(Bucket(4), &integers), Value::Known(None));
        let instants: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None::<i64>]));
        assert_eq!(single(Day, &instants), Value::Known(None));
    }

    #[test]
    fn values_that_readers_do_not_understand_are_refused() {
        let year_ten_thousand = (LAST_DAY + 1) * MICROS_PER_DAY;
        let before_the_first = FIRST_DAY * MICROS_PER_DAY - 1;
        for at in [i64::MIN, before_the_first, year_ten_thousand, i64::MAX] {
            let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![at]));
            for transform in [Identity, Day, Hour, Month] {
                assert_eq!(single(transform, &column), Value::Refused, "{transform:?} {at}");
            }
        }
        for at in [before_the_first + 1, year_ten_thousand - 1] {
            let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![at]));
            for transform in [Identity, Day, Hour, Month] {
                assert_ne!(single(transform, &column), Value::Refused, "{transform:?} {at}");
            }
        }
        for (text, refused) in [
            ("a".repeat(180), false),
            ("a".repeat(181), true),
            ("/".repeat(60), false),
            ("/".repeat(61), true),
        ] {
            let column: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
            assert_eq!(single(Identity, &column) == Value::Refused, refused, "{text}");
        }
    }

    #[test]
    fn what_is_not_supported_has_no_code() {
        let columns: [ArrayRef; 4] = [
            Arc::new(Float64Array::from(vec![1.0])),
            Arc::new(BinaryArray::from(vec![b"x".as_slice()])),
            Arc::new(Date32Array::from(vec![1])),
            Arc::new(Int64Array::from(vec![1])),
        ];
        for column in &columns {
            for transform in [Identity, Day, Hour, Month, Bucket(2)] {
                let coded = code(transform, column).is_some();
                assert_eq!(coded, supports(transform, column.data_type()), "{transform:?}");
            }
        }
    }
}
