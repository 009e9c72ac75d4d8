//! Log holes (P8): put-if-absent protects a version only while its entry exists. A writer that slept
//! past the log's clean-up could win a version that had been somebody else's. Two checks keep that
//! from counting: a base that is too old is refused, and after a win nothing may show that the
//! version lies in the past.

use std::time::Duration;

use object_store::ObjectMeta;

use super::CommitLog;
use super::boot_time::BootTime;
use super::error::{HoleEvidence, LogError};

/// The oldest base that a commit may extend. Entries are kept for days; ten minutes leave a wide
/// margin and still outlast any commit that is not stuck.
pub const MAX_BASE_AGE: Duration = Duration::from_secs(600);

/// Refuses a base that was loaded more than [`MAX_BASE_AGE`] before `now`.
///
/// # Errors
///
/// [`LogError::BaseTooOld`].
pub(super) fn check_base_age(loaded_at: BootTime, now: BootTime) -> Result<(), LogError> {
    let age = loaded_at.age(now);
    if age > MAX_BASE_AGE {
        return Err(LogError::BaseTooOld { age, limit: MAX_BASE_AGE });
    }
    Ok(())
}

/// A commit or a checkpoint, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogFile {
    /// The version.
    pub(super) version: u64,
    /// Whether it is the commit itself; otherwise (a part of) a checkpoint.
    pub(super) is_commit: bool,
    /// When it was stored, by the store's clock, in microseconds since 1970.
    pub(super) stored_at: i64,
}

impl LogFile {
    /// Reads a listing's line; `None` for anything but commits and checkpoints.
    pub(super) fn from_listing(meta: &ObjectMeta) -> Option<Self> {
        let parts: Vec<_> = meta.location.parts().collect();
        // Only direct children of the log's folder count.
        let [_, name] = parts.as_slice() else { return None };
        let (digits, kind) = name.as_ref().split_once('.')?;
        let version = (digits.len() == 20).then(|| digits.parse().ok()).flatten()?;
        let is_commit = kind == "json";
        let is_checkpoint = kind.starts_with("checkpoint.");
        (is_commit || is_checkpoint).then(|| Self {
            version,
            is_commit,
            stored_at: meta.last_modified.timestamp_micros(),
        })
    }
}

/// Looks for evidence in a listing from `won - 1` on, taken after the win. What is as old as the won
/// entry (stores count whole seconds) is taken for later.
pub(super) fn find_hole(won: u64, listing: &[LogFile]) -> Option<HoleEvidence> {
    let ours = listing.iter().find(|file| file.is_commit && file.version == won)?;
    let before = |file: &&LogFile| file.stored_at < ours.stored_at;
    let commit = listing.iter().filter(|file| file.is_commit && file.version > won).find(before);
    if let Some(file) = commit {
        return Some(HoleEvidence::LaterCommit(file.version));
    }
    let checkpoint =
        listing.iter().filter(|file| !file.is_commit && file.version >= won).find(before);
    if let Some(file) = checkpoint {
        return Some(HoleEvidence::Checkpoint(file.version));
    }
    let base_present =
        won == 0 || listing.iter().any(|file| file.is_commit && file.version == won - 1);
    (!base_present).then_some(HoleEvidence::BaseMissing)
}

impl CommitLog {
    /// Checks that a version that was won did not lie in a hole.
    pub(super) async fn check_hole(&self, won: u64) -> Result<(), LogError> {
        let listing = self.log_files(won.saturating_sub(1)).await?;
        match find_hole(won, &listing) {
            Some(evidence) => {
                Err(LogError::Hole { version: won, table: self.root.to_string(), evidence })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(version: u64, stored_at: i64) -> LogFile {
        LogFile { version, is_commit: true, stored_at }
    }

    fn checkpoint(version: u64, stored_at: i64) -> LogFile {
        LogFile { version, is_commit: false, stored_at }
    }

    #[test]
    fn p8_a_version_that_was_there_before_is_a_hole() {
        let cases = [
            (vec![commit(6, 90), commit(7, 100)], None),
            (vec![commit(6, 90), commit(7, 100), commit(8, 120), checkpoint(7, 130)], None),
            (vec![commit(6, 90), commit(7, 100), commit(8, 100)], None),
            (
                vec![commit(6, 90), commit(7, 100), commit(9, 40)],
                Some(HoleEvidence::LaterCommit(9)),
            ),
            (
                vec![commit(6, 90), commit(7, 100), checkpoint(7, 99)],
                Some(HoleEvidence::Checkpoint(7)),
            ),
            (vec![checkpoint(6, 80), commit(7, 100)], Some(HoleEvidence::BaseMissing)),
        ];
        for (listing, expected) in cases {
            assert_eq!(find_hole(7, &listing), expected, "{listing:?}");
        }
        assert_eq!(find_hole(0, &[commit(0, 5)]), None, "the first version has no base");
        assert_eq!(find_hole(0, &[commit(0, 5), commit(3, 1)]), Some(HoleEvidence::LaterCommit(3)));
    }

    #[test]
    fn p8_a_base_older_than_ten_minutes_is_refused() {
        let at = |seconds| BootTime::from_duration(Duration::from_secs(seconds));
        assert!(check_base_age(at(1_000), at(1_600)).is_ok());
        assert!(check_base_age(at(1_000), at(900)).is_ok());
        let error = check_base_age(at(1_000), at(1_601)).expect_err("too old");
        assert_eq!(error.to_string(), "the base snapshot is 601s old, more than 600s");
    }

    #[test]
    fn only_commits_and_checkpoints_of_the_log_itself_are_log_files() {
        let read = |path: &str| {
            LogFile::from_listing(&ObjectMeta {
                location: path.into(),
                last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
                size: 1,
                e_tag: None,
                version: None,
            })
            .map(|file| (file.version, file.is_commit))
        };
        assert_eq!(read("_delta_log/00000000000000000012.json"), Some((12, true)));
        for part in ["checkpoint.parquet", "checkpoint.0001.0002.parquet", "checkpoint.x-y.json"] {
            assert_eq!(read(&format!("_delta_log/00000000000000000012.{part}")), Some((12, false)));
        }
        for other in [
            "_delta_log/_last_checkpoint",
            "_delta_log/00000000000000000012.crc",
            "_delta_log/00000000000000000012.json.tmp",
            "_delta_log/12.json",
            "_delta_log/_sidecars/00000000000000000012.json",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
