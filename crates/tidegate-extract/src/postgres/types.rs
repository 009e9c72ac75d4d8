//! From Postgres' types to the table's: what a column becomes, and how it is asked for.
//!
//! A value comes in Postgres' binary form wherever the table has a counterpart. Types without one that
//! people read as text (`time`, `interval`, `inet`, …) are turned into text by the server and become
//! strings, as its casts print them; what has neither is an error. `char(n)` keeps its padding. A field that is declared otherwise is cast by the server, and
//! only without loss: to a wider number, to `string`, which every type can be, and from `numeric` to
//! `double`, where losing digits is what was asked for.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, FieldRef};
use tidegate_decode::arrow_type;
use tidegate_types::FieldType;
use tokio_postgres::types::{Kind, Type};

use super::relation::qualified;

/// How values of a column come over the wire, and with it what they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wire {
    Bool,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// A numeric, of any precision of its own.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Text,
    Bytes,
    Jsonb,
    Uuid,
    Date,
    Timestamp,
    TimestampNtz,
    List(Box<Wire>),
}

/// A column of a relation, as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) type_: Type,
    /// Precision and scale of a numeric, and the like; -1 when there is none.
    pub(crate) modifier: i32,
    /// The relation and the number of the column in it that it is; none when it is computed.
    pub(crate) stands_for: Option<(u32, i16)>,
}

/// A column that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Its name in the table.
    pub(crate) name: String,
    /// Its name at the source.
    pub(crate) column: String,
    /// The type that the server casts it to first.
    pub(crate) cast: Option<String>,
    pub(crate) wire: Wire,
    /// Whether a null fails the run.
    pub(crate) required: bool,
}

/// The columns as they stand behind `SELECT`.
pub(crate) fn listed(selected: &[Selected]) -> String {
    let columns = selected.iter().map(|column| {
        let name = qualified(&column.column);
        column.cast.as_ref().map_or_else(|| name.clone(), |cast| format!("{name}::{cast}"))
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// What a column becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) cast: Option<String>,
    pub(crate) wire: Wire,
}

impl Mapped {
    fn plain(wire: Wire) -> Self {
        Self { cast: None, wire }
    }

    fn cast(to: &str, wire: Wire) -> Self {
        Self { cast: Some(to.to_owned()), wire }
    }
}

impl Wire {
    /// The type in the table's words.
    pub(crate) fn field_type(&self) -> FieldType {
        match self {
            Self::Bool => FieldType::Boolean,
            Self::Int16 => FieldType::Short,
            Self::Int32 => FieldType::Integer,
            Self::Int64 => FieldType::Long,
            Self::Float32 => FieldType::Float,
            Self::Float64 => FieldType::Double,
            Self::Decimal { precision, scale } => {
                FieldType::Decimal { precision: *precision, scale: *scale }
            }
            Self::Text | Self::Jsonb | Self::Uuid => FieldType::String,
            Self::Bytes => FieldType::Binary,
            Self::Date => FieldType::Date,
            Self::Timestamp => FieldType::Timestamp,
            Self::TimestampNtz => FieldType::TimestampNtz,
            Self::List(element) => FieldType::List(Box::new(element.field_type())),
        }
    }

    /// The type in Arrow's words.
    pub(crate) fn data_type(&self) -> DataType {
        arrow_type(&self.field_type())
    }
}

/// The elements of a list, by the name that Delta gives them.
pub(crate) fn element_field(element: &Wire) -> FieldRef {
    Arc::new(ArrowField::new("element", element.data_type(), true))
}

/// What a column becomes, declared or not; else what is wrong with it, to stand behind its name.
pub(crate) fn map(
    type_: &Type,
    modifier: i32,
    declared: Option<&FieldType>,
) -> Result<Mapped, String> {
    let Some(declared) = declared else { return natural(type_, modifier) };
    if *declared == FieldType::String {
        let already = natural(type_, modifier).ok();
        let already = already.filter(|mapped| mapped.wire.field_type() == FieldType::String);
        return Ok(already.unwrap_or_else(|| Mapped::cast("text", Wire::Text)));
    }
    if let Ok(mapped) = natural(type_, modifier)
        && mapped.wire.field_type() == *declared
    {
        return Ok(mapped);
    }
    widened(type_, modifier, declared).ok_or_else(|| {
        format!(
            "is {} at the source and cannot become {declared} without loss: declare it as {}, or cast it in a query",
            words(type_, modifier),
            natural(type_, modifier)
                .map_or_else(|_| "string".to_owned(), |mapped| mapped.wire.field_type().to_string()),
        )
    })
}

/// What a column becomes that nobody declared.
fn natural(type_: &Type, modifier: i32) -> Result<Mapped, String> {
    let wire = match type_.kind() {
        Kind::Domain(base) => return natural(base, modifier),
        Kind::Enum(_) => Wire::Text,
        Kind::Array(element) => return natural_list(element, modifier),
        _ => match type_ {
            &Type::BOOL => Wire::Bool,
            &Type::INT2 => Wire::Int16,
            &Type::INT4 => Wire::Int32,
            &Type::INT8 => Wire::Int64,
            &Type::FLOAT4 => Wire::Float32,
            &Type::FLOAT8 => Wire::Float64,
            &Type::TEXT
            | &Type::VARCHAR
            | &Type::BPCHAR
            | &Type::NAME
            | &Type::JSON
            | &Type::XML => Wire::Text,
            &Type::BYTEA => Wire::Bytes,
            &Type::JSONB => Wire::Jsonb,
            &Type::UUID => Wire::Uuid,
            &Type::DATE => Wire::Date,
            &Type::TIMESTAMPTZ => Wire::Timestamp,
            &Type::TIMESTAMP => Wire::TimestampNtz,
            &Type::NUMERIC => return decimal(modifier).map(Mapped::plain),
            &Type::OID => return Ok(Mapped::cast("int8", Wire::Int64)),
            &Type::TIME
            | &Type::TIMETZ
            | &Type::INTERVAL
            | &Type::INET
            | &Type::CIDR
            | &Type::MACADDR
            | &Type::MACADDR8
            | &Type::BIT
            | &Type::VARBIT
            | &Type::CHAR => return Ok(Mapped::cast("text", Wire::Text)),
            other if other.name() == "citext" => Wire::Text,
            _ => {
                return Err(format!(
                    "has the type {}, which has no counterpart: declare it as string, leave it out of schema.fields, or convert it in a query",
                    words(type_, modifier)
                ));
            }
        },
    };
    Ok(Mapped::plain(wire))
}

fn natural_list(element: &Type, modifier: i32) -> Result<Mapped, String> {
    if matches!(element.kind(), Kind::Array(_)) {
        return Err("is an array of a domain of arrays: declare it as string".to_owned());
    }
    if is_numeric(element) && decimal(modifier).is_err() {
        return Err("is an array of numerics that no decimal holds: declare it in schema.fields, such as list<decimal(38,9)>, list<double> or string".to_owned());
    }
    Ok(list_of(natural(element, modifier)?))
}

/// Whether it is a numeric, or a domain of them.
fn is_numeric(type_: &Type) -> bool {
    match type_.kind() {
        Kind::Domain(base) => is_numeric(base),
        _ => *type_ == Type::NUMERIC,
    }
}

fn list_of(element: Mapped) -> Mapped {
    Mapped {
        cast: element.cast.map(|cast| format!("{cast}[]")),
        wire: Wire::List(Box::new(element.wire)),
    }
}

/// The decimal of a numeric's precision and scale.
fn decimal(modifier: i32) -> Result<Wire, String> {
    let Some((precision, scale)) = precision_and_scale(modifier) else {
        return Err("is a numeric without precision: declare it in schema.fields, such as decimal(38,9), double or string".to_owned());
    };
    // A scale below zero counts places before the point; one above the precision, zeros behind it.
    let digits = if scale < 0 { precision - scale } else { precision.max(scale) };
    match (u8::try_from(digits), u8::try_from(scale.max(0))) {
        (Ok(precision), Ok(scale)) if precision <= 38 => Ok(Wire::Decimal { precision, scale }),
        _ => Err(format!(
            "is numeric({precision},{scale}), and a decimal has at most 38 digits: declare it as decimal(38,{}), double or string",
            scale.clamp(0, 38)
        )),
    }
}

/// Of a numeric's modifier: sixteen bits of precision, and eleven of scale with a sign.
fn precision_and_scale(modifier: i32) -> Option<(i32, i32)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    Some((packed >> 16, ((packed & 0x7ff) ^ 1024) - 1024))
}

/// A declared type that holds all values of the column's.
fn widened(type_: &Type, modifier: i32, declared: &FieldType) -> Option<Mapped> {
    if let Kind::Domain(base) = type_.kind() {
        return map(base, modifier, Some(declared)).ok();
    }
    if let (Kind::Array(element), FieldType::List(wanted)) = (type_.kind(), declared) {
        let array = matches!(element.kind(), Kind::Array(_));
        return if array { None } else { map(element, modifier, Some(wanted)).ok().map(list_of) };
    }
    match (type_, declared) {
        (&Type::INT2, FieldType::Integer) => Some(Mapped::cast("int4", Wire::Int32)),
        (&Type::INT2 | &Type::INT4, FieldType::Long) => Some(Mapped::cast("int8", Wire::Int64)),
        (&Type::INT2, FieldType::Float) => Some(Mapped::cast("float4", Wire::Float32)),
        (&Type::INT2 | &Type::INT4 | &Type::FLOAT4 | &Type::NUMERIC, FieldType::Double) => {
            Some(Mapped::cast("float8", Wire::Float64))
        }
        (&Type::DATE, FieldType::TimestampNtz) => {
            Some(Mapped::cast("timestamp", Wire::TimestampNtz))
        }
        (&Type::NUMERIC, &FieldType::Decimal { precision, scale }) => {
            let wire = Wire::Decimal { precision, scale };
            holds_numeric(modifier, precision, scale).then(|| Mapped::plain(wire))
        }
        (_, &FieldType::Decimal { precision, scale }) => {
            let digits = match *type_ {
                Type::INT2 => 5,
                Type::INT4 => 10,
                Type::INT8 => 19,
                _ => return None,
            };
            let wire = Wire::Decimal { precision, scale };
            (precision - scale >= digits)
                .then(|| Mapped::cast(&format!("numeric({precision},{scale})"), wire))
        }
        _ => None,
    }
}

/// Whether a decimal holds every value of a numeric. One without precision, or with one that no decimal
/// has, is taken at its word: a value that does not fit fails the run.
fn holds_numeric(modifier: i32, precision: u8, scale: u8) -> bool {
    match decimal(modifier) {
        Ok(Wire::Decimal { precision: digits, scale: behind }) => {
            scale >= behind && precision - scale >= digits - behind
        }
        _ => true,
    }
}

/// A type as people write it.
fn words(type_: &Type, modifier: i32) -> String {
    let name = if type_.schema() == "pg_catalog" {
        type_.name().to_owned()
    } else {
        format!("{}.{}", type_.schema(), type_.name())
    };
    match precision_and_scale(modifier) {
        Some((precision, scale)) if *type_ == Type::NUMERIC => {
            format!("{name}({precision},{scale})")
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> FieldType {
        text.parse().expect(text)
    }

    fn modifier(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7ff)) + 4
    }

    #[test]
    fn every_common_type_has_its_counterpart() {
        for (type_, modifier, becomes, cast) in [
            (Type::BOOL, -1, "boolean", None),
            (Type::INT2, -1, "short", None),
            (Type::INT4, -1, "integer", None),
            (Type::INT8, -1, "long", None),
            (Type::OID, -1, "long", Some("int8")),
            (Type::FLOAT4, -1, "float", None),
            (Type::FLOAT8, -1, "double", None),
            (Type::NUMERIC, modifier(18, 2), "decimal(18,2)", None),
            (Type::NUMERIC, modifier(5, -2), "decimal(7,0)", None),
            (Type::NUMERIC, modifier(2, 6), "decimal(6,6)", None),
            (Type::TEXT, -1, "string", None),
            (Type::UUID, -1, "string", None),
            (Type::JSONB, -1, "string", None),
            (Type::BYTEA, -1, "binary", None),
            (Type::DATE, -1, "date", None),
            (Type::TIMESTAMP, -1, "timestamp_ntz", None),
            (Type::TIMESTAMPTZ, -1, "timestamp", None),
            (Type::TIME, -1, "string", Some("text")),
            (Type::INET_ARRAY, -1, "list<string>", Some("text[]")),
            (Type::NUMERIC_ARRAY, modifier(9, 3), "list<decimal(9,3)>", None),
        ] {
            let mapped = map(&type_, modifier, None).expect(becomes);
            assert_eq!(mapped.wire.field_type().to_string(), becomes);
            assert_eq!(mapped.cast.as_deref(), cast, "{becomes}");
        }
    }

    #[test]
    fn what_has_no_counterpart_says_what_to_do() {
        let type_ = |name: &str, kind| Type::new(name.to_owned(), 0, kind, "public".to_owned());
        let domain = type_("price", Kind::Domain(Type::NUMERIC));
        let domains = type_("_price", Kind::Array(domain));
        for (type_, modifier, says) in [
            (Type::NUMERIC, -1, "without precision"),
            (Type::NUMERIC, modifier(50, 2), "at most 38 digits"),
            (Type::MONEY, -1, "money"),
            (Type::POINT, -1, "point"),
            (Type::INT4_RANGE, -1, "int4range"),
            (Type::MONEY_ARRAY, -1, "money"),
            (Type::NUMERIC_ARRAY, -1, "list<decimal(38,9)>"),
            (domains, -1, "list<double>"),
        ] {
            let error = map(&type_, modifier, None).expect_err(says);
            assert!(error.contains(says) && error.contains("declare it"), "{error}");
            assert_eq!(map(&type_, modifier, Some(&of("string"))).unwrap().wire, Wire::Text);
        }
    }

    #[test]
    fn a_declared_type_may_be_wider_and_never_narrower() {
        for (type_, modifier, declared, cast) in [
            (Type::INT2, -1, "long", Some("int8")),
            (Type::INT4, -1, "double", Some("float8")),
            (Type::INT8, -1, "decimal(20,1)", Some("numeric(20,1)")),
            (Type::FLOAT4, -1, "double", Some("float8")),
            (Type::NUMERIC, modifier(10, 2), "decimal(12,4)", None),
            (Type::NUMERIC, -1, "decimal(38,9)", None),
            (Type::NUMERIC, -1, "double", Some("float8")),
            (Type::DATE, -1, "timestamp_ntz", Some("timestamp")),
            (Type::INT4_ARRAY, -1, "list<long>", Some("int8[]")),
            (Type::INT4, -1, "string", Some("text")),
            (Type::UUID, -1, "string", None),
        ] {
            let mapped = map(&type_, modifier, Some(&of(declared))).expect(declared);
            assert_eq!(mapped.wire.field_type(), of(declared));
            assert_eq!(mapped.cast.as_deref(), cast, "{declared}");
        }
        for (type_, modifier, declared) in [
            (Type::INT8, -1, "integer"),
            (Type::INT8, -1, "double"),
            (Type::INT8, -1, "decimal(20,2)"),
            (Type::NUMERIC, modifier(10, 2), "decimal(10,4)"),
            (Type::NUMERIC, modifier(10, 2), "decimal(10,1)"),
            (Type::TEXT, -1, "long"),
            (Type::TIMESTAMP, -1, "timestamp"),
            (Type::TIMESTAMPTZ, -1, "timestamp_ntz"),
            (Type::INT2, -1, "byte"),
            (Type::INT4, -1, "list<integer>"),
            (Type::JSONB, -1, "struct<a: long>"),
        ] {
            let error = map(&type_, modifier, Some(&of(declared))).expect_err(declared);
            assert!(error.contains(declared) && error.contains("without loss"), "{error}");
        }
    }
}
