//! What rewinds took from a table, and did not bring back (T1).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Load, Loads};
use crate::log::{ForeignEdit, LogEntry, Strangers};

/// Which loads' rows rewinds may have taken. What a DELETE took, or a run that loaded them anew, is not among
/// them; nor what a later rewind brought back.
#[derive(Debug, Default)]
pub struct Taken {
    /// By the rewind's version.
    rewinds: BTreeMap<u64, Rewind>,
}

#[derive(Debug)]
struct Rewind {
    operation: String,
    took: Loads,
}

impl Taken {
    /// What rewinds of this history took, whose entries come in order.
    #[must_use]
    pub fn by_rewinds(history: &[LogEntry]) -> Self {
        let (mut taken, mut strangers) = (Self::default(), Strangers::default());
        let mut gone: HashMap<&str, u64> = HashMap::new();
        for entry in history {
            let Some(ForeignEdit::Rewind(operation)) = strangers.read(entry) else { continue };
            let rewind = Rewind { operation, took: Loads::default() };
            taken.rewinds.insert(entry.version, rewind);
            gone.extend(entry.removes.iter().map(|file| (file.path.as_str(), entry.version)));
            for file in &entry.adds {
                gone.remove(file.path.as_str());
            }
        }
        taken.look_up(history, gone);
        taken
    }

    /// What the files hold that are gone, each with the version that took it: the log's entries say when they
    /// were added.
    fn look_up(&mut self, history: &[LogEntry], gone: HashMap<&str, u64>) {
        let mut found: HashSet<&str> = HashSet::new();
        for entry in history {
            let mine = entry.adds.iter().map(|file| file.path.as_str());
            let mine: HashSet<&str> = mine.filter(|path| gone.contains_key(path)).collect();
            if mine.is_empty() {
                continue;
            }
            for file in entry.files() {
                let version = mine.get(file.path.as_str()).and_then(|path| gone.get(path));
                if let Some(rewind) = version.and_then(|version| self.rewinds.get_mut(version)) {
                    rewind.took.add(&file);
                }
            }
            found.extend(mine);
        }
        // Older than the history: it may have held anything.
        for (_, version) in gone.iter().filter(|(path, _)| !found.contains(*path)) {
            if let Some(rewind) = self.rewinds.get_mut(version) {
                rewind.took.unknown = true;
            }
        }
    }

    /// Version and operation of the first rewind that took a file which can have held a row of the load.
    #[must_use]
    pub fn of(&self, load: &Load) -> Option<(u64, &str)> {
        let (version, rewind) = self.rewinds.iter().find(|(_, one)| one.took.may_hold(load))?;
        Some((*version, rewind.operation.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    /// A commit of somebody else that removes and adds files; each added one is of one load.
    fn entry(version: u64, operation: &str, removes: &[&str], adds: &[(&str, &str)]) -> LogEntry {
        let info = json!({"commitInfo": {"timestamp": 1, "operation": operation}});
        let remove = |path: &&str| json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}});
        let add = |(path, day): &(&str, &str)| {
            let bounds =
                json!({"_tg_src": "l/g1", "_tg_interval": format!("2026-06-{day}T00:00:00.000Z")});
            let nulls = json!({"_tg_src": 0, "_tg_interval": 0});
            let stats = json!({"numRecords": 1, "minValues": bounds, "maxValues": bounds, "nullCount": nulls});
            json!({"add": {"path": path, "partitionValues": {}, "size": 1, "modificationTime": 1,
                "dataChange": true, "stats": stats.to_string()}})
        };
        let actions =
            [info].into_iter().chain(removes.iter().map(remove)).chain(adds.iter().map(add));
        let lines: Vec<String> = actions.map(|action| action.to_string()).collect();
        LogEntry::parse(version, Bytes::from(lines.join("\n"))).expect("an entry")
    }

    fn load(day: i8) -> Load {
        let start = jiff::civil::date(2026, 6, day).in_tz("UTC").expect("in range");
        Load { start: Some(start.timestamp().as_microsecond()), source: "l/g1".to_owned() }
    }

    #[test]
    fn t1_what_a_rewind_took_is_told_from_what_was_deleted_until_it_is_brought_back() {
        let begun = || vec![entry(0, "WRITE", &[], &[("a", "01"), ("b", "02"), ("c", "03")])];
        let with = |more: Vec<LogEntry>| {
            let history: Vec<LogEntry> = begun().into_iter().chain(more).collect();
            let taken = Taken::by_rewinds(&history);
            [1, 2, 3].map(|day| taken.of(&load(day)).map(|(version, _)| version))
        };
        let deleted = || entry(1, "DELETE", &["a"], &[]);
        let rewound = || entry(2, "RESTORE", &["c"], &[]);
        assert_eq!(with(vec![deleted()]), [None; 3]);
        assert_eq!(with(vec![deleted(), rewound()]), [None, None, Some(2)]);
        let undone = entry(3, "RESTORE", &[], &[("c", "03")]);
        assert_eq!(with(vec![deleted(), rewound(), undone]), [None; 3]);
        // A file that was there before the history begins.
        assert_eq!(with(vec![entry(1, "RESTORE", &["z"], &[])]), [Some(1); 3]);
    }
}
