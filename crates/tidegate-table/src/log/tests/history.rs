//! Entries over time, strangers included.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;

use super::fixture::{commit, created, file, log, setting};
use crate::log::LogError;

#[tokio::test(flavor = "multi_thread")]
async fn history_gives_what_is_kept_and_refresh_misses_nothing_silently() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let log = log(store.clone());
    let base = created(&log).await;
    let mut table = base.clone();
    for version in 1..6 {
        table = commit(&log, &table, &setting(&[("a", version)])).await;
    }
    let versions = |entries: Vec<crate::log::LogEntry>| {
        entries.into_iter().map(|entry| entry.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(log.history(0).await.expect("read")), [0, 1, 2, 3, 4, 5]);
    assert_eq!(versions(log.history(4).await.expect("read")), [4, 5]);
    assert_eq!(versions(log.history(6).await.expect("read")), Vec::<u64>::new());
    log.checkpoint(&table).await.expect("checkpointed");
    for version in 0..2 {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        store.delete(&path).await.expect("deleted");
    }
    assert_eq!(versions(log.history(0).await.expect("read")), [2, 3, 4, 5]);
    let error = log.refresh(&base).await.expect_err("version 1 is gone");
    assert!(matches!(error, LogError::EntryMissing { version: 1 }), "{error}");
    let fresh = log.load().await.expect("readable").expect("exists");
    assert_eq!(fresh.txns(), table.txns(), "txns do not need the entries");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_commit_is_an_entry_without_a_tag_and_its_txns_count() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let log = log(store.clone());
    let mut data = setting(&[("floor", 3)]);
    data.adds = vec![file("day=2026-06-01/a.parquet", Some("2026-06-01"), 5)];
    let base = commit(&log, &created(&log).await, &data).await;
    let delete = concat!(
        r#"{"commitInfo":{"timestamp":1,"operation":"DELETE"}}"#,
        "\n",
        r#"{"txn":{"appId":"floor","version":1}}"#,
        "\n",
        r#"{"remove":{"path":"day=2026-06-01/a.parquet","dataChange":true,"#,
        r#""deletionTimestamp":1}}"#,
        "\n"
    );
    store
        .put(&Path::from("_delta_log/00000000000000000002.json"), delete.into())
        .await
        .expect("put");
    let (after, entries) = log.refresh(&base).await.expect("refreshed");
    assert_eq!(entries[0].ours, None);
    assert_eq!(entries[0].removes[0].path, "day=2026-06-01/a.parquet");
    assert_eq!(after.txns().get("floor"), Some(1), "the latest wins, even a lower one");
    assert!(log.live_files(&after).await.expect("listed").is_empty());
    assert_eq!(after.metadata_id(), base.metadata_id());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn p2_txns_are_complete_however_they_are_read(
        commits in prop::collection::vec(
            (prop::collection::btree_map("[a-d]", 0_i64..100, 0..4), 0_u8..4), 1..8,
        )
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let log = log(Arc::new(InMemory::new()));
            let mut table = created(&log).await;
            let mut expected = BTreeMap::new();
            for (txns, upkeep) in commits {
                let pairs: Vec<_> =
                    txns.iter().map(|(id, version)| (id.as_str(), *version)).collect();
                table = commit(&log, &table, &setting(&pairs)).await;
                expected.extend(txns);
                match upkeep {
                    0 => log.checkpoint(&table).await.expect("checkpointed"),
                    1 => log.write_checksum(&table).await,
                    2 => table = log.load().await.expect("readable").expect("exists"),
                    _ => {}
                }
                let loaded = log.load().await.expect("readable").expect("exists");
                let expected = expected.clone().into_iter().collect();
                assert_eq!(table.txns(), &expected, "advanced");
                assert_eq!(loaded.txns(), &expected, "loaded");
            }
        });
    }
}
