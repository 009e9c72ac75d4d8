//! What can be wrong with a value on the wire.

use thiserror::Error;
use tidegate_types::Reason;

use crate::limits::LARGEST_ROW;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Problem {
    /// The server does not speak as it should, or we do not understand it.
    #[error("{0}")]
    Malformed(&'static str),
    /// The value has another length than its type.
    #[error("a value of {got} bytes where {wanted} are due")]
    Length {
        /// What the type has.
        wanted: usize,
        /// What came.
        got: usize,
    },
    /// `infinity` or `-infinity` in a date or timestamp.
    #[error(
        "infinity, which a table cannot hold; declare the field as string, or leave such rows out by a query"
    )]
    Infinite,
    /// NaN or infinity in a numeric.
    #[error("NaN or an infinity, which no decimal is; declare the field as double or string")]
    NotFinite,
    /// A date or timestamp that the table's type does not reach.
    #[error("a time that lies too far ahead for the table; declare the field as string")]
    OutOfRange,
    /// A numeric with more digits behind the point than declared.
    #[error("more than {scale} digits behind the point; declare a larger scale")]
    TooFine {
        /// How many there may be.
        scale: u8,
    },
    /// A numeric with more digits before the point than declared.
    #[error("a number that does not fit decimal({precision},{scale}); declare a larger precision")]
    TooLarge {
        /// All digits.
        precision: u8,
        /// Those behind the point.
        scale: u8,
    },
    /// An array of arrays.
    #[error("an array of several dimensions; declare the field as string, or unnest it by a query")]
    Dimensions,
    /// More than two gigabytes in a batch's column.
    #[error("more than 2 GiB in one batch of a column")]
    TooLong,
    /// A row that memory is not made for.
    #[error(
        "a row is larger than {} MiB, which no run takes; leave such rows or that column out by a query",
        LARGEST_ROW >> 20
    )]
    RowTooLarge,
    /// Text that is none.
    #[error("text that is not UTF-8: the database's encoding is not what it says")]
    Encoding,
    /// No value in a field that is declared as required.
    #[error("no value, and the field is declared as required")]
    Missing,
}

impl Problem {
    /// The word for it; none when the stream itself is damaged, which another attempt may not see.
    pub(crate) fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Malformed(_) | Self::Length { .. } => return None,
            Self::Infinite
            | Self::NotFinite
            | Self::OutOfRange
            | Self::TooFine { .. }
            | Self::TooLarge { .. } => Reason::OutOfRange,
            Self::Dimensions => Reason::UnsupportedType,
            Self::TooLong | Self::RowTooLarge => Reason::TooLarge,
            Self::Encoding => Reason::InvalidEncoding,
            Self::Missing => Reason::MissingField,
        })
    }
}

/// A problem and its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("row {row}{column}: {problem}", column = .column.as_deref().map_or_else(String::new, |name| format!(", column {name:?}")))]
pub(crate) struct Fault {
    /// The row's number in the chunk, from 0.
    pub(crate) row: u64,
    /// The column; none when it is about the row as a whole.
    pub(crate) column: Option<String>,
    /// What is wrong.
    pub(crate) problem: Problem,
}
