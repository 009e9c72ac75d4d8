//! Which files a run's commit takes out of the table (B4, B9, B10).
//!
//! Rows are told by their columns: `_tg_src` says whose they are, `_tg_interval` of which interval, and of
//! streamed rows the event time. Statistics settle it for every file of runs that we wrote. Where they do
//! not (somebody put rows of several intervals into one file, or wrote no statistics), and where it has to
//! be known which messages' rows go, the columns are read. A file that holds others' rows as well is written
//! again without ours.

mod conform;
mod look;
mod removed;
mod rewrite;
mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::error::ArrowError;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use thiserror::Error;
use tidegate_types::{Explained, Ledger, Nonce, Reason};

use crate::files::{DataFile, FileError, WriteOptions};
use crate::log::{CommitLog, LiveFile, LogError, TableSnapshot};

use look::Counted;

pub use look::find_streamed;
pub use removed::{RemovedRange, RemovedRows};
pub use selection::{Selection, Verdict};

/// Files that are looked into at once.
const AT_ONCE: usize = 4;

/// The files to remove could not be found.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// The log cannot be read.
    #[error("the table's files cannot be listed")]
    Log(#[from] LogError),
    /// A file cannot be read or written.
    #[error("a file that may hold rows of the run cannot be read or written again")]
    File(#[from] FileError),
    /// A file with a deletion vector must not be written again: its rows would come back.
    #[error(
        "{path} holds rows that are to be replaced and has a deletion vector: let the engine that wrote \
         the vector purge it (REORG TABLE … APPLY (PURGE)), then run again"
    )]
    DeletionVector {
        /// The file, as the log names it.
        path: String,
    },
    /// A file's columns do not fit those of the table.
    #[error("{path} holds rows of the run beside others and cannot be written again")]
    Shape {
        /// The file, as the log names it.
        path: String,
        /// What Arrow said.
        #[source]
        source: ArrowError,
    },
}

impl Explained for ReplaceError {
    const WHAT: &'static str = "the rows to replace could not be found";

    fn reason(&self) -> Reason {
        match self {
            Self::Log(error) => error.reason(),
            Self::File(error) => error.reason(),
            Self::DeletionVector { .. } | Self::Shape { .. } => Reason::TableMismatch,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Log(error) => error.is_transient(),
            Self::File(error) => Explained::is_transient(error),
            Self::DeletionVector { .. } | Self::Shape { .. } => false,
        }
    }
}

/// What a commit must carry so that the selected rows leave the table, and no others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Replacement {
    /// Files that disappear.
    pub removes: Vec<LiveFile>,
    /// The rows of these that stay, written again.
    pub adds: Vec<DataFile>,
    /// Selected rows: how many leave the table.
    pub rows: u64,
    /// Those of them that a stream wrote, by their identities; only a repair takes such rows out (B10).
    pub streamed: RemovedRows,
}

impl Replacement {
    /// Rows of `adds`: they were in the table before.
    #[must_use]
    pub fn kept_rows(&self) -> u64 {
        self.adds.iter().map(|file| file.rows).sum()
    }
}

/// Finds the selected rows anew for every snapshot that a commit is tried on. What was read or written
/// for one is kept for the next: files never change.
#[derive(Debug)]
pub struct Replacer {
    log: CommitLog,
    selection: Selection,
    naming: Naming,
    options: WriteOptions,
    looked: BTreeMap<String, Looked>,
}

/// How files that are written again are called.
#[derive(Debug, Clone)]
pub struct Naming {
    /// Whose run it is.
    pub ledger: Ledger,
    /// The run's generation.
    pub generation: u64,
    /// A nonce that names no other file of the run.
    pub nonce: Nonce,
}

/// What a file turned out to be.
#[derive(Debug, Clone)]
struct Looked {
    counted: Counted,
    /// The rows that stay, once they are written.
    rewritten: Option<DataFile>,
}

impl Replacer {
    /// Over the table of `log`.
    #[must_use]
    pub fn new(
        log: CommitLog,
        selection: Selection,
        naming: Naming,
        options: WriteOptions,
    ) -> Self {
        Self { log, selection, naming, options, looked: BTreeMap::new() }
    }

    /// What leaves the table at `snapshot`. Rows of mixed files that stay are written on the way; until a
    /// commit names them these files are rubbish.
    ///
    /// # Errors
    ///
    /// [`ReplaceError`] when a file that may hold selected rows cannot be read or written again.
    pub async fn plan(&mut self, snapshot: &TableSnapshot) -> Result<Replacement, ReplaceError> {
        let files = self.log.live_files(snapshot).await?;
        let (mut whole, mut unknown) = (Vec::new(), Vec::new());
        for file in files {
            match self.selection.judge(&file) {
                Verdict::Whole => whole.push(file),
                Verdict::Unknown => unknown.push(file),
                Verdict::Stays => {}
            }
        }
        self.look(&unknown).await?;
        let mut plan = Replacement::default();
        for file in unknown {
            let Some(counted) = self.looked.get(&file.path).map(|known| known.counted.clone())
            else {
                continue;
            };
            if counted.selected == 0 {
                continue;
            }
            // Which of the rows are hidden is not known here, and each counts in its partition.
            if file.deleted_rows > 0 && counted.streamed.rows() > 0 {
                return Err(ReplaceError::DeletionVector { path: file.path });
            }
            plan.streamed.merge(&counted.streamed);
            if counted.others > 0 {
                plan.adds.push(self.rewrite(snapshot, &file).await?);
            }
            plan.rows += counted.selected.saturating_sub(file.deleted_rows);
            plan.removes.push(file);
        }
        for file in whole {
            plan.rows += file.rows.unwrap_or(0).saturating_sub(file.deleted_rows);
            plan.removes.push(file);
        }
        Ok(plan)
    }

    async fn look(&mut self, files: &[LiveFile]) -> Result<(), FileError> {
        let store = self.store();
        let fresh: Vec<String> = files
            .iter()
            .filter(|file| !self.looked.contains_key(&file.path))
            .map(|file| file.path.clone())
            .collect();
        let looking = fresh
            .into_iter()
            .map(|path| look::count(Arc::clone(&store), path, self.selection.clone()));
        let mut found = stream::iter(looking).buffer_unordered(AT_ONCE);
        while let Some((path, counted)) = found.try_next().await? {
            self.looked.insert(path, Looked { counted, rewritten: None });
        }
        Ok(())
    }

    async fn rewrite(
        &mut self,
        snapshot: &TableSnapshot,
        file: &LiveFile,
    ) -> Result<DataFile, ReplaceError> {
        if file.deleted_rows > 0 {
            return Err(ReplaceError::DeletionVector { path: file.path.clone() });
        }
        let done = self.looked.values().filter(|known| known.rewritten.is_some()).count();
        let Some(known) = self.looked.get_mut(&file.path) else {
            return Err(FileError::ForeignPath { path: file.path.clone() }.into());
        };
        if let Some(rewritten) = &known.rewritten {
            return Ok(rewritten.clone());
        }
        let target = rewrite::Target {
            snapshot,
            naming: &self.naming,
            number: u32::try_from(done).unwrap_or(u32::MAX),
            options: &self.options,
        };
        let kept = known.counted.others;
        let store = Arc::clone(self.log.store());
        let rewritten = rewrite::without(&store, file, kept, &self.selection, &target).await?;
        known.rewritten = Some(rewritten.clone());
        Ok(rewritten)
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(self.log.store())
    }
}

#[cfg(test)]
mod tests;
