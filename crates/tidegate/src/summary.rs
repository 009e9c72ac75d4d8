//! What a run did, in words.

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
    }

    /// A paragraph for people.
    pub(crate) fn in_words(&self, name: &str, table: &str) -> String {
        let mut text = format!("{name}: {}", self.what_became());
        if let Some(version) = self.last_version {
            text.push_str(&format!(
                ". {}; the table {table} is at version {version}",
                count(self.commits, "commit", "commits")
            ));
        } else {
            text.push_str(&format!(". The table {table} was left as it is"));
        }
        text.push_str(&match self.lag {
            0 => ". The stream is read to its end".to_owned(),
            lag => format!(". {} waiting in the stream", count(lag, "message is", "messages are")),
        });
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

    fn what_became(&self) -> String {
        let seen = &self.counters;
        if seen.read == 0 {
            return "nothing new to read".to_owned();
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
    fn what_was_not_read_is_told() {
        let totals = Totals { lag: 12_000, ..Totals::default() };
        assert!(totals.in_words("p", "t").contains("12,000 messages are waiting in the stream"));
    }
}
