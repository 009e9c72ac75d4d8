//! Settings that are plain values and stand in the resource, in the resolved configuration and in the
//! crate that honours them. Their spelling in documents is the enum's name.

use serde::{Deserialize, Serialize};

use crate::Span;

macro_rules! setting {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }
    };
}

setting! {
    /// How often a message may end in the table.
    #[derive(PartialOrd, Ord)]
    Guarantee {
        /// Acknowledged on receipt; what a crash or a doubtful write loses is lost.
        AtMostOnce,
        /// Nothing is lost; a message sent twice may be two rows.
        AtLeastOnce,
        /// Nothing is lost, and one id within the window is one row.
        #[default]
        ExactlyOnce,
    }
}

setting! {
    /// What happens to a record that cannot be a row.
    BadRowPolicy {
        /// It is set aside in the dead-letter table.
        #[default]
        DeadLetter,
        /// The pipeline stops before it, so that somebody looks.
        Halt,
    }
}

setting! {
    /// Whether values of a neighbouring type are taken.
    Coercion {
        /// Values must have the declared type.
        #[default]
        None,
        /// Numbers and booleans may be text and text may be a number, where nothing is lost.
        Lossless,
    }
}

setting! {
    /// What happens to fields that the schema does not declare.
    UnknownFields {
        /// They are counted and dropped.
        #[default]
        Ignore,
        /// They are kept as JSON text in the column `_tg_extra`.
        Capture,
        /// The record is a dead letter.
        DeadLetter,
    }
}

setting! {
    /// Which changes of the declared schema an existing table takes.
    Evolution {
        /// None.
        Frozen,
        /// New nullable columns, and new members of structs.
        #[default]
        AddColumns,
    }
}

setting! {
    /// What happens to a record without a deduplication key.
    MissingKeyPolicy {
        /// It is a row, never compared with others, and counted.
        #[default]
        Accept,
        /// It is a dead letter.
        DeadLetter,
    }
}

setting! {
    /// How much of a key is kept in the window.
    KeyPrecision {
        /// 128 bits: two different ids are never taken for one in practice.
        #[default]
        Exact,
        /// 64 bits: half the memory, and a small probability of dropping a good row.
        Fingerprint,
    }
}

setting! {
    /// What happens to a record whose event time is too old.
    LatePolicy {
        /// It is a row in the partition it belongs to.
        #[default]
        Append,
        /// It is a dead letter.
        DeadLetter,
    }
}

setting! {
    /// What happens to a record whose event time lies in an interval that was repaired before it came.
    AfterRepairPolicy {
        /// It is a dead letter: the repair wrote what belongs there.
        #[default]
        DeadLetter,
        /// It is a row beside those of the repair.
        Append,
    }
}

setting! {
    /// The codec of the data files.
    Compression {
        /// Zstandard, level 1: smallest for its speed.
        #[default]
        ZSTD,
        /// Snappy.
        SNAPPY,
        /// LZ4.
        LZ4,
        /// None.
        None,
    }
}

setting! {
    /// How a message's payload is compressed.
    PayloadCompression {
        /// It is not.
        #[default]
        None,
        /// gzip.
        Gzip,
        /// Zstandard.
        Zstd,
    }
}

/// Where a record's deduplication key stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DedupKey {
    /// In this message header.
    Header(String),
    /// In this column of the decoded record.
    Field(String),
}

/// The deduplication window.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DuplicateWindow {
    /// What makes two records the same.
    pub key: DedupKey,
    /// How long an id is remembered, in stream time.
    pub window: Span,
    /// How much of it is kept.
    pub keys: KeyPrecision,
    /// What happens to records without a key.
    pub on_missing_key: MissingKeyPolicy,
}

/// How a column is turned into a partition value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PartitionTransform {
    /// The value itself.
    Identity,
    /// The UTC hour, `2026-06-01-13`.
    Hour,
    /// The UTC day, `2026-06-01`.
    Day,
    /// The UTC month, `2026-06`.
    Month,
    /// A hash of the value, modulo this number.
    Bucket(u32),
}

/// One column of the table's partitioning.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionColumn {
    /// The declared column that it derives from.
    pub field: String,
    /// How.
    pub transform: PartitionTransform,
}

impl PartitionColumn {
    /// The name of the table's partition column: the field itself for Identity, else
    /// `<field>_<transform>`.
    #[must_use]
    pub fn column_name(&self) -> String {
        let suffix = match self.transform {
            PartitionTransform::Identity => return self.field.clone(),
            PartitionTransform::Hour => "hour",
            PartitionTransform::Day => "day",
            PartitionTransform::Month => "month",
            PartitionTransform::Bucket(_) => "bucket",
        };
        format!("{}_{suffix}", self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guarantees_are_ordered_from_weak_to_strong() {
        assert!(Guarantee::AtMostOnce < Guarantee::AtLeastOnce);
        assert!(Guarantee::AtLeastOnce < Guarantee::ExactlyOnce);
    }

    #[test]
    fn partition_columns_are_named_for_field_and_transform() {
        let by = |transform| PartitionColumn { field: "ts".into(), transform }.column_name();
        assert_eq!(by(PartitionTransform::Identity), "ts");
        assert_eq!(by(PartitionTransform::Month), "ts_month");
        assert_eq!(by(PartitionTransform::Bucket(8)), "ts_bucket");
    }
}
