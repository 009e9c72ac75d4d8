//! What a run did, in words.

use tidegate_telemetry::MetricsSnapshot;
use tidegate_types::Counters;
use tidegate_worker::Summary;

use crate::output::{bytes, count, grouped};

/// What the workers of one pipeline did together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    counters: Counters,
    files: u64,
    bytes: u64,
    commits: u64,
    last_version: Option<u64>,
    unknown_fields: u64,
    unkeyed: u64,
    lag: u64,
    /// A worker stopped before its work was done; the numbers are what its metrics say.
    unfinished: bool,
}

impl Totals {
    /// Adds what one worker did.
    pub(crate) fn add(&mut self, worker: &Summary) {
        self.counters += worker.counters;
        self.files += worker.files;
        self.bytes += worker.bytes;
        self.commits += worker.commits;
        self.last_version = self.last_version.max(worker.last_version);
        self.unknown_fields += worker.unknown_fields;
        self.unkeyed += worker.unkeyed;
        self.lag += worker.lag;
        self.unfinished |= worker.interrupted;
    }

    /// Adds what a worker did before it failed.
    pub(crate) fn add_unfinished(&mut self, seen: &MetricsSnapshot) {
        self.counters += seen.counters;
        self.files += seen.files;
        self.bytes += seen.bytes;
        self.commits += seen.commits;
        self.unknown_fields += seen.unknown_fields;
        self.unkeyed += seen.unkeyed;
        self.lag += seen.lag;
        self.unfinished = true;
    }

    /// A paragraph for people.
    pub(crate) fn in_words(&self, name: &str, table: &str) -> String {
        let mut text = format!("{name}: {}", self.what_became());
        text.push_str(&self.what_the_table_got(table));
        text.push_str(&self.what_is_left());
        for (number, what) in [
            (self.unknown_fields, "undeclared fields were dropped"),
            (self.unkeyed, "rows had no deduplication key"),
        ] {
            if number > 0 {
                text.push_str(&format!(". Note: {} {what}", grouped(number)));
            }
        }
        text.push('.');
        text
    }

    fn what_the_table_got(&self, table: &str) -> String {
        let commits = count(self.commits, "commit", "commits");
        match self.last_version {
            Some(version) => format!(". {commits}; the table {table} is at version {version}"),
            None if self.commits > 0 => format!(". {commits} to the table {table}"),
            None => format!(". The table {table} was left as it is"),
        }
    }

    fn what_is_left(&self) -> String {
        match (self.lag, self.unfinished) {
            (_, true) => ". It stopped before its work was done".to_owned(),
            (0, false) => ". The stream is read to its end".to_owned(),
            (lag, false) => {
                format!(". {} waiting in the stream", count(lag, "message is", "messages are"))
            }
        }
    }

    fn what_became(&self) -> String {
        let seen = &self.counters;
        if seen.read == 0 {
            let nothing = if self.unfinished { "nothing was read" } else { "nothing new to read" };
            return nothing.to_owned();
        }
        let mut parts = vec![format!(
            "{} in {} ({})",
            count(seen.rows, "row", "rows"),
            count(self.files, "file", "files"),
            bytes(self.bytes)
        )];
        for (number, one, many) in [
            (seen.duplicate, "duplicate dropped", "duplicates dropped"),
            (seen.dead, "dead letter", "dead letters"),
            (seen.filtered, "record filtered out", "records filtered out"),
        ] {
            if number > 0 {
                parts.push(count(number, one, many));
            }
        }
        format!("read {}: {}", count(seen.read, "message", "messages"), parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(read: u64, rows: u64, version: Option<u64>) -> Summary {
        let counters = Counters { read, rows, dead: 1, duplicate: read - rows - 1, filtered: 0 };
        Summary {
            counters,
            files: 6,
            bytes: 1 << 20,
            commits: 2,
            last_version: version,
            unknown_fields: 7,
            unkeyed: 0,
            lag: 0,
            interrupted: false,
        }
    }

    #[test]
    fn workers_of_a_pipeline_are_told_as_one() {
        let mut totals = Totals::default();
        totals.add(&worker(1_000, 990, Some(7)));
        totals.add(&worker(500, 499, Some(5)));
        assert_eq!(
            totals.in_words("default/clicks", "file:///lake"),
            "default/clicks: read 1,500 messages: 1,489 rows in 12 files (2.0 MiB), 9 duplicates \
             dropped, 2 dead letters. 4 commits; the table file:///lake is at version 7. The stream \
             is read to its end. Note: 14 undeclared fields were dropped."
        );
    }

    #[test]
    fn a_run_that_found_nothing_says_so() {
        assert_eq!(
            Totals::default().in_words("p", "s3://a/b"),
            "p: nothing new to read. The table s3://a/b was left as it is. The stream is read to \
             its end."
        );
    }

    #[test]
    fn a_run_that_failed_does_not_claim_to_have_read_all() {
        let mut totals = Totals::default();
        totals.add_unfinished(&MetricsSnapshot::default());
        assert_eq!(
            totals.in_words("p", "t"),
            "p: nothing was read. The table t was left as it is. It stopped before its work was \
             done."
        );
        let counters = Counters { read: 5, rows: 5, ..Counters::default() };
        totals.add_unfinished(&MetricsSnapshot { counters, commits: 1, ..Default::default() });
        assert_eq!(
            totals.in_words("p", "t"),
            "p: read 5 messages: 5 rows in 0 files (0 B). 1 commit to the table t. It stopped \
             before its work was done."
        );
    }

    #[test]
    fn what_was_not_read_is_told() {
        let totals = Totals { lag: 12_000, ..Totals::default() };
        assert!(totals.in_words("p", "t").contains("12,000 messages are waiting in the stream"));
    }
}
