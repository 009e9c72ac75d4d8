//! What every store must do for a log, in one suite: creation, races, refresh, checkpoints.

use std::sync::Arc;

use futures::future::join_all;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::fixture::{commit, file, local, log, request, setting, settle, spec};
use crate::log::{CommitKind, CommitLog, Outcome};

/// Runs the whole suite on an empty store.
pub(super) async fn suite(store: Arc<dyn ObjectStore>) {
    let log = log(store);
    assert!(log.load().await.expect("readable").is_none(), "there is no table yet");
    eight_creations_have_one_winner(&log).await;
    eight_writers_on_one_base_have_one_winner(&log).await;
    the_loser_sees_who_won(&log).await;
    files_and_txns_are_read_back(&log).await;
    txns_survive_a_checkpoint(&log).await;
    removed_files_disappear_in_one_commit_with_what_takes_their_place(&log).await;
}

async fn eight_creations_have_one_winner(log: &CommitLog) {
    let outcomes = join_all((0..8).map(|_| async {
        let request = request(CommitKind::Create);
        let prepared = log.prepare_create(&spec(), &request).await.expect("prepared");
        settle(log, &prepared).await
    }));
    assert_eq!(winners(&outcomes.await), 1);
    let snapshot = log.load().await.expect("readable").expect("one was created");
    assert_eq!(snapshot.version(), 0);
    assert_eq!(snapshot.partition_columns(), ["day"]);
    let names: Vec<_> = snapshot.schema().fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["_tg_seq", "name", "day"]);
    let indexed = snapshot.properties().get("delta.dataSkippingNumIndexedCols");
    assert_eq!(indexed.map(String::as_str), Some("-1"), "R1");
}

async fn eight_writers_on_one_base_have_one_winner(log: &CommitLog) {
    let base = log.load().await.expect("readable").expect("exists");
    let outcomes = join_all((0..8).map(|writer| {
        let (log, base) = (log.clone(), base.clone());
        async move {
            let prepared = log.prepare(&base, &setting(&[("a", writer)])).await.expect("prepared");
            settle(&log, &prepared).await
        }
    }));
    assert_eq!(winners(&outcomes.await), 1);
    let (after, entries) = log.refresh(&base).await.expect("refreshed");
    assert_eq!((after.version(), entries.len()), (base.version() + 1, 1));
}

async fn the_loser_sees_who_won(log: &CommitLog) {
    let base = log.load().await.expect("readable").expect("exists");
    let (first, second) = (setting(&[("a", 100)]), setting(&[("a", 200)]));
    let late = log.prepare(&base, &second).await.expect("prepared");
    commit(log, &base, &first).await;
    let Outcome::Lost(entry) = settle(log, &late).await else { panic!("it must lose") };
    assert_eq!(entry.ours.as_ref(), Some(&first.tag));
    assert_eq!(entry.txns.get("a"), Some(&100));
}

async fn files_and_txns_are_read_back(log: &CommitLog) {
    let base = log.load().await.expect("readable").expect("exists");
    let mut data = setting(&[("a", 101), ("b", i64::MAX)]);
    data.adds = vec![
        file("day=2026-06-01/x%20y.parquet", Some("2026-06-01"), 3),
        file("day=__HIVE_DEFAULT_PARTITION__/z.parquet", None, 4),
    ];
    let (after, entries) = {
        let prepared = log.prepare(&base, &data).await.expect("prepared");
        assert!(matches!(settle(log, &prepared).await, Outcome::Won));
        log.refresh(&base).await.expect("refreshed")
    };
    let [entry] = entries.as_slice() else { panic!("one entry") };
    assert_eq!(entry.ours.as_ref(), Some(&data.tag));
    assert_eq!(entry.operation.as_deref(), Some("STREAMING UPDATE"));
    assert_eq!(entry.adds.iter().map(|add| add.rows).collect::<Vec<_>>(), [Some(3), Some(4)]);
    assert!(entry.data_change());
    assert_eq!((after.txns().get("a"), after.txns().get("b")), (Some(101), Some(i64::MAX)));
    let mut live = log.live_files(&after).await.expect("listed");
    live.sort_by_key(|file| file.rows);
    for (found, added) in live.iter().zip(&data.adds) {
        assert_eq!(found.path, added.path);
        assert_eq!((found.size, found.rows, found.deleted_rows), (added.size, Some(added.rows), 0));
        assert_eq!(found.partition_values, added.partition_values);
        assert_eq!(found.stats.as_ref(), Some(&added.stats));
        assert_eq!(found.modification_time_ms, added.modification_time_ms);
    }
    assert_eq!(live.len(), 2);
}

async fn txns_survive_a_checkpoint(log: &CommitLog) {
    let before = log.load().await.expect("readable").expect("exists");
    log.checkpoint(&before).await.expect("checkpointed");
    log.write_checksum(&before).await;
    // A commit after the checkpoint, over a base before it.
    let after = commit(log, &before, &setting(&[("c", 1)])).await;
    let fresh = log.load().await.expect("readable").expect("exists");
    assert_eq!(fresh.txns(), after.txns(), "the advanced state is the one that is loaded");
    assert_eq!(fresh.txns().get("b"), Some(i64::MAX));
    assert_eq!(log.live_files(&fresh).await.expect("listed").len(), 2);
}

async fn removed_files_disappear_in_one_commit_with_what_takes_their_place(log: &CommitLog) {
    let base = log.load().await.expect("readable").expect("exists");
    let live = log.live_files(&base).await.expect("listed");
    let (gone, stays) = (&live[0], &live[1]);
    let mut run = request(CommitKind::Run);
    run.removes = vec![gone.clone()];
    run.adds = vec![file("day=2026-06-02/new.parquet", Some("2026-06-02"), 9)];
    run.kept_rows = 2;
    let prepared = log.prepare(&base, &run).await.expect("prepared");
    let text = String::from_utf8(prepared.bytes().to_vec()).expect("text");
    assert!(!text.contains("\"isBlindAppend\":true"), "{text}");
    assert!(matches!(settle(log, &prepared).await, Outcome::Won));
    let (after, entries) = log.refresh(&base).await.expect("refreshed");
    assert_eq!(entries[0].operation.as_deref(), Some("WRITE"));
    let [removed] = entries[0].removes.as_slice() else { panic!("one file goes") };
    assert_eq!((&removed.path, removed.rows), (&gone.path, gone.rows));
    assert!(removed.data_change, "its rows left the table");
    assert_eq!(entries[0].kept_rows, 2);
    let paths = |snapshot| async move {
        let files = log.live_files(snapshot).await.expect("listed");
        files.into_iter().map(|file| file.path).collect::<std::collections::BTreeSet<_>>()
    };
    let expected = [stays.path.clone(), run.adds[0].path.clone()].into();
    assert_eq!(paths(&after).await, expected);
    // The checksum that was carried on over the removal, and a replay of the log, say the same.
    log.write_checksum(&after).await;
    let fresh = log.load().await.expect("readable").expect("exists");
    assert_eq!(paths(&fresh).await, expected);
    assert_eq!(fresh.txns(), after.txns());
    log.checkpoint(&fresh).await.expect("checkpointed");
    let fresh = log.load().await.expect("readable").expect("exists");
    assert_eq!(paths(&fresh).await, expected);

    let error = log.prepare(&after, &run).await.expect_err("it is gone already");
    assert!(format!("{error:?}").contains("is not in the table any more"), "{error:?}");
}

fn winners(outcomes: &[Outcome]) -> usize {
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Lost(_))).count();
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Won)).count();
    assert_eq!(won + lost, outcomes.len(), "nobody is in doubt");
    won
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_a_log() {
    suite(Arc::new(InMemory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_directory_is_a_log() {
    let (_folder, store) = local();
    suite(store).await;
}

#[tokio::test]
async fn a_single_threaded_runtime_is_refused_and_does_not_hang() {
    let log = log(Arc::new(InMemory::new()));
    let error = log.prepare_create(&spec(), &request(CommitKind::Create)).await;
    assert!(matches!(error, Err(crate::log::LogError::NoRuntime)), "{error:?}");
}
