//! Doubt and its end (P5), log holes (P8).

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::faulty::{Fault, Faults};
use super::fixture::{QUICK, commit, created, file, local, log, setting, settle};
use crate::log::{CommitLog, HoleEvidence, LogError, Outcome, TableSnapshot};

/// A table on a good store, and a second way to it whose commits fail.
async fn disturbed(faults: &[Fault]) -> (CommitLog, CommitLog, Faults, TableSnapshot) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let good = log(store.clone());
    let base = created(&good).await;
    let faulty = Faults::new(store, faults);
    let bad = good.clone().with_commit_store(faulty.store());
    (good, bad, faulty, base)
}

/// The number of versions after the base that carry rows.
async fn landed(log: &CommitLog, base: &TableSnapshot) -> usize {
    let (_, entries) = log.refresh(base).await.expect("refreshed");
    entries.iter().filter(|entry| !entry.adds.is_empty()).count()
}

fn one_file() -> crate::log::CommitRequest {
    let mut request = setting(&[("floor", 7)]);
    request.adds = vec![file("day=2026-06-01/a.parquet", Some("2026-06-01"), 5)];
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_commit_that_landed_and_was_answered_with_an_error_is_won() {
    use Fault::{ConflictOnly, FailOnly, LandBeforeNextPut, StoreThenFail, StoreThenFailAndHide};
    let cases: [(&[Fault], u32); 7] = [
        (&[StoreThenFail], 1),
        (&[FailOnly], 2),
        (&[FailOnly, FailOnly, StoreThenFail], 3),
        (&[ConflictOnly], 2),
        (&[ConflictOnly, FailOnly, ConflictOnly], 4),
        (&[LandBeforeNextPut], 2),
        (&[StoreThenFailAndHide], 2),
    ];
    for (faults, puts) in cases {
        let (good, bad, faulty, base) = disturbed(faults).await;
        let prepared = bad.prepare(&base, &one_file()).await.expect("prepared");
        let outcome = settle(&bad, &prepared).await;
        assert!(matches!(outcome, Outcome::Won), "{faults:?}: {outcome:?}");
        assert_eq!(faulty.puts(), puts, "{faults:?}");
        assert_eq!(landed(&good, &base).await, 1, "{faults:?}: exactly once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_delayed_put_that_arrives_after_the_retry_changes_nothing() {
    let (good, bad, faulty, base) = disturbed(&[Fault::LandWhenTold]).await;
    let prepared = bad.prepare(&base, &one_file()).await.expect("prepared");
    assert!(matches!(settle(&bad, &prepared).await, Outcome::Won));
    let (table, _) = good.refresh(&base).await.expect("refreshed");
    let version = commit(&good, &table, &setting(&[])).await.version();
    assert_eq!(faulty.deliver().await, 0, "the version exists");
    assert_eq!(landed(&good, &base).await, 1);
    assert_eq!(good.load().await.expect("readable").map(|table| table.version()), Some(version));
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_commit_in_doubt_that_another_one_overtook_is_lost_for_good() {
    let (good, bad, faulty, base) = disturbed(&[Fault::LandWhenTold]).await;
    let prepared = bad.prepare(&base, &one_file()).await.expect("prepared");
    assert!(matches!(bad.put(&prepared).await, crate::log::PutOutcome::Unknown(_)));
    let winner = setting(&[("floor", 9)]);
    commit(&good, &base, &winner).await;
    let Outcome::Lost(entry) = settle(&bad, &prepared).await else { panic!("it must lose") };
    assert_eq!(entry.ours.as_ref(), Some(&winner.tag));
    assert_eq!(faulty.deliver().await, 0);
    assert_eq!(landed(&good, &base).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_cancelled_settlement_is_in_doubt_and_can_be_taken_up_again() {
    let faults = vec![Fault::FailOnly; 10_000];
    let (good, bad, faulty, base) =
        disturbed(&[&faults[..], &[Fault::LandWhenTold]].concat()).await;
    let prepared = bad.prepare(&base, &one_file()).await.expect("prepared");
    let seen = faulty.clone();
    let cancel = async move {
        while seen.puts() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let outcome = bad.settle(&prepared, &QUICK, cancel).await.expect("cancelled");
    assert!(matches!(outcome, Outcome::InDoubt));
    assert!(prepared.attempts() >= 3);
    // The store is well again.
    assert!(matches!(settle(&good, &prepared).await, Outcome::Won));
    assert!(matches!(settle(&good, &prepared).await, Outcome::Won), "asked again, won again");
    assert_eq!(landed(&good, &base).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_puts_the_same_bytes() {
    let (good, bad, _, base) = disturbed(&[Fault::FailOnly]).await;
    let prepared = bad.prepare(&base, &one_file()).await.expect("prepared");
    let before = prepared.bytes().clone();
    settle(&bad, &prepared).await;
    let (_, entries) = good.refresh(&base).await.expect("refreshed");
    assert_eq!(entries[0].bytes, before);
    assert_eq!(prepared.attempts(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_version_won_in_a_hole_of_the_log_is_reported() {
    let (_folder, store) = local();
    let log = log(store.clone());
    let base = created(&log).await;
    let slept = log.prepare(&base, &one_file()).await.expect("prepared");
    let mut table = base.clone();
    for version in 1..5 {
        table = commit(&log, &table, &setting(&[("a", version)])).await;
    }
    log.checkpoint(&table).await.expect("checkpointed");
    // Somebody cleans the log up while the writer sleeps.
    for version in 0..3 {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        store.delete(&path).await.expect("deleted");
    }
    // File times of the store may be as coarse as a tick of the kernel.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let error = log.settle(&slept, &QUICK, std::future::pending()).await.expect_err("a hole");
    let LogError::Hole { version: 1, evidence, .. } = error else { panic!("{error}") };
    assert!(matches!(evidence, HoleEvidence::LaterCommit(3 | 4)), "{evidence}");
}
