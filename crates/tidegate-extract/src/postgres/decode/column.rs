//! One column of a batch under way: bytes of the wire appended by type, nothing allocated by value.

use std::mem;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, ListArray,
    NullBufferBuilder, PrimitiveArray, StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use super::fault::Problem;
use super::numeric::{self, NotDecimal};
use crate::postgres::types::{Wire, element_field};

/// Days between 1970 and 2000, where Postgres begins to count.
const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Elements of a value that claims to be an array are at least this long.
const ELEMENT_HEADER: usize = 4;

/// The two digits of every byte.
const HEX: [[u8; 2]; 256] = hex();

const fn hex() -> [[u8; 2]; 256] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [[0; 2]; 256];
    let mut byte = 0;
    while byte < hex.len() {
        hex[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    hex
}

/// One column of a batch under way.
pub(super) struct Column {
    values: Values,
    nulls: NullBufferBuilder,
}

enum Values {
    Bool(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal { units: Vec<i128>, precision: u8, scale: u8 },
    Date(Vec<i32>),
    Timestamp { micros: Vec<i64>, zoned: bool },
    Text(Blob),
    Bytes(Blob),
    Jsonb(Blob),
    Uuid(Blob),
    List { offsets: Vec<i32>, elements: Box<Column>, wire: Wire },
}

/// Values of any length, end to end.
#[derive(Default)]
struct Blob {
    /// Where each value ends.
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl Column {
    pub(super) fn new(wire: &Wire) -> Self {
        let values = match wire {
            Wire::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Wire::Int16 => Values::Int16(Vec::new()),
            Wire::Int32 => Values::Int32(Vec::new()),
            Wire::Int64 => Values::Int64(Vec::new()),
            Wire::Float32 => Values::Float32(Vec::new()),
            Wire::Float64 => Values::Float64(Vec::new()),
            Wire::Decimal { precision, scale } => {
                Values::Decimal { units: Vec::new(), precision: *precision, scale: *scale }
            }
            Wire::Date => Values::Date(Vec::new()),
            Wire::Timestamp => Values::Timestamp { micros: Vec::new(), zoned: true },
            Wire::TimestampNtz => Values::Timestamp { micros: Vec::new(), zoned: false },
            Wire::Text => Values::Text(Blob::default()),
            Wire::Bytes => Values::Bytes(Blob::default()),
            Wire::Jsonb => Values::Jsonb(Blob::default()),
            Wire::Uuid => Values::Uuid(Blob::default()),
            Wire::List(element) => Values::List {
                offsets: vec![0],
                elements: Box::new(Self::new(element)),
                wire: (**element).clone(),
            },
        };
        Self { values, nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    pub(super) fn append_null(&mut self) {
        match &mut self.values {
            Values::Bool(bits) => bits.append(false),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp { micros: values, .. } => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { units, .. } => units.push(0),
            Values::Text(blob) | Values::Bytes(blob) | Values::Jsonb(blob) | Values::Uuid(blob) => {
                blob.append_nothing()
            }
            Values::List { offsets, .. } => offsets.push(offsets.last().copied().unwrap_or(0)),
        }
        self.nulls.append_null();
    }

    /// Appends what the server sent for a value.
    #[inline]
    pub(super) fn append(&mut self, value: &[u8]) -> Result<(), Problem> {
        match &mut self.values {
            Values::Int32(values) => values.push(i32::from_be_bytes(exact(value)?)),
            Values::Int64(values) => values.push(i64::from_be_bytes(exact(value)?)),
            Values::Text(blob) | Values::Bytes(blob) => blob.append(value)?,
            Values::Float64(values) => values.push(f64::from_be_bytes(exact(value)?)),
            Values::Timestamp { micros, .. } => micros.push(instant(value)?),
            Values::Decimal { units, precision, scale } => {
                units.push(decimal(value, *precision, *scale)?);
            }
            Values::Int16(values) => values.push(i16::from_be_bytes(exact(value)?)),
            Values::Bool(bits) => bits.append(truth(value)?),
            Values::Date(days) => days.push(day(value)?),
            Values::Uuid(blob) => blob.append_uuid(exact(value)?)?,
            Values::Jsonb(blob) => blob.append(jsonb(value)?)?,
            Values::Float32(values) => values.push(f32::from_be_bytes(exact(value)?)),
            Values::List { offsets, elements, .. } => {
                append_elements(elements, value)?;
                offsets.push(i32::try_from(elements.len()).map_err(|_| Problem::TooLong)?);
            }
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// The column so far; the next batch begins.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Bool(bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Int16(values) => primitive::<Int16Type>(values, nulls),
            Values::Int32(values) => primitive::<Int32Type>(values, nulls),
            Values::Int64(values) => primitive::<Int64Type>(values, nulls),
            Values::Float32(values) => primitive::<Float32Type>(values, nulls),
            Values::Float64(values) => primitive::<Float64Type>(values, nulls),
            Values::Date(days) => primitive::<Date32Type>(days, nulls),
            Values::Decimal { units, precision, scale } => {
                let scale = i8::try_from(*scale).unwrap_or(i8::MAX);
                let array = Decimal128Array::new(renewed(units).into(), nulls);
                Arc::new(array.with_precision_and_scale(*precision, scale)?)
            }
            Values::Timestamp { micros, zoned } => {
                let array =
                    PrimitiveArray::<TimestampMicrosecondType>::new(renewed(micros).into(), nulls);
                Arc::new(array.with_timezone_opt(zoned.then_some("UTC")))
            }
            Values::Text(blob) | Values::Jsonb(blob) | Values::Uuid(blob) => {
                let (offsets, bytes) = blob.finish();
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            Values::Bytes(blob) => {
                let (offsets, bytes) = blob.finish();
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
            Values::List { offsets, elements, wire } => {
                let ends = mem::replace(offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                let elements = elements.finish()?;
                Arc::new(ListArray::try_new(element_field(wire), offsets, elements, nulls)?)
            }
        })
    }
}

impl Blob {
    #[inline]
    fn append(&mut self, value: &[u8]) -> Result<(), Problem> {
        self.bytes.extend_from_slice(value);
        self.end()
    }

    #[inline]
    fn end(&mut self) -> Result<(), Problem> {
        self.ends.push(i32::try_from(self.bytes.len()).map_err(|_| Problem::TooLong)?);
        Ok(())
    }

    fn append_nothing(&mut self) {
        self.ends.push(self.ends.last().copied().unwrap_or(0));
    }

    /// In groups of 8, 4, 4, 4 and 12 digits.
    fn append_uuid(&mut self, value: [u8; 16]) -> Result<(), Problem> {
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut text = [b'-'; 36];
        for (byte, place) in value.into_iter().zip(PLACES) {
            [text[place], text[place + 1]] = HEX[usize::from(byte)];
        }
        self.append(&text)
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        (offsets, Buffer::from_vec(renewed(&mut self.bytes)))
    }
}

/// What was gathered; the next batch will need about as much.
fn renewed<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    mem::replace(values, next)
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(renewed(values)), nulls))
}

#[inline]
fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], Problem> {
    value.try_into().map_err(|_| Problem::Length { wanted: N, got: value.len() })
}

fn truth(value: &[u8]) -> Result<bool, Problem> {
    let [byte] = exact(value)?;
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Problem::Malformed("a boolean that is neither true nor false")),
    }
}

fn day(value: &[u8]) -> Result<i32, Problem> {
    let days = i32::from_be_bytes(exact(value)?);
    if matches!(days, i32::MIN | i32::MAX) {
        return Err(Problem::Infinite);
    }
    days.checked_add(EPOCH_DAYS).ok_or(Problem::OutOfRange)
}

fn instant(value: &[u8]) -> Result<i64, Problem> {
    let micros = i64::from_be_bytes(exact(value)?);
    if matches!(micros, i64::MIN | i64::MAX) {
        return Err(Problem::Infinite);
    }
    micros.checked_add(EPOCH_MICROS).ok_or(Problem::OutOfRange)
}

fn decimal(value: &[u8], precision: u8, scale: u8) -> Result<i128, Problem> {
    numeric::scaled(value, precision, scale).map_err(|problem| match problem {
        NotDecimal::NotFinite => Problem::NotFinite,
        NotDecimal::TooFine => Problem::TooFine { scale },
        NotDecimal::TooLarge => Problem::TooLarge { precision, scale },
        NotDecimal::Malformed => Problem::Malformed("a numeric that is none"),
    })
}

/// A version stands before the text.
fn jsonb(value: &[u8]) -> Result<&[u8], Problem> {
    match value {
        [1, text @ ..] => Ok(text),
        _ => Err(Problem::Malformed("a jsonb of an unknown version")),
    }
}

/// Dimensions, a flag for nulls, the element's type; then length and lower bound of each dimension; then
/// the elements, each with its length.
fn append_elements(elements: &mut Column, value: &[u8]) -> Result<(), Problem> {
    const CUT: Problem = Problem::Malformed("an array that ends in the middle");
    let (header, rest) = value.split_first_chunk::<12>().ok_or(CUT)?;
    let dimensions = i32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    match dimensions {
        0 => return if rest.is_empty() { Ok(()) } else { Err(CUT) },
        1 => {}
        2.. => return Err(Problem::Dimensions),
        _ => return Err(Problem::Malformed("an array with less than no dimension")),
    }
    let (dimension, mut rest) = rest.split_first_chunk::<8>().ok_or(CUT)?;
    let count = i32::from_be_bytes([dimension[0], dimension[1], dimension[2], dimension[3]]);
    let count = usize::try_from(count).map_err(|_| CUT)?;
    if rest.len() / ELEMENT_HEADER < count {
        return Err(CUT);
    }
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let length = i32::from_be_bytes(*length);
        if length == -1 {
            elements.append_null();
            rest = behind;
            continue;
        }
        let length = usize::try_from(length).map_err(|_| CUT)?;
        let (element, behind) = behind.split_at_checked(length).ok_or(CUT)?;
        elements.append(element)?;
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(CUT) }
}
