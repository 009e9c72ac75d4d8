//! How long a file becomes, judged by those before it.

use tidegate_types::ByteSize;

/// Before anything was observed: an Arrow batch of short messages compresses to about a third.
const FIRST_RATIO: f64 = 0.35;
/// Weight of the newest file. Low enough that one odd file does not upset the estimate, high enough
/// that a changed stream is followed within ten files.
const WEIGHT: f64 = 0.2;
/// Files below this say more about footers than about data.
const SMALLEST_OBSERVATION: u64 = 64 << 10;

/// Expected bytes of a file from the bytes that its rows take in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeEstimate {
    ratio: f64,
    observed: bool,
}

impl Default for SizeEstimate {
    fn default() -> Self {
        Self { ratio: FIRST_RATIO, observed: false }
    }
}

impl SizeEstimate {
    /// Rows that took `in_memory` bytes made a file of `in_file` bytes. Small files are ignored.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn observe(&mut self, in_memory: ByteSize, in_file: ByteSize) {
        if in_memory.0 < SMALLEST_OBSERVATION {
            return;
        }
        let ratio = in_file.0 as f64 / in_memory.0 as f64;
        self.ratio = if self.observed { self.ratio + WEIGHT * (ratio - self.ratio) } else { ratio };
        self.observed = true;
    }

    /// How long a file becomes whose rows take `in_memory` bytes.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of something positive; the cast saturates"
    )]
    pub fn file_size(&self, in_memory: ByteSize) -> ByteSize {
        ByteSize((in_memory.0 as f64 * self.ratio) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_what_was_observed() {
        let mut estimate = SizeEstimate::default();
        assert_eq!(estimate.file_size(ByteSize(1_000)), ByteSize(350));
        estimate.observe(ByteSize(1 << 20), ByteSize(1 << 18));
        assert_eq!(estimate.file_size(ByteSize(1_000)), ByteSize(250), "the first file decides");
        for _ in 0..10 {
            estimate.observe(ByteSize(1 << 20), ByteSize(1 << 19));
        }
        let after_ten = estimate.file_size(ByteSize(1_000)).0;
        assert!((470..500).contains(&after_ten), "{after_ten}");
    }

    #[test]
    fn nothing_and_almost_nothing_teach_nothing() {
        let mut estimate = SizeEstimate::default();
        estimate.observe(ByteSize(0), ByteSize(4_000));
        estimate.observe(ByteSize(100), ByteSize(4_000));
        assert_eq!(estimate, SizeEstimate::default());
        assert_eq!(estimate.file_size(ByteSize(u64::MAX)).0 >> 61, 2, "no overflow");
    }
}
