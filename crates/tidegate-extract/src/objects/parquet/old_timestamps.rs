//! INT96, which holds instants and which older writers use for every one.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::{LogicalType, TimeUnit as FileTimeUnit, Type as PhysicalType};
use parquet::schema::types::Type;

/// The same columns, but INT96 as instants and in microseconds: in nanoseconds years beyond 2262 would come out as
/// others. None when there is none.
pub(super) fn with_old_timestamps(metadata: &ArrowReaderMetadata) -> Option<SchemaRef> {
    let roots = metadata.parquet_schema().root_schema().get_fields();
    if !roots.iter().any(|root| has_leaf(root, &is_old)) {
        return None;
    }
    let fields = metadata.schema().fields().iter().zip(roots).map(|(field, root)| {
        // In a column with both the one cannot be told from the other by then.
        let all_old = has_leaf(root, &is_old) && !has_leaf(root, &is_fine);
        if all_old { in_microseconds(field) } else { Arc::clone(field) }
    });
    Some(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn has_leaf(column: &Type, is: &impl Fn(&Type) -> bool) -> bool {
    if column.is_primitive() {
        return is(column);
    }
    column.get_fields().iter().any(|member| has_leaf(member, is))
}

fn is_old(leaf: &Type) -> bool {
    leaf.get_physical_type() == PhysicalType::INT96
}

/// Whether it is of nanoseconds by what it says of itself.
fn is_fine(leaf: &Type) -> bool {
    let logical = leaf.get_basic_info().logical_type_ref();
    matches!(logical, Some(LogicalType::Timestamp(time)) if time.unit == FileTimeUnit::NANOS)
}

fn in_microseconds(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::List(element) => DataType::List(in_microseconds(element)),
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(in_microseconds).collect())
        }
        DataType::Map(entries, sorted) => DataType::Map(in_microseconds(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}
