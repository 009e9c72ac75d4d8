//! `completeThrough`: the instant before which everything published is in the table.

use tidegate_types::{Span, StreamTime};

/// What is known of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionThrough {
    /// What the log says, lateness subtracted already (microseconds since 1970).
    pub committed: Option<i64>,
    /// The publish time at the floor; none while nothing was read.
    pub at_floor: Option<StreamTime>,
    /// The instant before which the broker knows nothing published that is not behind the floor.
    pub caught_up: Option<StreamTime>,
}

impl PartitionThrough {
    fn through(&self, lateness: i64) -> Option<i64> {
        let seen = self.caught_up.max(self.at_floor).map(|time| time.0.saturating_sub(lateness));
        seen.max(self.committed)
    }
}

/// What is written of a partition of which nothing is missing that was published before `complete`, which is
/// 0 until that is known. It never falls below `before`, what is written already.
#[must_use]
pub fn through(complete: StreamTime, allowed_lateness: Span, before: Option<i64>) -> Option<i64> {
    let lateness = allowed_lateness.as_micros();
    let through = (complete.0 > 0).then(|| complete.0.saturating_sub(lateness));
    through.max(before)
}

/// The minimum over all partitions, in microseconds since 1970; none while one of them is not known. It
/// never falls below `before`, what was said last.
#[must_use]
pub fn complete_through(
    partitions: &[PartitionThrough],
    allowed_lateness: Span,
    before: Option<i64>,
) -> Option<i64> {
    let lateness = allowed_lateness.as_micros();
    let known: Option<Vec<i64>> = partitions.iter().map(|each| each.through(lateness)).collect();
    known.and_then(|known| known.into_iter().min()).max(before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(
        committed: Option<i64>,
        floor: Option<i64>,
        caught_up: Option<i64>,
    ) -> PartitionThrough {
        PartitionThrough {
            committed,
            at_floor: floor.map(StreamTime),
            caught_up: caught_up.map(StreamTime),
        }
    }

    #[test]
    fn the_slowest_partition_decides() {
        let lateness = Span::millis(1);
        for (partitions, before, expected) in [
            (vec![], None, None),
            (vec![known(None, None, None)], None, None),
            (vec![known(None, Some(5_000), None)], None, Some(4_000)),
            // Caught up: what was published until then is in the table, however old the last message is.
            (vec![known(None, Some(5_000), Some(9_000))], None, Some(8_000)),
            // An older empty answer says less than the floor.
            (vec![known(None, Some(9_000), Some(5_000))], None, Some(8_000)),
            // The log has the lateness subtracted.
            (vec![known(Some(8_500), Some(9_000), None)], None, Some(8_500)),
            (vec![known(Some(7), None, None), known(None, None, Some(9_000))], None, Some(7)),
            // One partition that nothing is known of.
            (vec![known(Some(7), None, None), known(None, None, None)], None, None),
            (vec![known(Some(7), None, None), known(None, None, None)], Some(3), Some(3)),
            (vec![known(Some(7), None, None)], Some(9), Some(9)),
        ] {
            let through = complete_through(&partitions, lateness, before);
            assert_eq!(through, expected, "{partitions:?} {before:?}");
        }
    }

    proptest! {
        #[test]
        fn it_never_falls(
            looks in prop::collection::vec(
                prop::collection::vec((any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>()), 0..4),
                1..8,
            ),
        ) {
            let mut before = None;
            for look in looks {
                let partitions: Vec<_> = look.into_iter().map(|(a, b, c)| known(a, b, c)).collect();
                let through = complete_through(&partitions, Span::millis(7), before);
                prop_assert!(through >= before);
                before = through;
            }
        }
    }
}
