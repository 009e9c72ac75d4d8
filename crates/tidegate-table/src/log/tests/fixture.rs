//! Small tables and commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use serde_json::json;
use tidegate_types::{Ledger, Nonce};
use url::Url;

use crate::files::DataFile;
use crate::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, PreparedCommit, RetryPolicy,
    TableSnapshot, TableSpec,
};

pub(super) const QUICK: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(1), longest: Duration::from_millis(2) };

/// A log over `store`, which is rooted at the table.
pub(super) fn log(store: Arc<dyn ObjectStore>) -> CommitLog {
    CommitLog::new(store, Url::parse("test:///table/").expect("valid"))
}

/// A local directory that goes away with the guard.
pub(super) fn local() -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
    let folder = tempfile::tempdir().expect("a directory");
    let store = LocalFileSystem::new_with_prefix(folder.path()).expect("it exists");
    (folder, Arc::new(store))
}

pub(super) fn spec() -> TableSpec {
    let fields = vec![
        Field::new("_tg_seq", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("day", DataType::Date32, true),
    ];
    TableSpec::new(Arc::new(Schema::new(fields)), vec!["day".to_owned()])
}

/// A request with a nonce that no other request of the process has.
pub(super) fn request(kind: CommitKind) -> CommitRequest {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    let nonce = Nonce::from_txn(NEXT.fetch_add(1, Ordering::Relaxed)).expect("positive");
    CommitRequest::new(CommitTag { ledger: Ledger::new("l").expect("valid"), kind, nonce })
}

/// A commit that sets `txn` ids.
pub(super) fn setting(txns: &[(&str, i64)]) -> CommitRequest {
    let mut request = request(CommitKind::Data);
    request.txns = txns.iter().map(|(id, version)| ((*id).to_owned(), *version)).collect();
    request
}

pub(super) fn file(path: &str, day: Option<&str>, rows: u64) -> DataFile {
    DataFile {
        path: path.to_owned(),
        size: 100 + rows,
        rows,
        partition_values: BTreeMap::from([("day".to_owned(), day.map(str::to_owned))]),
        modification_time_ms: 1_700_000_000_000,
        stats: json!({
            "numRecords": rows,
            "minValues": {"_tg_seq": 1},
            "maxValues": {"_tg_seq": rows},
            "nullCount": {"_tg_seq": 0, "name": rows},
            "tightBounds": true,
        }),
    }
}

/// Creates the table and gives its first snapshot.
pub(super) async fn created(log: &CommitLog) -> TableSnapshot {
    let prepared =
        log.prepare_create(&spec(), &request(CommitKind::Create)).await.expect("prepared");
    assert!(matches!(settle(log, &prepared).await, Outcome::Won));
    log.load().await.expect("readable").expect("it was created")
}

/// Settles without ever cancelling.
pub(super) async fn settle(log: &CommitLog, prepared: &PreparedCommit) -> Outcome {
    log.settle(prepared, &QUICK, std::future::pending()).await.expect("settled")
}

/// Prepares, wins and gives the snapshot after it.
pub(super) async fn commit(
    log: &CommitLog,
    base: &TableSnapshot,
    request: &CommitRequest,
) -> TableSnapshot {
    let prepared = log.prepare(base, request).await.expect("prepared");
    let outcome = settle(log, &prepared).await;
    assert!(matches!(outcome, Outcome::Won), "{outcome:?}");
    log.refresh(base).await.expect("refreshed").0
}
