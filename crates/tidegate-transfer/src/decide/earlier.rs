//! Whether a run that appends committed long ago, and others after it: the log's present state tells only
//! of the newest run, its history of each.

use tidegate_table::ledger::{IntervalField, IntervalKey, RunState, TxnName};
use tidegate_table::log::LogEntry;
use tidegate_types::Ledger;

/// The generation of `key` that the run with this mark committed, if it is in `history`, oldest first.
#[must_use]
pub fn committed_earlier(
    history: &[LogEntry],
    ledger: &Ledger,
    key: IntervalKey,
    run: u64,
) -> Option<u64> {
    let name = |field| TxnName::Interval(ledger.clone(), key, field).to_string();
    let (state_name, run_name) = (name(IntervalField::State), name(IntervalField::Run));
    // A claim names its run only when the one before was another's.
    let (mut newest_run, mut claimed) = (None, None);
    for entry in history {
        if let Some(mark) = entry.txns.get(&run_name) {
            newest_run = u64::try_from(*mark).ok();
        }
        let Some((generation, state)) =
            entry.txns.get(&state_name).and_then(|number| RunState::read(*number))
        else {
            continue;
        };
        match state {
            RunState::Claimed => claimed = (newest_run == Some(run)).then_some(generation),
            _ if state.is_done() && claimed == Some(generation) => return claimed,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn history(commits: &[&[(&str, i64)]]) -> Vec<LogEntry> {
        let entry = |(version, txns): (u64, &&[(&str, i64)])| {
            let mut entry = LogEntry::parse(version, Vec::new().into()).unwrap();
            let named = |(name, number): &(&str, i64)| (format!("tidegate/l/i/{name}"), *number);
            entry.txns = txns.iter().map(named).collect::<BTreeMap<_, _>>();
            entry
        };
        (0..).zip(commits).map(entry).collect()
    }

    #[test]
    fn a_runs_own_commit_is_found_behind_those_of_others() {
        let find = |commits: &[&[(&str, i64)]]| {
            let ledger = Ledger::new("l").unwrap();
            committed_earlier(&history(commits), &ledger, IntervalKey::All, 7)
        };
        let mine: &[(&str, i64)] = &[("all", 4 + 1), ("all/run", 7)];
        let done: &[(&str, i64)] = &[("all", 4 + 2)];
        let other: &[(&str, i64)] = &[("all", 4 * 2 + 1), ("all/run", 8)];
        let again: &[(&str, i64)] = &[("all", 4 * 2 + 1)];
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[mine]), None, "begun only");
        assert_eq!(find(&[mine, done]), Some(1));
        assert_eq!(find(&[mine, done, other, &[("all", 4 * 2 + 2)]]), Some(1));
        assert_eq!(find(&[mine, other, &[("all", 4 * 2 + 2)]]), None, "the other one's");
        assert_eq!(find(&[mine, again, &[("all", 4 * 2 + 3)]]), Some(2), "its second attempt");
        assert_eq!(find(&[mine, &[("0-60", 4 + 2)]]), None, "another interval's");
    }
}
