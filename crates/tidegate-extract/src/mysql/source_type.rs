//! The types of columns at the source, and what they may become.

use std::fmt;

use mysql_async::Column;
use mysql_async::consts::{ColumnFlags, ColumnType};
use tidegate_types::FieldType;

/// The collation of bytes that are no text.
const BINARY: u16 = 63;
/// Most digits of a decimal in the table.
const DIGITS: u8 = 38;
/// Digits of the largest unsigned 64-bit number.
const U64_DIGITS: u8 = 20;

/// The type of a column at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SourceType {
    /// TINYINT to BIGINT.
    Integer {
        bits: u8,
        unsigned: bool,
    },
    Year,
    /// BIT(n).
    Bits(u8),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Float,
    Double,
    /// CHAR to LONGTEXT, JSON, ENUM, SET, and what else the server sends as text.
    Text,
    /// BINARY to LONGBLOB.
    Bytes,
    Date,
    DateTime {
        decimals: u8,
    },
    Timestamp {
        decimals: u8,
    },
    Time {
        decimals: u8,
    },
    /// There is no counterpart.
    Other(String),
}

impl SourceType {
    /// The type of a column as the server describes it.
    pub(super) fn of(column: &Column) -> Self {
        let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
        let integer = |bits| Self::Integer { bits, unsigned };
        // The server says 31 where an expression has no fixed number of them.
        let decimals = column.decimals().min(6);
        match column.column_type() {
            ColumnType::MYSQL_TYPE_TINY => integer(8),
            ColumnType::MYSQL_TYPE_SHORT => integer(16),
            ColumnType::MYSQL_TYPE_INT24 => integer(24),
            ColumnType::MYSQL_TYPE_LONG => integer(32),
            ColumnType::MYSQL_TYPE_LONGLONG => integer(64),
            ColumnType::MYSQL_TYPE_YEAR => Self::Year,
            ColumnType::MYSQL_TYPE_BIT => {
                Self::Bits(u8::try_from(column.column_length()).unwrap_or(64))
            }
            ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
                decimal(column, unsigned)
            }
            ColumnType::MYSQL_TYPE_FLOAT => Self::Float,
            ColumnType::MYSQL_TYPE_DOUBLE => Self::Double,
            ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_NEWDATE => Self::Date,
            ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_DATETIME2 => {
                Self::DateTime { decimals }
            }
            ColumnType::MYSQL_TYPE_TIMESTAMP | ColumnType::MYSQL_TYPE_TIMESTAMP2 => {
                Self::Timestamp { decimals }
            }
            ColumnType::MYSQL_TYPE_TIME | ColumnType::MYSQL_TYPE_TIME2 => Self::Time { decimals },
            ColumnType::MYSQL_TYPE_JSON
            | ColumnType::MYSQL_TYPE_ENUM
            | ColumnType::MYSQL_TYPE_SET => Self::Text,
            ColumnType::MYSQL_TYPE_VARCHAR
            | ColumnType::MYSQL_TYPE_VAR_STRING
            | ColumnType::MYSQL_TYPE_STRING
            | ColumnType::MYSQL_TYPE_TINY_BLOB
            | ColumnType::MYSQL_TYPE_BLOB
            | ColumnType::MYSQL_TYPE_MEDIUM_BLOB
            | ColumnType::MYSQL_TYPE_LONG_BLOB => {
                if column.character_set() == BINARY {
                    Self::Bytes
                } else {
                    Self::Text
                }
            }
            ColumnType::MYSQL_TYPE_GEOMETRY => Self::Other("a geometry".into()),
            ColumnType::MYSQL_TYPE_NULL => Self::Other("always null".into()),
            other => Self::Other(format!("{other:?}")),
        }
    }

    /// The narrowest type in the table that holds every value; none when there is none.
    pub(super) fn natural(&self) -> Option<FieldType> {
        Some(match *self {
            Self::Integer { bits, unsigned } => match bits + u8::from(unsigned) {
                0..=8 => FieldType::Byte,
                9..=16 => FieldType::Short,
                17..=32 => FieldType::Integer,
                33..=64 => FieldType::Long,
                _ => FieldType::Decimal { precision: U64_DIGITS, scale: 0 },
            },
            Self::Year => FieldType::Short,
            Self::Bits(1) => FieldType::Boolean,
            Self::Bits(0..=63) => FieldType::Long,
            Self::Bits(_) => FieldType::Decimal { precision: U64_DIGITS, scale: 0 },
            Self::Decimal { precision, scale } if precision <= DIGITS => {
                FieldType::Decimal { precision, scale }
            }
            Self::Decimal { .. } | Self::Other(_) => return None,
            Self::Float => FieldType::Float,
            Self::Double => FieldType::Double,
            Self::Text | Self::Time { .. } => FieldType::String,
            Self::Bytes => FieldType::Binary,
            Self::Date => FieldType::Date,
            Self::DateTime { .. } => FieldType::TimestampNtz,
            Self::Timestamp { .. } => FieldType::Timestamp,
        })
    }

    /// Whether every value can stand in a column of that type as it is. A number of 0 or 1 as a boolean
    /// is asked for so often that it is taken too; other numbers are told when they come.
    pub(super) fn fits(&self, declared: &FieldType) -> bool {
        if self.natural().as_ref() == Some(declared) {
            return true;
        }
        match (self, declared) {
            (Self::Other(_) | Self::Bytes, _) => false,
            (_, FieldType::String) => true,
            (Self::Integer { bits: 8, .. }, FieldType::Boolean) => true,
            (Self::Bits(_), FieldType::Binary) => true,
            (Self::Date, FieldType::TimestampNtz) => true,
            (Self::Float, FieldType::Double) => true,
            (
                Self::Integer { .. } | Self::Year | Self::Bits(_) | Self::Decimal { .. },
                declared,
            ) => self.exact().is_some_and(|(whole, scale)| holds(declared, whole, scale)),
            _ => false,
        }
    }

    /// Digits before and after the point.
    fn exact(&self) -> Option<(u8, u8)> {
        Some(match *self {
            Self::Integer { bits, unsigned } => (digits(bits, unsigned), 0),
            Self::Year => (4, 0),
            Self::Bits(bits) => (digits(bits, true), 0),
            Self::Decimal { precision, scale } => (precision - scale, scale),
            _ => return None,
        })
    }
}

/// Whether a type of the table holds every number of so many digits.
fn holds(declared: &FieldType, whole: u8, scale: u8) -> bool {
    match *declared {
        FieldType::Decimal { precision, scale: kept } => kept >= scale && precision - kept >= whole,
        FieldType::Byte => scale == 0 && whole <= 2,
        FieldType::Short => scale == 0 && whole <= 4,
        FieldType::Integer => scale == 0 && whole <= 9,
        FieldType::Long => scale == 0 && whole <= 18,
        // 2 to the 53rd has sixteen digits.
        FieldType::Double => scale == 0 && whole <= 15,
        _ => false,
    }
}

/// Digits of the largest number of so many bits.
fn digits(bits: u8, unsigned: bool) -> u8 {
    let bits = if unsigned { bits } else { bits.saturating_sub(1) };
    let largest = 1_u128.checked_shl(u32::from(bits)).map_or(u128::MAX, |end| end - 1);
    u8::try_from(largest.checked_ilog10().map_or(1, |log| log + 1)).unwrap_or(DIGITS)
}

/// The server says how wide a decimal is when it is printed, with its sign and its point.
fn decimal(column: &Column, unsigned: bool) -> SourceType {
    let scale = column.decimals().min(DIGITS);
    let around = u32::from(!unsigned) + u32::from(scale > 0);
    let precision = column.column_length().saturating_sub(around);
    let precision = u8::try_from(precision).unwrap_or(u8::MAX).max(scale).max(1);
    SourceType::Decimal { precision, scale }
}

impl fmt::Display for SourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unsigned = |unsigned: &bool| if *unsigned { " unsigned" } else { "" };
        match self {
            Self::Integer { bits, unsigned: sign } => {
                let name = match bits {
                    8 => "tinyint",
                    16 => "smallint",
                    24 => "mediumint",
                    32 => "int",
                    _ => "bigint",
                };
                write!(f, "{name}{}", unsigned(sign))
            }
            Self::Year => f.write_str("year"),
            Self::Bits(bits) => write!(f, "bit({bits})"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Float => f.write_str("float"),
            Self::Double => f.write_str("double"),
            Self::Text => f.write_str("text"),
            Self::Bytes => f.write_str("bytes"),
            Self::Date => f.write_str("date"),
            Self::DateTime { .. } => f.write_str("datetime"),
            Self::Timestamp { .. } => f.write_str("timestamp"),
            Self::Time { .. } => f.write_str("time"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(bits: u8, unsigned: bool) -> SourceType {
        SourceType::Integer { bits, unsigned }
    }

    #[test]
    fn every_type_has_the_narrowest_that_holds_it() {
        let table = [
            (integer(8, false), "byte"),
            (integer(8, true), "short"),
            (integer(16, false), "short"),
            (integer(16, true), "integer"),
            (integer(24, true), "integer"),
            (integer(32, false), "integer"),
            (integer(32, true), "long"),
            (integer(64, false), "long"),
            (integer(64, true), "decimal(20,0)"),
            (SourceType::Bits(1), "boolean"),
            (SourceType::Bits(63), "long"),
            (SourceType::Bits(64), "decimal(20,0)"),
            (SourceType::Decimal { precision: 38, scale: 30 }, "decimal(38,30)"),
            (SourceType::Time { decimals: 6 }, "string"),
            (SourceType::DateTime { decimals: 0 }, "timestamp_ntz"),
            (SourceType::Timestamp { decimals: 0 }, "timestamp"),
        ];
        for (source, expected) in table {
            assert_eq!(
                source.natural().map(|t| t.to_string()).as_deref(),
                Some(expected),
                "{source}"
            );
        }
        assert_eq!(SourceType::Decimal { precision: 39, scale: 0 }.natural(), None);
    }

    #[test]
    fn only_what_loses_nothing_may_be_declared() {
        let table = [
            (integer(8, false), "long", true),
            (integer(8, false), "boolean", true),
            (integer(16, false), "boolean", false),
            (integer(32, false), "short", false),
            (integer(32, true), "integer", false),
            (integer(32, true), "double", true),
            (integer(64, false), "double", false),
            (integer(64, true), "long", false),
            (integer(64, true), "decimal(20,0)", true),
            (integer(64, false), "decimal(19,0)", true),
            (integer(64, false), "decimal(18,0)", false),
            (SourceType::Decimal { precision: 10, scale: 2 }, "decimal(12,4)", true),
            (SourceType::Decimal { precision: 10, scale: 2 }, "decimal(11,4)", false),
            (SourceType::Decimal { precision: 10, scale: 2 }, "decimal(12,1)", false),
            (SourceType::Decimal { precision: 10, scale: 2 }, "double", false),
            (SourceType::Decimal { precision: 18, scale: 0 }, "long", true),
            (SourceType::Decimal { precision: 65, scale: 30 }, "string", true),
            (SourceType::Decimal { precision: 65, scale: 30 }, "decimal(38,30)", false),
            (SourceType::Float, "double", true),
            (SourceType::Double, "float", false),
            (SourceType::Date, "timestamp_ntz", true),
            (SourceType::Date, "timestamp", false),
            (SourceType::DateTime { decimals: 0 }, "timestamp", false),
            (SourceType::DateTime { decimals: 0 }, "string", true),
            (SourceType::Text, "long", false),
            (SourceType::Bytes, "string", false),
            (SourceType::Bits(8), "binary", true),
            (SourceType::Bits(64), "long", false),
            (SourceType::Other("a geometry".into()), "string", false),
        ];
        for (source, declared, expected) in table {
            let declared: FieldType = declared.parse().expect("a type");
            assert_eq!(source.fits(&declared), expected, "{source} as {declared}");
        }
    }
}
