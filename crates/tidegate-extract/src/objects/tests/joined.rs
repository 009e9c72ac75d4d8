//! Chunks of a listing, read by another process.

use tidegate_types::{Explained, Reason};

use super::parquets::numbers;
use super::*;
use crate::join;

#[tokio::test]
async fn another_process_reads_the_listed_files_in_the_listings_columns_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    for (name, rows) in [("b.parquet", 300), ("c.parquet", 200)] {
        std::fs::write(folder.path().join(name), numbers(rows, 50)).unwrap();
    }
    // The columns are those of the first file, which the process does not list.
    let mut ask = ask(FileFormat::Parquet, "*");
    ask.source.url = url::Url::from_file_path(folder.path()).unwrap().to_string();
    let files = open(ask.source.clone(), ask.request()).await.unwrap();
    let plan = files.plan().await.unwrap();
    // What comes now is in no chunk.
    std::fs::write(folder.path().join("a.parquet"), "no Parquet").unwrap();
    let joined = join(ask.request(), files.ticket().unwrap()).await.unwrap();
    assert_eq!((joined.id(), joined.columns()), (files.id(), files.columns()));
    let mut rows = 0;
    for chunk in &plan.chunks {
        let (into, mut pieces) = mpsc::channel(4);
        let (counts, ()) = tokio::join!(joined.read(chunk, into), async {
            while pieces.recv().await.is_some() {}
        });
        rows += counts.unwrap().rows;
    }
    assert_eq!(rows, 500);

    std::fs::write(folder.path().join("b.parquet"), numbers(299, 50)).unwrap();
    let (into, _pieces) = mpsc::channel(4);
    let error = joined.read(&plan.chunks[0], into).await.unwrap_err();
    assert_eq!(error.reason(), Reason::SourceChanged);
}

#[tokio::test]
async fn a_ticket_of_another_source_is_refused() {
    let ask = ask(FileFormat::Csv, "*").fields(&["id: long"]);
    let error = join(ask.request(), serde_json::json!({"snapshot": "x"})).await;
    let error = error.err().unwrap();
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    assert!(!error.is_transient());
}
