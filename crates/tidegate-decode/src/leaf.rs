//! Buffers of columns without children. A row is taken back by cutting every buffer to the length it
//! had before: nothing else needs to be remembered.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, PrimitiveArray,
    StringArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, ToByteSlice};

/// Which values are there. Costs nothing until the first null.
#[derive(Debug, Default)]
pub(crate) struct Nulls(Option<BooleanBufferBuilder>);

impl Nulls {
    #[inline]
    pub(crate) fn push_valid(&mut self) {
        if let Some(bits) = &mut self.0 {
            bits.append(true);
        }
    }

    /// Appends a null behind `len` values.
    pub(crate) fn push_null(&mut self, len: usize) {
        let bits = self.0.get_or_insert_with(|| {
            let mut bits = BooleanBufferBuilder::new(len + 1);
            bits.append_n(len, true);
            bits
        });
        bits.append(false);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(bits) = &mut self.0 {
            bits.truncate(len);
        }
    }

    pub(crate) fn finish(&mut self) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.0.take()?.finish());
        (nulls.null_count() > 0).then_some(nulls)
    }
}

/// Takes a buffer and leaves one with room for as much again, so that growing is paid once.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let room = values.len();
    std::mem::replace(values, Vec::with_capacity(room))
}

/// Values of fixed width.
#[derive(Debug)]
pub(crate) struct Primitive<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: Nulls,
}

impl<T: ArrowPrimitiveType> Default for Primitive<T> {
    fn default() -> Self {
        Self { values: Vec::new(), nulls: Nulls::default() }
    }
}

impl<T: ArrowPrimitiveType> Primitive<T> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.nulls.push_valid();
    }

    pub(crate) fn push_null(&mut self) {
        self.nulls.push_null(self.values.len());
        self.values.push(T::Native::default());
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    /// Whether a value stands twice at or behind `start`.
    pub(crate) fn repeats(&self, start: usize) -> bool {
        any_twice(self.values[start..].iter().map(ToByteSlice::to_byte_slice))
    }

    pub(crate) fn finish(&mut self, data_type: &DataType) -> ArrayRef {
        let values = ScalarBuffer::from(take(&mut self.values));
        let array = PrimitiveArray::<T>::new(values, self.nulls.finish());
        Arc::new(array.with_data_type(data_type.clone()))
    }
}

/// Truth values.
#[derive(Debug)]
pub(crate) struct Booleans {
    values: BooleanBufferBuilder,
    nulls: Nulls,
}

impl Default for Booleans {
    fn default() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: Nulls::default() }
    }
}

impl Booleans {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, value: bool) {
        self.values.append(value);
        self.nulls.push_valid();
    }

    pub(crate) fn push_null(&mut self) {
        self.nulls.push_null(self.values.len());
        self.values.append(false);
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    pub(crate) fn repeats(&self, start: usize) -> bool {
        let values = start..self.values.len();
        let bytes = values.map(|at| if self.values.get_bit(at) { b"t" } else { b"f" });
        any_twice(bytes.map(<[u8; 1]>::as_slice))
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(), self.nulls.finish()))
    }
}

/// Text or bytes, one behind the other.
#[derive(Debug)]
pub(crate) struct Bytes {
    offsets: Vec<i32>,
    values: Vec<u8>,
    nulls: Nulls,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { offsets: vec![0], values: Vec::new(), nulls: Nulls::default() }
    }
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.values.extend_from_slice(value);
        self.close();
    }

    /// Where the bytes of the next value are written before [`Self::close`].
    pub(crate) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.values
    }

    /// Makes a value of the bytes written since the last one.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.offsets.push(offset(self.values.len()));
        self.nulls.push_valid();
    }

    pub(crate) fn push_null(&mut self) {
        self.nulls.push_null(self.len());
        self.offsets.push(offset(self.values.len()));
    }

    /// Also drops bytes that were written and never closed.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.values.truncate(usize::try_from(end).unwrap_or(0));
        self.nulls.truncate(len);
    }

    pub(crate) fn repeats(&self, start: usize) -> bool {
        let ends = self.offsets[start..].windows(2);
        any_twice(ends.map(|pair| &self.values[pair[0] as usize..pair[1] as usize]))
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let offsets = take(&mut self.offsets);
        self.offsets.push(0);
        let values = Buffer::from_vec(take(&mut self.values));
        (OffsetBuffer::new(ScalarBuffer::from(offsets)), values, self.nulls.finish())
    }

    pub(crate) fn finish_text(&mut self) -> ArrayRef {
        let (offsets, values, nulls) = self.take();
        let array = StringArray::try_new(offsets, values, nulls);
        Arc::new(array.expect("messages are checked to be UTF-8 and cut at quotes only"))
    }

    pub(crate) fn finish_binary(&mut self) -> ArrayRef {
        let (offsets, values, nulls) = self.take();
        Arc::new(BinaryArray::new(offsets, values, nulls))
    }
}

/// A length as an Arrow offset.
#[inline]
pub(crate) fn offset(len: usize) -> i32 {
    i32::try_from(len).expect("one call takes far less than 2 GiB: see MAX_CALL_BYTES")
}

/// Whether one of the values is there twice. Few are compared with each other, many are sorted: never
/// more than n log n comparisons, whatever a message asks for.
pub(crate) fn any_twice<'a>(values: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> bool {
    /// Up to this many, comparing is cheaper than allocating.
    const FEW: usize = 8;
    if values.len() <= FEW {
        return values
            .clone()
            .enumerate()
            .any(|(n, value)| values.clone().take(n).any(|v| v == value));
    }
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, cast::AsArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_row_taken_back_leaves_no_trace() {
        let mut numbers = Primitive::<Int64Type>::default();
        let mut text = Bytes::default();
        numbers.push(1);
        text.push(b"one");
        numbers.push_null();
        text.push_null();
        numbers.truncate(1);
        text.open().extend_from_slice(b"half");
        text.truncate(1);
        numbers.push(2);
        text.push(b"two");
        let numbers = numbers.finish(&DataType::Int64);
        let text = text.finish_text();
        assert_eq!(numbers.as_primitive::<Int64Type>().values(), &[1, 2]);
        assert_eq!((numbers.null_count(), text.null_count()), (0, 0));
        assert_eq!(text.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn repeated_values_are_found() {
        let mut text = Bytes::default();
        for word in ["a", "b", "c", "b"] {
            text.push(word.as_bytes());
        }
        assert!(text.repeats(0) && !text.repeats(2));
        let mut flags = Booleans::default();
        flags.push(true);
        flags.push(false);
        assert!(!flags.repeats(0));
        flags.push(true);
        assert!(flags.repeats(0));
    }
}
