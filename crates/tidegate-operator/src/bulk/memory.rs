//! What is remembered of one bulk pipeline between two reconciles. All of it can be found out again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::validate::Validated;
use crate::calendar::{Book, Purpose};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct BulkMemory {
    /// What came out of the resource last.
    pub(crate) validated: Option<Validated>,
    /// What the table's log was found to hold.
    pub(crate) books: BTreeMap<Purpose, Book>,
    /// When the status of a run was last written, by its uid.
    pub(crate) written: BTreeMap<String, Timestamp>,
}

impl BulkMemory {
    /// Forgets what is about runs that are no more.
    pub(crate) fn keep_only(&mut self, uids: &BTreeSet<String>) {
        self.written.retain(|uid, _| uids.contains(uid));
        self.books.retain(|purpose, _| match purpose {
            Purpose::Schedule => true,
            Purpose::Parent(uid) => uids.contains(uid),
        });
    }

    /// Takes an answer of the log.
    pub(crate) fn take(&mut self, purpose: &Purpose, page: Book) {
        let whole = match self.books.remove(purpose) {
            Some(book) => book.extended(page),
            None => page,
        };
        self.books.insert(purpose.clone(), whole);
    }
}
