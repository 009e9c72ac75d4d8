//! A bulk pipeline's log as a sequence of claims and commits.

use std::collections::BTreeMap;

use tidegate_table::files::system::run_source_name;
use tidegate_table::ledger::{
    IntervalKey, IntervalState, Intervals, LedgerError, PositionField, RunState, TxnName,
};
use tidegate_table::loads::{Load, Taken};
use tidegate_table::log::{CommitKind, LogEntry, Strangers, Txns};
use tidegate_types::Ledger;

use super::bulk::start_of;
use super::bulk_contents::Place;
use super::history::{History, foreign};
use super::report::VerifyReport;

/// What is said of intervals.
type States = BTreeMap<IntervalKey, IntervalState>;

/// What the log's JSON tells of the runs of one ledger.
#[derive(Default)]
pub(super) struct BulkHistory {
    /// Whether the log is kept from the first version on.
    pub(super) complete: bool,
    /// Whether somebody else changed or removed rows.
    pub(super) foreign_edits: bool,
    /// Whether somebody took the table back in time.
    pub(super) rewound: bool,
    /// What that took away and nobody brought back.
    taken: Taken,
    /// Commits of runs.
    pub(super) runs: u64,
    /// Rows that must be in the table.
    pub(super) alive: BTreeMap<Place, u64>,
    /// The interval of each of them.
    keys: BTreeMap<Place, IntervalKey>,
    /// Rows of each partition of a stream that repairs took out.
    superseded: BTreeMap<TxnName, u64>,
}

impl BulkHistory {
    /// Walks the log: each run claimed its interval before it committed, generations only rise, and each
    /// commit took away exactly what its interval held.
    pub(super) fn walk(
        entries: &[LogEntry],
        ledger: &Ledger,
        report: &mut VerifyReport,
    ) -> Result<Self, LedgerError> {
        let complete = entries.first().is_some_and(|entry| entry.version == 0);
        let taken = Taken::by_rewinds(entries);
        let mut history = Self { complete, taken, ..Self::default() };
        let (mut edits, mut strangers) = (History::default(), Strangers::default());
        let mut before = States::new();
        let mut expected = entries.first().map(|entry| entry.version);
        for entry in entries {
            if expected != Some(entry.version) {
                let missing = expected.unwrap_or_default();
                report.not_provable("log", format!("version {missing} is missing"));
            }
            expected = Some(entry.version + 1);
            history.rewound |= foreign(entry, &mut strangers, &mut edits, report).is_some();
            history.foreign_edits = edits.foreign_edits;
            let said = said_in(entry, ledger)?;
            check_rise(entry, &before, &said, report);
            let streamed = history.superseded(entry);
            let ours = entry.ours.as_ref().filter(|tag| tag.ledger == *ledger);
            if ours.is_some_and(|tag| matches!(tag.kind, CommitKind::Run | CommitKind::Repair)) {
                history.take((entry, streamed), &said, &before, report);
            }
            before.extend(said);
        }
        report.checked(format!(
            "the log from version {} to {}: {} runs, each claimed before it committed",
            entries.first().map_or(0, |entry| entry.version),
            entries.last().map_or(0, |entry| entry.version),
            history.runs
        ));
        Ok(history)
    }

    /// The rewind that may have taken rows of a run, in words.
    pub(super) fn rewind_of(&self, ledger: &Ledger, place: &Place) -> Option<String> {
        let source = run_source_name(ledger, place.generation);
        let (version, what) = self.taken.of(&Load { start: place.interval, source })?;
        Some(format!("{what} at version {version}"))
    }

    /// How many streamed rows a commit took out, by what the partitions count (B10).
    fn superseded(&mut self, entry: &LogEntry) -> u64 {
        let mut taken = 0;
        for (app_id, count) in &entry.txns {
            let Some(name) = TxnName::parse(app_id) else { continue };
            if !matches!(name, TxnName::Position(.., PositionField::Superseded)) {
                continue;
            }
            let count = u64::try_from(*count).unwrap_or(0);
            let before = self.superseded.insert(name, count).unwrap_or(0);
            taken += count.saturating_sub(before);
        }
        taken
    }

    /// A run's commit, and how many streamed rows it took out.
    fn take(
        &mut self,
        (entry, streamed): (&LogEntry, u64),
        said: &States,
        before: &States,
        report: &mut VerifyReport,
    ) {
        self.runs += 1;
        let ended = said.iter().filter(|(_, known)| known.state.is_done());
        let done: States = ended.map(|(key, known)| (*key, *known)).collect();
        let Some((key, IntervalState { generation, state, origin, .. })) = ran(&done) else {
            let version = entry.version;
            report.damaged("runs", format!("version {version} is a run's and ends none"));
            return;
        };
        // What was before the first kept version is not known.
        for key in done.keys().filter(|_| self.complete) {
            let claimed = before.get(key).map(|known| (known.generation, known.state));
            if claimed != Some((generation, RunState::Claimed)) {
                let version = entry.version;
                let detail =
                    format!("version {version} commits generation {generation} of {key} unclaimed");
                report.damaged("generations", detail);
            }
        }
        let overwrites = key != IntervalKey::All && done.contains_key(&IntervalKey::All);
        self.replace((entry, streamed), key, overwrites, report);
        let added: u64 = entry.adds.iter().filter_map(|file| file.rows).sum();
        let place = Place { interval: start_of(key), generation: origin.unwrap_or(generation) };
        let new = added.saturating_sub(entry.kept_rows);
        if new > 0 {
            *self.alive.entry(place).or_default() += new;
            self.keys.insert(place, key);
        }
        if (state == RunState::DoneEmpty) != (new == 0) {
            let version = entry.version;
            report.damaged("runs", format!("version {version} adds {new} rows and says otherwise"));
        }
    }

    /// Takes away what the commit replaced: all that its interval held, or (when rows are only added)
    /// nothing.
    fn replace(
        &mut self,
        (entry, streamed): (&LogEntry, u64),
        key: IntervalKey,
        overwrites: bool,
        report: &mut VerifyReport,
    ) {
        if entry.removes.is_empty() {
            return;
        }
        let within = |other: &IntervalKey| match (key, *other) {
            (IntervalKey::All, _) => true,
            (IntervalKey::Of(outer), IntervalKey::Of(inner)) => outer.contains(inner),
            (IntervalKey::Of(_), IntervalKey::All) => false,
        };
        let gone: Vec<Place> = (self.keys.iter())
            .filter(|(_, other)| overwrites || within(other))
            .map(|(place, _)| *place)
            .collect();
        let held: u64 = gone.iter().filter_map(|place| self.alive.remove(place)).sum();
        let held = held + streamed;
        gone.iter().for_each(|place| _ = self.keys.remove(place));
        let taken = entry.removes.iter().map(|file| file.rows).sum::<Option<u64>>();
        let taken = taken.map(|rows| rows.saturating_sub(entry.kept_rows));
        // Behind a rewind other rows were there than those that the runs before it brought.
        if !self.complete || self.rewound || taken == Some(held) {
            return;
        }
        let version = entry.version;
        match taken {
            None => report
                .not_provable("runs", format!("version {version} does not say its removes' rows")),
            Some(taken) => {
                let detail = format!(
                    "version {version} took {taken} rows of {key} away, of which {held} were there"
                );
                if self.foreign_edits {
                    report.not_provable("runs", detail);
                } else {
                    report.damaged("runs", detail);
                }
            }
        }
    }
}

/// Generations only rise.
fn check_rise(entry: &LogEntry, before: &States, said: &States, report: &mut VerifyReport) {
    for (key, IntervalState { generation, .. }) in said {
        if before.get(key).is_some_and(|known| known.generation > *generation) {
            let detail = format!("{key} fell to {generation} at version {}", entry.version);
            report.damaged("generations", detail);
        }
    }
}

/// What a commit says of intervals. What it does not name stays as it was.
fn said_in(entry: &LogEntry, ledger: &Ledger) -> Result<States, LedgerError> {
    let mut only = Txns::default();
    only.apply(&entry.txns);
    let known = Intervals::read(&only, ledger)?;
    Ok(known.iter().collect())
}

/// What the commit's run was of: under `Overwrite` it ends `all` as well.
fn ran(done: &States) -> Option<(IntervalKey, IntervalState)> {
    let bounded = done.iter().find(|(key, _)| **key != IntervalKey::All);
    bounded.or_else(|| done.first_key_value()).map(|(key, known)| (*key, *known))
}
