//! What follows from a reason: whether it passes, who has to do something, and which part it is about.

use tidegate_types::Reason;

/// What has to happen before a pipeline with this reason goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outlook {
    /// Nothing: it does its work.
    Well,
    /// It is tried again, with growing pauses.
    Transient,
    /// Something beside the pipeline has to come: a Secret, a stream, room on a node. It is looked at
    /// again at a known time.
    Waiting,
    /// Somebody has to decide: edit the resource, or mend what it names. Trying again would find the
    /// same.
    Stalled,
}

/// Which part of the path a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The stream and its broker.
    Source,
    /// The table and its store.
    Sink,
    /// What the path gives.
    Guarantee,
    /// Anything else.
    Other,
}

/// It does its work, or rests because it should.
const WELL: [Reason; 19] = [
    Reason::Ok,
    Reason::Suspended,
    Reason::ScaledUp,
    Reason::ScaledDown,
    Reason::ScaledToZero,
    Reason::ScaledExternally,
    Reason::ScalingFixed,
    Reason::Behind,
    Reason::Late,
    Reason::DeadLettersWritten,
    Reason::SchemaChanged,
    Reason::WindowFilling,
    Reason::SourceNotDurable,
    Reason::StreamClockJump,
    Reason::TrimBlocked,
    Reason::AlreadyComplete,
    Reason::IntervalStale,
    Reason::WaitingForTick,
    Reason::DriftRepaired,
];

/// It passes: tried again, it may go well.
const TRANSIENT: [Reason; 27] = [
    Reason::Progressing,
    Reason::RollingOut,
    Reason::RolloutQueued,
    Reason::Deleting,
    Reason::SourceUnreachable,
    Reason::SinkUnreachable,
    Reason::CommitInDoubt,
    Reason::DeadLetterCommitPending,
    Reason::ResourceExhausted,
    Reason::Fenced,
    Reason::BaseTooOld,
    Reason::AgentUnreachable,
    Reason::WorkerUnreachable,
    Reason::PodFailing,
    Reason::ApiRefused,
    Reason::ApiUnavailable,
    Reason::GenerationLost,
    Reason::CountMismatch,
    Reason::SourceTransactionsOpen,
    Reason::SourceChanged,
    Reason::SnapshotLost,
    Reason::WaitingForDependency,
    Reason::RunLimitReached,
    Reason::Interrupted,
    Reason::DeadlineExceeded,
    Reason::ChunksFailed,
    Reason::RepairTooEarly,
];

/// It passes when something comes that others bring.
const WAITING: [Reason; 7] = [
    Reason::StreamMissing,
    Reason::SecretMissing,
    Reason::PipelineMissing,
    Reason::Unschedulable,
    Reason::ServiceAccountRefused,
    Reason::NameTaken,
    Reason::DeletionIncomplete,
];

/// Somebody has to decide.
const STALLED: [Reason; 35] = [
    // About one record: as a pod's own state they mean `onError: Halt`, which stops before it.
    Reason::Malformed,
    Reason::InvalidEncoding,
    Reason::TooLarge,
    Reason::TooDeep,
    Reason::WrongType,
    Reason::OutOfRange,
    Reason::MissingField,
    Reason::UnknownField,
    Reason::MissingKey,
    Reason::TooLate,
    Reason::TooFarAhead,
    Reason::FilterFailed,
    Reason::CrashedDecoder,
    Reason::IntervalRepaired,
    // About stream, table or spec.
    Reason::SourceGap,
    Reason::SourceIdentity,
    Reason::SourceUnsafe,
    Reason::SubjectsOutsidePartitions,
    Reason::CommitStoreUnsafe,
    Reason::TableRewound,
    Reason::LedgerMismatch,
    Reason::TableMismatch,
    Reason::SchemaChangeRefused,
    Reason::BreakerOpen,
    Reason::InvalidConfiguration,
    Reason::IntervalNotAligned,
    Reason::IntervalConflict,
    Reason::IntervalShrank,
    Reason::SourceTransactionsHidden,
    Reason::NullCursor,
    Reason::UnsupportedType,
    Reason::SourceRefused,
    Reason::RunFailed,
    Reason::TooManyDeadLetters,
    Reason::GuaranteeNotMet,
];

/// Every reason stands in one of them.
const _: () = assert!(
    WELL.len() + TRANSIENT.len() + WAITING.len() + STALLED.len() == Reason::ALL.len(),
    "give a new reason its outlook"
);

/// The closed classification: every reason has one outlook.
pub(crate) fn outlook(reason: Reason) -> Outlook {
    if WELL.contains(&reason) {
        Outlook::Well
    } else if TRANSIENT.contains(&reason) {
        Outlook::Transient
    } else if WAITING.contains(&reason) {
        Outlook::Waiting
    } else {
        Outlook::Stalled
    }
}

/// Which part of the path a reason is about.
pub(crate) fn part(reason: Reason) -> Part {
    match reason {
        Reason::SourceUnreachable
        | Reason::StreamMissing
        | Reason::SourceGap
        | Reason::SourceIdentity
        | Reason::SourceUnsafe
        | Reason::SubjectsOutsidePartitions => Part::Source,
        Reason::SinkUnreachable
        | Reason::CommitStoreUnsafe
        | Reason::TableRewound
        | Reason::LedgerMismatch
        | Reason::TableMismatch
        | Reason::SchemaChangeRefused
        | Reason::CommitInDoubt
        | Reason::DeadLetterCommitPending => Part::Sink,
        Reason::GuaranteeNotMet => Part::Guarantee,
        _ => Part::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_outlook_that_the_documentation_gives_it() {
        let of = |wanted: Outlook| -> Vec<&str> {
            let all = Reason::ALL.iter().copied();
            all.filter(|reason| outlook(*reason) == wanted).map(Reason::as_str).collect()
        };
        insta::assert_yaml_snapshot!(
            "outlooks",
            std::collections::BTreeMap::from([
                ("stalled", of(Outlook::Stalled)),
                ("transient", of(Outlook::Transient)),
                ("waiting", of(Outlook::Waiting)),
                ("well", of(Outlook::Well)),
            ])
        );
    }

    #[test]
    fn no_reason_has_two_outlooks() {
        let lists = [&WELL[..], &TRANSIENT, &WAITING, &STALLED];
        for reason in Reason::ALL.iter() {
            let named = lists.iter().flat_map(|list| list.iter()).filter(|named| *named == reason);
            assert_eq!(named.count(), 1, "{reason}");
        }
    }

    #[test]
    fn what_is_about_a_part_of_the_path_is_never_well() {
        for reason in Reason::ALL.iter().copied().filter(|reason| part(*reason) != Part::Other) {
            assert_ne!(outlook(reason), Outlook::Well, "{reason}");
        }
    }

    #[test]
    fn words_are_found_again() {
        for reason in Reason::ALL.iter().copied() {
            assert_eq!(Reason::from_word(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::from_word("ReasonOfANewerRelease"), None);
    }
}
