//! The canonical bytes of a deduplication key that is a column.

use arrow::array::{Array, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, ToByteSlice,
};
use tidegate_types::FieldType;

/// Whether [`key_bytes`] can tell values of this type apart. Floats are no keys: which of them are equal
/// is a matter of opinion.
#[must_use]
pub fn is_key_type(field_type: &FieldType) -> bool {
    !field_type.is_nested() && !matches!(field_type, FieldType::Float | FieldType::Double)
}

/// Appends the canonical bytes of one value to `out`; false when the value is null or its type is no
/// key type ([`is_key_type`]).
///
/// Text and binary are their bytes; integers, dates, timestamps (microseconds) and decimals are little
/// endian in the width of their type; a boolean is one byte. The bytes are the same whether the value
/// was just decoded or read back from the table, also when a reader chose another layout for text (views,
/// large offsets): the window is rebuilt from the table (D2).
pub fn key_bytes(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> bool {
    if array.is_null(row) {
        return false;
    }
    match array.data_type() {
        DataType::Utf8 => out.extend_from_slice(array.as_string::<i32>().value(row).as_bytes()),
        DataType::LargeUtf8 => {
            out.extend_from_slice(array.as_string::<i64>().value(row).as_bytes())
        }
        DataType::Utf8View => out.extend_from_slice(array.as_string_view().value(row).as_bytes()),
        DataType::Binary => out.extend_from_slice(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => out.extend_from_slice(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => out.extend_from_slice(array.as_binary_view().value(row)),
        DataType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
        DataType::Int8 => primitive::<Int8Type>(array, row, out),
        DataType::Int16 => primitive::<Int16Type>(array, row, out),
        DataType::Int32 => primitive::<Int32Type>(array, row, out),
        DataType::Int64 => primitive::<Int64Type>(array, row, out),
        DataType::Date32 => primitive::<Date32Type>(array, row, out),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitive::<TimestampMicrosecondType>(array, row, out);
        }
        DataType::Decimal128(..) => primitive::<Decimal128Type>(array, row, out),
        _ => return false,
    }
    true
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize, out: &mut Vec<u8>) {
    // Arrow's memory is little endian on every machine that this runs on.
    out.extend_from_slice(array.as_primitive::<T>().value(row).to_byte_slice());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int64Array,
        LargeStringArray, StringArray, StringViewArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn bytes(array: &dyn Array, row: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        key_bytes(array, row, &mut out).then_some(out)
    }

    #[test]
    fn d2_text_has_the_same_bytes_in_every_layout() {
        let layouts: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("ü-1"), None])),
            Arc::new(LargeStringArray::from(vec![Some("ü-1"), None])),
            Arc::new(StringViewArray::from(vec![Some("ü-1"), None])),
        ];
        for array in layouts {
            assert_eq!(bytes(&array, 0).as_deref(), Some("ü-1".as_bytes()));
            assert_eq!(bytes(&array, 1), None, "a null is no key");
        }
    }

    #[test]
    fn numbers_have_the_width_of_their_type() {
        assert_eq!(bytes(&Int16Array::from(vec![-2]), 0), Some(vec![0xfe, 0xff]));
        assert_eq!(bytes(&Int64Array::from(vec![1]), 0), Some(1_i64.to_le_bytes().to_vec()));
        assert_eq!(bytes(&Date32Array::from(vec![3]), 0), Some(3_i32.to_le_bytes().to_vec()));
        let time = TimestampMicrosecondArray::from(vec![9]).with_timezone("UTC");
        assert_eq!(bytes(&time, 0), Some(9_i64.to_le_bytes().to_vec()));
        let decimal = Decimal128Array::from(vec![7]);
        assert_eq!(bytes(&decimal, 0), Some(7_i128.to_le_bytes().to_vec()));
        assert_eq!(bytes(&BooleanArray::from(vec![true]), 0), Some(vec![1]));
        assert_eq!(bytes(&Float64Array::from(vec![1.0]), 0), None, "a float is no key");
    }
}
