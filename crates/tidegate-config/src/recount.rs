//! What a source says now of intervals that the table holds: asked by whoever opens sources, judged by
//! whoever reads tables.

use tidegate_types::DataInterval;

use crate::WriteMode;

/// Stretches that a message names; further ones are counted.
const NAMED: usize = 3;

/// The answers about the newest intervals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recount {
    /// One an interval, the newest first.
    pub answers: Vec<SourceAnswer>,
    /// Older intervals that were not asked about.
    pub left_out: usize,
}

/// The answer about one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceAnswer {
    /// Which; none: everything that the source has.
    pub interval: Option<DataInterval>,
    /// What was answered.
    pub says: SourceSays,
}

/// What a source can say of an interval without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSays {
    /// How many rows it has.
    Rows(u64),
    /// Its files are those that were loaded.
    SameFiles,
    /// Files came, changed or went after they were loaded (B8).
    OtherFiles,
    /// Nothing; why.
    Nothing(String),
}

impl Recount {
    /// The intervals whose files are not those that were loaded, oldest first.
    pub fn stale(&self) -> impl Iterator<Item = Option<DataInterval>> + '_ {
        let other = |answer: &&SourceAnswer| answer.says == SourceSays::OtherFiles;
        self.answers.iter().rev().filter(other).map(|answer| answer.interval)
    }
}

/// What to tell about intervals whose files came, changed or went after they were loaded: which, and what
/// loads them. None: everything that was loaded.
#[must_use]
pub fn late_files_in_words(late: &[DataInterval], write_mode: WriteMode) -> String {
    let stretches = DataInterval::merged(late.iter().copied());
    let whose = match (late, stretches.as_slice()) {
        ([], _) | (_, []) => "files".to_owned(),
        ([one], _) => format!("files of {one}"),
        (_, [first, .., last]) => {
            format!("files of {} intervals from {} to {}", late.len(), first.start(), last.end())
        }
        (_, [all]) => format!("files of {} intervals in {all}", late.len()),
    };
    let happened = format!("{whose} came, changed or went after they were loaded");
    format!("{happened}; {}", loaded_again_in_words(&stretches, write_mode))
}

/// What loads these stretches of time again, if anything does. None: everything that was loaded.
#[must_use]
pub fn loaded_again_in_words(stretches: &[DataInterval], write_mode: WriteMode) -> String {
    match write_mode {
        WriteMode::Append => {
            "writeMode Append only adds, so that they cannot be loaded once more; \
                              ReplaceInterval can, in a table of its own"
                .to_owned()
        }
        WriteMode::ReplaceInterval | WriteMode::Overwrite => loaded_again_by(stretches),
    }
}

/// A call for each stretch: those between were loaded well.
fn loaded_again_by(stretches: &[DataInterval]) -> String {
    let call = |stretch: &DataInterval| {
        format!(
            "`tidegate backfill -f FILE --reprocess All --from {} --to {}`",
            stretch.start(),
            stretch.end()
        )
    };
    let mut calls: Vec<_> = stretches.iter().take(NAMED).map(call).collect();
    if let more @ 1.. = stretches.len().saturating_sub(NAMED) {
        calls.push(format!("the same of {more} more stretches"));
    }
    let runs = "they are loaded again by runs with trigger Manual";
    if calls.is_empty() {
        runs.to_owned()
    } else {
        format!("{runs}, or by {}", calls.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: u32) -> DataInterval {
        let text = format!("2026-06-01T{hour:02}:00:00Z/2026-06-01T{:02}:00:00Z", hour + 1);
        text.parse().expect("an interval")
    }

    #[test]
    fn late_files_are_loaded_again_by_calls_that_leave_out_what_is_well() {
        use WriteMode::{Append, ReplaceInterval};
        let text = late_files_in_words(&[hour(0), hour(1), hour(5)], ReplaceInterval);
        assert!(text.starts_with("files of 3 intervals from 2026-06-01T00:00:00Z to"), "{text}");
        for call in [
            "backfill -f FILE --reprocess All --from 2026-06-01T00:00:00Z --to 2026-06-01T02:00:00Z`",
            "--from 2026-06-01T05:00:00Z --to 2026-06-01T06:00:00Z`",
        ] {
            assert!(text.contains(call), "{call} is not in {text}");
        }
        let hours: Vec<_> = (0..5).map(|number| hour(number * 3)).collect();
        let text = late_files_in_words(&hours, ReplaceInterval);
        assert!(text.ends_with("the same of 2 more stretches"), "{text}");
        // A plan refuses it there.
        let text = late_files_in_words(&[hour(0)], Append);
        assert!(!text.contains("backfill") && text.contains("Append only adds"), "{text}");
        let text = late_files_in_words(&[], WriteMode::Overwrite);
        assert!(text.ends_with("they are loaded again by runs with trigger Manual"), "{text}");
    }
}
