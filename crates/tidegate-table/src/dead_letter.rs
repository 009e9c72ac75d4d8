//! The dead-letter table beside the table, and how it is rolled forward (P4).
//!
//! A commit's dead letters stand in one Parquet file, written before the commit, whose name carries
//! the commit's `dl` nonce ([`DataPath::dead_letters`](crate::files::layout::DataPath::dead_letters))
//! and whose footer lists the partitions. The file is invisible until the main commit that names the
//! nonce has won; then, and only then, the dead-letter table gets it. Whoever finds a nonce in the
//! main table that the dead-letter table lacks commits that file.

mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thiserror::Error;
use tidegate_types::{IdError, Incarnation, Ledger, Nonce, PartitionId};

use crate::files::system;
use crate::ledger::{LedgerState, PositionField, TxnName};
use crate::log::TableSpec;

pub use crate::files::layout::DEAD_LETTER_TABLE as FOLDER;
pub use run::{
    RunDeadLetter, RunDeadLetterError, RunDeadLetterFile, RunDeadLetters, RunFooter,
    decide_run_roll_forward, pending_runs, shown_runs,
};

/// The table of dead letters. It is not partitioned: a commit's dead letters are one file, and
/// retention goes by the statistics of `publish_time`.
#[must_use]
pub fn table_spec() -> TableSpec {
    TableSpec::new(schema(), Vec::new())
}

/// The columns of a dead letter: coordinates as in the main table, what is known of the record, and
/// which interval and generation of a bulk run it is of.
#[must_use]
pub fn schema() -> SchemaRef {
    let runs = [(system::INTERVAL, time()), (GENERATION, DataType::Int64)];
    let mut fields = stream_schema().fields().to_vec();
    fields.extend(runs.map(|(name, data_type)| Arc::new(Field::new(name, data_type, true))));
    Arc::new(Schema::new(fields))
}

/// The columns of a streamed dead letter: those of runs read as null.
#[must_use]
pub fn stream_schema() -> SchemaRef {
    let columns = [
        (system::SOURCE, DataType::Utf8),
        (system::PARTITION, DataType::Int32),
        (system::SEQUENCE, DataType::Int64),
        (system::ORDINAL, DataType::Int32),
        ("subject", DataType::Utf8),
        ("publish_time", time()),
        ("reason", DataType::Utf8),
        ("detail", DataType::Utf8),
        ("payload", DataType::Binary),
        // The deduplication header as published, if there was one.
        ("id", DataType::Binary),
        // The `dl` nonce of the commit, in hexadecimal digits.
        ("commit", DataType::Utf8),
    ];
    let fields: Vec<Field> =
        columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect();
    Arc::new(Schema::new(fields))
}

/// The generation of the run whose dead letter it is.
const GENERATION: &str = "generation";

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The footer of a dead-letter file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FooterError {
    /// An entry is missing.
    #[error("the footer lacks {key}")]
    Missing {
        /// The entry's key.
        key: &'static str,
    },
    /// An entry is not an identity.
    #[error("the footer names an identity that is none")]
    Identity(#[source] IdError),
    /// The list of partitions cannot be read.
    #[error("the footer lists {text:?}, which are no partitions")]
    Partitions {
        /// What stands there.
        text: String,
    },
    /// An entry of a run's file is not understood.
    #[error("the footer says {key} is {text:?}")]
    Run {
        /// The entry's key.
        key: &'static str,
        /// What stands there.
        text: String,
    },
}

/// What the footer of a dead-letter file says: enough to commit it without the worker that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterFooter {
    /// Whose dead letters.
    pub ledger: Ledger,
    /// Of which life of the stream.
    pub incarnation: Incarnation,
    /// Every partition whose `dl` the main commit sets to this nonce.
    pub partitions: Vec<PartitionId>,
    /// The nonce.
    pub nonce: Nonce,
}

const LEDGER: &str = "tidegate.ledger";
const INCARNATION: &str = "tidegate.incarnation";
const PARTITIONS: &str = "tidegate.partitions";
const NONCE: &str = "tidegate.nonce";

impl DeadLetterFooter {
    /// The entries for the Parquet footer.
    #[must_use]
    pub fn to_key_values(&self) -> Vec<(String, String)> {
        let partitions: Vec<String> = self.partitions.iter().map(ToString::to_string).collect();
        vec![
            (LEDGER.to_owned(), self.ledger.to_string()),
            (INCARNATION.to_owned(), self.incarnation.to_string()),
            (PARTITIONS.to_owned(), partitions.join(",")),
            (NONCE.to_owned(), self.nonce.to_string()),
        ]
    }

    /// Reads the entries back.
    ///
    /// # Errors
    ///
    /// [`FooterError`] when one is missing or not understood.
    pub fn from_key_values(entries: &BTreeMap<String, String>) -> Result<Self, FooterError> {
        let get = |key: &'static str| entries.get(key).ok_or(FooterError::Missing { key });
        let listed = get(PARTITIONS)?;
        let partitions = listed
            .split(',')
            .map(|text| text.parse().map(PartitionId))
            .collect::<Result<_, _>>()
            .map_err(|_| FooterError::Partitions { text: listed.clone() })?;
        Ok(Self {
            ledger: Ledger::new(get(LEDGER)?).map_err(FooterError::Identity)?,
            incarnation: Incarnation::parse(get(INCARNATION)?).map_err(FooterError::Identity)?,
            partitions,
            nonce: Nonce::parse(get(NONCE)?).map_err(FooterError::Identity)?,
        })
    }
}

/// The nonces that the main table names and the dead-letter table does not have yet, each with the
/// partitions that show it. Empty: nothing is pending.
#[must_use]
pub fn pending(main: &LedgerState, dead: &LedgerState) -> BTreeMap<Nonce, Vec<PartitionId>> {
    let mut pending: BTreeMap<Nonce, Vec<PartitionId>> = BTreeMap::new();
    for (partition, state) in &main.partitions {
        if let Some(nonce) = state.dead_letter
            && dead.partition(*partition).dead_letter != Some(nonce)
        {
            pending.entry(nonce).or_default().push(*partition);
        }
    }
    pending
}

/// What to do with a dead-letter file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollForward {
    /// The dead-letter table has it.
    Done,
    /// The main commit that would make it visible did not win: it is an orphan.
    NotCommitted,
    /// Commit the file with these `txn` actions.
    Commit(BTreeMap<String, i64>),
}

/// Decides about the file with this footer, from both tables at fresh snapshots, the main table's no
/// older than the other's: a zombie with an older one would take a file that others brought in, and
/// followed with later ones, for missing. It is decided again after every lost race, because somebody
/// else may have rolled it forward in between.
///
/// The `dl` of all listed partitions is set at once, so one of them shows for all whether the file is
/// in. Only the next main commit that carries dead letters of a partition waits for this one, so a
/// partition that has moved on in the main table shows that the file is in, too.
#[must_use]
pub fn decide_roll_forward(
    footer: &DeadLetterFooter,
    main: &LedgerState,
    dead: &LedgerState,
) -> RollForward {
    let has = |state: &LedgerState, partition: &PartitionId| {
        state.partition(*partition).dead_letter == Some(footer.nonce)
    };
    if footer.partitions.iter().any(|partition| has(dead, partition)) {
        return RollForward::Done;
    }
    if !footer.partitions.iter().any(|partition| has(main, partition)) {
        return RollForward::NotCommitted;
    }
    let name = |partition: &PartitionId| {
        let field = PositionField::DeadLetter;
        TxnName::Position(footer.ledger.clone(), footer.incarnation, *partition, field).to_string()
    };
    let txns = footer.partitions.iter().map(|partition| (name(partition), footer.nonce.as_txn()));
    RollForward::Commit(txns.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::PartitionState;

    fn nonce(number: i64) -> Nonce {
        Nonce::from_txn(number).expect("positive")
    }

    fn footer(number: i64, partitions: &[u32]) -> DeadLetterFooter {
        DeadLetterFooter {
            ledger: Ledger::new("l").expect("valid"),
            incarnation: Incarnation::derive("S", "", 0),
            partitions: partitions.iter().copied().map(PartitionId).collect(),
            nonce: nonce(number),
        }
    }

    fn with(dead_letters: &[(u32, i64)]) -> LedgerState {
        let partitions = dead_letters
            .iter()
            .map(|(partition, number)| {
                let dead_letter = Some(nonce(*number));
                let state = PartitionState { dead_letter, ..PartitionState::default() };
                (PartitionId(*partition), state)
            })
            .collect();
        LedgerState { partitions, ..LedgerState::default() }
    }

    #[test]
    fn p4_a_dead_letter_file_is_committed_exactly_when_the_main_table_names_it() {
        let file = footer(5, &[0, 1]);
        let decide = |main: &[(u32, i64)], dead: &[(u32, i64)]| {
            decide_roll_forward(&file, &with(main), &with(dead))
        };
        assert_eq!(decide(&[], &[]), RollForward::NotCommitted);
        assert_eq!(decide(&[(0, 4), (1, 4)], &[(0, 4), (1, 4)]), RollForward::NotCommitted);
        let RollForward::Commit(txns) = decide(&[(0, 5), (1, 5)], &[(0, 4)]) else {
            panic!("it is named and not there");
        };
        assert_eq!(txns.len(), 2, "every partition of the commit at once");
        assert!(txns.values().all(|version| *version == 5));
        assert_eq!(decide(&[(0, 5), (1, 5)], &[(0, 5), (1, 5)]), RollForward::Done);
        // Partition 1 has moved on, which it could only after this file was in.
        assert_eq!(decide(&[(0, 5), (1, 6)], &[(0, 5), (1, 6)]), RollForward::Done);
        assert_eq!(decide(&[(0, 6), (1, 6)], &[(0, 6), (1, 6)]), RollForward::NotCommitted);
    }

    #[test]
    fn p4_what_the_main_table_names_and_the_other_lacks_is_pending() {
        let main = with(&[(0, 5), (1, 5), (2, 7), (3, 8)]);
        let dead = with(&[(0, 4), (3, 8)]);
        let expected = BTreeMap::from([
            (nonce(5), vec![PartitionId(0), PartitionId(1)]),
            (nonce(7), vec![PartitionId(2)]),
        ]);
        assert_eq!(pending(&main, &dead), expected);
        assert!(pending(&main, &main).is_empty());
    }

    #[test]
    fn a_footer_is_read_back_and_a_damaged_one_is_refused() {
        let good = footer(5, &[0, 17]);
        let entries: BTreeMap<_, _> = good.to_key_values().into_iter().collect();
        assert_eq!(DeadLetterFooter::from_key_values(&entries), Ok(good));
        for key in entries.keys() {
            let mut without = entries.clone();
            without.remove(key);
            assert!(DeadLetterFooter::from_key_values(&without).is_err(), "{key}");
            let mut other = entries.clone();
            other.insert(key.clone(), "?".to_owned());
            assert!(DeadLetterFooter::from_key_values(&other).is_err(), "{key}");
        }
    }
}
