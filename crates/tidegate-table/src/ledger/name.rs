//! Names of application ids.

use std::fmt;

use tidegate_types::{Incarnation, Ledger, PartitionId};

use super::interval_key::IntervalKey;

/// The first part of every name of ours.
const PREFIX: &str = "tidegate";

/// The name of an application id that Tidegate writes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TxnName {
    /// The fencing epoch of a partition; it outlives incarnations.
    Epoch(Ledger, PartitionId),
    /// Who holds a partition (P7).
    Holder(Ledger, PartitionId),
    /// A value of a partition in one incarnation.
    Position(Ledger, Incarnation, PartitionId, PositionField),
    /// A value of the ledger as a whole.
    Ledger(Ledger, LedgerField),
    /// A value of a data interval (B1).
    Interval(Ledger, IntervalKey, IntervalField),
    /// The table's maintainer (X7); the text is the field.
    Maintainer(String),
}

macro_rules! fields {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every one, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The last part of the name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|field| field.as_str() == text)
            }
        }
    };
}

fields! {
    /// The values of a partition that live under an incarnation.
    PositionField {
        /// The floor.
        Floor = "floor",
        /// Fingerprint of the message at the floor.
        Fingerprint = "fp",
        /// Records read.
        Read = "in",
        /// Rows written.
        Rows = "rows",
        /// Dead letters.
        Dead = "dead",
        /// Duplicates dropped.
        Duplicate = "dup",
        /// Records dropped by the filter.
        Filtered = "filtered",
        /// Late duplicates removed at compaction.
        Removed = "removed",
        /// Rows replaced by repairs.
        Superseded = "superseded",
        /// Stream time at the floor.
        Time = "time",
        /// What `completeThrough` was.
        Through = "through",
        /// Nonce of the window snapshot.
        Snapshot = "snap",
        /// Nonce of the last dead-letter file.
        DeadLetter = "dl",
        /// Claims in a row that found the floor where the claim before them had left it (S8).
        Stuck = "stuck",
    }
}

fields! {
    /// The values of a data interval.
    IntervalField {
        /// Generation and state; its name has no last part.
        State = "",
        /// Nonce of the dead-letter file of its last run.
        DeadLetter = "dl",
        /// What its files were, of a source of files (B8).
        Fingerprint = "fp",
        /// The generation whose rows the table holds while a newer one is claimed; zero otherwise.
        Before = "was",
        /// 63 bits of the name of the run that claimed it last, where a run may be asked for twice.
        Run = "run",
        /// The generation that its rows carry, where an earlier attempt than the one that committed began to
        /// read the files (B5); zero otherwise.
        Origin = "origin",
        /// What its bounds meant at the database that its rows are of (B7); zero otherwise.
        Cursor = "cursor",
    }
}

fields! {
    /// The values of a ledger as a whole.
    LedgerField {
        /// Nonce of the last repair or removal record.
        Record = "rec",
        /// Nonce of the settings file.
        Keys = "keys",
    }
}

impl TxnName {
    /// Reads a name; `None` for what is not ours or not understood.
    #[must_use]
    pub fn parse(app_id: &str) -> Option<Self> {
        let parts: Vec<&str> = app_id.split('/').collect();
        match parts.as_slice() {
            [PREFIX, "maintainer", field @ ("epoch" | "holder")] => {
                Some(Self::Maintainer((*field).to_owned()))
            }
            [PREFIX, ledger, "i", key, field @ ..] if field.len() < 2 => Some(Self::Interval(
                Ledger::new(*ledger).ok()?,
                IntervalKey::parse(key)?,
                field.first().map_or(Some(IntervalField::State), |field| interval_field(field))?,
            )),
            [PREFIX, ledger, field] => {
                Some(Self::Ledger(Ledger::new(*ledger).ok()?, LedgerField::parse(field)?))
            }
            [PREFIX, ledger, partition, "epoch"] => {
                Some(Self::Epoch(Ledger::new(*ledger).ok()?, parse_partition(partition)?))
            }
            [PREFIX, ledger, partition, "holder"] => {
                Some(Self::Holder(Ledger::new(*ledger).ok()?, parse_partition(partition)?))
            }
            [PREFIX, ledger, incarnation, partition, field] => Some(Self::Position(
                Ledger::new(*ledger).ok()?,
                Incarnation::parse(incarnation).ok()?,
                parse_partition(partition)?,
                PositionField::parse(field)?,
            )),
            _ => None,
        }
    }

    /// The ledger that it belongs to; the maintainer belongs to the table.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        match self {
            Self::Epoch(ledger, _)
            | Self::Holder(ledger, _)
            | Self::Position(ledger, ..)
            | Self::Ledger(ledger, _)
            | Self::Interval(ledger, ..) => Some(ledger),
            Self::Maintainer(_) => None,
        }
    }
}

/// Only the spelling that we write: two spellings of one partition would be two positions.
fn parse_partition(text: &str) -> Option<PartitionId> {
    let id: u32 = text.parse().ok()?;
    (id.to_string() == text).then_some(PartitionId(id))
}

/// The field behind an interval; the state has none.
fn interval_field(text: &str) -> Option<IntervalField> {
    IntervalField::parse(text).filter(|field| *field != IntervalField::State)
}

impl fmt::Display for TxnName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(ledger, partition) => write!(f, "{PREFIX}/{ledger}/{partition}/epoch"),
            Self::Holder(ledger, partition) => write!(f, "{PREFIX}/{ledger}/{partition}/holder"),
            Self::Position(ledger, incarnation, partition, field) => {
                write!(f, "{PREFIX}/{ledger}/{incarnation}/{partition}/{}", field.as_str())
            }
            Self::Ledger(ledger, field) => write!(f, "{PREFIX}/{ledger}/{}", field.as_str()),
            Self::Interval(ledger, key, IntervalField::State) => {
                write!(f, "{PREFIX}/{ledger}/i/{key}")
            }
            Self::Interval(ledger, key, field) => {
                write!(f, "{PREFIX}/{ledger}/i/{key}/{}", field.as_str())
            }
            Self::Maintainer(field) => write!(f, "{PREFIX}/maintainer/{field}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new("analytics.clicks").expect("valid")
    }

    #[test]
    fn p2_the_names_are_those_of_the_stored_format() {
        let life = Incarnation::parse("00000000000000ab").expect("valid");
        let seven = PartitionId(7);
        let interval = |key, field| {
            TxnName::Interval(ledger(), IntervalKey::parse(key).expect("valid"), field)
        };
        let names = [
            (TxnName::Epoch(ledger(), seven), "tidegate/analytics.clicks/7/epoch"),
            (TxnName::Holder(ledger(), seven), "tidegate/analytics.clicks/7/holder"),
            (
                TxnName::Position(ledger(), life, seven, PositionField::Floor),
                "tidegate/analytics.clicks/00000000000000ab/7/floor",
            ),
            (
                TxnName::Position(ledger(), life, seven, PositionField::Read),
                "tidegate/analytics.clicks/00000000000000ab/7/in",
            ),
            (TxnName::Ledger(ledger(), LedgerField::Keys), "tidegate/analytics.clicks/keys"),
            (interval("1-2", IntervalField::State), "tidegate/analytics.clicks/i/1-2"),
            (interval("1-2", IntervalField::DeadLetter), "tidegate/analytics.clicks/i/1-2/dl"),
            (interval("all", IntervalField::Fingerprint), "tidegate/analytics.clicks/i/all/fp"),
            (interval("1-2", IntervalField::Origin), "tidegate/analytics.clicks/i/1-2/origin"),
            (interval("1-2", IntervalField::Cursor), "tidegate/analytics.clicks/i/1-2/cursor"),
            (TxnName::Maintainer("epoch".into()), "tidegate/maintainer/epoch"),
        ];
        for (name, text) in names {
            assert_eq!(name.to_string(), text);
            assert_eq!(TxnName::parse(text), Some(name));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_read() {
        for other in [
            "",
            "spark-app",
            "tidegate",
            "tidegate/",
            "tidegate/A/keys",
            "tidegate/a/unknown",
            "tidegate/a/07/epoch",
            "tidegate/a/-1/epoch",
            "tidegate/a/4294967296/epoch",
            "tidegate/a/xyz/0/floor",
            "tidegate/a/00000000000000ab/0/unknown",
            "tidegate/a/00000000000000ab/0/floor/x",
            "tidegate/a/i",
            "tidegate/a/i/",
            "tidegate/a/i/1",
            "tidegate/a/i/2-1",
            "tidegate/a/i/01-2",
            "tidegate/a/i/-1-2",
            "tidegate/a/i/1-2/",
            "tidegate/a/i/1-2/xx",
            "tidegate/a/i/1-2/dl/x",
            "tidegate/a/i/All",
        ] {
            assert_eq!(TxnName::parse(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn every_position_name_is_read_back(
            name in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?",
            stream in ".*",
            partition: u32,
            field in 0..PositionField::ALL.len(),
        ) {
            let ledger = Ledger::new(name).expect("generated to be valid");
            let life = Incarnation::derive(&stream, "", 0);
            let field = PositionField::ALL[field];
            let name = TxnName::Position(ledger, life, PartitionId(partition), field);
            prop_assert_eq!(TxnName::parse(&name.to_string()), Some(name));
        }
    }
}
