//! How many rows are decoded at a time: so many that a batch stays within its bytes.
//!
//! By the average, since no file says how large its rows are one by one. Texts that a dictionary repeats
//! count as often as they are repeated: newer writers say how much that is, of others the dictionary's own
//! average is taken.

use parquet::arrow::ProjectionMask;
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::pages::Dictionary;
use super::ranges::Ranges;
use crate::objects::outbox::BatchSize;

/// Most rows that are decoded at a time.
const MOST_ROWS: usize = 4_096;

/// The rows of a batch of the columns in `mask`; `first` is the first row group that is read.
pub(super) fn batch_rows(
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
    first: usize,
    ranges: &Ranges,
    size: BatchSize,
) -> usize {
    let groups = metadata.row_groups();
    let told = groups.iter().map(|group| told_width(group, mask)).max().unwrap_or(0);
    let repeated = groups.get(first).map_or(0, |group| repeated_width(group, mask, ranges));
    let widest = usize::try_from(told.max(repeated)).unwrap_or(usize::MAX).max(1);
    (size.bytes / widest).clamp(1, size.rows.clamp(1, MOST_ROWS))
}

/// A row's bytes by what the footer says.
fn told_width(group: &RowGroupMetaData, mask: &ProjectionMask) -> u64 {
    let bytes: i64 = chosen(group, mask).map(told_bytes).sum();
    u64::try_from(bytes / group.num_rows().max(1)).unwrap_or(0)
}

fn told_bytes(chunk: &ColumnChunkMetaData) -> i64 {
    chunk.uncompressed_size().max(chunk.unencoded_byte_array_data_bytes().unwrap_or(0))
}

/// A row's bytes where texts come out of dictionaries of which the footer says nothing. A dictionary that
/// cannot be read is told when its column is.
fn repeated_width(group: &RowGroupMetaData, mask: &ProjectionMask, ranges: &Ranges) -> u64 {
    let of_column = |chunk: &ColumnChunkMetaData| {
        let told = u64::try_from(told_bytes(chunk) / group.num_rows().max(1)).unwrap_or(0);
        let is_untold = chunk.column_type() == PhysicalType::BYTE_ARRAY
            && chunk.unencoded_byte_array_data_bytes().is_none();
        let at = chunk.dictionary_page_offset().filter(|_| is_untold);
        let dictionary =
            at.and_then(|at| u64::try_from(at).ok()).and_then(|at| ranges.dictionary(at));
        told.max(dictionary.map_or(0, Dictionary::average))
    };
    chosen(group, mask).map(of_column).sum()
}

/// The columns of a row group that are read.
fn chosen<'a>(
    group: &'a RowGroupMetaData,
    mask: &'a ProjectionMask,
) -> impl Iterator<Item = &'a ColumnChunkMetaData> {
    let leaves = group.columns().iter().enumerate();
    leaves.filter(|(leaf, _)| mask.leaf_included(*leaf)).map(|(_, chunk)| chunk)
}
