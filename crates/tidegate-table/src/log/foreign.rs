//! What commits of others mean for the ledgers of a table (T1).

use std::collections::{BTreeSet, HashSet};

use xxhash_rust::xxh3::xxh3_64;

use super::entry::LogEntry;
use super::request::CommitKind;

/// What somebody else did to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignEdit {
    /// Rows came in, nothing else.
    Append,
    /// Rows were changed, removed or rewritten.
    Edit(String),
    /// The table went back in time: rows vanish while the floors stay.
    Rewind(String),
}

/// Sorts a stranger's commit. `readded` says that it adds a file that an earlier commit removed.
fn classify(operation: Option<&str>, removes: usize, readded: bool) -> ForeignEdit {
    let name = operation.unwrap_or("an unnamed operation");
    let upper = name.to_ascii_uppercase();
    if readded || upper.starts_with("RESTORE") || upper.contains("REPLACE TABLE") {
        ForeignEdit::Rewind(name.to_owned())
    } else if removes > 0 {
        ForeignEdit::Edit(name.to_owned())
    } else {
        ForeignEdit::Append
    }
}

/// Sorts what strangers did in a history, entry by entry.
#[derive(Debug, Default)]
pub struct Strangers {
    /// Hashes of the paths that commits removed so far: one that comes back is a rewind.
    removed: HashSet<u64>,
}

impl Strangers {
    /// What somebody else did in the next entry; none where the commit is Tidegate's.
    pub fn read(&mut self, entry: &LogEntry) -> Option<ForeignEdit> {
        let hash = |path: &str| xxh3_64(path.as_bytes());
        let readded = entry.adds.iter().any(|file| self.removed.contains(&hash(&file.path)));
        self.removed.extend(entry.removes.iter().map(|file| hash(&file.path)));
        if entry.ours.is_some() {
            return None;
        }
        Some(classify(entry.operation.as_deref(), entry.removes.len(), readded))
    }
}

/// Looks for what took the table back in time behind a repair. Such a rewind brings replaced rows back, which
/// make up in number for those that are lost, so that counting rows does not show it.
#[derive(Debug, Default)]
pub struct Rewinds {
    /// Whether an entry was read.
    begun: bool,
    /// Whether there was a repair before what is read next.
    repaired: bool,
    strangers: Strangers,
    /// Files that rewinds brought back, and did not take away again.
    back: BTreeSet<String>,
    /// Files that rewinds took away, and did not bring back.
    gone: BTreeSet<String>,
    /// The first rewind of those that were not undone.
    first: Option<(u64, String)>,
}

impl Rewinds {
    /// Takes the next entry of a history of a table that was repaired. Entries come in order; where the
    /// first is not version 0, the repair may have been before it.
    pub fn read(&mut self, entry: &LogEntry) {
        self.repaired |= !self.begun && entry.version > 0;
        self.begun = true;
        self.repaired |= entry.ours.as_ref().is_some_and(|tag| tag.kind == CommitKind::Repair);
        if let (Some(ForeignEdit::Rewind(what)), true) = (self.strangers.read(entry), self.repaired)
        {
            if self.undone() {
                self.first = Some((entry.version, what));
            }
            self.rewind(entry);
        }
    }

    fn rewind(&mut self, entry: &LogEntry) {
        for file in &entry.adds {
            if !self.gone.remove(&file.path) {
                self.back.insert(file.path.clone());
            }
        }
        for file in &entry.removes {
            if !self.back.remove(&file.path) {
                self.gone.insert(file.path.clone());
            }
        }
    }

    fn undone(&self) -> bool {
        self.back.is_empty() && self.gone.is_empty()
    }

    /// The version and the operation of the first rewind that was not undone: the version before it is the
    /// table as it should be.
    #[must_use]
    pub fn standing(&self) -> Option<(u64, &str)> {
        let (version, what) = self.first.as_ref()?;
        (!self.undone()).then_some((*version, what.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidegate_types::{Ledger, Nonce};

    use super::*;
    use crate::log::CommitTag;

    #[test]
    fn t1_strangers_commits_are_sorted() {
        for (operation, removes, readded, expected) in [
            (Some("WRITE"), 0, false, ForeignEdit::Append),
            (Some("OPTIMIZE"), 3, false, ForeignEdit::Edit("OPTIMIZE".into())),
            (Some("DELETE"), 1, false, ForeignEdit::Edit("DELETE".into())),
            (Some("RESTORE"), 0, false, ForeignEdit::Rewind("RESTORE".into())),
            (Some("WRITE"), 0, true, ForeignEdit::Rewind("WRITE".into())),
            (
                Some("CREATE OR REPLACE TABLE"),
                1,
                false,
                ForeignEdit::Rewind("CREATE OR REPLACE TABLE".into()),
            ),
            (None, 1, false, ForeignEdit::Edit("an unnamed operation".into())),
        ] {
            assert_eq!(classify(operation, removes, readded), expected, "{operation:?}");
        }
    }

    /// A commit that removes and adds files; of whom, its operation says.
    fn entry(version: u64, operation: &str, removes: &[&str], adds: &[&str]) -> LogEntry {
        let mut lines =
            vec![format!(r#"{{"commitInfo":{{"timestamp":1,"operation":"{operation}"}}}}"#)];
        lines.extend(removes.iter().map(|path| {
            format!(r#"{{"remove":{{"path":"{path}","deletionTimestamp":1,"dataChange":true}}}}"#)
        }));
        lines.extend(adds.iter().map(|path| {
            format!(
                r#"{{"add":{{"path":"{path}","partitionValues":{{}},"size":1,"modificationTime":1,"dataChange":true}}}}"#
            )
        }));
        let mut entry = LogEntry::parse(version, Bytes::from(lines.join("\n"))).expect("an entry");
        if operation == "repair" {
            let ledger = Ledger::new("l").expect("valid");
            let nonce = Nonce::from_txn(1).expect("positive");
            entry.ours = Some(CommitTag { ledger, kind: CommitKind::Repair, nonce });
        }
        entry
    }

    fn standing(entries: &[LogEntry]) -> Option<u64> {
        let mut rewinds = Rewinds::default();
        entries.iter().for_each(|entry| rewinds.read(entry));
        rewinds.standing().map(|(version, _)| version)
    }

    #[test]
    fn t1_a_rewind_behind_a_repair_stands_until_it_is_undone() {
        let appended = || entry(0, "WRITE", &[], &["a"]);
        let repair = || entry(1, "repair", &["a"], &["b"]);
        let newer = || entry(2, "WRITE", &[], &["c"]);
        let rewind = || entry(3, "RESTORE", &["b", "c"], &["a"]);
        let undo = entry(4, "RESTORE", &["a"], &["b", "c"]);
        let partly = entry(4, "RESTORE", &["a"], &["b"]);
        assert_eq!(standing(&[appended(), repair(), newer()]), None);
        assert_eq!(standing(&[appended(), repair(), newer(), rewind()]), Some(3));
        assert_eq!(standing(&[appended(), repair(), newer(), rewind(), undo]), None);
        assert_eq!(standing(&[appended(), repair(), newer(), rewind(), partly]), Some(3));
        // Without a repair before it, rows are missing where some were lost.
        assert_eq!(standing(&[appended(), newer(), rewind(), repair()]), None);
        // Where the log was cleaned up, nobody can tell whether there was one.
        assert_eq!(standing(&[newer(), rewind()]), Some(3));
    }
}
