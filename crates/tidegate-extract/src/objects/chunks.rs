//! How files are divided into chunks. Pure.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tidegate_config::Chunking;

use super::listing::PinnedFile;
use super::parquet::RowGroup;

/// Bytes of a row in a file, when nothing is known about it.
const ROW_BYTES: u64 = 64;
/// A chunk smaller than this costs more around it than within.
const LEAST_BYTES: u64 = 4 << 20;
/// What is lost when a chunk is read again.
const MOST_BYTES: u64 = 512 << 20;
/// Most files of a chunk: its description travels.
const MOST_FILES: usize = 5_000;
/// What opening a file costs, in bytes that could be read meanwhile.
const FILE_COST: u64 = 64 << 10;

/// What a chunk reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// The files, in this order.
    pub(crate) files: Vec<PinnedFile>,
    /// Which row groups of the only file; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) row_groups: Option<Range<usize>>,
}

impl Bounds {
    /// For people.
    pub(crate) fn what(&self) -> String {
        match (self.files.as_slice(), &self.row_groups) {
            ([file], Some(groups)) => {
                format!("{}, row groups {} to {}", file.path, groups.start, groups.end - 1)
            }
            ([file], None) => file.path.clone(),
            ([first, .., last], _) => {
                format!("{} files from {} to {}", self.files.len(), first.path, last.path)
            }
            ([], _) => "no file".to_owned(),
        }
    }
}

/// About how many bytes a chunk should have: what the pipeline says in rows, but no more than gives every
/// reader something to do.
pub(crate) fn target_bytes(chunking: &Chunking, files: &[PinnedFile]) -> u64 {
    let total: u64 = files.iter().map(|file| file.size + FILE_COST).sum();
    let share = total / u64::from(chunking.parallelism.max(1)) + 1;
    let wished = chunking.target_rows.saturating_mul(ROW_BYTES);
    wished.min(share).clamp(LEAST_BYTES, MOST_BYTES)
}

/// Gathers whole files until a chunk has its bytes. A file that is larger stands alone.
pub(crate) fn gather(files: Vec<PinnedFile>, target: u64) -> Vec<Bounds> {
    let mut chunks: Vec<Bounds> = Vec::new();
    let mut gathered = 0;
    for file in files {
        let cost = file.size + FILE_COST;
        let fits = gathered + cost <= target;
        match chunks.last_mut() {
            Some(chunk) if fits && chunk.files.len() < MOST_FILES => {
                chunk.files.push(file);
                gathered += cost;
            }
            _ => {
                chunks.push(Bounds { files: vec![file], row_groups: None });
                gathered = cost;
            }
        }
    }
    chunks
}

/// Divides one file by its row groups; with the rows of each part.
pub(crate) fn split(file: &PinnedFile, groups: &[RowGroup], target: u64) -> Vec<(Bounds, u64)> {
    let mut parts: Vec<(Bounds, u64)> = Vec::new();
    let mut gathered = 0;
    for (number, group) in groups.iter().enumerate() {
        match parts.last_mut() {
            Some((Bounds { row_groups: Some(range), .. }, rows))
                if gathered + group.bytes <= target =>
            {
                range.end = number + 1;
                *rows += group.rows;
                gathered += group.bytes;
            }
            _ => {
                let row_groups = Some(number..number + 1);
                parts.push((Bounds { files: vec![file.clone()], row_groups }, group.rows));
                gathered = group.bytes;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(number: usize, size: u64) -> PinnedFile {
        PinnedFile { path: format!("f{number:06}"), etag: None, size, modified: 0 }
    }

    #[test]
    fn every_reader_gets_something_and_no_chunk_is_huge() {
        let chunking =
            |target_rows, parallelism| Chunking { field: None, target_rows, parallelism };
        let files = [file(0, 1 << 30), file(1, 1 << 30)];
        assert_eq!(target_bytes(&chunking(u64::MAX, 1), &files), MOST_BYTES);
        assert_eq!(target_bytes(&chunking(u64::MAX, 8), &files), (1 << 28) + FILE_COST / 4 + 1);
        assert_eq!(target_bytes(&chunking(1_000_000, 1), &files), 64_000_000);
        assert_eq!(target_bytes(&chunking(1, 1), &files), LEAST_BYTES);
        assert_eq!(target_bytes(&chunking(1, 0), &[]), LEAST_BYTES);
    }

    #[test]
    fn many_small_files_make_few_chunks() {
        let files: Vec<_> = (0..50_000).map(|number| file(number, 1_000)).collect();
        let chunking = Chunking { field: None, target_rows: 5_000_000, parallelism: 4 };
        let target = target_bytes(&chunking, &files);
        let chunks = gather(files, target);
        assert!((4..20).contains(&chunks.len()), "{}", chunks.len());
        assert!(chunks.iter().all(|chunk| chunk.files.len() <= MOST_FILES));
    }

    proptest! {
        #[test]
        fn every_file_is_in_one_chunk(sizes in prop::collection::vec(0_u64..30 << 20, 0..60), target in 1_u64..40 << 20) {
            let files: Vec<_> = sizes.iter().enumerate().map(|(n, size)| file(n, *size)).collect();
            let chunks = gather(files.clone(), target);
            let together: Vec<_> = chunks.iter().flat_map(|chunk| chunk.files.clone()).collect();
            prop_assert_eq!(together, files);
            for chunk in chunks {
                let bytes: u64 = chunk.files.iter().map(|file| file.size).sum();
                prop_assert!(bytes <= target || chunk.files.len() == 1);
            }
        }

        #[test]
        fn every_row_group_is_in_one_part(groups in prop::collection::vec((0_u64..9 << 20, 0_u64..100), 1..40), target in 1_u64..20 << 20) {
            let groups: Vec<_> = groups.into_iter().map(|(bytes, rows)| RowGroup { bytes, rows }).collect();
            let parts = split(&file(0, 1), &groups, target);
            let covered: Vec<usize> = parts.iter().flat_map(|(part, _)| part.row_groups.clone().unwrap()).collect();
            prop_assert_eq!(covered, (0..groups.len()).collect::<Vec<_>>());
            let rows: u64 = parts.iter().map(|(_, rows)| rows).sum();
            prop_assert_eq!(rows, groups.iter().map(|group| group.rows).sum::<u64>());
        }
    }
}
