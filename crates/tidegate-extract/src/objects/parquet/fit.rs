//! Which Parquet columns fit which declared types, and the conversion. Nothing is lost on the way: what a type
//! cannot hold is an error, by its type where that decides, else by the value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit, TimestampNanosecondType};
use tidegate_decode::arrow_type;
use tidegate_types::{FieldType, StructField};

/// What a column becomes when nothing is declared.
///
/// # Errors
///
/// One line, when the table has no such type.
pub(crate) fn field_type(from: &DataType) -> Result<FieldType, String> {
    Ok(match from {
        DataType::Boolean => FieldType::Boolean,
        DataType::Int8 => FieldType::Byte,
        DataType::Int16 | DataType::UInt8 => FieldType::Short,
        DataType::Int32 | DataType::UInt16 => FieldType::Integer,
        DataType::Int64 | DataType::UInt32 => FieldType::Long,
        DataType::UInt64 => FieldType::Decimal { precision: 20, scale: 0 },
        DataType::Float16 | DataType::Float32 => FieldType::Float,
        DataType::Float64 => FieldType::Double,
        DataType::Utf8 => FieldType::String,
        DataType::Binary | DataType::FixedSizeBinary(_) => FieldType::Binary,
        DataType::Date32 => FieldType::Date,
        DataType::Timestamp(_, Some(_)) => FieldType::Timestamp,
        DataType::Timestamp(_, None) => FieldType::TimestampNtz,
        DataType::Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).ok().filter(|scale| scale <= precision);
            let scale = scale.ok_or_else(|| format!("type {from} has no counterpart"))?;
            FieldType::Decimal { precision: *precision, scale }
        }
        DataType::List(element) => FieldType::List(Box::new(field_type(element.data_type())?)),
        DataType::Struct(members) => {
            let member = |member: &Arc<ArrowField>| {
                let data_type = field_type(member.data_type())?;
                Ok(StructField { name: member.name().clone(), data_type })
            };
            FieldType::Struct(members.iter().map(member).collect::<Result<_, String>>()?)
        }
        DataType::Map(entries, _) => {
            let (key, value) = entry_types(entries.data_type())?;
            FieldType::Map(Box::new(field_type(key)?), Box::new(field_type(value)?))
        }
        other => return Err(format!("type {other} has no counterpart in the table")),
    })
}

/// Whether every value of `from` can be one of `to`, those aside that [`convert`] refuses one by one.
///
/// # Errors
///
/// One line that names both.
pub(crate) fn fits(from: &DataType, to: &FieldType) -> Result<(), String> {
    use DataType as D;
    use FieldType as F;
    let fit = match (from, to) {
        (D::Null, _)
        | (D::Boolean, F::Boolean)
        | (D::Utf8, F::String)
        | (D::Binary, F::String | F::Binary)
        | (D::FixedSizeBinary(_), F::Binary)
        | (D::Date32, F::Date)
        | (D::Timestamp(_, Some(_)), F::Timestamp)
        | (D::Timestamp(_, None), F::TimestampNtz)
        | (D::Timestamp(TimeUnit::Nanosecond, _), F::Long)
        | (D::Float16 | D::Float32, F::Float | F::Double)
        | (D::Float64, F::Double) => true,
        (D::Decimal128(precision, scale), to) => decimal_fits(*precision, *scale, to),
        (D::List(element), F::List(to)) => return fits(element.data_type(), to),
        (D::Struct(members), F::Struct(to)) => {
            for member in to {
                if let Some((_, from)) = members.find(&member.name) {
                    fits(from.data_type(), &member.data_type)?;
                }
            }
            true
        }
        (D::Map(entries, _), F::Map(to_key, to_value)) => {
            let (key, value) = entry_types(entries.data_type())?;
            fits(key, to_key)?;
            return fits(value, to_value);
        }
        (from, to) => integer(from).is_some_and(|integer| integer_fits(integer, to)),
    };
    if fit { Ok(()) } else { Err(format!("{from} does not fit {to} without loss")) }
}

/// Bits, and whether there is a sign.
fn integer(data_type: &DataType) -> Option<(u8, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

fn integer_fits((bits, signed): (u8, bool), to: &FieldType) -> bool {
    // Without a sign one bit more is needed.
    let needed = bits + u8::from(!signed);
    match to {
        FieldType::Byte => needed <= 8,
        FieldType::Short => needed <= 16,
        FieldType::Integer => needed <= 32,
        FieldType::Long => needed <= 64,
        // 24 and 53 bits of fraction.
        FieldType::Float => needed <= 24,
        FieldType::Double => needed <= 53,
        FieldType::Decimal { precision, scale } => {
            let digits = match bits {
                8 => 3,
                16 => 5,
                32 => 10,
                _ => 19 + u8::from(!signed),
            };
            digits <= precision - scale
        }
        _ => false,
    }
}

fn decimal_fits(precision: u8, scale: i8, to: &FieldType) -> bool {
    let whole = i16::from(precision) - i16::from(scale);
    match to {
        FieldType::Decimal { precision: to_precision, scale: to_scale } => {
            i16::from(*to_scale) >= i16::from(scale)
                && i16::from(*to_precision) - i16::from(*to_scale) >= whole
        }
        FieldType::Long => scale <= 0 && whole <= 18,
        FieldType::Integer => scale <= 0 && whole <= 9,
        _ => false,
    }
}

fn entry_types(entries: &DataType) -> Result<(&DataType, &DataType), String> {
    match entries {
        DataType::Struct(members) if members.len() == 2 => {
            Ok((members[0].data_type(), members[1].data_type()))
        }
        other => Err(format!("a map's entries are {other}")),
    }
}

/// The values as the table holds them. The types must fit.
///
/// # Errors
///
/// One line, when a value would lose something.
pub(crate) fn convert(array: &ArrayRef, to: &FieldType) -> Result<ArrayRef, String> {
    let target = arrow_type(to);
    match (array.data_type(), to) {
        (DataType::Null, _) => Ok(new_null_array(&target, array.len())),
        (DataType::List(_), FieldType::List(element)) => convert_list(array, element, &target),
        (DataType::Struct(_), FieldType::Struct(members)) => {
            convert_struct(array, members, &target)
        }
        (DataType::Map(..), FieldType::Map(key, value)) => convert_map(array, key, value, &target),
        (
            DataType::Timestamp(TimeUnit::Nanosecond, _),
            FieldType::Timestamp | FieldType::TimestampNtz,
        ) => {
            let nanos = array.as_primitive::<TimestampNanosecondType>();
            if nanos.iter().flatten().any(|nanos| nanos % 1_000 != 0) {
                let text = "it has nanoseconds, which a timestamp would lose; declare it as long to keep them";
                return Err(text.to_owned());
            }
            cast(array, &target)
        }
        _ => cast(array, &target),
    }
}

fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == target {
        return Ok(ArrayRef::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, target, &options).map_err(|error| error.to_string())
}

fn convert_list(array: &ArrayRef, to: &FieldType, target: &DataType) -> Result<ArrayRef, String> {
    let list = array.as_list::<i32>();
    let DataType::List(element) = target else { return Err("a list is a list".into()) };
    let values = convert(list.values(), to)?;
    let list = ListArray::try_new(
        Arc::clone(element),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    );
    Ok(Arc::new(list.map_err(|error| error.to_string())?))
}

fn convert_struct(
    array: &ArrayRef,
    members: &[StructField],
    target: &DataType,
) -> Result<ArrayRef, String> {
    let from = array.as_struct();
    let DataType::Struct(fields) = target else { return Err("a struct is a struct".into()) };
    let child = |member: &StructField| match from.column_by_name(&member.name) {
        Some(column) => convert(column, &member.data_type)
            .map_err(|problem| format!("{}: {problem}", member.name)),
        None => Ok(new_null_array(&arrow_type(&member.data_type), from.len())),
    };
    let children = members.iter().map(child).collect::<Result<Vec<_>, String>>()?;
    let made = StructArray::try_new(fields.clone(), children, from.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

fn convert_map(
    array: &ArrayRef,
    key: &FieldType,
    value: &FieldType,
    target: &DataType,
) -> Result<ArrayRef, String> {
    let from = array.as_map();
    let DataType::Map(entries, _) = target else { return Err("a map is a map".into()) };
    let DataType::Struct(fields) = entries.data_type() else {
        return Err("a map has entries".into());
    };
    let children = vec![convert(from.keys(), key)?, convert(from.values(), value)?];
    let pairs = StructArray::try_new(fields.clone(), children, None);
    let pairs = pairs.map_err(|error| error.to_string())?;
    let made = MapArray::try_new(
        Arc::clone(entries),
        from.offsets().clone(),
        pairs,
        from.nulls().cloned(),
        false,
    );
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, TimestampNanosecondArray, UInt64Array};
    use arrow::datatypes::Decimal128Type;

    use super::*;

    fn to(text: &str) -> FieldType {
        text.parse().expect(text)
    }

    #[test]
    fn only_types_that_lose_nothing_fit() {
        use DataType as D;
        let utc = || Some("UTC".into());
        for (from, wanted, fit) in [
            (D::Int32, "long", true),
            (D::Int64, "integer", false),
            (D::UInt32, "integer", false),
            (D::UInt32, "long", true),
            (D::UInt64, "long", false),
            (D::UInt64, "decimal(20,0)", true),
            (D::UInt64, "decimal(20,1)", false),
            (D::Int32, "double", true),
            (D::Int64, "double", false),
            (D::Int32, "float", false),
            (D::Float64, "float", false),
            (D::Float32, "double", true),
            (D::Decimal128(10, 2), "decimal(12,4)", true),
            (D::Decimal128(10, 2), "decimal(11,4)", false),
            (D::Decimal128(10, 2), "decimal(10,1)", false),
            (D::Decimal128(18, 0), "long", true),
            (D::Decimal128(10, 2), "long", false),
            (D::Utf8, "long", false),
            (D::Int64, "string", false),
            (D::Binary, "string", true),
            (D::Timestamp(TimeUnit::Millisecond, utc()), "timestamp", true),
            (D::Timestamp(TimeUnit::Millisecond, None), "timestamp", false),
            (D::Timestamp(TimeUnit::Microsecond, None), "timestamp_ntz", true),
            (D::Timestamp(TimeUnit::Nanosecond, utc()), "long", true),
            (D::Timestamp(TimeUnit::Microsecond, utc()), "date", false),
            (D::Null, "struct<a: long>", true),
        ] {
            let found = fits(&from, &to(wanted));
            assert_eq!(found.is_ok(), fit, "{from} {wanted}: {found:?}");
        }
    }

    #[test]
    fn what_is_inferred_fits_and_is_converted() {
        let numbers: ArrayRef = Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]));
        let inferred = field_type(numbers.data_type()).unwrap();
        fits(numbers.data_type(), &inferred).unwrap();
        let converted = convert(&numbers, &inferred).unwrap();
        assert_eq!(converted.as_primitive::<Decimal128Type>().value(0), i128::from(u64::MAX));
        assert!(field_type(&DataType::Time32(TimeUnit::Second)).is_err());
    }

    #[test]
    fn members_go_by_name_and_missing_ones_are_null() {
        let member = Arc::new(ArrowField::new("b", DataType::Int32, true));
        let from: ArrayRef = Arc::new(
            StructArray::try_new(
                vec![member].into(),
                vec![Arc::new(Int32Array::from(vec![1, 2]))],
                Some(vec![true, false].into()),
            )
            .unwrap(),
        );
        let wanted = to("struct<a: string, b: long>");
        fits(from.data_type(), &wanted).unwrap();
        let made = convert(&from, &wanted).unwrap();
        assert_eq!(made.data_type(), &arrow_type(&wanted));
        assert_eq!((made.null_count(), made.as_struct().column(0).null_count()), (1, 2));
    }

    #[test]
    fn nanoseconds_are_never_cut_off() {
        let whole: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(1_000), None]));
        assert!(convert(&whole, &to("timestamp_ntz")).is_ok());
        let fine: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_001]));
        assert!(convert(&fine, &to("timestamp_ntz")).unwrap_err().contains("declare it as long"));
        assert!(convert(&fine, &to("long")).is_ok());
    }
}
