//! Arrays in the types that the table declares, member by member.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields};
use arrow::error::ArrowError;

/// The array in another type that means the same. Members of structs go by name, and are null where the
/// array has none.
pub(super) fn conform(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), wanted) {
        (known, wanted) if known == wanted => Ok(Arc::clone(array)),
        (DataType::Struct(_), DataType::Struct(members)) => {
            Ok(Arc::new(conform_struct(array.as_struct(), members)?))
        }
        (DataType::List(_), DataType::List(element)) => conform_list(array.as_list(), element),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            conform_map(array.as_map(), entries, *sorted)
        }
        _ => cast(array, wanted),
    }
}

fn conform_struct(array: &StructArray, members: &Fields) -> Result<StructArray, ArrowError> {
    let columns = members.iter().map(|member| match array.column_by_name(member.name()) {
        Some(column) => conform(column, member.data_type()),
        None => Ok(new_null_array(member.data_type(), array.len())),
    });
    StructArray::try_new(
        members.clone(),
        columns.collect::<Result<_, _>>()?,
        array.nulls().cloned(),
    )
}

fn conform_list(array: &ListArray, element: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let values = conform(array.values(), element.data_type())?;
    let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
    Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, nulls)?))
}

/// Keys and values go by place: writers call them differently.
fn conform_map(array: &MapArray, entries: &FieldRef, sorted: bool) -> Result<ArrayRef, ArrowError> {
    let DataType::Struct(members) = entries.data_type() else {
        return cast(array, &DataType::Map(Arc::clone(entries), sorted));
    };
    let [key, value] = members.as_ref() else {
        return cast(array, &DataType::Map(Arc::clone(entries), sorted));
    };
    let columns =
        vec![conform(array.keys(), key.data_type())?, conform(array.values(), value.data_type())?];
    let pairs = StructArray::try_new(members.clone(), columns, array.entries().nulls().cloned())?;
    let (offsets, nulls) = (array.offsets().clone(), array.nulls().cloned());
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, sorted)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    #[test]
    fn members_go_by_name_and_are_null_where_there_are_none() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![1, 2])),
            Arc::new(StringArray::from(vec!["a", "b"])),
        ];
        let fields = Fields::from(vec![field("n", DataType::Int32), field("s", DataType::Utf8)]);
        let known: ArrayRef = Arc::new(StructArray::new(fields, columns, None));
        let wanted = DataType::Struct(Fields::from(vec![
            field("s", DataType::Utf8),
            field("later", DataType::Float64),
            field("n", DataType::Int64),
        ]));
        let found = conform(&known, &wanted).expect("it fits");
        assert_eq!(found.data_type(), &wanted);
        let found = found.as_struct();
        assert_eq!(found.column(1).null_count(), 2);
        assert_eq!(found.column(2).as_ref(), &Int64Array::from(vec![1, 2]));
    }

    #[test]
    fn lists_take_their_elements_along() {
        let values: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_500, 2_000, 3_000]));
        let item = Arc::new(field("item", DataType::Timestamp(TimeUnit::Nanosecond, None)));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
        let known: ArrayRef = Arc::new(ListArray::new(item, offsets, values, None));
        let element = field("element", DataType::Timestamp(TimeUnit::Microsecond, None));
        let wanted = DataType::List(Arc::new(element));
        let found = conform(&known, &wanted).expect("it fits");
        assert_eq!(found.data_type(), &wanted);
        assert_eq!(found.as_list::<i32>().value_length(0), 2);
    }

    #[test]
    fn what_means_something_else_is_refused() {
        let known: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let wanted = DataType::Struct(Fields::from(vec![field("n", DataType::Int32)]));
        assert!(conform(&known, &wanted).is_err());
    }
}
