//! How many rows are decoded at a time: so many that a batch stays within its bytes.
//!
//! By the average, since no file says how large its rows are one by one. Texts that a dictionary repeats
//! count as often as they are repeated: newer writers say how much that is, of others the average of the
//! dictionary is taken for each value of a row. So a long text among short ones is not seen when it is
//! repeated more often than they are.

use std::ops::Range;

use parquet::arrow::ProjectionMask;
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::pages::Dictionary;
use super::ranges::Ranges;
use crate::objects::outbox::BatchSize;

/// Most rows that are decoded at a time.
const MOST_ROWS: usize = 4_096;

/// The rows of a batch of the columns in `mask`, so that it is not too large in any of the row groups in
/// `read`.
pub(super) fn batch_rows(
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
    read: Range<usize>,
    ranges: &Ranges,
    size: BatchSize,
) -> usize {
    let groups = metadata.row_groups().get(read).unwrap_or_default();
    let width =
        |group: &RowGroupMetaData| told_width(group, mask).max(repeated_width(group, mask, ranges));
    let widest = groups.iter().map(width).max().unwrap_or(0);
    let widest = usize::try_from(widest).unwrap_or(usize::MAX).max(1);
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
    let rows = group.num_rows().max(1);
    let of_column = |chunk: &ColumnChunkMetaData| {
        let told = u64::try_from(told_bytes(chunk) / rows).unwrap_or(0);
        let is_untold = chunk.column_type() == PhysicalType::BYTE_ARRAY
            && chunk.unencoded_byte_array_data_bytes().is_none();
        let at = chunk.dictionary_page_offset().filter(|_| is_untold);
        let dictionary =
            at.and_then(|at| u64::try_from(at).ok()).and_then(|at| ranges.dictionary(at));
        // Of a list a row has many.
        let values = u64::try_from(chunk.num_values().max(rows)).unwrap_or(u64::MAX);
        let of_values = |average: u64| average.saturating_mul(values) / rows.unsigned_abs();
        told.max(of_values(dictionary.map_or(0, Dictionary::average)))
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
