//! Very many files.

use super::*;

#[tokio::test]
async fn fifty_thousand_small_files_are_read_in_few_batches() {
    let store = memory();
    for n in 0..50_000 {
        put(&store, &format!("{:03}/{n}.json", n % 97), format!("{{\"id\":{n}}}\n")).await;
    }
    let ask = ask(FileFormat::NdJson, "*/*.json").fields(&["id: long!"]);
    let files = ask.open_in(&store).await.unwrap();
    let found = read_all(&files).await.unwrap();
    assert_eq!(found.counts, ChunkCounts { rows: 50_000, dead: 0 });
    assert!(found.batches.len() < 100, "{} batches", found.batches.len());
    let distinct: std::collections::BTreeSet<_> = found.rows().into_iter().collect();
    assert_eq!(distinct.len(), 50_000);
}

#[tokio::test]
async fn more_files_than_a_run_can_hold_are_refused() {
    let store = memory();
    for n in 0..100_001 {
        put(&store, &format!("{n}"), Vec::new()).await;
    }
    let ask = ask(FileFormat::NdJson, "*").fields(&["id: long"]);
    let error = ask.open_in(&store).await.err().unwrap().to_string();
    assert!(error.contains("100000 files"), "{error}");
}
