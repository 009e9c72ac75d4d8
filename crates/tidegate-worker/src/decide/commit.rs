//! Whether a commit is still valid on the snapshot that it would extend (I1, P3, P8, T1).
//!
//! The check runs before every attempt, retries included: a commit lost to a stranger's is made again
//! on the new snapshot only when nothing that it rests on has moved.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_table::log::MAX_BASE_AGE;
use tidegate_types::{Epoch, Nonce, PartitionId, Position};

/// A partition as the batch knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub partition: PartitionId,
    /// The epoch that was claimed.
    pub epoch: Epoch,
    /// The floor from which the batch was read.
    pub base: Position,
}

/// Everything the decision rests on.
#[derive(Debug, Clone)]
pub struct CommitFacts<'a> {
    /// The partitions of the batch.
    pub held: &'a [Held],
    /// Epoch and floor of each partition in the snapshot.
    pub in_log: &'a BTreeMap<PartitionId, (Epoch, Position)>,
    /// Whether the position in the log is the position of record (not under AtMostOnce).
    pub position_in_log: bool,
    /// How old the snapshot is, suspends included.
    pub base_age: Duration,
    /// The table's identity when the batch began.
    pub table_id: &'a str,
    /// The table's identity in the snapshot.
    pub table_id_now: &'a str,
    /// The last repair or removal record when the batch began (B10).
    pub record: Option<Nonce>,
    /// The same in the snapshot.
    pub record_now: Option<Nonce>,
    /// What took the table back in time since the worker began, if anything did (T1).
    pub rewound: Option<&'a str>,
}

/// Why a partition was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostPartition {
    /// Somebody claimed it.
    Epoch {
        /// Which.
        partition: PartitionId,
        /// The epoch of the batch.
        mine: Epoch,
        /// The epoch in the log.
        log: Epoch,
    },
    /// The floor is not the batch's base.
    Floor {
        /// Which.
        partition: PartitionId,
        /// The batch's base.
        mine: Position,
        /// The floor in the log.
        log: Position,
    },
}

impl LostPartition {
    /// Which partition was lost.
    #[must_use]
    pub fn partition(&self) -> PartitionId {
        match self {
            Self::Epoch { partition, .. } | Self::Floor { partition, .. } => *partition,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitDecision {
    /// Put the commit on this snapshot.
    Commit,
    /// Read the log again first; the snapshot is too old.
    Refresh,
    /// The batch is void; these partitions are somebody else's now.
    Lost(Vec<LostPartition>),
    /// Rows of repaired intervals may be in the batch: judge it again.
    Rejudge,
    /// The table is not what the log of this ledger describes: stop.
    Halt(String),
}

/// Decides whether the batch may be committed on the snapshot.
#[must_use]
pub fn decide_commit(facts: &CommitFacts<'_>) -> CommitDecision {
    if facts.table_id != facts.table_id_now {
        return CommitDecision::Halt(format!(
            "the table's identity changed from {} to {}",
            facts.table_id, facts.table_id_now
        ));
    }
    if let Some(what) = facts.rewound {
        return CommitDecision::Halt(format!("the table was rewound by {what}"));
    }
    if facts.base_age > MAX_BASE_AGE {
        return CommitDecision::Refresh;
    }
    let lost: Vec<_> = facts.held.iter().filter_map(|held| lost(held, facts)).collect();
    if !lost.is_empty() {
        return CommitDecision::Lost(lost);
    }
    if facts.record != facts.record_now { CommitDecision::Rejudge } else { CommitDecision::Commit }
}

fn lost(held: &Held, facts: &CommitFacts<'_>) -> Option<LostPartition> {
    let partition = held.partition;
    let (epoch, floor) = facts.in_log.get(&partition).copied().unwrap_or_default();
    if epoch != held.epoch {
        return Some(LostPartition::Epoch { partition, mine: held.epoch, log: epoch });
    }
    let moved = facts.position_in_log && floor != held.base;
    moved.then_some(LostPartition::Floor { partition, mine: held.base, log: floor })
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: PartitionId = PartitionId(0);
    const EPOCH: Epoch = Epoch(1 << 20);

    struct Case {
        held: Vec<Held>,
        in_log: BTreeMap<PartitionId, (Epoch, Position)>,
        position_in_log: bool,
        base_age: Duration,
        table_id_now: &'static str,
        record_now: Option<Nonce>,
        rewound: Option<&'static str>,
    }

    impl Case {
        fn undisturbed() -> Self {
            Self {
                held: vec![Held { partition: K, epoch: EPOCH, base: Position(10) }],
                in_log: BTreeMap::from([(K, (EPOCH, Position(10)))]),
                position_in_log: true,
                base_age: Duration::ZERO,
                table_id_now: "t",
                record_now: None,
                rewound: None,
            }
        }

        fn decide(&self) -> CommitDecision {
            decide_commit(&CommitFacts {
                held: &self.held,
                in_log: &self.in_log,
                position_in_log: self.position_in_log,
                base_age: self.base_age,
                table_id: "t",
                table_id_now: self.table_id_now,
                record: None,
                record_now: self.record_now,
                rewound: self.rewound,
            })
        }
    }

    fn lost_epoch(log: Epoch) -> CommitDecision {
        CommitDecision::Lost(vec![LostPartition::Epoch { partition: K, mine: EPOCH, log }])
    }

    #[test]
    fn i1_a_commit_rests_on_its_epoch_its_base_and_an_unchanged_table() {
        let mut cases: Vec<(&str, Case, CommitDecision)> = vec![];
        cases.push(("undisturbed", Case::undisturbed(), CommitDecision::Commit));

        let mut case = Case::undisturbed();
        case.in_log.insert(K, (Epoch(EPOCH.0 + 1), Position(10)));
        cases.push(("claimed by another", case, lost_epoch(Epoch(EPOCH.0 + 1))));

        let mut case = Case::undisturbed();
        case.in_log.insert(K, (Epoch(EPOCH.0 - 1), Position(10)));
        cases.push(("a lower epoch is no better", case, lost_epoch(Epoch(EPOCH.0 - 1))));

        let mut case = Case::undisturbed();
        case.in_log.clear();
        cases.push(("never claimed", case, lost_epoch(Epoch::default())));

        let mut case = Case::undisturbed();
        case.base_age = MAX_BASE_AGE + Duration::from_secs(1);
        cases.push(("p8: the base is too old", case, CommitDecision::Refresh));

        let mut case = Case::undisturbed();
        case.record_now = Some(Nonce::from_random(9));
        cases.push(("b10: a repair came between", case, CommitDecision::Rejudge));

        for (name, case, expected) in cases {
            assert_eq!(case.decide(), expected, "{name}");
        }
    }

    #[test]
    fn p3_the_base_is_checked_wherever_the_position_is_in_the_log() {
        let mut case = Case::undisturbed();
        case.in_log.insert(K, (EPOCH, Position(11)));
        let moved = LostPartition::Floor { partition: K, mine: Position(10), log: Position(11) };
        assert_eq!(case.decide(), CommitDecision::Lost(vec![moved]));
        case.position_in_log = false;
        assert_eq!(case.decide(), CommitDecision::Commit, "the broker keeps the position");
    }

    #[test]
    fn t1_a_rewound_or_replaced_table_stops_everything() {
        let mut case = Case::undisturbed();
        case.table_id_now = "u";
        assert!(matches!(case.decide(), CommitDecision::Halt(_)));
        let mut case = Case::undisturbed();
        case.rewound = Some("RESTORE");
        assert!(matches!(case.decide(), CommitDecision::Halt(_)));
    }

    #[test]
    fn losing_one_partition_names_only_that_one() {
        let other = PartitionId(1);
        let mut case = Case::undisturbed();
        case.held.push(Held { partition: other, epoch: EPOCH, base: Position(0) });
        case.in_log.insert(other, (Epoch(EPOCH.0 + 5), Position(0)));
        let CommitDecision::Lost(lost) = case.decide() else { panic!("must be lost") };
        assert_eq!(lost.iter().map(LostPartition::partition).collect::<Vec<_>>(), [other]);
    }
}
