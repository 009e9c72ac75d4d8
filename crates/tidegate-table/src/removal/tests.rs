//! Removal of small tables in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use object_store::ObjectStoreExt;
use serde_json::json;
use tidegate_types::{Epoch, Holder, Nonce, PartitionId};
use url::Url;

use super::*;
use crate::files::DataFile;
use crate::files::layout::{DataPath, FileName, ledger_settings};
use crate::ledger::{claim_txns, progress_txns};
use crate::log::{CommitKind, CommitRequest, CommitTag, RetryPolicy, TableSpec};
use crate::store::{StoreOptions, open};

fn ledger(name: &str) -> Ledger {
    Ledger::new(name).expect("valid")
}

fn store() -> TableStore {
    open(&StoreOptions::new(Url::parse("memory:///").expect("a URL"))).expect("opened")
}

fn request(ledger: &Ledger, nonce: u64) -> CommitRequest {
    let nonce = Nonce::from_random(nonce);
    CommitRequest::new(CommitTag { ledger: ledger.clone(), kind: CommitKind::Data, nonce })
}

async fn create(store: &TableStore, by: &Ledger) -> TableSnapshot {
    let log = CommitLog::open(store);
    let fields = vec![Field::new(system::SOURCE, DataType::Utf8, true)];
    let spec = TableSpec::new(Arc::new(Schema::new(fields)), Vec::new());
    let prepared = log.prepare_create(&spec, &request(by, 1)).await.expect("prepared");
    let never = std::future::pending();
    log.settle(&prepared, &RetryPolicy::default(), never).await.expect("settled");
    log.load().await.expect("readable").expect("it was created")
}

/// A commit of `ledger` that claims a partition and adds files.
async fn commit(
    store: &TableStore,
    base: &TableSnapshot,
    (ledger, nonce): (&Ledger, u64),
    adds: Vec<DataFile>,
) -> TableSnapshot {
    let log = CommitLog::open(store);
    let (life, k) = (Incarnation::derive("S", "now", 0), PartitionId(0));
    let before = crate::ledger::PartitionState::default();
    let after = crate::ledger::PartitionState { floor: Some(Default::default()), ..before };
    let claim = claim_txns(ledger, k, Epoch::default().next(1).expect("higher"), Holder(5));
    let progress = progress_txns(ledger, life, k, &before, &after);
    let txns: BTreeMap<_, _> = claim.into_iter().chain(progress).collect();
    let request = CommitRequest { txns, adds, ..request(ledger, nonce) };
    let prepared = log.prepare(base, &request).await.expect("prepared");
    let never = std::future::pending();
    log.settle(&prepared, &RetryPolicy::default(), never).await.expect("settled");
    log.refresh(base).await.expect("refreshed").0
}

fn file(path: &str, without_source: u64) -> DataFile {
    DataFile {
        path: path.to_owned(),
        size: 10,
        rows: 3,
        partition_values: BTreeMap::new(),
        modification_time_ms: 1,
        stats: json!({"numRecords": 3, "nullCount": {system::SOURCE: without_source}}),
    }
}

fn data_file(ledger: &Ledger) -> DataPath {
    let (epoch, nonce) = (Epoch::default().next(1).expect("higher"), Nonce::from_random(7));
    DataPath::new(&[], &FileName { ledger: ledger.clone(), epoch, nonce, number: 0 })
}

async fn put(store: &TableStore, paths: &[&str]) {
    for path in paths {
        let path = Path::parse(path).expect("a path");
        store.data.put(&path, PutPayload::from_static(b"x")).await.expect("stored");
    }
}

async fn objects(store: &TableStore) -> Vec<String> {
    let mut paths: Vec<_> = store
        .data
        .list(None)
        .map_ok(|object| object.location.to_string())
        .try_collect()
        .await
        .expect("listed");
    paths.sort();
    paths
}

/// A table of ledger `l` with all that belongs to it, and the objects of somebody else beside it.
async fn whole_table() -> (TableStore, TableSnapshot) {
    let (store, l) = (store(), ledger("l"));
    let base = create(&store, &l).await;
    let (ours, compacted) = (data_file(&l), "part-0-c000.parquet");
    let adds = vec![file(&ours.in_log(), 0), file(compacted, 0)];
    let snapshot = commit(&store, &base, (&l, 2), adds).await;
    put(&store, &[ours.object().as_ref(), compacted, "notes.txt", "_tidegate/other/keys"]).await;
    put(&store, &["_dead_letters/_delta_log/00000000000000000000.json", "_dead_letters/x"]).await;
    put(&store, &[ledger_settings(&l, Nonce::from_random(3)).as_ref()]).await;
    (store, snapshot)
}

const STRANGERS: [&str; 2] = ["_tidegate/other/keys", "notes.txt"];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_with_everything_of_it_and_nothing_else() {
    let (store, _) = whole_table().await;
    let removed = remove_table(&store, &ledger("l")).await.expect("removed");
    let Removal::Gone { deleted, strangers, such_as } = removed else { panic!("{removed:?}") };
    assert_eq!((deleted, strangers), (7, 2));
    assert_eq!(such_as, STRANGERS);
    assert_eq!(objects(&store).await, STRANGERS);
    let again = remove_table(&store, &ledger("l")).await.expect("removed");
    assert!(matches!(again, Removal::Gone { deleted: 0, strangers: 2, .. }), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_else_wrote_to_stays_untouched() {
    let l = ledger("l");
    let shared = {
        let (store, snapshot) = whole_table().await;
        commit(&store, &snapshot, (&ledger("m"), 9), Vec::new()).await;
        store
    };
    let appended = {
        let (store, snapshot) = whole_table().await;
        let strange = vec![file("part-1-c000.parquet", 3)];
        commit(&store, &snapshot, (&l, 9), strange).await;
        store
    };
    let anothers = {
        let store = store();
        create(&store, &ledger("m")).await;
        store
    };
    for (store, says) in
        [(shared, "ledger m"), (appended, "part-1-c000"), (anothers, "did not write it")]
    {
        let before = objects(&store).await;
        let removed = remove_table(&store, &l).await.expect("looked at");
        assert!(
            matches!(&removed, Removal::Refused { because } if because.contains(says)),
            "{removed:?}"
        );
        assert_eq!(objects(&store).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_and_never_written_to_goes_too() {
    let store = store();
    create(&store, &ledger("l")).await;
    let removed = remove_table(&store, &ledger("l")).await.expect("removed");
    assert!(matches!(removed, Removal::Gone { deleted: 1.., strangers: 0, .. }), "{removed:?}");
    assert_eq!(objects(&store).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_was_cut_short_is_ended_wherever_it_stopped() {
    let mark = removal_mark(&ledger("l"));
    let (store, _) = whole_table().await;
    let all = objects(&store).await.len() - STRANGERS.len();
    for gone in 0..=all {
        let (store, _) = whole_table().await;
        put(&store, &[mark.as_ref()]).await;
        let condemned =
            |path: &String| !STRANGERS.contains(&path.as_str()) && *path != mark.as_ref();
        // The log goes last, in any order.
        let mut paths: Vec<_> = objects(&store).await.into_iter().filter(condemned).collect();
        paths.sort_by_key(|path| path.starts_with("_delta_log"));
        for path in &paths[..gone] {
            store.data.delete(&Path::parse(path).expect("a path")).await.expect("deleted");
        }
        let removed = remove_table(&store, &ledger("l")).await.expect("removed");
        assert!(matches!(removed, Removal::Gone { .. }), "{gone}: {removed:?}");
        assert_eq!(objects(&store).await, STRANGERS, "{gone}");
    }
}
