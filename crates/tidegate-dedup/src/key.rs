//! Message keys as fixed-size fingerprints.

use std::fmt;

use tidegate_types::KeyPrecision;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// 128 bits that stand for a message key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The sixteen bytes as they stand in the column `_tg_id` (R1), most significant first.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads the sixteen bytes of the column `_tg_id`.
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// What the window keeps of this fingerprint at `precision`: all of it, or the upper half (D5).
    pub(crate) fn at(self, precision: KeyPrecision) -> Self {
        match precision {
            KeyPrecision::Exact => self,
            KeyPrecision::Fingerprint => Self(self.0 & (u128::from(u64::MAX) << 64)),
        }
    }

    /// The upper half: already a hash, so that no table needs to hash it again.
    pub(crate) fn hash(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({:032x})", self.0)
    }
}

/// Turns message keys into fingerprints with the ledger's own seed, so that nobody outside can choose
/// two ids that collide.
///
/// The seed outlives every process: fingerprints stand in the table. It is one of the ledger's
/// settings (P2); another seed is another window (D2).
#[derive(Clone, Copy)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// A hasher with the ledger's seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The fingerprint of a key's bytes (XXH3, 128 bits).
    #[must_use]
    pub fn fingerprint(&self, bytes: &[u8]) -> Fingerprint {
        Fingerprint(xxh3_128_with_seed(bytes, self.seed))
    }
}

/// The seed is a secret of the ledger and is not printed.
impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_stays_the_same_from_release_to_release() {
        let printed =
            |seed, text: &str| format!("{:?}", KeyHasher::new(seed).fingerprint(text.as_bytes()));
        assert_eq!(printed(0, ""), "Fingerprint(99aa06d3014798d86001c324468d497f)");
        assert_eq!(printed(7, "order-1"), "Fingerprint(f9f6eed902958e7c90fc6275b8b378b0)");
        assert_ne!(printed(1, "order-1"), printed(2, "order-1"), "the seed matters");
    }

    #[test]
    fn the_bytes_of_the_column_are_read_back() {
        let fingerprint = KeyHasher::new(7).fingerprint(b"order-1");
        assert_eq!(Fingerprint::from_be_bytes(fingerprint.to_be_bytes()), fingerprint);
    }

    #[test]
    fn d5_the_short_form_keeps_the_upper_half() {
        let whole = Fingerprint(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
        assert_eq!(whole.at(KeyPrecision::Exact), whole);
        assert_eq!(whole.at(KeyPrecision::Fingerprint).0, 0x0123_4567_89ab_cdef << 64);
    }
}
