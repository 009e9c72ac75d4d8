//! An id with its time, in as few bytes as it can be.

/// Bytes of a time offset within a generation: 2⁴⁰ µs are 12 days.
pub(crate) const OFFSET_BYTES: usize = 5;
/// The first offset that does not fit.
pub(crate) const OFFSET_LIMIT: i64 = 1 << (8 * OFFSET_BYTES);

/// An id and when its row was published, counted from the start of the generation. Bytes instead of
/// integers, because alignment would make 32 bytes of 21.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot<const N: usize> {
    pub(crate) key: [u8; N],
    pub(crate) offset: [u8; OFFSET_BYTES],
}

impl<const N: usize> Slot<N> {
    pub(crate) fn new(key: [u8; N], offset: u64) -> Self {
        let bytes = offset.to_le_bytes();
        Self { key, offset: std::array::from_fn(|place| bytes[place]) }
    }

    /// Reads what a run has written; `bytes` is at least one entry long.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            key: std::array::from_fn(|place| bytes[place]),
            offset: std::array::from_fn(|place| bytes[N + place]),
        }
    }

    pub(crate) fn offset(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..OFFSET_BYTES].copy_from_slice(&self.offset);
        u64::from_le_bytes(bytes)
    }

    /// Ids are hashes already.
    pub(crate) fn hash(&self) -> u64 {
        hash_of(&self.key)
    }
}

/// The first eight bytes of an id, which is a hash.
pub(crate) fn hash_of<const N: usize>(key: &[u8; N]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_costs_what_its_bytes_cost() {
        assert_eq!((size_of::<Slot<16>>(), size_of::<Slot<8>>()), (21, 13));
        assert_eq!(Slot::new([0; 8], 0xff_ffff_ffff).offset(), 0xff_ffff_ffff);
    }
}
