//! Arrow values as CEL values.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use cel::Value;
use cel::objects::{Key, Map};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The value in one row. Types that no column of ours has become null.
pub(super) fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => text(array.as_string::<i32>().value(row)),
        DataType::Binary => Value::Bytes(Arc::new(array.as_binary::<i32>().value(row).to_vec())),
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Value::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Value::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Value::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => Value::Float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let unscaled = array.as_primitive::<Decimal128Type>().value(row);
            Value::Float(unscaled as f64 / 10_f64.powi((*scale).into()))
        }
        DataType::Date32 => {
            timestamp(i64::from(array.as_primitive::<Date32Type>().value(row)) * DAY)
        }
        DataType::Timestamp(..) => {
            timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            let values = (0..elements.len()).map(|index| value(&elements, index));
            Value::List(Arc::new(values.collect()))
        }
        DataType::Struct(fields) => {
            let children = array.as_struct().columns();
            let members = fields.iter().zip(children).map(|(field, child)| {
                (Key::String(Arc::new(field.name().clone())), value(child, row))
            });
            map(members.collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let pairs =
                (0..entries.len()).map(|index| (key(value(keys, index)), value(values, index)));
            map(pairs.collect())
        }
        _ => Value::Null,
    }
}

/// An instant, in microseconds since 1970.
pub(super) fn timestamp(micros: i64) -> Value {
    timestamp_us_to_datetime(micros)
        .map_or(Value::Null, |time| Value::Timestamp(time.and_utc().fixed_offset()))
}

fn text(value: &str) -> Value {
    Value::String(Arc::new(value.to_owned()))
}

fn map(members: HashMap<Key, Value>) -> Value {
    Value::Map(Map { map: Arc::new(members) })
}

/// A map key: CEL knows integers, booleans and text; other types become text.
fn key(value: Value) -> Key {
    match value {
        Value::Float(value) => Key::String(Arc::new(value.to_string())),
        Value::Timestamp(value) => Key::String(Arc::new(value.to_rfc3339())),
        Value::Int(value) => Key::Int(value),
        Value::Bool(value) => Key::Bool(value),
        Value::String(value) => Key::String(value),
        other => Key::String(Arc::new(format!("{other:?}"))),
    }
}
