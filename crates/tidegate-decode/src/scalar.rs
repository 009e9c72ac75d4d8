//! One token into one column: which tokens a type takes, and what it makes of them.
//!
//! | type | `Coercion::None` | with `Coercion::Lossless` also |
//! |---|---|---|
//! | string | text | a number, kept as it is spelt |
//! | long, integer, short, byte | a number that is whole, however spelt (`1`, `1.0`, `1e3`) | the same as text |
//! | float, double | a number, rounded to the nearest | the same as text |
//! | decimal | a number that fits scale and precision exactly | the same as text |
//! | boolean | `true`, `false` | the same as text |
//! | binary | base64 text | |
//! | date, timestamp_ntz | text | |
//! | timestamp | text | a whole number: milliseconds since 1970 |
//!
//! JSON has one number type, therefore whole numbers count by value, not by spelling. A number that the
//! type cannot hold is out of range; a token of another kind is a wrong type.

use tidegate_types::Coercion;

use crate::column::{Column, Decimals};
use crate::cursor::Cursor;
use crate::leaf::Primitive;
use crate::number::{Inexact, double, float, scaled, small_double, small_float};
use crate::{base64, time};

/// Why a token does not fit a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is of another kind.
    Type,
    /// It is a number beyond the type.
    Range(&'static str),
}

impl From<Inexact> for Misfit {
    fn from(inexact: Inexact) -> Self {
        Self::Range(match inexact {
            Inexact::Fraction => "has more fraction digits than the type",
            Inexact::TooLarge => TOO_LARGE,
        })
    }
}

const TOO_LARGE: &str = "is out of range";

/// Appends a short number, if the column takes one; the cursor stays when it does not.
#[inline]
pub(crate) fn push_short_number(cursor: &mut Cursor<'_>, column: &mut Column) -> bool {
    let start = cursor.at();
    let pushed = match column {
        Column::Long(values) => cursor.small_integer().map(|value| values.push(value)),
        Column::Integer(values) => push_short(cursor, values),
        Column::Short(values) => push_short(cursor, values),
        Column::Byte(values) => push_short(cursor, values),
        Column::Double(values) => cursor.small_decimal().map(|n| values.push(small_double(n))),
        Column::Float(values) => {
            cursor.small_decimal().and_then(small_float).map(|value| values.push(value))
        }
        _ => None,
    };
    if pushed.is_none() {
        cursor.go_to(start);
    }
    pushed.is_some()
}

#[inline]
fn push_short<T>(cursor: &mut Cursor<'_>, values: &mut Primitive<T>) -> Option<()>
where
    T: arrow::array::ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    let value = T::Native::try_from(cursor.small_integer()?).ok()?;
    values.push(value);
    Some(())
}

/// Appends a number, given as its text.
pub(crate) fn push_number(
    column: &mut Column,
    token: &[u8],
    coercion: Coercion,
) -> Result<(), Misfit> {
    match column {
        Column::Long(values) => push_integer(values, token),
        Column::Integer(values) => push_integer(values, token),
        Column::Short(values) => push_integer(values, token),
        Column::Byte(values) => push_integer(values, token),
        Column::Double(values) => {
            values.push(double(token).ok_or(Misfit::Range(TOO_LARGE))?);
            Ok(())
        }
        Column::Float(values) => {
            values.push(float(token).ok_or(Misfit::Range(TOO_LARGE))?);
            Ok(())
        }
        Column::Decimal(decimals) => push_decimal(decimals, token),
        Column::Text(text) if coercion == Coercion::Lossless => {
            text.push(token);
            Ok(())
        }
        Column::Timestamp(values) if coercion == Coercion::Lossless => {
            let millis = i64::try_from(scaled(token, 0)?).ok();
            values.push(millis.and_then(time::from_millis).ok_or(Misfit::Range(TOO_LARGE))?);
            Ok(())
        }
        _ => Err(Misfit::Type),
    }
}

fn push_integer<T>(values: &mut Primitive<T>, token: &[u8]) -> Result<(), Misfit>
where
    T: arrow::array::ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let whole = scaled(token, 0)?;
    values.push(T::Native::try_from(whole).map_err(|_| Misfit::Range(TOO_LARGE))?);
    Ok(())
}

fn push_decimal(decimals: &mut Decimals, token: &[u8]) -> Result<(), Misfit> {
    let value = scaled(token, decimals.scale)?;
    if value.unsigned_abs() >= 10_u128.pow(u32::from(decimals.precision)) {
        return Err(Misfit::Range("has more digits than the decimal's precision"));
    }
    decimals.values.push(value);
    Ok(())
}

/// Appends a truth value.
pub(crate) fn push_boolean(column: &mut Column, value: bool) -> Result<(), Misfit> {
    let Column::Boolean(values) = column else { return Err(Misfit::Type) };
    values.push(value);
    Ok(())
}

/// Appends text without escapes.
pub(crate) fn push_text(
    column: &mut Column,
    text: &[u8],
    coercion: Coercion,
) -> Result<(), Misfit> {
    match column {
        Column::Text(values) => values.push(text),
        Column::Binary(values) => {
            if !base64::decode(text, values.open()) {
                return Err(Misfit::Type);
            }
            values.close();
        }
        Column::Date(values) => values.push(time::date(text).ok_or(Misfit::Type)?),
        Column::Timestamp(values) => values.push(time::instant(text).ok_or(Misfit::Type)?),
        Column::LocalTime(values) => values.push(time::local_time(text).ok_or(Misfit::Type)?),
        Column::Boolean(values) if coercion == Coercion::Lossless => match text {
            b"true" => values.push(true),
            b"false" => values.push(false),
            _ => return Err(Misfit::Type),
        },
        column if coercion == Coercion::Lossless => {
            let mut cursor = Cursor::new(text);
            let token = cursor.number().map_err(|_| Misfit::Type)?;
            if !cursor.is_at_end() {
                return Err(Misfit::Type);
            }
            return push_number(column, token, coercion);
        }
        _ => return Err(Misfit::Type),
    }
    Ok(())
}
