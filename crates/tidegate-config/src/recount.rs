//! What a source says now of intervals that the table holds: asked by whoever opens sources, judged by
//! whoever reads tables.

use serde::{Deserialize, Serialize};
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
    /// Files were added, changed or deleted after they were loaded (B8).
    OtherFiles,
    /// Nothing; why.
    Nothing(String),
}

/// What a run tells of the files of intervals that were done before it (B8).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilesReport {
    /// Intervals whose files are not those that were loaded.
    pub stale: u32,
    /// One line about it, at most 256 bytes.
    pub message: String,
}

impl Recount {
    /// What is told of files; none where no interval was asked about, or where all is well as far as it was
    /// answered and not everything was.
    #[must_use]
    pub fn files_report(&self, write_mode: WriteMode) -> Option<FilesReport> {
        let late: Vec<_> = self.stale().flatten().collect();
        let stale = u32::try_from(self.stale().count()).unwrap_or(u32::MAX);
        if stale > 0 {
            return Some(FilesReport { stale, message: late_files_in_short(&late, write_mode) });
        }
        let same = |answer: &SourceAnswer| answer.says == SourceSays::SameFiles;
        let asked = self.answers.len();
        let message = match asked {
            1 => "those of the newest interval are as they were loaded".to_owned(),
            _ => format!("those of the newest {asked} intervals are as they were loaded"),
        };
        (asked > 0 && self.answers.iter().all(same)).then_some(FilesReport { stale, message })
    }

    /// The intervals whose files are not those that were loaded, oldest first.
    pub fn stale(&self) -> impl Iterator<Item = Option<DataInterval>> + '_ {
        let other = |answer: &&SourceAnswer| answer.says == SourceSays::OtherFiles;
        self.answers.iter().rev().filter(other).map(|answer| answer.interval)
    }
}

/// What to tell about intervals whose files were added, changed or deleted after they were loaded: which, and
/// what loads them. None: everything that was loaded.
#[must_use]
pub fn late_files_in_words(late: &[DataInterval], write_mode: WriteMode) -> String {
    let stretches = DataInterval::merged(late.iter().copied());
    let loaded_by = loaded_again_in_words(&stretches, write_mode);
    format!("{}; {loaded_by}", late_files(late, &stretches))
}

/// The same in at most 256 bytes, for where there are no files with documents.
fn late_files_in_short(late: &[DataInterval], write_mode: WriteMode) -> String {
    let stretches = DataInterval::merged(late.iter().copied());
    let loaded_by = match (write_mode, late.len()) {
        (WriteMode::Append, _) => "writeMode Append only adds, so that nothing loads them",
        (_, 0 | 1) => "a run with trigger Manual loads what is there now",
        _ => "runs with trigger Manual load what is there now",
    };
    format!("{}; {loaded_by}", late_files(late, &stretches))
}

/// The log holds a mark of all files of an interval together, so that nobody can say which.
fn late_files(late: &[DataInterval], stretches: &[DataInterval]) -> String {
    let whose = match (late, stretches) {
        ([], _) | (_, []) => "files".to_owned(),
        ([one], _) => format!("files of {one}"),
        (_, [first, .., last]) => {
            format!("files of {} intervals from {} to {}", late.len(), first.start(), last.end())
        }
        (_, [all]) => format!("files of {} intervals in {all}", late.len()),
    };
    format!("{whose} were added, changed or deleted after they were loaded")
}

/// What loads these stretches of time again, if anything does. None: everything that was loaded.
#[must_use]
pub fn loaded_again_in_words(stretches: &[DataInterval], write_mode: WriteMode) -> String {
    match write_mode {
        WriteMode::Append => {
            "writeMode Append only adds, so that an interval cannot be loaded once more; \
             with ReplaceInterval it can, in a table of its own"
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
    let runs = "what is there now is loaded by runs with trigger Manual";
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
        assert!(
            text.ends_with("what is there now is loaded by runs with trigger Manual"),
            "{text}"
        );
    }

    #[test]
    fn a_run_tells_of_stale_files_in_a_line_and_says_nothing_of_what_was_not_answered() {
        use SourceSays::{Nothing, OtherFiles, SameFiles};
        let of = |(at, says): (u32, &SourceSays)| SourceAnswer {
            interval: Some(hour(at)),
            says: says.clone(),
        };
        let told = |says: &[SourceSays], mode| {
            let answers = (0..).zip(says).map(of).collect();
            Recount { answers, left_out: 3 }.files_report(mode)
        };
        let (replace, append) = (WriteMode::ReplaceInterval, WriteMode::Append);
        let silent = Nothing("no answer".into());
        assert_eq!(told(&[], replace), None);
        assert_eq!(told(&[SameFiles, silent.clone()], replace), None, "nobody knows");
        let well = told(&[SameFiles, SameFiles], replace).expect("all was answered");
        assert_eq!(well.stale, 0);
        let late = told(&[OtherFiles, silent, SameFiles], replace).expect("one is late");
        assert_eq!(late.stale, 1);
        assert_eq!(
            late.message,
            "files of 2026-06-01T00:00:00Z/2026-06-01T01:00:00Z were added, changed or deleted after they \
             were loaded; a run with trigger Manual loads what is there now"
        );
        let many: Vec<_> = (0..20).map(|n| [OtherFiles, SameFiles][n % 2].clone()).collect();
        for mode in [replace, append] {
            let late = told(&many, mode).expect("some are late");
            assert_eq!(late.stale, 10);
            assert!(late.message.len() <= crate::LONGEST_MESSAGE, "{}", late.message);
        }
    }
}
