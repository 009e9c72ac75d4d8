//! Which columns a table must get before rows of a declared schema fit into it.
//!
//! Pure. Types never change: a column of another type is refused by name. Columns that the table has
//! and the declaration lacks stay, and read as null in new rows.

use std::fmt;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use thiserror::Error;
use tidegate_types::{Evolution, Reason, SYSTEM_PREFIX};

/// A column, or a member of a struct, that a table must get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddColumn {
    /// The struct that gets it, as a path from the top; empty for the table itself. Elements of
    /// lists are `element`, keys and values of maps `key` and `value`.
    pub parent: Vec<String>,
    /// The column. It is added nullable.
    pub field: Field,
}

impl fmt::Display for AddColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&dotted(&self.parent, self.field.name()))
    }
}

/// The declared schema does not fit the table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SchemaMismatch {
    /// A column has another type.
    #[error("column {column} is {in_table} in the table and {declared} in the declaration")]
    Type {
        /// Its path, with dots.
        column: String,
        /// The table's type.
        in_table: DataType,
        /// The declared type.
        declared: DataType,
    },
    /// A column differs only by the case of its letters, which Delta takes for the same.
    #[error("column {declared} differs from the table's {in_table} only in its case")]
    Case {
        /// The table's name.
        in_table: String,
        /// The declared name.
        declared: String,
    },
    /// Columns would have to be added, and the evolution is frozen.
    #[error("the table lacks {}, and schema.evolution is Frozen", columns.join(", "))]
    Frozen {
        /// Their paths, with dots.
        columns: Vec<String>,
    },
    /// The table demands a value that no row will have.
    #[error("the table requires a value in column {column}, which is not declared")]
    RequiredInTable {
        /// Its path, with dots.
        column: String,
    },
    /// The table is partitioned otherwise.
    #[error("the table is partitioned by [{}], not by [{}]", in_table.join(", "), declared.join(", "))]
    Partitioning {
        /// The table's partition columns.
        in_table: Vec<String>,
        /// The declared ones.
        declared: Vec<String>,
    },
}

impl SchemaMismatch {
    /// The reason for conditions, metrics and logs.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Frozen { .. } => Reason::SchemaChangeRefused,
            _ => Reason::TableMismatch,
        }
    }
}

/// The columns that `table` must get so that rows of `declared` fit, in the declared order; empty
/// when they fit already.
///
/// # Errors
///
/// [`SchemaMismatch`] naming the first column that cannot be made to fit.
pub fn plan_evolution(
    table: &Schema,
    declared: &Schema,
    evolution: Evolution,
) -> Result<Vec<AddColumn>, SchemaMismatch> {
    let mut plan = Vec::new();
    compare_members(table.fields(), declared.fields(), &mut Vec::new(), &mut plan)?;
    if evolution == Evolution::Frozen {
        let refused: Vec<String> =
            plan.iter().filter(|column| !is_system(column)).map(ToString::to_string).collect();
        if !refused.is_empty() {
            return Err(SchemaMismatch::Frozen { columns: refused });
        }
    }
    Ok(plan)
}

/// Checks that the table is partitioned by `declared`, in this order.
///
/// # Errors
///
/// [`SchemaMismatch::Partitioning`].
pub fn check_partitioning(table: &[String], declared: &[String]) -> Result<(), SchemaMismatch> {
    if table == declared {
        return Ok(());
    }
    Err(SchemaMismatch::Partitioning { in_table: table.to_vec(), declared: declared.to_vec() })
}

/// The field with every level nullable, except keys of maps and the entries structs around them.
#[must_use]
pub fn nullable(field: &Field) -> Field {
    field.clone().with_data_type(nullable_type(field.data_type())).with_nullable(true)
}

fn nullable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(members) => {
            DataType::Struct(members.iter().map(|member| nullable(member)).collect())
        }
        DataType::List(element) => DataType::List(nullable(element).into()),
        DataType::Map(entries, sorted) => DataType::Map(nullable_entries(entries), *sorted),
        other => other.clone(),
    }
}

fn nullable_entries(entries: &FieldRef) -> FieldRef {
    let DataType::Struct(members) = entries.data_type() else { return entries.clone() };
    let [key, value] = members.as_ref() else { return entries.clone() };
    let members = Fields::from(vec![key.as_ref().clone(), nullable(value)]);
    entries.as_ref().clone().with_data_type(DataType::Struct(members)).into()
}

fn compare_members(
    table: &Fields,
    declared: &Fields,
    path: &mut Vec<String>,
    plan: &mut Vec<AddColumn>,
) -> Result<(), SchemaMismatch> {
    for field in declared {
        match find(table, field.name()) {
            None => plan.push(AddColumn { parent: path.clone(), field: nullable(field) }),
            Some(known) if known.name() != field.name() => {
                return Err(SchemaMismatch::Case {
                    in_table: dotted(path, known.name()),
                    declared: dotted(path, field.name()),
                });
            }
            Some(known) => {
                path.push(field.name().clone());
                compare_types(known.data_type(), field.data_type(), path, plan)?;
                path.pop();
            }
        }
    }
    let demanded =
        table.iter().find(|known| !known.is_nullable() && find(declared, known.name()).is_none());
    match demanded {
        Some(known) => Err(SchemaMismatch::RequiredInTable { column: dotted(path, known.name()) }),
        None => Ok(()),
    }
}

fn compare_types(
    table: &DataType,
    declared: &DataType,
    path: &mut Vec<String>,
    plan: &mut Vec<AddColumn>,
) -> Result<(), SchemaMismatch> {
    match (table, declared) {
        (DataType::Struct(known), DataType::Struct(wanted)) => {
            compare_members(known, wanted, path, plan)
        }
        (DataType::List(known), DataType::List(wanted)) => {
            descend("element", known.data_type(), wanted.data_type(), path, plan)
        }
        (DataType::Map(known, _), DataType::Map(wanted, _)) => {
            let (known, wanted) = (entry_types(known), entry_types(wanted));
            if let (Some(known), Some(wanted)) = (known, wanted) {
                descend("key", known.0, wanted.0, path, plan)?;
                return descend("value", known.1, wanted.1, path, plan);
            }
            Ok(())
        }
        _ if plain(table) == plain(declared) => Ok(()),
        _ => Err(SchemaMismatch::Type {
            column: path.join("."),
            in_table: table.clone(),
            declared: declared.clone(),
        }),
    }
}

fn descend(
    step: &str,
    table: &DataType,
    declared: &DataType,
    path: &mut Vec<String>,
    plan: &mut Vec<AddColumn>,
) -> Result<(), SchemaMismatch> {
    path.push(step.to_owned());
    compare_types(table, declared, path, plan)?;
    path.pop();
    Ok(())
}

fn entry_types(entries: &FieldRef) -> Option<(&DataType, &DataType)> {
    let DataType::Struct(members) = entries.data_type() else { return None };
    let [key, value] = members.as_ref() else { return None };
    Some((key.data_type(), value.data_type()))
}

/// One spelling for types that Delta stores alike.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

fn find<'a>(fields: &'a Fields, name: &str) -> Option<&'a FieldRef> {
    let lowered = name.to_lowercase();
    fields.iter().find(|field| field.name().to_lowercase() == lowered)
}

fn is_system(column: &AddColumn) -> bool {
    column.parent.is_empty() && column.field.name().starts_with(SYSTEM_PREFIX)
}

fn dotted(parent: &[String], name: &str) -> String {
    parent.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn field(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    fn structure(members: Vec<Field>) -> DataType {
        DataType::Struct(members.into())
    }

    fn list(element: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", element, false)))
    }

    fn map(value: DataType) -> DataType {
        let entries = vec![Field::new("key", DataType::Utf8, false), field("value", value)];
        DataType::Map(Arc::new(Field::new("key_value", structure(entries), false)), false)
    }

    fn plan(table: Vec<Field>, declared: Vec<Field>) -> Result<Vec<String>, SchemaMismatch> {
        let (table, declared) = (Schema::new(table), Schema::new(declared));
        let plan = plan_evolution(&table, &declared, Evolution::AddColumns)?;
        Ok(plan.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn new_columns_and_new_members_are_added_where_they_belong() {
        let table = vec![
            field("id", DataType::Int64),
            field("gone", DataType::Utf8),
            field("geo", structure(vec![field("lat", DataType::Float64)])),
            field("tags", list(structure(vec![field("a", DataType::Utf8)]))),
            field("extra", map(structure(vec![field("a", DataType::Utf8)]))),
        ];
        let wider = |first: &str, second: &str| {
            structure(vec![field(first, DataType::Utf8), field(second, DataType::Int32)])
        };
        let declared = vec![
            Field::new("id", DataType::Int64, false),
            field(
                "geo",
                structure(vec![field("lat", DataType::Float64), field("lon", DataType::Float64)]),
            ),
            field("tags", list(wider("a", "b"))),
            field("extra", map(wider("a", "c"))),
            Field::new("country", DataType::Utf8, false),
        ];
        assert_eq!(
            plan(table, declared),
            Ok(["geo.lon", "tags.element.b", "extra.value.c", "country"].map(String::from).into())
        );
    }

    #[test]
    fn a_column_is_added_nullable_at_every_level() {
        let inner = structure(vec![Field::new("a", DataType::Utf8, false)]);
        let declared = Schema::new(vec![Field::new("s", inner, false)]);
        let plan = plan_evolution(&Schema::empty(), &declared, Evolution::AddColumns);
        let expected = field("s", structure(vec![field("a", DataType::Utf8)]));
        assert_eq!(plan, Ok(vec![AddColumn { parent: vec![], field: expected }]));
    }

    #[test]
    fn another_type_is_refused_by_name() {
        let error = plan(
            vec![field("geo", structure(vec![field("lat", DataType::Float64)]))],
            vec![field("geo", structure(vec![field("lat", DataType::Int64)]))],
        );
        let says = error.expect_err("another type").to_string();
        assert_eq!(says, "column geo.lat is Float64 in the table and Int64 in the declaration");
        for (table, declared) in [
            (DataType::Utf8, structure(vec![])),
            (list(DataType::Utf8), DataType::Utf8),
            (DataType::Decimal128(10, 2), DataType::Decimal128(10, 3)),
            (
                DataType::Timestamp(TimeUnit::Microsecond, None),
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            ),
        ] {
            assert!(plan(vec![field("a", table)], vec![field("a", declared)]).is_err());
        }
    }

    #[test]
    fn spellings_of_one_delta_type_are_the_same() {
        let zone = |zone: &str| DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
        let table = vec![field("t", zone("UTC")), field("l", list(DataType::Utf8))];
        let element = Arc::new(Field::new("element", DataType::LargeUtf8, true));
        let declared = vec![field("t", zone("+00:00")), field("l", DataType::List(element))];
        assert_eq!(plan(table, declared), Ok(vec![]));
    }

    #[test]
    fn a_frozen_schema_takes_system_columns_and_nothing_else() {
        let table = Schema::new(vec![field("a", DataType::Int64)]);
        let with = |name: &str| {
            Schema::new(vec![field("a", DataType::Int64), field(name, DataType::Binary)])
        };
        let frozen = |declared| plan_evolution(&table, &declared, Evolution::Frozen);
        assert_eq!(frozen(with("_tg_id")).map(|plan| plan.len()), Ok(1));
        let error = frozen(with("b")).expect_err("frozen");
        assert_eq!(error, SchemaMismatch::Frozen { columns: vec!["b".into()] });
        assert_eq!(error.reason(), Reason::SchemaChangeRefused);
    }

    #[test]
    fn names_that_differ_in_case_and_values_nobody_gives_are_refused() {
        let error = plan(vec![field("Id", DataType::Int64)], vec![field("id", DataType::Int64)]);
        assert!(matches!(error, Err(SchemaMismatch::Case { .. })), "{error:?}");
        let error = plan(vec![Field::new("a", DataType::Int64, false)], vec![]);
        assert!(matches!(error, Err(SchemaMismatch::RequiredInTable { .. })), "{error:?}");
    }

    #[test]
    fn another_partitioning_is_refused() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(check_partitioning(&names(&["a", "b"]), &names(&["a", "b"])).is_ok());
        let error = check_partitioning(&names(&["a"]), &names(&["b"])).expect_err("differs");
        assert_eq!(error.to_string(), "the table is partitioned by [a], not by [b]");
    }
}
