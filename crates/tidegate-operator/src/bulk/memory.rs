//! What is remembered of one bulk pipeline between two reconciles. All of it can be found out again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::validate::Known;
use crate::calendar::{Book, Purpose};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct BulkMemory {
    /// What came out of the resource last.
    pub(crate) known: Option<Known>,
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

    /// Takes an answer of the log. Behind one that is old already it would be old at once.
    pub(crate) fn take(&mut self, purpose: &Purpose, page: Book) {
        let whole = match self.books.remove(purpose) {
            Some(book) if book.is_fresh(page.taken()) => book.extended(page),
            _ => page,
        };
        self.books.insert(purpose.clone(), whole);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tidegate_config::Calendar;
    use tidegate_types::DataInterval;

    use super::*;

    #[test]
    fn a_page_is_put_behind_a_fresh_book_and_stands_alone_after_an_old_one() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let begun = at(1000);
        for (minutes, start) in [(59, at(0)), (61, at(4))] {
            let now = begun.checked_add(SignedDuration::from_mins(minutes)).unwrap();
            let mut memory = BulkMemory::default();
            for (start, taken) in [(at(0), begun), (at(4), now)] {
                let asked = DataInterval::new(start, at(start.as_second() / 3600 + 4)).unwrap();
                let page = Book::of(&Calendar::default(), asked, taken).unwrap();
                memory.take(&Purpose::Schedule, page);
            }
            let book = &memory.books[&Purpose::Schedule];
            assert!(book.is_fresh(now), "{minutes} minutes apart");
            assert_eq!((book.begins_by(start), book.end()), (true, at(8)));
            assert_eq!(book.begins_by(at(0)), start == at(0), "{minutes} minutes apart");
        }
    }
}
