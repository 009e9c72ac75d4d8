//! Random bits from one seed: for nonces and jitter, and for what has to be the same for a seed.

use std::hash::{BuildHasher, Hasher, RandomState};

use tidegate_types::Nonce;

/// A `SplitMix64` generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
/// Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same for a seed on every machine.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from the operating system's randomness, by way of the hash maps' keys.
    #[must_use]
    pub fn from_system() -> Self {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        Self(hasher.finish())
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A fresh nonce.
    pub fn nonce(&mut self) -> Nonce {
        Nonce::from_random(self.bits())
    }

    /// A number in `0..=max`.
    pub fn up_to(&mut self, max: u32) -> u32 {
        u32::try_from(self.bits() % (u64::from(max) + 1)).unwrap_or(max)
    }
}
