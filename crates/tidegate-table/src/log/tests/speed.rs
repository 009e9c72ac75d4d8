//! What a commit costs, printed.

use std::sync::Arc;
use std::time::Instant;

use object_store::local::LocalFileSystem;

use super::fixture::{created, file, log, setting, settle};
use crate::log::{Outcome, PreparedCommit};

const COMMITS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints a measurement; run by make test"]
#[allow(clippy::print_stderr, reason = "the figures are what the test is for")]
async fn commits_to_a_local_directory_take_milliseconds() {
    let folder = tempfile::tempdir().expect("a directory");
    let store = LocalFileSystem::new_with_prefix(folder.path()).expect("it exists");
    let log = log(Arc::new(store.with_fsync(true)));
    let mut table = created(&log).await;
    let mut spent = [vec![], vec![], vec![]];
    for number in 0..COMMITS {
        let name = format!("day=2026-06-01/{number}.parquet");
        let mut data = setting(&[("floor", 7), ("fp", 8), ("in", 9), ("rows", 10), ("time", 11)]);
        data.adds = vec![file(&name, Some("2026-06-01"), 5)];
        let start = Instant::now();
        let prepared: PreparedCommit = log.prepare(&table, &data).await.expect("prepared");
        spent[0].push(start.elapsed());
        let start = Instant::now();
        assert!(matches!(settle(&log, &prepared).await, Outcome::Won));
        spent[1].push(start.elapsed());
        let start = Instant::now();
        table = log.refresh(&table).await.expect("refreshed").0;
        spent[2].push(start.elapsed());
        if number % 100 == 99 {
            log.checkpoint(&table).await.expect("checkpointed");
        }
    }
    for (name, times) in ["prepare", "settle", "refresh"].iter().zip(&mut spent) {
        times.sort();
        let (middle, high) = (times[COMMITS / 2], times[COMMITS * 99 / 100]);
        eprintln!("{name}: median {middle:?}, p99 {high:?} over {COMMITS} commits");
    }
    assert_eq!(table.version(), COMMITS as u64);
}
