//! Waiting between attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::stream_facts::nanos;

/// A random number from the seed that the standard library takes for each map.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// The pause before attempt `attempt + 1`: doubling from `first` up to `most`, of which a random half
/// is taken off, so that many workers do not come back at once.
pub(crate) fn pause(attempt: u32, first: Duration, most: Duration, random: u64) -> Duration {
    let full = first.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(most);
    let half = nanos(full) / 2;
    Duration::from_nanos(half + random % (half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_between_half_and_the_whole() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(2));
        for (attempt, full) in [(0, 100), (1, 200), (4, 1_600), (5, 2_000), (60, 2_000)] {
            let full = Duration::from_millis(full);
            assert_eq!(pause(attempt, first, most, 0), full / 2);
            assert!(pause(attempt, first, most, u64::MAX) <= full);
        }
    }
}
