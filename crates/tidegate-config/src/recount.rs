//! What a source says now of intervals that the table holds: asked by whoever opens sources, judged by
//! whoever reads tables.

use tidegate_types::DataInterval;

/// The answers about the newest intervals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recount {
    /// One an interval, the newest first.
    pub answers: Vec<SourceAnswer>,
    /// Older intervals that were not asked about.
    pub left_out: usize,
}

/// The answer about one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceAnswer {
    /// Which; none: everything that the source has.
    pub interval: Option<DataInterval>,
    /// What was answered.
    pub says: SourceSays,
}

/// What a source can say of an interval without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSays {
    /// How many rows it has.
    Rows(u64),
    /// Its files are those that were loaded.
    SameFiles,
    /// Files came, changed or went after they were loaded (B8).
    OtherFiles,
    /// Nothing; why.
    Nothing(String),
}

impl Recount {
    /// The intervals whose files are not those that were loaded, oldest first.
    pub fn stale(&self) -> impl Iterator<Item = Option<DataInterval>> + '_ {
        let other = |answer: &&SourceAnswer| answer.says == SourceSays::OtherFiles;
        self.answers.iter().rev().filter(other).map(|answer| answer.interval)
    }
}
