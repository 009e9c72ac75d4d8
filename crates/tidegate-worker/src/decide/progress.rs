//! A partition that kills its workers is read in ever smaller batches (S8).

/// Claims without progress after which batches begin to shrink.
const PATIENT_CLAIMS: u32 = 3;
/// The largest count: here every batch is a single message, and not many commits lead back.
const MOST: u32 = 16;

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

/// The count that a new claim writes: one more when the last holder went without a release.
#[must_use]
pub fn next_stuck(facts: StuckFacts) -> u32 {
    if facts.claimed_before && !facts.released {
        facts.stuck.saturating_add(1).min(MOST)
    } else {
        0
    }
}

/// The count after a commit that moved the floor. Batches grow as they shrank, in steps: what killed
/// the workers may be the next message, and then it takes a few deaths to be back and not all of them.
#[must_use]
pub fn eased(stuck: u32) -> u32 {
    if stuck < PATIENT_CLAIMS { 0 } else { stuck - 1 }
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

    #[test]
    fn s8_a_deadly_message_stands_alone_after_a_logarithm_of_claims_wherever_it_is() {
        const USUAL: usize = 1_000;
        for distance in 0..2_000 {
            let (mut stuck, mut floor, mut claims) = (0, 0, 1);
            loop {
                let limit = batch_limit(stuck, USUAL);
                if limit == 1 && floor == distance {
                    break;
                }
                if floor + limit > distance {
                    let facts = StuckFacts { stuck, released: false, claimed_before: true };
                    stuck = next_stuck(facts);
                    claims += 1;
                } else {
                    floor += limit;
                    stuck = eased(stuck);
                }
            }
            assert!(claims <= 22, "{distance}: {claims} claims");
        }
    }

    #[test]
    fn s8_batches_are_as_large_as_ever_a_few_commits_after_the_worst() {
        let mut stuck = (0..99).fold(0, |stuck, _| {
            next_stuck(StuckFacts { stuck, released: false, claimed_before: true })
        });
        assert_eq!(batch_limit(stuck, 16_384), 1);
        for _ in 0..MOST {
            stuck = eased(stuck);
        }
        assert_eq!((stuck, batch_limit(stuck, 16_384)), (0, 16_384));
    }
}
