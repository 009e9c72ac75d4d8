//! A partition that kills its workers is read in ever smaller batches (S8).

/// Claims without progress after which batches begin to shrink.
const PATIENT_CLAIMS: u32 = 3;

/// What a claim knows of the claims before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StuckFacts {
    /// How many claims in a row found the floor where the claim before them had left it.
    pub stuck: u32,
    /// Whether the last holder released the partition.
    pub released: bool,
    /// Whether the partition was claimed before at all.
    pub claimed_before: bool,
}

/// The count that the new claim writes: one more when the last holder went without a release. A commit
/// that moves the floor sets it back to zero.
#[must_use]
pub fn next_stuck(facts: StuckFacts) -> u32 {
    if facts.claimed_before && !facts.released { facts.stuck.saturating_add(1) } else { 0 }
}

/// How many messages a batch may hold after `stuck` claims without progress: all up to the third,
/// then half as many with each further one, at least one.
#[must_use]
pub fn batch_limit(stuck: u32, usual: usize) -> usize {
    let halvings = (stuck.saturating_add(1)).saturating_sub(PATIENT_CLAIMS);
    (usual >> halvings.min(usize::BITS - 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_batches_shrink_after_three_deaths_without_progress() {
        assert_eq!(batch_limit(0, 1_000), 1_000);
        assert_eq!(batch_limit(2, 1_000), 1_000);
        assert_eq!(batch_limit(3, 1_000), 500);
        assert_eq!(batch_limit(5, 1_000), 125);
        assert_eq!(batch_limit(60, 1_000), 1);
        assert_eq!(batch_limit(u32::MAX, 1_000), 1);
    }

    #[test]
    fn s8_a_release_is_not_a_death() {
        let facts = StuckFacts { stuck: 4, released: false, claimed_before: true };
        assert_eq!(next_stuck(facts), 5);
        assert_eq!(next_stuck(StuckFacts { released: true, ..facts }), 0);
        assert_eq!(next_stuck(StuckFacts { claimed_before: false, ..facts }), 0);
    }
}
