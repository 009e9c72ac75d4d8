//! Which loads' rows files can hold, as far as their statistics tell.

mod taken;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use jiff::Timestamp;

use crate::files::system;
use crate::log::{ColumnBounds, LiveFile, Nulls};

pub use taken::Taken;

/// A load: one generation of an interval, or of everything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// The interval's start in microseconds since 1970; none of a load of everything.
    pub start: Option<i64>,
    /// What its rows say in the column [`system::SOURCE`].
    pub source: String,
}

/// What files can hold, by their statistics.
#[derive(Debug, Default)]
pub struct Loads {
    /// Of files of one load each, which is how runs write them.
    single: BTreeSet<Load>,
    /// Files of several loads: somebody put them together.
    mixed: Vec<Mixed>,
    /// Whether a file is there of which nothing is known.
    unknown: bool,
}

/// What lies between the bounds of a file.
#[derive(Debug)]
struct Mixed {
    sources: RangeInclusive<String>,
    /// The starts of intervals; none: not known, or none for some rows.
    starts: Option<RangeInclusive<i64>>,
}

impl Loads {
    /// What these files can hold together.
    #[must_use]
    pub fn of(files: &[LiveFile]) -> Self {
        let mut loads = Self::default();
        files.iter().for_each(|file| loads.add(file));
        loads
    }

    fn add(&mut self, file: &LiveFile) {
        let source = file.column(system::SOURCE);
        if source.is_some_and(|source| source.nulls() == Nulls::All) {
            return; // a stranger's
        }
        match source.as_ref().and_then(texts) {
            Some((from, to)) => self.add_within(file, from, to),
            None => self.unknown = true,
        }
    }

    fn add_within(&mut self, file: &LiveFile, from: &str, to: &str) {
        let interval = file.column(system::INTERVAL);
        if from == to && interval.is_some_and(|interval| interval.nulls() == Nulls::All) {
            self.single.insert(Load { start: None, source: from.to_owned() });
            return;
        }
        let instant = |text: &str| text.parse().ok().map(Timestamp::as_microsecond);
        let bounds = interval.as_ref().and_then(texts);
        match bounds.and_then(|(first, last)| instant(first).zip(instant(last))) {
            Some((first, last)) if first == last && from == to => {
                self.single.insert(Load { start: Some(first), source: from.to_owned() });
            }
            starts => self.mixed.push(Mixed {
                sources: from.to_owned()..=to.to_owned(),
                starts: starts.map(|(first, last)| first..=last),
            }),
        }
    }

    /// Whether one of the files can hold a row of the load.
    #[must_use]
    pub fn may_hold(&self, load: &Load) -> bool {
        let single = match load.start {
            Some(_) => self.single.contains(load),
            // Whose rows may say for which interval they were loaded.
            None => self.single.iter().any(|one| one.source == load.source),
        };
        self.unknown || single || self.mixed.iter().any(|file| file.may_hold(load))
    }
}

impl Mixed {
    fn may_hold(&self, load: &Load) -> bool {
        let outside = self.starts.as_ref().zip(load.start);
        let outside = outside.is_some_and(|(all, one)| !all.contains(&one));
        !outside && self.sources.contains(&load.source)
    }
}

/// The bounds of a column of text, or of one that is written as text.
fn texts<'a>(column: &ColumnBounds<'a>) -> Option<(&'a str, &'a str)> {
    column.lower()?.as_str().zip(column.upper()?.as_str())
}
