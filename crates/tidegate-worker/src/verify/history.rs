//! The log as a chain: what each commit says against what it adds.

use std::collections::BTreeMap;

use tidegate_table::ledger::{LedgerError, LedgerState, PartitionState};
use tidegate_table::log::{CommitKind, ForeignEdit, LogEntry, Strangers, Txns};
use tidegate_types::{Incarnation, Ledger, PartitionId, Position};

use super::report::VerifyReport;

/// What the log's JSON tells.
#[derive(Default)]
pub(super) struct History {
    /// Whether the log is kept from the first version on.
    pub(super) complete: bool,
    /// The floor at which each partition began (P6), where the log still tells.
    pub(super) initial: BTreeMap<PartitionId, Position>,
    /// Whether somebody else changed or removed rows.
    pub(super) foreign_edits: bool,
}

/// Walks the log: floors and counters never fall, and each commit adds as many rows as it counts.
pub(super) fn walk(
    entries: &[LogEntry],
    ledger: &Ledger,
    incarnation: Incarnation,
    redelivery: bool,
    report: &mut VerifyReport,
) -> Result<History, LedgerError> {
    let mut history = History {
        complete: entries.first().is_some_and(|entry| entry.version == 0),
        ..History::default()
    };
    let mut txns = Txns::default();
    let mut strangers = Strangers::default();
    let mut before: BTreeMap<PartitionId, PartitionState> = BTreeMap::new();
    let (mut expected, mut links) = (entries.first().map(|entry| entry.version), 0_u64);
    for entry in entries {
        if expected != Some(entry.version) {
            report.not_provable(
                "log",
                format!("version {} is missing", expected.unwrap_or_default()),
            );
        }
        expected = Some(entry.version + 1);
        if let Some(rewind) = foreign(entry, &mut strangers, &mut history, report) {
            report.damaged("rewind", rewind);
        }
        txns.apply(&entry.txns);
        let state = LedgerState::read(&txns, ledger, incarnation)?;
        for (partition, now) in &state.partitions {
            let known = before.get(partition).filter(|known| known.floor.is_some());
            match known {
                Some(known) => {
                    links +=
                        u64::from(check_link((entry, redelivery), *partition, known, now, report))
                }
                None => {
                    if let (Some(floor), true) = (now.floor, history.complete) {
                        history.initial.entry(*partition).or_insert(floor);
                    }
                }
            }
        }
        check_rows(entry, ledger, &before, &state, history.complete, report);
        before = state.partitions;
    }
    report.checked(format!(
        "the log from version {} to {}: {links} steps of floors and counters",
        entries.first().map_or(0, |entry| entry.version),
        entries.last().map_or(0, |entry| entry.version)
    ));
    Ok(history)
}

/// What somebody else's commit means for what can be proved; answers with what took the table back in time.
pub(super) fn foreign(
    entry: &LogEntry,
    strangers: &mut Strangers,
    history: &mut History,
    report: &mut VerifyReport,
) -> Option<String> {
    match strangers.read(entry)? {
        ForeignEdit::Append => None,
        ForeignEdit::Edit(what) => {
            history.foreign_edits = true;
            let detail = format!("{what} by somebody else at version {}", entry.version);
            report.not_provable("foreign edits", detail);
            None
        }
        ForeignEdit::Rewind(what) => Some(format!("{what} at version {}", entry.version)),
    }
}

/// Whether the partition moved, and never backwards.
fn check_link(
    (entry, redelivery): (&LogEntry, bool),
    partition: PartitionId,
    before: &PartitionState,
    now: &PartitionState,
    report: &mut VerifyReport,
) -> bool {
    if before == now {
        return false;
    }
    let version = entry.version;
    if now.floor < before.floor {
        let (was, is) = (before.floor.unwrap_or_default(), now.floor.unwrap_or_default());
        report.damaged(
            "floors",
            format!("partition {partition} fell from {was} to {is} at version {version}"),
        );
    }
    if now.epoch < before.epoch {
        report.damaged(
            "epochs",
            format!("partition {partition} fell to {} at version {version}", now.epoch),
        );
    }
    let (a, b) = (&before.counters, &now.counters);
    let fell = [
        (a.read, b.read),
        (a.rows, b.rows),
        (a.dead, b.dead),
        (a.duplicate, b.duplicate),
        (a.filtered, b.filtered),
    ]
    .iter()
    .any(|(was, is)| is < was);
    if fell {
        report.damaged(
            "counters",
            format!("a counter of partition {partition} fell at version {version}"),
        );
    }
    let advanced =
        now.floor.unwrap_or_default().0.saturating_sub(before.floor.unwrap_or_default().0);
    if !redelivery && b.read.saturating_sub(a.read) > advanced {
        let detail = format!(
            "partition {partition} counts {} records over {advanced} sequences at version {version}",
            b.read - a.read
        );
        report.damaged("counters", detail);
    }
    true
}

/// A data commit adds as many rows as its counters rise by.
fn check_rows(
    entry: &LogEntry,
    ledger: &Ledger,
    before: &BTreeMap<PartitionId, PartitionState>,
    now: &LedgerState,
    complete: bool,
    report: &mut VerifyReport,
) {
    let Some(tag) = entry.ours.as_ref().filter(|tag| tag.ledger == *ledger) else { return };
    // The first entry of a cleaned log has nothing before it to compare with.
    if tag.kind != CommitKind::Data || (before.is_empty() && !complete) {
        return;
    }
    let sum = |states: &BTreeMap<PartitionId, PartitionState>| -> u64 {
        states.values().map(|state| state.counters.rows).sum()
    };
    let place = |states: &BTreeMap<PartitionId, PartitionState>| -> Vec<_> {
        states.iter().map(|(k, state)| (*k, state.floor, state.counters)).collect()
    };
    if place(before) == place(&now.partitions) {
        return; // it moves another incarnation
    }
    let counted = sum(&now.partitions).saturating_sub(sum(before));
    let added: u64 = entry.adds.iter().filter_map(|file| file.rows).sum();
    if counted != added {
        let detail = format!("version {} counts {counted} rows and adds {added}", entry.version);
        report.damaged("counters", detail);
    }
}
