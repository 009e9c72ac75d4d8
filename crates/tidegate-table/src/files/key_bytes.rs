//! The bytes of a deduplication key that stands in a column.
//!
//! The same value has the same bytes whether it was just decoded, is read back from a file, or is a
//! partition value in the log, and keeps them when a column is widened: integers of every width,
//! days and times are their 64-bit number, decimals their 128-bit one, text and bytes are themselves.
//! Floats, booleans and nested values are no keys.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Decimal128Array, Int64Array, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit};

use super::FileError;

/// A column of keys.
#[derive(Debug, Clone)]
pub struct KeyColumn(Keys);

#[derive(Debug, Clone)]
enum Keys {
    Text(StringArray),
    Bytes(BinaryArray),
    Numbers(Int64Array),
    Decimals(Decimal128Array),
}

impl KeyColumn {
    /// Takes a column as keys.
    ///
    /// # Errors
    ///
    /// [`FileError::KeyType`] when values of this type are no keys.
    pub fn new(name: &str, column: &ArrayRef) -> Result<Self, FileError> {
        let refuse = || FileError::KeyType {
            column: name.to_owned(),
            data_type: column.data_type().to_string(),
        };
        let to = |data_type: &DataType| cast(column, data_type).map_err(|_| refuse());
        let keys = match column.data_type() {
            DataType::Utf8 => Keys::Text(column.as_string::<i32>().clone()),
            DataType::LargeUtf8 | DataType::Utf8View => {
                Keys::Text(to(&DataType::Utf8)?.as_string::<i32>().clone())
            }
            DataType::Binary => Keys::Bytes(column.as_binary::<i32>().clone()),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Keys::Bytes(to(&DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Timestamp(_, zone) => {
                let micros = to(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                Keys::numbers(&micros).ok_or_else(refuse)?
            }
            DataType::Date32 => Keys::numbers(&to(&DataType::Int32)?).ok_or_else(refuse)?,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Keys::numbers(column).ok_or_else(refuse)?
            }
            DataType::Decimal128(..) => {
                Keys::Decimals(column.as_primitive::<Decimal128Type>().clone())
            }
            _ => return Err(refuse()),
        };
        Ok(Self(keys))
    }

    /// Takes a partition value of the log as the key of every row of its file.
    ///
    /// # Errors
    ///
    /// [`FileError::KeyType`] as [`KeyColumn::new`], or when the text is not of the type.
    pub fn of_partition_value(
        name: &str,
        value: Option<&str>,
        data_type: &DataType,
    ) -> Result<Self, FileError> {
        let text: ArrayRef = Arc::new(StringArray::from(vec![value]));
        let typed = cast(&text, data_type)
            .ok()
            .filter(|typed| typed.is_null(0) == value.is_none())
            .ok_or_else(|| FileError::KeyType {
                column: name.to_owned(),
                data_type: data_type.to_string(),
            })?;
        Self::new(name, &typed)
    }

    /// The key of a row; `None` when it has none.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        match &self.0 {
            Keys::Text(keys) => {
                keys.is_valid(row).then(|| Cow::Borrowed(keys.value(row).as_bytes()))
            }
            Keys::Bytes(keys) => keys.is_valid(row).then(|| Cow::Borrowed(keys.value(row))),
            Keys::Numbers(keys) => {
                keys.is_valid(row).then(|| Cow::Owned(keys.value(row).to_be_bytes().to_vec()))
            }
            Keys::Decimals(keys) => {
                keys.is_valid(row).then(|| Cow::Owned(keys.value(row).to_be_bytes().to_vec()))
            }
        }
    }
}

impl Keys {
    fn numbers(column: &ArrayRef) -> Option<Self> {
        let numbers = cast(column, &DataType::Int64).ok()?;
        Some(Self::Numbers(numbers.as_primitive::<Int64Type>().clone()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Float64Array, Int16Array, LargeStringArray, TimestampMicrosecondArray,
        TimestampNanosecondArray,
    };

    use super::*;

    fn key(column: impl Array + 'static) -> Option<Vec<u8>> {
        let column: ArrayRef = Arc::new(column);
        KeyColumn::new("k", &column).expect("a key").get(0).map(Cow::into_owned)
    }

    fn partition(value: Option<&str>, data_type: &DataType) -> Option<Vec<u8>> {
        let keys = KeyColumn::of_partition_value("k", value, data_type).expect("a key");
        keys.get(0).map(Cow::into_owned)
    }

    #[test]
    fn a_key_has_the_same_bytes_in_every_width_and_as_a_partition_value() {
        assert_eq!(key(Int16Array::from(vec![-7])), key(Int64Array::from(vec![-7])));
        assert_eq!(key(Int64Array::from(vec![-7])), partition(Some("-7"), &DataType::Int64));
        assert_eq!(key(StringArray::from(vec!["ä"])), Some("ä".as_bytes().to_vec()));
        assert_eq!(key(LargeStringArray::from(vec!["ä"])), key(StringArray::from(vec!["ä"])));
        assert_eq!(
            key(Date32Array::from(vec![1])),
            partition(Some("1970-01-02"), &DataType::Date32)
        );
        let micros = TimestampMicrosecondArray::from(vec![1_780_318_800_000_001]);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(
            key(micros.clone().with_timezone("UTC")),
            partition(Some("2026-06-01T13:00:00.000001Z"), &utc)
        );
        let nanos = TimestampNanosecondArray::from(vec![1_780_318_800_000_001_000]);
        assert_eq!(key(nanos), key(micros));
    }

    #[test]
    fn null_is_no_key() {
        assert_eq!(key(StringArray::from(vec![None::<&str>])), None);
        assert_eq!(partition(None, &DataType::Int64), None);
    }

    #[test]
    fn floats_are_no_keys_and_neither_is_text_of_another_type() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert!(KeyColumn::new("k", &floats).is_err());
        assert!(KeyColumn::of_partition_value("k", Some("x"), &DataType::Int64).is_err());
    }
}
