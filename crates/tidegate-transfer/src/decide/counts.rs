//! Whether everything that was read is accounted for, and everything that is there was read.

use tidegate_types::Reason;

/// Sums over all chunks of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Rows that the source counted under the snapshot; none when only reading tells (files).
    pub source: Option<u64>,
    /// Rows and records that the readers say they handed over.
    pub read: u64,
    /// Rows in the files.
    pub written: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Checks that `read = written + dead`, and that the source counted as many.
///
/// # Errors
///
/// The reason, and the numbers that do not agree.
pub fn check_counts(counted: &Counted) -> Result<(), (Reason, String)> {
    let Counted { source, read, written, dead } = *counted;
    if written.checked_add(dead) != Some(read) {
        let what = format!(
            "{read} records were read, but {written} rows and {dead} dead letters were written; \
             nothing was committed"
        );
        return Err((Reason::CountMismatch, what));
    }
    match source {
        Some(rows) if rows != read => {
            let what = format!(
                "the source counted {rows} rows in its snapshot, but {read} were read; nothing was \
                 committed"
            );
            Err((Reason::CountMismatch, what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_must_be_in_the_files_or_among_the_dead_letters_and_be_all_there_is() {
        let good = Counted { source: Some(10), read: 10, written: 8, dead: 2 };
        for (name, counted, agrees) in [
            ("all there", good, true),
            ("files do not say how many there are", Counted { source: None, ..good }, true),
            ("nothing at all", Counted { source: Some(0), ..Counted::default() }, true),
            ("a row was lost on the way to the file", Counted { written: 7, ..good }, false),
            ("a row was written twice", Counted { written: 9, ..good }, false),
            ("a dead letter was lost", Counted { dead: 1, ..good }, false),
            ("a chunk was not read", Counted { source: Some(11), ..good }, false),
            ("a chunk was read twice", Counted { source: Some(9), ..good }, false),
            (
                "numbers too large to add",
                Counted { written: u64::MAX, dead: u64::MAX, ..good },
                false,
            ),
        ] {
            assert_eq!(check_counts(&counted).is_ok(), agrees, "{name}");
        }
        let (reason, what) = check_counts(&Counted { source: Some(11), ..good }).unwrap_err();
        assert_eq!(reason, Reason::CountMismatch);
        assert!(what.contains("11") && what.contains("10"), "{what}");
    }
}
