//! Dead letters of bulk runs (B6a): as those of streams they stand in one file, written before the commit
//! that names it and visible after it. They take the place of those that earlier runs of the interval
//! left, so a run without any writes an empty file when there are some to replace.

mod file;
mod footer;
mod gone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tidegate_types::{Evolution, Explained, Ledger, Nonce, Reason};

use super::{FooterError, RollForward, schema, table_spec};
use crate::files::layout::DataPath;
use crate::files::{DataFile, FileError, WriteOptions, describe_file};
use crate::ledger::{IntervalField, IntervalKey, Intervals, LedgerError, TxnName};
use crate::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, LogError, Outcome, RetryPolicy, TableSnapshot,
    Txns,
};
use crate::replace::{Naming, ReplaceError, Replacement, Replacer, Selection};
use crate::schema::plan_evolution;

pub use file::{RunDeadLetter, RunDeadLetterFile};
pub use footer::RunFooter;

/// The dead letters of a run could not be written or brought into their table.
#[derive(Debug, Error)]
pub enum RunDeadLetterError {
    /// A log failed.
    #[error("a table's log failed")]
    Log(#[from] LogError),
    /// A log holds a value that is not ours.
    #[error("a table's log cannot be understood")]
    Ledger(#[from] LedgerError),
    /// A file failed.
    #[error("a dead-letter file failed")]
    File(#[from] FileError),
    /// The rows to replace could not be found.
    #[error("earlier dead letters of the interval cannot be replaced")]
    Replace(#[from] ReplaceError),
    /// A file's footer is not what was written.
    #[error("dead-letter file {path} is damaged")]
    Footer {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        source: FooterError,
    },
    /// The table has other columns under our names.
    #[error("the dead-letter table does not fit")]
    Schema(#[from] crate::schema::SchemaMismatch),
}

impl Explained for RunDeadLetterError {
    const WHAT: &'static str = "dead letters could not be kept";

    fn reason(&self) -> Reason {
        match self {
            Self::Log(error) => error.reason(),
            Self::Ledger(error) => Explained::reason(error),
            Self::File(error) => error.reason(),
            Self::Replace(error) => Explained::reason(error),
            Self::Footer { .. } => Reason::DeadLetterCommitPending,
            Self::Schema(error) => error.reason(),
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Log(error) => error.is_transient(),
            Self::File(error) => Explained::is_transient(error),
            Self::Replace(error) => Explained::is_transient(error),
            Self::Ledger(_) | Self::Footer { .. } | Self::Schema(_) => false,
        }
    }
}

/// The dead-letter files of runs that the main table names and the dead-letter table lacks.
#[must_use]
pub fn pending_runs(main: &Intervals, dead: &BTreeMap<IntervalKey, Nonce>) -> Vec<Nonce> {
    let lacks = |key: &IntervalKey, nonce: &Nonce| dead.get(key) != Some(nonce);
    let named = main.iter().filter_map(|(key, known)| Some((key, known.dead_letters?)));
    named.filter(|(key, nonce)| lacks(key, nonce)).map(|(_, nonce)| nonce).collect()
}

/// Decides about a run's file from both tables, the main table read after the other one: what it names
/// by then and the other lacks is to be committed. A file that it names no longer was replaced by a later
/// run before it was visible.
#[must_use]
pub fn decide_run_roll_forward(
    footer: &RunFooter,
    main: &Intervals,
    dead: &BTreeMap<IntervalKey, Nonce>,
) -> RollForward {
    let key = footer.key;
    if dead.get(&key) == Some(&footer.nonce) {
        return RollForward::Done;
    }
    if main.get(key).and_then(|known| known.dead_letters) != Some(footer.nonce) {
        return RollForward::NotCommitted;
    }
    let name = TxnName::Interval(footer.ledger.clone(), key, IntervalField::DeadLetter);
    RollForward::Commit(BTreeMap::from([(name.to_string(), footer.nonce.as_txn())]))
}

/// The dead-letter file of each interval that a dead-letter table has taken in, by its `txn` actions.
#[must_use]
pub fn shown_runs(txns: &Txns, ledger: &Ledger) -> BTreeMap<IntervalKey, Nonce> {
    let shown = txns.iter().filter_map(|(app_id, version)| match TxnName::parse(app_id)? {
        TxnName::Interval(owner, key, IntervalField::DeadLetter) if owner == *ledger => {
            Some((key, Nonce::from_txn(version)?))
        }
        _ => None,
    });
    shown.collect()
}

/// The dead-letter table of one ledger's runs.
#[derive(Debug)]
pub struct RunDeadLetters {
    log: CommitLog,
    ledger: Ledger,
    /// The last snapshot read; none before the table was needed.
    snapshot: Option<TableSnapshot>,
    /// Files that the main table names, and the store has not.
    gone: BTreeSet<Nonce>,
}

/// What became of a file.
enum Rolled {
    /// It was brought in.
    In,
    /// There was nothing to do.
    Not,
    /// Somebody removed it.
    Gone,
}

impl RunDeadLetters {
    /// Over the dead-letter table's log, which lies [below](crate::store::TableStore::below) the main
    /// table in [`FOLDER`](super::FOLDER).
    #[must_use]
    pub fn new(log: CommitLog, ledger: Ledger) -> Self {
        Self { log, ledger, snapshot: None, gone: BTreeSet::new() }
    }

    /// Begins the file that the run's commit will name (P4).
    #[must_use]
    pub fn create(&self, footer: RunFooter, written_at: jiff::Timestamp) -> RunDeadLetterFile {
        RunDeadLetterFile::create(Arc::clone(self.log.store()), footer, written_at)
    }

    /// Brings every file that the main table, at `main` or later, names into the dead-letter table, and
    /// answers how many there were. `nonce` makes a fresh one each time.
    ///
    /// A file that is not there cannot be on its way (P4: it was whole before anybody named it), so somebody
    /// removed it. Nothing waits for it, or no run would ever end again; [`Self::gone`] names it.
    ///
    /// # Errors
    ///
    /// [`RunDeadLetterError`]; whoever comes next goes on.
    pub async fn roll_forward(
        &mut self,
        main_log: &CommitLog,
        main: &TableSnapshot,
        mut nonce: impl FnMut() -> Nonce + Send,
    ) -> Result<u64, RunDeadLetterError> {
        let named = Intervals::read(main.txns(), &self.ledger)?;
        if named.iter().all(|(_, known)| known.dead_letters.is_none()) {
            return Ok(0);
        }
        let pending = pending_runs(&named, &self.known());
        let mut rolled = 0;
        for file in &pending {
            if self.gone.contains(file) {
                continue;
            }
            match self.roll_one(*file, main_log, main, &mut nonce).await? {
                Rolled::In => rolled += 1,
                Rolled::Not => {}
                Rolled::Gone => self.gone = self.not_there(&pending).await?,
            }
        }
        Ok(rolled)
    }

    async fn roll_one(
        &mut self,
        file: Nonce,
        main_log: &CommitLog,
        main: &TableSnapshot,
        nonce: &mut (impl FnMut() -> Nonce + Send),
    ) -> Result<Rolled, RunDeadLetterError> {
        // Somebody else may have brought it in while this table was not looked at.
        let mut snapshot = self.fresh_snapshot(nonce).await?;
        let mut main = main_log.refresh(main).await?.0;
        let still = pending_runs(&Intervals::read(main.txns(), &self.ledger)?, &self.known());
        if !still.contains(&file) {
            return Ok(Rolled::Not);
        }
        let (data, footer) = match self.describe(file).await {
            Ok(described) => described,
            Err(_) if self.is_gone(file).await? => return Ok(Rolled::Gone),
            Err(error) => return Err(error),
        };
        let mut replacer = self.replacer(&footer, nonce);
        loop {
            let named = Intervals::read(main.txns(), &self.ledger)?;
            let RollForward::Commit(txns) = decide_run_roll_forward(&footer, &named, &self.known())
            else {
                return Ok(Rolled::Not);
            };
            let replaced = match &mut replacer {
                Some(replacer) => replacer.plan(&snapshot).await?,
                None => Replacement::default(),
            };
            let new = (data.rows > 0).then(|| data.clone());
            let tag = self.tag(CommitKind::DeadLetters, nonce);
            let request = CommitRequest { txns, ..CommitRequest::replacing(tag, replaced, new) };
            let outcome = self.commit(&snapshot, &request).await?;
            snapshot = self.fresh_snapshot(nonce).await?;
            if matches!(outcome, Outcome::Won) {
                return Ok(Rolled::In);
            }
            pause(nonce()).await;
            // Read after this table: a later run may have taken the file's place meanwhile.
            main = main_log.refresh(&main).await?.0;
        }
    }

    async fn describe(&self, file: Nonce) -> Result<(DataFile, RunFooter), RunDeadLetterError> {
        let path = DataPath::dead_letters(&self.ledger, file);
        let (data, entries) = describe_file(self.log.store(), &path, &schema()).await?;
        let footer = RunFooter::from_key_values(&entries)
            .map_err(|source| RunDeadLetterError::Footer { path: path.in_log(), source })?;
        Ok((data, footer))
    }

    fn replacer(
        &self,
        footer: &RunFooter,
        nonce: &mut (impl FnMut() -> Nonce + Send),
    ) -> Option<Replacer> {
        let selection = Selection::of_run(&self.ledger, footer.key, footer.effect)?;
        let (ledger, generation) = (self.ledger.clone(), footer.generation);
        let naming = Naming { ledger, generation, nonce: nonce() };
        Some(Replacer::new(self.log.clone(), selection, naming, WriteOptions::default()))
    }

    async fn commit(
        &self,
        base: &TableSnapshot,
        request: &CommitRequest,
    ) -> Result<Outcome, LogError> {
        let prepared = self.log.prepare(base, request).await?;
        self.log.settle(&prepared, &RetryPolicy::default(), std::future::pending()).await
    }

    /// What the dead-letter table has, as of the last look.
    fn known(&self) -> BTreeMap<IntervalKey, Nonce> {
        let txns = self.snapshot.as_ref().map(TableSnapshot::txns);
        txns.map(|txns| shown_runs(txns, &self.ledger)).unwrap_or_default()
    }

    /// The newest snapshot of a table that has the columns of runs; it is made when there is none.
    async fn fresh_snapshot(
        &mut self,
        nonce: &mut (impl FnMut() -> Nonce + Send),
    ) -> Result<TableSnapshot, RunDeadLetterError> {
        loop {
            let snapshot = match &self.snapshot {
                Some(snapshot) => Some(self.log.refresh(snapshot).await?.0),
                None => self.log.load().await?,
            };
            let Some(snapshot) = snapshot else {
                let request = CommitRequest::new(self.tag(CommitKind::Create, nonce));
                let prepared = self.log.prepare_create(&table_spec(), &request).await?;
                self.log.settle(&prepared, &RetryPolicy::default(), std::future::pending()).await?;
                continue;
            };
            self.snapshot = Some(snapshot.clone());
            let lacks = plan_evolution(snapshot.schema(), &schema(), Evolution::AddColumns)?;
            if lacks.is_empty() {
                return Ok(snapshot);
            }
            let tag = self.tag(CommitKind::Schema, nonce);
            let request = CommitRequest { add_columns: lacks, ..CommitRequest::new(tag) };
            self.commit(&snapshot, &request).await?;
        }
    }

    fn tag(&self, kind: CommitKind, nonce: &mut impl FnMut() -> Nonce) -> CommitTag {
        CommitTag { ledger: self.ledger.clone(), kind, nonce: nonce() }
    }
}

/// 5 to 50 ms, so that two who lost do not meet again.
async fn pause(nonce: Nonce) {
    let millis = 5 + nonce.as_txn().unsigned_abs() % 46;
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[cfg(test)]
mod tests;
