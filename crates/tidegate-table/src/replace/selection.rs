//! Which rows are meant, and what the statistics of a file say about that.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;
use tidegate_types::{DataInterval, Ledger};

use crate::files::system::{self, run_source_prefix};
use crate::ledger::{Effect, IntervalKey};
use crate::log::{ColumnBounds, LiveFile, Nulls};

/// The rows that a run takes the place of: of its ledger's bulk runs, and of the stream that it repairs;
/// never anybody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// A row is selected when one of them selects it.
    pub(super) parts: Vec<Part>,
}

/// Rows with a source in a range of texts, and a time in an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Whose rows: a range of `_tg_src`.
    pub(super) sources: Sources,
    /// The column with the time.
    pub(super) column: String,
    /// Where its value lies; none: anywhere, or null.
    pub(super) interval: Option<DataInterval>,
}

/// The values of `_tg_src` in `[from, to)`: all of a ledger's runs, or of its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) from: String,
    to: String,
    /// The rows are a stream's: which ones leave the table has to be known.
    pub(super) streamed: bool,
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every row is selected.
    Whole,
    /// No row is.
    Stays,
    /// The statistics do not say.
    Unknown,
}

impl Selection {
    /// All rows of the ledger's runs, or those of an interval and of every interval within it.
    #[must_use]
    pub fn new(ledger: &Ledger, interval: Option<DataInterval>) -> Self {
        let sources = Sources::of_runs(ledger);
        Self { parts: vec![Part { sources, column: system::INTERVAL.to_owned(), interval }] }
    }

    /// What a run of `key` takes the place of; none under `Append`.
    #[must_use]
    pub fn of_run(ledger: &Ledger, key: IntervalKey, effect: Effect) -> Option<Self> {
        match effect {
            Effect::Append => None,
            Effect::ReplaceInterval => Some(Self::new(ledger, key.interval())),
            Effect::Overwrite => Some(Self::new(ledger, None)),
        }
    }

    /// What `stream` wrote in any of its lives, where `event_time` lies in the interval (B10).
    #[must_use]
    pub fn streamed(stream: &Ledger, event_time: &str, interval: DataInterval) -> Self {
        let (sources, column) = (Sources::of_streams(stream), event_time.to_owned());
        Self { parts: vec![Part { sources, column, interval: Some(interval) }] }
    }

    /// What either of them selects.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.parts.extend(other.parts);
        self
    }

    /// Judges a file by its statistics. Bounds may be wider than the values, never narrower.
    #[must_use]
    pub fn judge(&self, file: &LiveFile) -> Verdict {
        let mut verdict = Verdict::Stays;
        for part in &self.parts {
            match part.judge(file) {
                Verdict::Whole => return Verdict::Whole,
                Verdict::Unknown => verdict = Verdict::Unknown,
                Verdict::Stays => {}
            }
        }
        verdict
    }
}

impl Sources {
    fn of_runs(ledger: &Ledger) -> Self {
        let from = run_source_prefix(ledger);
        Self { from, to: format!("{ledger}/h"), streamed: false }
    }

    /// Incarnations are hexadecimal, so that none reaches up to the runs' g.
    fn of_streams(ledger: &Ledger) -> Self {
        let (from, to) = (format!("{ledger}/"), run_source_prefix(ledger));
        Self { from, to, streamed: true }
    }

    pub(super) fn contain(&self, source: &str) -> bool {
        self.from.as_str() <= source && source < self.to.as_str()
    }

    fn judge(&self, source: &ColumnBounds<'_>) -> Verdict {
        let (from, to) = (self.from.as_str(), self.to.as_str());
        let text = Value::as_str;
        match (source.lower().and_then(text), source.upper().and_then(text), source.nulls()) {
            (_, _, Nulls::All) => Verdict::Stays,
            (_, Some(max), _) if max < from => Verdict::Stays,
            (Some(min), _, _) if min >= to => Verdict::Stays,
            (Some(min), Some(max), Nulls::None) if min >= from && max < to => Verdict::Whole,
            _ => Verdict::Unknown,
        }
    }
}

impl Part {
    fn judge(&self, file: &LiveFile) -> Verdict {
        let columns = file.column(system::SOURCE).zip(file.column(&self.column));
        let Some((source, times)) = columns else { return Verdict::Unknown };
        let (of_us, within) = (self.sources.judge(&source), self.within(&times));
        if [of_us, within].contains(&Verdict::Stays) {
            Verdict::Stays
        } else if [of_us, within] == [Verdict::Whole; 2] && !self.sources.streamed {
            Verdict::Whole
        } else {
            Verdict::Unknown
        }
    }

    fn within(&self, times: &ColumnBounds<'_>) -> Verdict {
        let Some(wanted) = self.interval else { return Verdict::Whole };
        let (start, end) = (wanted.start(), wanted.end());
        let at = |bound: &Value| instant(bound.as_str()?);
        match (times.lower().and_then(at), times.upper().and_then(at), times.nulls()) {
            (_, _, Nulls::All) => Verdict::Stays,
            // Others cut the upper bound to a millisecond; edges of intervals are whole seconds.
            (_, Some(max), _) if max < start => Verdict::Stays,
            (Some(min), _, _) if min >= end => Verdict::Stays,
            (Some(min), Some(max), Nulls::None) if min >= start && max < end => Verdict::Whole,
            _ => Verdict::Unknown,
        }
    }
}

/// A bound of a timestamp, of one without a zone, or of a day, which begins at midnight UTC.
fn instant(text: &str) -> Option<Timestamp> {
    let local = || {
        let time: DateTime = text.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    text.parse().ok().or_else(local)
}
