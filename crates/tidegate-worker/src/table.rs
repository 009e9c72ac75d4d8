//! Whether the table is the one that the ledger's counters know (T1, T2, X6).

use std::collections::BTreeSet;

use tidegate_runtime::RunError;
use tidegate_table::files::system;
use tidegate_table::ledger::{LedgerState, PartitionState, TxnName};
use tidegate_table::log::{
    CommitLog, ForeignEdit, LiveFile, LogEntry, Rewinds, Strangers, TableSnapshot,
};
use tidegate_table::replace::{Selection, Verdict};
use tidegate_types::{Explained, Incarnation, Ledger, Reason};
use tracing::warn;

/// Whether the ledger may write to the table (X6).
///
/// # Errors
///
/// [`Reason::LedgerMismatch`] when the table holds another ledger's rows and nothing allows that.
pub(crate) fn check_ledger(
    state: &LedgerState,
    ledger: &Ledger,
    shared: bool,
) -> Result<(), RunError> {
    let checked = state.check_shared(ledger, shared);
    checked.map_err(|error| RunError::permanent(error.reason(), error.to_string()))
}

/// Versions that are read back when rows are missing: a day of commits, one each minute and a half.
const LOOK_BACK: u64 = 1_000;

/// Compares the rows in the table with the rows that every ledger counted (T2). Where rows are missing
/// the log says whether somebody edited them away, or took the table back in time while no worker
/// looked (T1). Where rows were repaired, those that a rewind brings back may stand in for those that are
/// lost, so the log is always asked.
///
/// # Errors
///
/// [`Reason::TableRewound`] when the log shows that the table was rewound.
pub(crate) async fn check_rows(
    log: &CommitLog,
    snapshot: &TableSnapshot,
    ledger: &Ledger,
) -> Result<(), RunError> {
    let counted = Counted::read(snapshot, ledger)?;
    if counted == Counted::default() {
        return Ok(());
    }
    let files = log.live_files(snapshot).await?;
    let bulk = bulk_ledgers(snapshot);
    let streamed = files.iter().filter(|file| !is_bulk(file, &bulk));
    // None: a stranger's file without statistics.
    let present = streamed.map(ledger_rows).sum::<Option<u64>>();
    let missing = present.map_or(0, |present| counted.rows.saturating_sub(present));
    if missing == 0 && counted.superseded == 0 {
        return Ok(());
    }
    let history = log.history(snapshot.version().saturating_sub(LOOK_BACK)).await?;
    match missing {
        0 => check_repaired(&history),
        missing => explain_missing(&history, missing, counted.rows),
    }
}

/// Nothing took a repaired table back in time.
fn check_repaired(history: &[LogEntry]) -> Result<(), RunError> {
    let mut rewinds = Rewinds::default();
    history.iter().for_each(|entry| rewinds.read(entry));
    let Some((version, what)) = rewinds.standing() else { return Ok(()) };
    let what = format!(
        "the table was rewound by {what} at version {version}, behind a repair: rows that were replaced are \
         back and newer ones may be gone, while the positions stand where they stood; restore version {}",
        version.saturating_sub(1)
    );
    Err(RunError::permanent(Reason::TableRewound, what))
}

fn explain_missing(history: &[LogEntry], missing: u64, counted: u64) -> Result<(), RunError> {
    let (mut strangers, mut edits) = (Strangers::default(), Vec::new());
    for entry in history {
        match strangers.read(entry) {
            None | Some(ForeignEdit::Append) => {}
            Some(ForeignEdit::Edit(what)) => {
                edits.push(format!("{what} at version {}", entry.version))
            }
            Some(ForeignEdit::Rewind(what)) => {
                let what = format!(
                    "the table was rewound by {what} at version {}: {missing} of {counted} counted rows \
                     are gone, while the positions stand where they stood",
                    entry.version
                );
                return Err(RunError::permanent(Reason::TableRewound, what));
            }
        }
    }
    let explained = if edits.is_empty() {
        "nothing in the log explains it".to_owned()
    } else {
        edits.join(", ")
    };
    warn!(missing, counted, explained, "the table holds fewer rows than were committed");
    Ok(())
}

/// The rows of every ledger whose bulk runs write to the table.
fn bulk_ledgers(snapshot: &TableSnapshot) -> Vec<Selection> {
    let ledgers: BTreeSet<Ledger> = (snapshot.txns().iter())
        .filter_map(|(app_id, _)| match TxnName::parse(app_id)? {
            TxnName::Interval(ledger, ..) => Some(ledger),
            _ => None,
        })
        .collect();
    ledgers.iter().map(|ledger| Selection::new(ledger, None)).collect()
}

/// Whether bulk runs wrote all of a file: its rows are in nobody's counters.
fn is_bulk(file: &LiveFile, bulk: &[Selection]) -> bool {
    bulk.iter().any(|selection| selection.judge(file) == Verdict::Whole)
}

/// Rows of a file that can be a ledger's: a stranger's have no source, which the statistics tell (R1).
fn ledger_rows(file: &LiveFile) -> Option<u64> {
    let nulls = |stats: &serde_json::Value| stats.get("nullCount")?.get(system::SOURCE)?.as_u64();
    let strange = file.stats.as_ref().and_then(nulls).unwrap_or(0);
    Some(file.rows?.saturating_sub(strange))
}

/// What the counters of every ledger and incarnation say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counted {
    /// Rows that are in the table.
    rows: u64,
    /// Rows that repairs replaced.
    superseded: u64,
}

impl Counted {
    fn read(snapshot: &TableSnapshot, ledger: &Ledger) -> Result<Self, RunError> {
        let none = Incarnation::derive("", "", 0);
        let own = LedgerState::read(snapshot.txns(), ledger, none)?;
        let mut sum = Self::default();
        for ledger in own.other_ledgers.iter().chain([ledger]) {
            let lives = LedgerState::read(snapshot.txns(), ledger, none)?.incarnations;
            for incarnation in lives.into_keys() {
                let state = LedgerState::read(snapshot.txns(), ledger, incarnation)?;
                state.partitions.values().for_each(|partition| sum.add(partition));
            }
        }
        Ok(sum)
    }

    fn add(&mut self, partition: &PartitionState) {
        let gone = partition.removed + partition.superseded;
        self.rows += partition.counters.rows.saturating_sub(gone);
        self.superseded += partition.superseded;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use serde_json::json;
    use tidegate_table::files::DataFile;
    use tidegate_table::files::system::SystemColumns;
    use tidegate_table::ledger::{PositionField, progress_txns};
    use tidegate_table::log::{
        CommitKind, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSpec,
    };
    use tidegate_types::{Counters, Nonce, PartitionId, Position};
    use url::Url;

    use super::*;

    fn ledger() -> Ledger {
        Ledger::new("l").expect("valid")
    }

    fn request(number: i64) -> CommitRequest {
        let nonce = Nonce::from_txn(number).expect("positive");
        CommitRequest::new(CommitTag { ledger: ledger(), kind: CommitKind::Data, nonce })
    }

    /// A file of ten rows of a source.
    fn file(source: &str) -> DataFile {
        DataFile {
            path: "a.parquet".to_owned(),
            size: 1,
            rows: 10,
            partition_values: BTreeMap::new(),
            modification_time_ms: 0,
            stats: json!({
                "numRecords": 10,
                "minValues": {"_tg_src": source},
                "maxValues": {"_tg_src": source},
                "nullCount": {"_tg_src": 0},
            }),
        }
    }

    /// A table whose log counts five streamed rows and was restored by somebody, and which holds ten rows
    /// of `source`.
    async fn checked(source: &str) -> Result<(), RunError> {
        let restored = r#"{"commitInfo":{"timestamp":1,"operation":"RESTORE"}}"#;
        checked_after(source, &[restored], 0).await
    }

    /// The same with what strangers did, of a table of which `superseded` rows were repaired away: it counts
    /// ten, and holds as many.
    async fn checked_after(
        source: &str,
        strangers: &[&str],
        superseded: u64,
    ) -> Result<(), RunError> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let log = CommitLog::new(Arc::clone(&store), Url::parse("memory:///").expect("a URL"));
        let spec =
            TableSpec::new(Arc::new(Schema::new(SystemColumns::default().fields())), Vec::new());
        let created = log.prepare_create(&spec, &request(1)).await.expect("prepared");
        let never = std::future::pending::<()>;
        log.settle(&created, &RetryPolicy::default(), never()).await.expect("settled");
        let now = log.load().await.expect("readable").expect("there");
        let before = PartitionState::default();
        let rows = if superseded == 0 { 5 } else { 10 + superseded };
        let counters = Counters { read: rows, rows, ..Counters::default() };
        let after = PartitionState { floor: Some(Position(rows)), counters, ..before };
        let life = Incarnation::derive("S", "", 0);
        let progress = progress_txns(&ledger(), life, PartitionId(0), &before, &after);
        let mut txns: BTreeMap<_, _> = progress.into_iter().collect();
        txns.insert("tidegate/loads/i/0-3600".to_owned(), 6);
        let mut data = CommitRequest { txns, adds: vec![file(source)], ..request(2) };
        if superseded > 0 {
            let field = PositionField::Superseded;
            let name = TxnName::Position(ledger(), life, PartitionId(0), field).to_string();
            data.txns.insert(name, i64::try_from(superseded).expect("small"));
            data.tag.kind = CommitKind::Repair;
        }
        let prepared = log.prepare(&now, &data).await.expect("prepared");
        let outcome = log.settle(&prepared, &RetryPolicy::default(), never()).await;
        assert!(matches!(outcome, Ok(Outcome::Won)), "{outcome:?}");
        for (version, entry) in (2..).zip(strangers) {
            let path = Path::from(format!("_delta_log/{version:020}.json"));
            store.put(&path, (*entry).to_owned().into()).await.expect("put");
        }
        let now = log.load().await.expect("readable").expect("there");
        check_rows(&log, &now, &ledger()).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn t1_a_rewind_that_brings_replaced_rows_back_is_seen_though_no_row_is_missing() {
        let commit = |from: &str, to: &str| {
            let stats = file("l/00000000000000ab").stats.to_string();
            let add = json!({"path": to, "partitionValues": {}, "size": 1, "modificationTime": 1,
                "dataChange": true, "stats": stats});
            let remove = json!({"path": from, "deletionTimestamp": 1, "dataChange": true});
            let info = json!({"timestamp": 1, "operation": "RESTORE"});
            [json!({"commitInfo": info}), json!({"remove": remove}), json!({"add": add})]
                .map(|action| action.to_string())
                .join("\n")
        };
        let (rewind, undo) = (commit("a.parquet", "b.parquet"), commit("b.parquet", "a.parquet"));
        let source = "l/00000000000000ab";
        let error = checked_after(source, &[&rewind], 3).await.expect_err("three may be lost");
        assert_eq!(error.reason(), Reason::TableRewound);
        assert!(error.to_string().contains("restore version 1"), "{error}");
        assert!(checked_after(source, &[], 3).await.is_ok(), "nobody rewound it");
        assert!(checked_after(source, &[&rewind, &undo], 3).await.is_ok(), "it was undone");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn t2_rows_of_bulk_runs_do_not_stand_in_for_streamed_ones_that_are_gone() {
        assert!(checked("l/00000000000000ab").await.is_ok(), "there are enough");
        let error = checked("loads/g1").await.expect_err("ten rows of somebody else");
        assert_eq!(error.reason(), Reason::TableRewound);
    }
}
