//! Whether an interval is complete: from what was seen of open transactions.

use std::collections::BTreeMap;

/// What one look at the server showed. Times are microseconds since 1970, of the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// When it was looked, after the open transactions and before the prepared ones.
    pub(super) at: i64,
    /// Open transactions that may still write rows.
    pub(super) open: Vec<Open>,
    /// Prepared ones.
    pub(super) prepared: Vec<Prepared>,
}

/// An open transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) pid: i32,
    pub(super) role: String,
    /// When it began.
    pub(super) since: i64,
}

/// A transaction that waits for its second phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) name: String,
    pub(super) role: String,
    /// When it was prepared; it began before.
    pub(super) at: i64,
}

/// Remembers what was seen, so that a transaction that is prepared meanwhile is not forgotten.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// The first look that showed no open transaction that began before the interval's end. There can be
    /// none afterwards, and what was prepared later began later.
    quiet_since: Option<i64>,
}

impl Watch {
    /// What may still write rows of an interval that ends at `end`, for people; empty when nothing may.
    pub(super) fn waits_for(&mut self, end: i64, seen: &Seen) -> Vec<String> {
        let open: BTreeMap<i32, &Open> = seen
            .open
            .iter()
            .filter(|transaction| transaction.since < end)
            .map(|transaction| (transaction.pid, transaction))
            .collect();
        if open.is_empty() && self.quiet_since.is_none() {
            self.quiet_since = Some(seen.at);
        }
        let until = self.quiet_since.unwrap_or(i64::MAX);
        let prepared = seen.prepared.iter().filter(|transaction| transaction.at <= until);
        let open = open
            .values()
            .map(|transaction| format!("pid {} (role {})", transaction.pid, transaction.role));
        let prepared = prepared.map(|transaction| {
            format!("the prepared transaction {:?} (role {})", transaction.name, transaction.role)
        });
        open.chain(prepared).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i64 = 1000;

    fn seen(at: i64, open: &[i64], prepared: &[i64]) -> Seen {
        let open =
            (1..).zip(open).map(|(pid, since)| Open { pid, role: "app".to_owned(), since: *since });
        let prepared = prepared.iter().map(|at| Prepared {
            name: format!("gid{at}"),
            role: "app".to_owned(),
            at: *at,
        });
        Seen { at, open: open.collect(), prepared: prepared.collect() }
    }

    #[test]
    fn only_what_began_before_the_end_is_waited_for() {
        let mut watch = Watch::default();
        let waits = watch.waits_for(END, &seen(1100, &[900, 999, 1000, 1050], &[]));
        assert_eq!(waits, ["pid 1 (role app)", "pid 2 (role app)"]);
        assert!(watch.waits_for(END, &seen(1200, &[1000, 1150], &[])).is_empty());
    }

    #[test]
    fn what_is_prepared_while_its_beginning_was_open_is_waited_for() {
        let mut watch = Watch::default();
        assert_eq!(watch.waits_for(END, &seen(1100, &[900], &[])).len(), 1);
        // Prepared between two looks, and no longer open.
        assert_eq!(watch.waits_for(END, &seen(1200, &[], &[1150])).len(), 1);
        // One that is prepared after the server was quiet began after the end.
        let waits = watch.waits_for(END, &seen(1300, &[], &[1150, 1250]));
        assert_eq!(waits, ["the prepared transaction \"gid1150\" (role app)"]);
        assert!(watch.waits_for(END, &seen(1400, &[], &[1250])).is_empty());
    }

    #[test]
    fn what_was_prepared_long_ago_is_waited_for() {
        let mut watch = Watch::default();
        assert_eq!(watch.waits_for(END, &seen(1100, &[], &[10])).len(), 1);
        assert!(watch.waits_for(END, &seen(1200, &[], &[])).is_empty());
    }
}
