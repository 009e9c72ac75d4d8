//! From field types to Arrow types, exactly as the Delta kernel maps them, so that no batch is cast
//! before it is written.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};
use thiserror::Error;
use tidegate_types::{Field, FieldType, SYSTEM_PREFIX};

/// The column with the undeclared fields, when they are captured.
pub(crate) const EXTRA_COLUMN: &str = "_tg_extra";

/// Fields that cannot stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// Delta compares column names without regard to case.
    #[error("field {name:?} is declared twice (names are compared without regard to case)")]
    Duplicate {
        /// The second field's name.
        name: String,
    },
    /// The name belongs to a system column.
    #[error("field {name:?} begins with {SYSTEM_PREFIX}, which names columns of tidegate's own")]
    Reserved {
        /// The field's name.
        name: String,
    },
}

/// The Arrow type of a field. Everything in it is nullable, map keys aside.
#[must_use]
pub fn arrow_type(field_type: &FieldType) -> DataType {
    match field_type {
        FieldType::String => DataType::Utf8,
        FieldType::Long => DataType::Int64,
        FieldType::Integer => DataType::Int32,
        FieldType::Short => DataType::Int16,
        FieldType::Byte => DataType::Int8,
        FieldType::Float => DataType::Float32,
        FieldType::Double => DataType::Float64,
        FieldType::Decimal { precision, scale } => {
            // At most 38 by the grammar.
            DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX))
        }
        FieldType::Boolean => DataType::Boolean,
        FieldType::Binary => DataType::Binary,
        FieldType::Date => DataType::Date32,
        FieldType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        FieldType::TimestampNtz => DataType::Timestamp(TimeUnit::Microsecond, None),
        FieldType::Struct(members) => DataType::Struct(
            members
                .iter()
                .map(|member| ArrowField::new(&member.name, arrow_type(&member.data_type), true))
                .collect(),
        ),
        FieldType::List(element) => {
            DataType::List(Arc::new(ArrowField::new("element", arrow_type(element), true)))
        }
        FieldType::Map(key, value) => DataType::Map(Arc::new(map_entries(key, value)), false),
    }
}

fn map_entries(key: &FieldType, value: &FieldType) -> ArrowField {
    let members = Fields::from(vec![
        ArrowField::new("key", arrow_type(key), false),
        ArrowField::new("value", arrow_type(value), true),
    ]);
    ArrowField::new("key_value", DataType::Struct(members), false)
}

/// The Arrow schema of the declared columns, in their order, all nullable.
///
/// # Errors
///
/// [`SchemaError`] when a name stands twice or is reserved.
pub fn arrow_schema(fields: &[Field]) -> Result<SchemaRef, SchemaError> {
    let mut names = std::collections::HashSet::new();
    for field in fields {
        let name = field.name.clone();
        if name.to_ascii_lowercase().starts_with(SYSTEM_PREFIX) {
            return Err(SchemaError::Reserved { name });
        }
        if !names.insert(name.to_lowercase()) {
            return Err(SchemaError::Duplicate { name });
        }
    }
    let columns = fields.iter().map(|f| ArrowField::new(&f.name, arrow_type(&f.data_type), true));
    Ok(Arc::new(Schema::new(columns.collect::<Fields>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, data_type: &str) -> Field {
        let data_type = data_type.parse().expect(data_type);
        Field { name: name.into(), data_type, required: false, from: None }
    }

    #[test]
    fn nested_types_have_the_names_that_the_kernel_gives_them() {
        let DataType::Map(entries, false) =
            arrow_type(&"map<string, list<long>>".parse().expect("type"))
        else {
            panic!("a map is a map")
        };
        assert_eq!((entries.name().as_str(), entries.is_nullable()), ("key_value", false));
        let DataType::Struct(members) = entries.data_type() else { panic!("entries are structs") };
        assert_eq!((members[0].name().as_str(), members[0].is_nullable()), ("key", false));
        assert_eq!((members[1].name().as_str(), members[1].is_nullable()), ("value", true));
        let DataType::List(element) = members[1].data_type() else { panic!("a list is a list") };
        assert_eq!((element.name().as_str(), element.is_nullable()), ("element", true));
    }

    #[test]
    fn names_that_clash_are_refused() {
        let twice = arrow_schema(&[field("a", "long"), field("A", "long")]);
        assert_eq!(twice, Err(SchemaError::Duplicate { name: "A".into() }));
        let reserved = arrow_schema(&[field("_TG_seq", "long")]);
        assert_eq!(reserved, Err(SchemaError::Reserved { name: "_TG_seq".into() }));
        let schema =
            arrow_schema(&[field("a", "long"), field("t", "timestamp")]).expect("good names");
        assert!(schema.fields().iter().all(|f| f.is_nullable()));
    }
}
