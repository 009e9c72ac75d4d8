//! Deleting a table, when the pipeline that wrote it is deleted and says so.
//!
//! First everything is classified: a table that somebody else wrote to stays as it is. Then a mark says
//! that the removal was decided, and objects go: data, dead letters and side files first, the log after
//! them, the mark at the very end. So whoever comes after a crash either still finds the log to decide by,
//! or the mark. Objects that are not the table's stay in any case.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload};
use thiserror::Error;
use tidegate_types::{Incarnation, Ledger, Reason};
use xxhash_rust::xxh3::xxh3_64;

use crate::files::belonging::{Belonging, belonging};
use crate::files::layout::{object_of_log_path, removal_mark};
use crate::files::system;
use crate::ledger::{LedgerError, LedgerState};
use crate::log::{CommitLog, LiveFile, LogError, TableSnapshot};
use crate::store::TableStore;

/// Objects that are deleted at once.
const AT_ONCE: usize = 16;
/// Objects that stay and are named.
const NAMED: usize = 3;

/// A table could not be deleted.
#[derive(Debug, Error)]
pub enum RemovalError {
    /// The log cannot be read.
    #[error("the table's log cannot be read")]
    Log(#[from] LogError),
    /// The log holds a value that is not ours.
    #[error("the table's log cannot be understood")]
    Ledger(#[from] LedgerError),
    /// The store failed.
    #[error("failed to {operation} below the table's root")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// Why.
        #[source]
        source: Error,
    },
}

impl RemovalError {
    /// The reason to report.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Log(error) => error.reason(),
            Self::Ledger(_) => Reason::TableMismatch,
            Self::Store { .. } => Reason::SinkUnreachable,
        }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(error) => error.is_transient(),
            Self::Ledger(_) => false,
            Self::Store { .. } => true,
        }
    }
}

impl tidegate_types::Explained for RemovalError {
    const WHAT: &'static str = "the table could not be deleted";

    fn reason(&self) -> Reason {
        Self::reason(self)
    }

    fn is_transient(&self) -> bool {
        Self::is_transient(self)
    }
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// It is gone, or was never there. What stays is not the table's.
    Gone {
        /// Objects deleted.
        deleted: u64,
        /// Objects that are not the table's.
        strangers: u64,
        /// The first of them.
        such_as: Vec<String>,
    },
    /// It stays as it was.
    Refused {
        /// Why.
        because: String,
    },
}

/// Deletes the table of `ledger` at the root of `store`, with its dead letters and side files.
///
/// # Errors
///
/// [`RemovalError`]; to be tried again, what is gone already does not matter.
pub async fn remove_table(store: &TableStore, ledger: &Ledger) -> Result<Removal, RemovalError> {
    let mark = removal_mark(ledger);
    let decided = exists(&*store.data, &mark).await?;
    let log = CommitLog::open(store);
    let table = match log.load().await {
        // A log of which a part is gone already.
        Err(error) if decided && !error.is_transient() => None,
        loaded => loaded?,
    };
    let mut in_log = HashSet::new();
    if let Some(snapshot) = &table {
        let files = log.live_files(snapshot).await?;
        if let Some(because) = objection(&log, snapshot, &files, ledger).await? {
            return Ok(Removal::Refused { because });
        }
        in_log = paths_in_log(&log, &files).await?;
        put_mark(&*store.data, &mark).await?;
    }
    let removing = Removing { store: &*store.data, ledger, mark: &mark, in_log };
    let all_but_log = removing.sweep(|belonging| belonging != Belonging::Log).await?;
    let log = match table.is_some() || decided {
        true => removing.sweep(|belonging| belonging == Belonging::Log).await?,
        false => Swept::default(),
    };
    delete(removing.store, &mark).await?;
    let Swept { deleted, strangers, such_as } = all_but_log;
    Ok(Removal::Gone { deleted: deleted + log.deleted, strangers, such_as })
}

/// Why the table must stay; `None` when every row of it is the ledger's.
async fn objection(
    log: &CommitLog,
    snapshot: &TableSnapshot,
    files: &[LiveFile],
    ledger: &Ledger,
) -> Result<Option<String>, RemovalError> {
    let state = LedgerState::read(snapshot.txns(), ledger, Incarnation::derive("", "", 0))?;
    if let Some(other) = state.other_ledgers.first() {
        return Ok(Some(format!("ledger {other} writes there too")));
    }
    if !state.is_known() && !made_by(log, snapshot, ledger).await? {
        return Ok(Some(format!("ledger {ledger} did not write it")));
    }
    let strange = files.iter().find(|file| !is_of(file, ledger));
    Ok(strange.map(|file| format!("{} may hold rows of somebody else", file.path)))
}

/// Whether the ledger made the table and came no further.
async fn made_by(
    log: &CommitLog,
    snapshot: &TableSnapshot,
    ledger: &Ledger,
) -> Result<bool, RemovalError> {
    if snapshot.version() > 0 {
        return Ok(false);
    }
    let first = log.history(0).await?;
    Ok(first.first().and_then(|entry| entry.ours.as_ref()).is_some_and(|t| t.ledger == *ledger))
}

/// Whether every row of a file is the ledger's, in a table without other ledgers: it wrote the file, or
/// somebody only put rows together that all have a source.
fn is_of(file: &LiveFile, ledger: &Ledger) -> bool {
    let written = object_of_log_path(&file.path)
        .is_ok_and(|object| belonging(&object, ledger) == Belonging::Data);
    let without_source = |stats: &serde_json::Value| {
        stats.get("nullCount").and_then(|nulls| nulls.get(system::SOURCE)?.as_u64())
    };
    written || file.stats.as_ref().and_then(without_source) == Some(0)
}

/// Hashes of every path that the log names, files that others took out included.
async fn paths_in_log(log: &CommitLog, files: &[LiveFile]) -> Result<HashSet<u64>, RemovalError> {
    let mut paths: HashSet<u64> = files.iter().filter_map(|file| path_hash(&file.path)).collect();
    for entry in log.history(0).await? {
        let adds = entry.adds.iter().map(|file| &file.path);
        let removes = entry.removes.iter().map(|file| &file.path);
        paths.extend(adds.chain(removes).filter_map(|path| path_hash(path)));
    }
    Ok(paths)
}

fn path_hash(in_log: &str) -> Option<u64> {
    // A path outside of the table is nothing that a sweep meets.
    object_of_log_path(in_log).ok().map(|object| xxh3_64(object.as_ref().as_bytes()))
}

#[derive(Debug, Default)]
struct Swept {
    deleted: u64,
    strangers: u64,
    such_as: Vec<String>,
}

struct Removing<'a> {
    store: &'a dyn ObjectStore,
    ledger: &'a Ledger,
    mark: &'a Path,
    in_log: HashSet<u64>,
}

impl Removing<'_> {
    /// Goes over every object once and deletes those of the table whose time it is.
    async fn sweep(&self, now: impl Fn(Belonging) -> bool) -> Result<Swept, RemovalError> {
        let mut swept = Swept::default();
        let mut condemned = Vec::new();
        let mut listing = self.store.list(None);
        while let Some(object) = listing.next().await {
            let object = object.map_err(failed("list"))?.location;
            match self.belonging(&object) {
                _ if object == *self.mark => {}
                Belonging::Unknown if now(Belonging::Unknown) => {
                    swept.strangers += 1;
                    if swept.such_as.len() < NAMED {
                        swept.such_as.push(object.to_string());
                    }
                }
                Belonging::Unknown => {}
                belonging if now(belonging) => condemned.push(object),
                _ => {}
            }
            if condemned.len() >= AT_ONCE {
                swept.deleted += self.delete_all(std::mem::take(&mut condemned)).await?;
            }
        }
        swept.deleted += self.delete_all(condemned).await?;
        Ok(swept)
    }

    fn belonging(&self, object: &Path) -> Belonging {
        match belonging(object, self.ledger) {
            Belonging::Unknown if self.in_log.contains(&xxh3_64(object.as_ref().as_bytes())) => {
                Belonging::Data
            }
            known => known,
        }
    }

    async fn delete_all(&self, objects: Vec<Path>) -> Result<u64, RemovalError> {
        let number = objects.len() as u64;
        futures::stream::iter(objects)
            .map(|object| async move { delete(self.store, &object).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(number)
    }
}

async fn delete(store: &dyn ObjectStore, object: &Path) -> Result<(), RemovalError> {
    match store.delete(object).await {
        Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(failed("delete")(source)),
    }
}

async fn exists(store: &dyn ObjectStore, object: &Path) -> Result<bool, RemovalError> {
    match store.head(object).await {
        Ok(_) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(source) => Err(failed("look")(source)),
    }
}

async fn put_mark(store: &dyn ObjectStore, mark: &Path) -> Result<(), RemovalError> {
    store.put(mark, PutPayload::from_static(b"{}")).await.map_err(failed("write"))?;
    Ok(())
}

fn failed(operation: &'static str) -> impl Fn(Error) -> RemovalError {
    move |source| RemovalError::Store { operation, source }
}

#[cfg(test)]
mod tests;
