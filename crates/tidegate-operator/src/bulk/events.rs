//! Which Events to publish of a bulk pipeline; those of its runs are told with each, see `announce`.

use kube::runtime::events::Event;
use tidegate_api::IngestionPipelineStatus;

use crate::status::{columns, drift, transitions};

/// What happened in this reconcile that no condition tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Happenings<'a> {
    /// Columns that the accepted generation has more than the one before.
    pub(super) added_columns: &'a [String],
    /// Objects that somebody had changed and that were put back, such as `ServiceAccount orders`.
    pub(super) repaired: &'a [String],
}

/// The Events of this reconcile. `next` is the status that is written; none when none is.
pub(super) fn events(
    previous: Option<&IngestionPipelineStatus>,
    next: Option<&IngestionPipelineStatus>,
    happenings: Happenings<'_>,
) -> Vec<Event> {
    let mut events: Vec<Event> = drift(happenings.repaired).into_iter().collect();
    let Some(next) = next else { return events };
    let before = previous.map_or(&[][..], |status| &status.conditions);
    events.extend(transitions(before, &next.conditions));
    // The columns are known as added for as long as the generation lasts.
    if previous.and_then(|status| status.observed_generation) != next.observed_generation {
        events.extend(columns(happenings.added_columns));
    }
    events
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tidegate_types::Reason;

    use super::*;
    use crate::status::{READY, Verdict, answer, conditions_of};

    fn status(generation: i64, verdict: Verdict, reason: Reason) -> IngestionPipelineStatus {
        let ready = [(READY, answer(verdict, reason, "words"))];
        IngestionPipelineStatus {
            observed_generation: Some(generation),
            conditions: conditions_of(ready, generation, &[], Timestamp::UNIX_EPOCH),
            ..IngestionPipelineStatus::default()
        }
    }

    fn told(
        previous: &IngestionPipelineStatus,
        next: Option<&IngestionPipelineStatus>,
        happenings: Happenings<'_>,
    ) -> Vec<String> {
        let events = events(Some(previous), next, happenings);
        events.into_iter().map(|event| format!("{:?} {}", event.type_, event.reason)).collect()
    }

    #[test]
    fn what_was_put_back_is_told_whether_a_status_is_written_or_not() {
        let repaired = &["ServiceAccount orders".to_owned()];
        let happenings = Happenings { repaired, ..Happenings::default() };
        let well = status(1, Verdict::True, Reason::Ok);
        for next in [None, Some(&well)] {
            let found = told(&well, next, happenings);
            assert_eq!(found, ["Warning DriftRepaired"], "written: {}", next.is_some());
            assert_eq!(told(&well, next, Happenings::default()), [""; 0]);
        }
    }

    #[test]
    fn transitions_and_columns_are_told_once_with_the_status_that_has_them() {
        let added_columns = &["region".to_owned()];
        let happenings = Happenings { added_columns, ..Happenings::default() };
        let well = status(1, Verdict::True, Reason::Ok);
        let fails = status(2, Verdict::False, Reason::SinkUnreachable);
        for (what, previous, next, wanted) in [
            ("nothing is written", &well, None, &[][..]),
            ("the same generation", &fails, Some(&fails), &[]),
            ("an edit", &well, Some(&fails), &["Warning SinkUnreachable", "Normal SchemaChanged"]),
        ] {
            assert_eq!(told(previous, next, happenings), wanted, "{what}");
        }
    }
}
