//! What a verification found.

use std::fmt;

use serde::Serialize;

/// How a verification ends (T3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum VerifyState {
    /// Nothing is missing, nothing is doubled.
    Ok,
    /// Nothing contradicts the log, but something could not be looked at.
    NotProvable,
    /// Something is missing, doubled or changed.
    Damaged,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub state: VerifyState,
    /// Which check found it.
    pub check: &'static str,
    /// What, with the numbers.
    pub detail: String,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The worst of the findings.
    pub state: VerifyState,
    /// The table's version that was looked at.
    pub version: u64,
    /// Live data files.
    pub files: u64,
    /// Rows of the ledger.
    pub rows: u64,
    /// Dead letters of the ledger.
    pub dead: u64,
    /// Records that the counters account for.
    pub read: u64,
    /// Records dropped as duplicates.
    pub duplicates: u64,
    /// Records dropped by the filter.
    pub filtered: u64,
    /// Rows that repairs took out of the table.
    pub repaired: u64,
    /// Messages of the source that were counted; none without `--source`, and of bulk pipelines.
    pub source_messages: Option<u64>,
    /// Rows that the source of a bulk pipeline says it has of the intervals that it was asked about; none
    /// without `--source`, and of sources that do not count.
    pub source_rows: Option<u64>,
    /// Ids that stand in more than one partition (D6); outside the promise.
    pub ids_in_two_partitions: u64,
    /// Everything that is not as it should be, and what could not be looked at.
    pub findings: Vec<Finding>,
    /// What was checked, a line each.
    pub checked: Vec<String>,
}

impl VerifyReport {
    pub(super) fn new(version: u64) -> Self {
        Self {
            state: VerifyState::Ok,
            version,
            files: 0,
            rows: 0,
            dead: 0,
            read: 0,
            duplicates: 0,
            filtered: 0,
            repaired: 0,
            source_messages: None,
            source_rows: None,
            ids_in_two_partitions: 0,
            findings: Vec::new(),
            checked: Vec::new(),
        }
    }

    /// There is no table: nothing was committed, so there is nothing to prove.
    pub(super) fn without_a_table(url: impl fmt::Display) -> Self {
        let mut report = Self::new(0);
        let detail = format!(
            "there is none at {url}: nothing was committed yet; make the first run, or see whether \
             spec.sink.storage.url is the one that is meant"
        );
        report.not_provable("table", detail);
        report
    }

    pub(super) fn damaged(&mut self, check: &'static str, detail: impl Into<String>) {
        self.found(VerifyState::Damaged, check, detail.into());
    }

    pub(super) fn not_provable(&mut self, check: &'static str, detail: impl Into<String>) {
        self.found(VerifyState::NotProvable, check, detail.into());
    }

    pub(super) fn found(&mut self, state: VerifyState, check: &'static str, detail: String) {
        self.state = self.state.max(state);
        self.findings.push(Finding { state, check, detail });
    }

    /// Records a check whether it found something or not.
    pub(super) fn checked(&mut self, what: impl Into<String>) {
        self.checked.push(what.into());
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.checked {
            writeln!(f, "  checked  {line}")?;
        }
        for finding in &self.findings {
            let word = match finding.state {
                VerifyState::Damaged => "damaged",
                _ => "unproven",
            };
            writeln!(f, "  {word:8} {}: {}", finding.check, finding.detail)?;
        }
        let state = match self.state {
            VerifyState::Ok => "ok: nothing is missing and nothing is doubled",
            VerifyState::NotProvable => "not provable: nothing contradicts the log, see above",
            VerifyState::Damaged => "damaged: see above",
        };
        write!(
            f,
            "{state}\n  version {}, {} files, {} records = {} rows + {} dead letters + {} duplicates + {} filtered",
            self.version,
            self.files,
            self.read,
            self.rows,
            self.dead,
            self.duplicates,
            self.filtered
        )?;
        match self.repaired {
            0 => Ok(()),
            repaired => write!(f, " + {repaired} repaired"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_adds_up_when_repairs_took_rows_out() {
        let mut report = VerifyReport::new(7);
        (report.read, report.rows) = (14, 14);
        assert!(report.to_string().ends_with("0 duplicates + 0 filtered"), "{report}");
        (report.rows, report.repaired) = (2, 12);
        let sum = "14 records = 2 rows + 0 dead letters + 0 duplicates + 0 filtered + 12 repaired";
        assert!(report.to_string().ends_with(sum), "{report}");
    }
}
