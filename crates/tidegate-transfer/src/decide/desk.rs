//! What becomes of an outcome that a chunk's reader brings, and of an attempt that waits for them. Pure.

use std::time::Duration;

use tidegate_types::Reason;

/// What is known when somebody comes with a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeskFacts {
    /// Whether the attempt gathers chunks.
    pub(crate) open: bool,
    /// Whether the caller shows this attempt's pass.
    pub(crate) own: bool,
    /// Whether the plan has the chunk.
    pub(crate) planned: bool,
    /// Whether the chunk has a winner.
    pub(crate) won: bool,
}

/// What whoever comes is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeskDecision {
    /// The chunk is theirs to read, the outcome counts.
    Welcome,
    /// Another one was first (B6).
    AlreadyThere,
    /// They are of another attempt, or this one is over.
    Stranger,
    /// The plan has no such chunk.
    NoSuchChunk,
}

pub(crate) fn decide_desk(facts: DeskFacts) -> DeskDecision {
    match facts {
        DeskFacts { own: false, .. } => DeskDecision::Stranger,
        DeskFacts { planned: false, .. } => DeskDecision::NoSuchChunk,
        DeskFacts { won: true, .. } => DeskDecision::AlreadyThere,
        DeskFacts { open: false, .. } => DeskDecision::Stranger,
        _ => DeskDecision::Welcome,
    }
}

/// How far the gathering is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatherFacts {
    /// Chunks without a winner.
    pub(crate) missing: usize,
    /// Whether a chunk or its Job was given up.
    pub(crate) failed: bool,
    /// Since anybody was heard.
    pub(crate) silent_for: Duration,
    /// How long nobody may be heard.
    pub(crate) patience: Duration,
}

/// What the coordinator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GatherDecision {
    /// All chunks are there.
    Done,
    /// It goes on waiting.
    Wait,
    /// It ends with what it was told.
    Failed,
    /// It gives up: nobody was heard.
    Forsaken,
}

pub(crate) fn decide_gather(facts: GatherFacts) -> GatherDecision {
    match facts {
        // Whatever is said afterwards, all of it is there.
        GatherFacts { missing: 0, .. } => GatherDecision::Done,
        GatherFacts { failed: true, .. } => GatherDecision::Failed,
        _ if facts.silent_for >= facts.patience => GatherDecision::Forsaken,
        _ => GatherDecision::Wait,
    }
}

/// What is wrong with the numbers of an outcome: what was read must be in the files or set aside.
pub(crate) fn check_outcome(
    label: &str,
    (rows, dead): (u64, u64),
    (written, in_files, letters): (u64, u64, u64),
) -> Result<(), (Reason, String)> {
    if (rows, dead) == (written, letters) && in_files == written {
        return Ok(());
    }
    let what = format!(
        "{label} had {rows} rows and {dead} dead letters, of which {written} and {letters} arrived, and its \
         files hold {in_files} rows"
    );
    Err((Reason::CountMismatch, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b6_the_first_outcome_of_this_attempt_wins_and_nobody_elses() {
        let good = DeskFacts { open: true, own: true, planned: true, won: false };
        for (what, facts, wanted) in [
            ("the first", good, DeskDecision::Welcome),
            ("the second", DeskFacts { won: true, ..good }, DeskDecision::AlreadyThere),
            (
                "a winner that did not hear the answer, behind the end",
                DeskFacts { won: true, open: false, ..good },
                DeskDecision::AlreadyThere,
            ),
            ("too late", DeskFacts { open: false, ..good }, DeskDecision::Stranger),
            ("a zombie", DeskFacts { own: false, ..good }, DeskDecision::Stranger),
            (
                "a zombie of a chunk that is there",
                DeskFacts { own: false, won: true, ..good },
                DeskDecision::Stranger,
            ),
            ("of no plan", DeskFacts { planned: false, ..good }, DeskDecision::NoSuchChunk),
        ] {
            assert_eq!(decide_desk(facts), wanted, "{what}");
        }
    }

    #[test]
    fn an_attempt_waits_only_while_somebody_is_heard() {
        let patience = Duration::from_secs(60);
        let facts = GatherFacts { missing: 2, failed: false, silent_for: Duration::ZERO, patience };
        for (what, facts, wanted) in [
            ("some are missing", facts, GatherDecision::Wait),
            ("all are there", GatherFacts { missing: 0, ..facts }, GatherDecision::Done),
            (
                "all are there, and a Job that failed behind it is no matter",
                GatherFacts { missing: 0, failed: true, ..facts },
                GatherDecision::Done,
            ),
            ("given up", GatherFacts { failed: true, ..facts }, GatherDecision::Failed),
            ("silence", GatherFacts { silent_for: patience, ..facts }, GatherDecision::Forsaken),
        ] {
            assert_eq!(decide_gather(facts), wanted, "{what}");
        }
    }

    #[test]
    fn an_outcome_names_as_many_rows_as_were_read() {
        assert!(check_outcome("chunk 1", (8, 2), (8, 8, 2)).is_ok());
        for (read, arrived) in [((9, 2), (8, 8, 2)), ((8, 2), (8, 7, 2)), ((8, 2), (8, 8, 1))] {
            let (reason, what) = check_outcome("chunk 1", read, arrived).unwrap_err();
            assert_eq!(reason, Reason::CountMismatch);
            assert!(what.contains("chunk 1"), "{what}");
        }
    }
}
