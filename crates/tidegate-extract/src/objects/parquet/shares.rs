//! The columns' shares of row groups: where they are in a file, and how their pages are packed.

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::unpack::Packing;

/// The shares of one file.
#[derive(Debug, Clone)]
pub(super) struct Shares(Vec<Share>);

/// One column's share of a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Share {
    /// Where it ends in the file.
    end: u64,
    /// Which column it is of.
    pub(super) leaf: usize,
    pub(super) packing: Packing,
}

impl Shares {
    pub(super) fn of(footer: &ParquetMetaData) -> Self {
        let mut shares = Vec::new();
        for group in footer.row_groups() {
            for (leaf, share) in group.columns().iter().enumerate() {
                let (start, length) = share.byte_range();
                let packing = Packing::of(share.compression());
                shares.push(Share { end: start.saturating_add(length), leaf, packing });
            }
        }
        shares.sort_unstable();
        Self(shares)
    }

    /// The share that has what is at `at`, and its number.
    pub(super) fn at(&self, at: u64) -> Option<(usize, Share)> {
        let number = self.0.partition_point(|share| share.end <= at);
        self.0.get(number).map(|share| (number, *share))
    }
}

/// The footer for the Parquet library, which takes pages that are unpacked here for such as never were packed.
pub(super) fn as_unpacked(footer: ParquetMetaData) -> Result<ParquetMetaData, ParquetError> {
    let is_ours = |group: &RowGroupMetaData| {
        group.columns().iter().any(|share| Packing::of(share.compression()) == Packing::Gzip)
    };
    if !footer.row_groups().iter().any(is_ours) {
        return Ok(footer);
    }
    let mut footer = footer.into_builder();
    let groups = footer.take_row_groups().into_iter().map(|group| {
        let mut group = group.into_builder();
        let shares =
            group.take_columns().into_iter().map(|share| match Packing::of(share.compression()) {
                Packing::Gzip => {
                    share.into_builder().set_compression(Compression::UNCOMPRESSED).build()
                }
                Packing::Bounded | Packing::Lz4 => Ok(share),
            });
        let shares = shares.collect::<Result<_, _>>()?;
        group.set_column_metadata(shares).build()
    });
    let groups = groups.collect::<Result<_, _>>()?;
    Ok(footer.set_row_groups(groups).build())
}
