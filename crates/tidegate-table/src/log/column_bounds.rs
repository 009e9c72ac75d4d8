//! What a live file's statistics say of one column.

use serde_json::Value;

use super::live_files::LiveFile;

/// A column in a file's statistics. Bounds may be wider than the values, never narrower.
#[derive(Debug, Clone, Copy)]
pub struct ColumnBounds<'a> {
    stats: &'a Value,
    name: &'a str,
    rows: u64,
}

/// How many of a column's values are null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// None.
    None,
    /// All.
    All,
    /// Some, or nobody says.
    Unknown,
}

impl LiveFile {
    /// The statistics of a column; none in a file without statistics.
    #[must_use]
    pub fn column<'a>(&'a self, name: &'a str) -> Option<ColumnBounds<'a>> {
        Some(ColumnBounds { stats: self.stats.as_ref()?, name, rows: self.rows? })
    }
}

impl<'a> ColumnBounds<'a> {
    /// No value is smaller.
    #[must_use]
    pub fn lower(&self) -> Option<&'a Value> {
        self.stats.get("minValues")?.get(self.name)
    }

    /// No value is greater, but for a timestamp's part of a millisecond, which others cut off.
    #[must_use]
    pub fn upper(&self) -> Option<&'a Value> {
        self.stats.get("maxValues")?.get(self.name)
    }

    /// With a deletion vector only "none" and "all" are exact.
    #[must_use]
    pub fn nulls(&self) -> Nulls {
        match self.stats.get("nullCount").and_then(|nulls| nulls.get(self.name)?.as_u64()) {
            Some(all) if all == self.rows => Nulls::All,
            Some(0) => Nulls::None,
            _ => Nulls::Unknown,
        }
    }
}
