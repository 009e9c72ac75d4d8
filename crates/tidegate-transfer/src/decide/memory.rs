//! How much memory each part of a run may hold, whatever the source's size: at most 200 MB together with
//! up to eight readers, of which every further one takes some 12 MB more.

use tidegate_config::TransferConfig;

/// Batches on their way from the readers to the files.
const BATCHES: usize = 32 << 20;
/// Open row groups and what of the files the store has not acknowledged.
const FILES: usize = 88 << 20;
/// Batches of one reader: one being filled, those that wait, one being written.
const BATCHES_EACH: usize = CHANNEL + 2;
/// Batches that wait between a reader and its writer.
pub(crate) const CHANNEL: usize = 2;
/// Smallest part of an upload that S3 takes.
const PART: usize = 5 << 20;

/// The shares of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// About how many rows a batch has.
    pub(crate) batch_rows: usize,
    /// About how many bytes a batch has at most.
    pub(crate) batch_bytes: usize,
    /// Bytes that the open files of one writer may hold; beyond it the largest is closed.
    pub(crate) files_each: usize,
    /// Files that one writer has open at most.
    pub(crate) open_each: usize,
    /// A row group's most bytes.
    pub(crate) row_group_bytes: usize,
    /// Bytes of one part of an upload.
    pub(crate) part_size: usize,
    /// Parts of one file that are under way at once.
    pub(crate) parts_in_flight: usize,
    /// Files of one writer that are being finished beside the open ones.
    pub(crate) finishing: usize,
}

impl Memory {
    /// Divides the memory among as many readers and writers as the pipeline has.
    pub(crate) fn shares(config: &TransferConfig) -> Self {
        let parallelism = config.chunking.parallelism.max(1) as usize;
        let partitioned = !config.sink.partition_by.is_empty();
        Self::divided(parallelism, partitioned, config.sink.file.max_open_partitions as usize)
    }

    fn divided(parallelism: usize, partitioned: bool, max_open: usize) -> Self {
        let open_each = if partitioned { (max_open / parallelism).max(1) } else { 1 };
        let each = FILES / parallelism;
        // Of one file: half for its row group, half for its upload; the same again while it is finished.
        let upload = each / 4;
        let row_group_bytes = (each / 2 / open_each.min(8)).clamp(1 << 20, 32 << 20);
        Self {
            batch_rows: 16 << 10,
            batch_bytes: (BATCHES / parallelism / BATCHES_EACH).clamp(64 << 10, 4 << 20),
            files_each: each * 3 / 4,
            open_each,
            row_group_bytes,
            part_size: PART,
            parts_in_flight: (upload / PART).saturating_sub(1).clamp(1, 4),
            finishing: usize::from(parallelism <= 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_parallelism_all_parts_together_fit() {
        for parallelism in 1..=8 {
            for (partitioned, max_open) in [(false, 64), (true, 1), (true, 64)] {
                let memory = Memory::divided(parallelism, partitioned, max_open);
                let batches = memory.batch_bytes * BATCHES_EACH;
                let upload = memory.part_size * (memory.parts_in_flight + 1);
                let open =
                    if partitioned { memory.files_each } else { memory.row_group_bytes + upload };
                let all = parallelism * (batches + open + memory.finishing * upload);
                assert!(all <= 200_000_000 - (20 << 20), "{parallelism} {partitioned}: {all}");
                assert!(memory.row_group_bytes >= 1 << 20 && memory.open_each >= 1);
            }
        }
    }
}
