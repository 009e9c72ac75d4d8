//! Who may take a partition, and when (P7).

use std::time::Duration;

use tidegate_types::{Epoch, Holder};

/// What is known of a partition at the moment of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimFacts {
    /// The epoch in the log; zero when the partition was never claimed.
    pub epoch: Epoch,
    /// The holder in the log.
    pub holder: Holder,
    /// Who asks.
    pub me: Holder,
    /// The generation of the assignment that asks for the partition; `None` without an assignment:
    /// the log's own generation is used.
    pub generation: Option<i64>,
    /// Whether this process held the partition before and lost it.
    pub lost_before: bool,
    /// How long this process has watched the partition without seeing a commit for it.
    pub silent_for: Duration,
    /// How long it must be silent before it is taken from a holder that may still live.
    pub patience: Duration,
}

/// What to do about a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Commit a claim with this epoch.
    Claim(Epoch),
    /// Look again after this long.
    Wait(Duration),
    /// An assignment with a higher generation has it: never go over it.
    Superseded,
}

/// How long a partition must be silent before it may be taken from a holder that did not release it:
/// `max(10 s, 3 × maxInterval)`, with up to a fifth on top so that two contenders do not move at once.
/// `jitter` is uniform in 0..=1000.
#[must_use]
pub fn patience(max_interval: Duration, jitter: u32) -> Duration {
    let base = (max_interval * 3).max(Duration::from_secs(10));
    base + base * jitter.min(1_000) / 5_000
}

/// Decides whether to claim a partition now.
#[must_use]
pub fn decide_claim(facts: &ClaimFacts) -> ClaimDecision {
    // Generation 0 is nobody's: the first claim of a partition is always of a higher one.
    let generation = facts.generation.unwrap_or_else(|| facts.epoch.generation()).max(1);
    let Some(next) = facts.epoch.next(generation) else {
        return ClaimDecision::Superseded;
    };
    let released = facts.holder == Holder::RELEASED;
    let assigned_anew = generation > facts.epoch.generation();
    let mine = facts.holder == facts.me && !facts.lost_before;
    if released || assigned_anew || mine || facts.silent_for >= facts.patience {
        ClaimDecision::Claim(next)
    } else {
        ClaimDecision::Wait(facts.patience - facts.silent_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Holder = Holder(7);
    const ME: Holder = Holder(8);

    fn held_by_other() -> ClaimFacts {
        ClaimFacts {
            epoch: Epoch::default().next(3).expect("in range"),
            holder: OTHER,
            me: ME,
            generation: Some(3),
            lost_before: false,
            silent_for: Duration::ZERO,
            patience: Duration::from_secs(10),
        }
    }

    #[test]
    fn p7_claims_neither_starve_nor_steal() {
        let facts = held_by_other();
        let next = Epoch::default().next(3).and_then(|epoch| epoch.next(3)).expect("in range");
        let cases = [
            ("a live holder is left alone", facts, ClaimDecision::Wait(facts.patience)),
            (
                "a silent holder is replaced",
                ClaimFacts { silent_for: facts.patience, ..facts },
                ClaimDecision::Claim(next),
            ),
            (
                "a released partition is taken at once",
                ClaimFacts { holder: Holder::RELEASED, ..facts },
                ClaimDecision::Claim(next),
            ),
            (
                "my own partition is taken at once after a restart",
                ClaimFacts { holder: ME, ..facts },
                ClaimDecision::Claim(next),
            ),
            (
                "what I lost in this life is not taken back at once, though my name stands there",
                ClaimFacts { holder: ME, lost_before: true, ..facts },
                ClaimDecision::Wait(facts.patience),
            ),
            (
                "a newer assignment goes first",
                ClaimFacts { generation: Some(4), ..facts },
                ClaimDecision::Claim(Epoch::default().next(4).expect("in range")),
            ),
            (
                "an older assignment never does, however silent the holder",
                ClaimFacts { generation: Some(2), silent_for: facts.patience, ..facts },
                ClaimDecision::Superseded,
            ),
            (
                "without an assignment the log's generation counts",
                ClaimFacts { generation: None, holder: Holder::RELEASED, ..facts },
                ClaimDecision::Claim(next),
            ),
        ];
        for (name, facts, expected) in cases {
            assert_eq!(decide_claim(&facts), expected, "{name}");
        }
    }

    #[test]
    fn p7_the_first_claim_of_a_partition_needs_no_wait() {
        let facts = ClaimFacts { epoch: Epoch::default(), generation: None, ..held_by_other() };
        let first = Epoch::default().next(1).expect("in range");
        assert_eq!(decide_claim(&facts), ClaimDecision::Claim(first));
    }

    #[test]
    fn p7_patience_is_at_least_ten_seconds_and_grows_with_the_interval() {
        assert_eq!(patience(Duration::from_secs(1), 0), Duration::from_secs(10));
        assert_eq!(patience(Duration::from_secs(60), 0), Duration::from_secs(180));
        assert_eq!(patience(Duration::from_secs(60), 1_000), Duration::from_secs(216));
    }
}
