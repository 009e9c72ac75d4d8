//! The grammar of field types: Delta's names, `struct<a: long, b: list<string>>`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What the names of the columns begin with that Tidegate writes itself. None may be declared so.
pub const SYSTEM_PREFIX: &str = "_tg_";
/// Most fields that a schema may declare at its top.
pub const MAX_FIELDS: usize = 512;
/// Deepest nesting of a declared type.
const MAX_TYPE_DEPTH: usize = 16;

/// A field type could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a field type: at character {at}: {problem}")]
pub struct SchemaError {
    /// The whole text.
    pub text: String,
    /// What is wrong.
    pub problem: String,
    /// Where, counted in bytes from zero.
    pub at: usize,
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FieldType {
    /// UTF-8 text.
    String,
    /// 64-bit signed integer.
    Long,
    /// 32-bit signed integer.
    Integer,
    /// 16-bit signed integer.
    Short,
    /// 8-bit signed integer.
    Byte,
    /// 32-bit float.
    Float,
    /// 64-bit float.
    Double,
    /// Exact decimal with `precision` digits, `scale` of them after the point.
    Decimal {
        /// All digits, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// True or false.
    Boolean,
    /// Bytes; in JSON as base64 text.
    Binary,
    /// A calendar day.
    Date,
    /// An instant, microseconds, UTC.
    Timestamp,
    /// A date and time of day without zone, microseconds.
    TimestampNtz,
    /// Named members.
    Struct(Vec<StructField>),
    /// Elements of one type.
    List(Box<FieldType>),
    /// Keys and values, each of one type.
    Map(Box<FieldType>, Box<FieldType>),
}

/// A member of a struct type; always nullable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StructField {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: FieldType,
}

/// A declared column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// The column's name.
    pub name: String,
    /// The column's type.
    #[serde(rename = "type")]
    pub data_type: FieldType,
    /// A record without a value here is a dead letter. The column itself stays nullable, so that it
    /// can be relaxed later.
    #[serde(default)]
    pub required: bool,
    /// Where the value stands in the record, as `$.a.b`; the field of the same name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl FieldType {
    /// Whether this is a struct, list or map.
    #[must_use]
    pub fn is_nested(&self) -> bool {
        matches!(self, Self::Struct(_) | Self::List(_) | Self::Map(..))
    }

    fn primitive(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "long" => Self::Long,
            "integer" => Self::Integer,
            "short" => Self::Short,
            "byte" => Self::Byte,
            "float" => Self::Float,
            "double" => Self::Double,
            "boolean" => Self::Boolean,
            "binary" => Self::Binary,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamp_ntz" => Self::TimestampNtz,
            _ => return None,
        })
    }
}

/// Every type name, for suggestions.
const NAMES: [&str; 16] = [
    "string",
    "long",
    "integer",
    "short",
    "byte",
    "float",
    "double",
    "decimal",
    "boolean",
    "binary",
    "date",
    "timestamp",
    "timestamp_ntz",
    "struct",
    "list",
    "map",
];

/// What a type is called here that databases and languages call otherwise.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "int" | "int4" | "int32" | "i32" | "mediumint" | "serial" => "integer",
        "bigint" | "int8" | "int64" | "i64" | "bigserial" | "uint32" => "long",
        "smallint" | "int2" | "int16" | "i16" => "short",
        "tinyint" | "i8" => "byte",
        "real" | "float4" | "float32" | "f32" => "float",
        "float8" | "float64" | "f64" => "double",
        "text" | "str" | "utf8" | "varchar" | "char" | "uuid" | "json" | "jsonb" | "enum" => {
            "string"
        }
        "bool" => "boolean",
        "bytes" | "bytea" | "blob" | "varbinary" => "binary",
        "numeric" | "number" | "money" => "decimal(18,2)",
        "datetime" | "timestamptz" | "instant" => "timestamp",
        "array" => "list<string>",
        "object" | "record" => "struct<name: string>",
        _ => return None,
    })
}

impl std::str::FromStr for FieldType {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let mut parser = Parser { text, at: 0 };
        let parsed = parser.field_type(0)?;
        parser.skip_spaces();
        if parser.at == text.len() { Ok(parsed) } else { Err(parser.error("unexpected text")) }
    }
}

/// Recursive descent over the grammar; `at` is a byte offset.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn field_type(&mut self, depth: usize) -> Result<FieldType, SchemaError> {
        if depth > MAX_TYPE_DEPTH {
            return Err(self.error(&format!("nested deeper than {MAX_TYPE_DEPTH}")));
        }
        let start = self.at;
        let name = self.word();
        match name.as_str() {
            "decimal" => self.decimal(),
            "struct" => self.members(depth),
            "list" => {
                self.expect('<')?;
                let element = self.field_type(depth + 1)?;
                self.expect('>')?;
                Ok(FieldType::List(Box::new(element)))
            }
            "map" => {
                self.expect('<')?;
                let key = self.field_type(depth + 1)?;
                if key.is_nested() {
                    return Err(self.error("a map key must be a plain type"));
                }
                self.expect(',')?;
                let value = self.field_type(depth + 1)?;
                self.expect('>')?;
                Ok(FieldType::Map(Box::new(key), Box::new(value)))
            }
            other => FieldType::primitive(other).ok_or_else(|| {
                let hint = elsewhere(other).or_else(|| crate::did_you_mean(other, NAMES));
                let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                SchemaError { at: start, ..self.error(&format!("no type {other:?}{hint}")) }
            }),
        }
    }

    fn decimal(&mut self) -> Result<FieldType, SchemaError> {
        self.expect('(')?;
        let precision = self.number()?;
        self.expect(',')?;
        let scale = self.number()?;
        self.expect(')')?;
        if (1..=38).contains(&precision) && scale <= precision {
            Ok(FieldType::Decimal { precision, scale })
        } else {
            Err(self.error("decimal needs a precision of 1 to 38 and a scale up to the precision"))
        }
    }

    fn members(&mut self, depth: usize) -> Result<FieldType, SchemaError> {
        self.expect('<')?;
        let mut members: Vec<StructField> = Vec::new();
        loop {
            let name = self.word();
            if name.is_empty() {
                return Err(self.error("a member needs a name"));
            }
            if members.iter().any(|member| member.name.eq_ignore_ascii_case(&name)) {
                return Err(self.error(&format!("member {name:?} stands twice")));
            }
            self.expect(':')?;
            members.push(StructField { name, data_type: self.field_type(depth + 1)? });
            self.skip_spaces();
            if self.text[self.at..].starts_with(',') {
                self.at += 1;
            } else {
                self.expect('>')?;
                return Ok(FieldType::Struct(members));
            }
        }
    }

    fn number(&mut self) -> Result<u8, SchemaError> {
        self.word().parse().map_err(|_| self.error("a number up to 38 is wanted"))
    }

    fn word(&mut self) -> String {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_owned()
    }

    fn expect(&mut self, wanted: char) -> Result<(), SchemaError> {
        self.skip_spaces();
        if self.text[self.at..].starts_with(wanted) {
            self.at += wanted.len_utf8();
            Ok(())
        } else {
            Err(self.error(&format!("{wanted:?} is wanted")))
        }
    }

    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn error(&self, problem: &str) -> SchemaError {
        SchemaError { text: self.text.to_owned(), problem: problem.to_owned(), at: self.at }
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::String => "string",
            Self::Long => "long",
            Self::Integer => "integer",
            Self::Short => "short",
            Self::Byte => "byte",
            Self::Float => "float",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Binary => "binary",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::TimestampNtz => "timestamp_ntz",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            Self::List(element) => return write!(f, "list<{element}>"),
            Self::Map(key, value) => return write!(f, "map<{key}, {value}>"),
            Self::Struct(members) => {
                f.write_str("struct<")?;
                for (index, member) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {}", member.name, member.data_type)?;
                }
                return f.write_str(">");
            }
        };
        f.write_str(name)
    }
}

impl TryFrom<String> for FieldType {
    type Error = SchemaError;

    fn try_from(text: String) -> Result<Self, SchemaError> {
        text.parse()
    }
}

impl From<FieldType> for String {
    fn from(field_type: FieldType) -> Self {
        field_type.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_types_are_read_and_printed_alike() {
        for text in [
            "string",
            "decimal(18,2)",
            "struct<lat: double, tags: list<string>>",
            "map<string, struct<a: long>>",
            "list<list<timestamp_ntz>>",
        ] {
            assert_eq!(text.parse::<FieldType>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, says) in [
            ("strng", "did you mean string?"),
            ("int", "no type \"int\"; did you mean integer?"),
            ("list<bigint>", "did you mean long?"),
            ("VARCHAR", "did you mean string?"),
            ("decimal(39,0)", "precision"),
            ("struct<>", "needs a name"),
            ("struct<a: long, A: long>", "stands twice"),
            ("map<list<long>, long>", "plain type"),
            ("list<long", "'>' is wanted"),
            ("long long", "unexpected text"),
        ] {
            let error = text.parse::<FieldType>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = "list<".repeat(40) + "long" + &">".repeat(40);
        assert!(deep.parse::<FieldType>().is_err(), "depth is bounded");
    }
}
