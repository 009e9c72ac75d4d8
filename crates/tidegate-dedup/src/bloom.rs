//! A small filter that says for most ids that a file on disk does not hold them.

/// 16 bits for each id: at eight bits set in a block of 256, about one question in 700 reads a page in
/// vain. An id in memory costs 22 to 44 bytes, here 2.
const BITS_PER_ID: usize = 16;
const BITS_PER_BLOCK: usize = 256;
/// Odd multipliers, one for each word of a block, so that one hash gives eight bit places.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A split-block Bloom filter: no id that was added is ever denied.
pub(crate) struct Bloom {
    blocks: Vec<[u32; 8]>,
}

impl Bloom {
    /// An empty filter for about `ids` ids.
    pub(crate) fn for_ids(ids: usize) -> Self {
        let blocks = ids.saturating_mul(BITS_PER_ID).div_ceil(BITS_PER_BLOCK).max(1);
        Self { blocks: vec![[0; 8]; blocks] }
    }

    pub(crate) fn add(&mut self, hash: u64) {
        let (block, mask) = self.place(hash);
        for (word, bit) in self.blocks[block].iter_mut().zip(mask) {
            *word |= bit;
        }
    }

    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let (block, mask) = self.place(hash);
        self.blocks[block].iter().zip(mask).all(|(word, bit)| word & bit != 0)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.blocks.len() * size_of::<[u32; 8]>()
    }

    /// The upper half of the hash chooses the block, the lower half a bit in each of its words.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a hash")]
    fn place(&self, hash: u64) -> (usize, [u32; 8]) {
        let block = ((hash >> 32) * self.blocks.len() as u64) >> 32;
        let low = hash as u32;
        (block as usize, SALTS.map(|salt| 1 << (low.wrapping_mul(salt) >> 27)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyHasher;

    #[test]
    fn every_id_is_found_and_few_others_are() {
        let hash = |n: u32| KeyHasher::new(1).fingerprint(&n.to_le_bytes()).hash();
        let mut bloom = Bloom::for_ids(10_000);
        (0..10_000).for_each(|n| bloom.add(hash(n)));
        assert!((0..10_000).all(|n| bloom.may_hold(hash(n))));
        let wrong = (10_000..110_000).filter(|n| bloom.may_hold(hash(*n))).count();
        assert!(wrong < 500, "{wrong} of 100000 strangers were let through");
    }
}
