//! Made-up values of each type, on which an expression is tried before the first row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use cel::Value;
use cel::objects::{Key, Map};

use super::values;

/// The plainest value of the type.
pub(super) fn value(data_type: &DataType) -> Value {
    match data_type {
        DataType::Utf8 => Value::String(Arc::default()),
        DataType::Binary => Value::Bytes(Arc::default()),
        DataType::Boolean => Value::Bool(false),
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => Value::Float(0.0),
        DataType::Date32 | DataType::Timestamp(..) => values::timestamp(0),
        DataType::List(_) => Value::List(Arc::default()),
        DataType::Map(..) => Value::Map(Map { map: Arc::default() }),
        DataType::Struct(fields) => {
            let member = |field: &arrow::datatypes::FieldRef| {
                (Key::String(Arc::new(field.name().clone())), value(field.data_type()))
            };
            let members: HashMap<_, _> = fields.iter().map(member).collect();
            Value::Map(Map { map: Arc::new(members) })
        }
        _ => Value::Int(0),
    }
}
