//! When a commit is due.

use tidegate_types::Span;

/// The limits of a pipeline: whatever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushPolicy {
    /// Most time that a record waits.
    pub max_interval: Span,
    /// Most rows of one commit.
    pub max_rows: u64,
    /// Silence of the source after which waiting for more is pointless.
    pub idle_after: Span,
    /// Most bytes that may be buffered.
    pub max_bytes: usize,
}

/// What is known when the question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushFacts {
    /// Time since the oldest record that no commit accounts for was received, whatever its verdict;
    /// none when there is no such record.
    pub oldest_record_age: Option<Span>,
    /// Rows and dead letters that a commit would make visible.
    pub rows: u64,
    /// Bytes that they occupy.
    pub buffered_bytes: usize,
    /// Time since the source last delivered anything.
    pub source_idle_for: Span,
    /// Nothing was committed since the partition was claimed.
    pub first_after_claim: bool,
    /// The worker is leaving.
    pub draining: bool,
    /// The run is finite and has read all that it was asked for.
    pub caught_up: bool,
}

/// Why a commit is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlushReason {
    /// The worker is leaving.
    Draining,
    /// The first batch after a claim commits at once: others see that the partition moves (P7).
    FirstAfterClaim,
    /// A finite run is at its end.
    CaughtUp,
    /// The buffer is full.
    Bytes,
    /// Enough rows.
    Rows,
    /// The oldest record has waited long enough.
    Interval,
    /// The source is silent.
    Idle,
}

impl FlushReason {
    /// The name in logs and as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "Draining",
            Self::FirstAfterClaim => "FirstAfterClaim",
            Self::CaughtUp => "CaughtUp",
            Self::Bytes => "Bytes",
            Self::Rows => "Rows",
            Self::Interval => "Interval",
            Self::Idle => "Idle",
        }
    }
}

/// Whether a commit is due, and why. Without an uncommitted record there is nothing to commit. Records
/// that became neither rows nor dead letters only move the floor: they wait for the interval, so that
/// a stream of duplicates makes one commit an interval (S5).
#[must_use]
pub fn flush_due(policy: &FlushPolicy, facts: &FlushFacts) -> Option<FlushReason> {
    let age = facts.oldest_record_age?;
    let silent = facts.rows > 0 && facts.source_idle_for >= policy.idle_after;
    [
        (facts.draining, FlushReason::Draining),
        (facts.first_after_claim, FlushReason::FirstAfterClaim),
        (facts.caught_up, FlushReason::CaughtUp),
        (facts.buffered_bytes >= policy.max_bytes, FlushReason::Bytes),
        (facts.rows >= policy.max_rows, FlushReason::Rows),
        (age >= policy.max_interval, FlushReason::Interval),
        (silent, FlushReason::Idle),
    ]
    .into_iter()
    .find_map(|(due, reason)| due.then_some(reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: FlushPolicy = FlushPolicy {
        max_interval: Span::seconds(60),
        max_rows: 1_000,
        idle_after: Span::seconds(20),
        max_bytes: 1 << 20,
    };

    const WAITING: FlushFacts = FlushFacts {
        oldest_record_age: Some(Span::seconds(5)),
        rows: 10,
        buffered_bytes: 1_000,
        source_idle_for: Span::seconds(1),
        first_after_claim: false,
        draining: false,
        caught_up: false,
    };

    #[test]
    fn a_commit_is_due_for_the_first_reason_that_holds() {
        let silent = FlushFacts { source_idle_for: Span::seconds(20), ..WAITING };
        for (name, facts, expected) in [
            ("nothing special", WAITING, None),
            ("draining", FlushFacts { draining: true, ..WAITING }, Some(FlushReason::Draining)),
            ("caught up", FlushFacts { caught_up: true, ..WAITING }, Some(FlushReason::CaughtUp)),
            (
                "full buffer",
                FlushFacts { buffered_bytes: 1 << 20, ..WAITING },
                Some(FlushReason::Bytes),
            ),
            ("rows", FlushFacts { rows: 1_000, ..WAITING }, Some(FlushReason::Rows)),
            (
                "age",
                FlushFacts { oldest_record_age: Some(Span::seconds(60)), ..WAITING },
                Some(FlushReason::Interval),
            ),
            ("silence", silent, Some(FlushReason::Idle)),
            ("silence over duplicates only", FlushFacts { rows: 0, ..silent }, None),
            (
                "nothing read, and leaving",
                FlushFacts { oldest_record_age: None, draining: true, ..WAITING },
                None,
            ),
        ] {
            assert_eq!(flush_due(&POLICY, &facts), expected, "{name}");
        }
    }

    #[test]
    fn p7_the_first_batch_after_a_claim_commits_at_once() {
        let claimed = FlushFacts { rows: 0, first_after_claim: true, ..WAITING };
        assert_eq!(flush_due(&POLICY, &claimed), Some(FlushReason::FirstAfterClaim));
    }

    fn facts() -> impl Strategy<Value = FlushFacts> {
        let span = || (0_u64..100_000).prop_map(Span::millis);
        (proptest::option::of(span()), 0_u64..2_000, 0_usize..2 << 20, span(), any::<[bool; 3]>())
            .prop_map(|(oldest_record_age, rows, buffered_bytes, source_idle_for, flags)| {
                let [first_after_claim, draining, caught_up] = flags;
                FlushFacts {
                    oldest_record_age,
                    rows,
                    buffered_bytes,
                    source_idle_for,
                    first_after_claim,
                    draining,
                    caught_up,
                }
            })
    }

    proptest! {
        #[test]
        fn more_of_anything_never_takes_a_due_commit_back(less in facts(), more in facts()) {
            let both = FlushFacts {
                oldest_record_age: less.oldest_record_age.max(more.oldest_record_age),
                rows: less.rows.max(more.rows),
                buffered_bytes: less.buffered_bytes.max(more.buffered_bytes),
                source_idle_for: less.source_idle_for.max(more.source_idle_for),
                first_after_claim: less.first_after_claim || more.first_after_claim,
                draining: less.draining || more.draining,
                caught_up: less.caught_up || more.caught_up,
            };
            if flush_due(&POLICY, &less).is_some() {
                prop_assert!(flush_due(&POLICY, &both).is_some());
            }
        }
    }
}
