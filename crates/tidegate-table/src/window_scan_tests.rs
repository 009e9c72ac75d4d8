//! The window as it is read back from files of our own writer.

use arrow::array::{Int64Array, StringArray};
use object_store::memory::InMemory;
use serde_json::json;
use tidegate_types::{Epoch, Nonce};

use super::*;
use crate::files::layout::{DataPath, FileName};
use crate::files::system::{RowCoordinates, SystemColumns};
use crate::files::{WriteOptions, write_file};

const SOURCE: &str = "a.b/0000000000000001";
const OLDER_SOURCE: &str = "a.b/0000000000000000";

/// Writes a file whose rows have these coordinates: source, partition, sequence, time.
async fn file(
    store: &Arc<dyn ObjectStore>,
    number: u32,
    rows: &[(&str, u32, u64, i64)],
) -> LiveFileRef {
    let columns = SystemColumns { dedup: true, id_in_header: true };
    let batches: Vec<_> = rows
        .iter()
        .map(|(source, partition, sequence, time)| {
            let values = Int64Array::from(vec![*sequence as i64]);
            let batch = RecordBatch::try_from_iter_with_nullable([(
                "k",
                Arc::new(values) as ArrayRef,
                true,
            )]);
            let coordinates = RowCoordinates {
                source,
                partition: PartitionId(*partition),
                sequences: &[*sequence],
                ordinals: None,
                ids: &[(*sequence % 10 != 0).then(|| u128::from(*sequence).to_be_bytes())],
                times: &[StreamTime(*time)],
            };
            columns.append(&batch.expect("one column"), &coordinates).expect("fits")
        })
        .collect();
    let name = FileName {
        ledger: Ledger::new("a.b").expect("valid"),
        epoch: Epoch(1),
        nonce: Nonce::from_random(2),
        number,
    };
    let path = DataPath::new(&[], &name);
    let options = WriteOptions::default();
    let schema = batches[0].schema();
    let file = write_file(Arc::clone(store), path, schema, &batches, &options).await;
    let file = file.expect("written");
    LiveFileRef { path: file.path, partition_values: BTreeMap::new(), stats: Some(file.stats) }
}

fn query() -> WindowQuery {
    WindowQuery {
        ledger: Ledger::new("a.b").expect("valid"),
        partition: PartitionId(1),
        after_time: StreamTime(1_000_000),
        above: None,
        id: IdColumn::Fingerprint,
    }
}

async fn scan(
    store: &Arc<dyn ObjectStore>,
    files: &[LiveFileRef],
    query: &WindowQuery,
) -> (ScanSummary, Vec<(u64, i64, Vec<u8>)>) {
    let mut rows = Vec::new();
    let summary = scan_window(store, files, query, |row| {
        rows.push((row.sequence, row.time.0, row.id.to_vec()));
        ControlFlow::Continue(())
    });
    let summary = summary.await.expect("scanned");
    rows.sort();
    (summary, rows)
}

fn sequences(rows: &[(u64, i64, Vec<u8>)]) -> Vec<u64> {
    rows.iter().map(|row| row.0).collect()
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

#[tokio::test]
async fn d2_the_window_is_read_from_the_files_that_touch_it() {
    let store = memory();
    let files = [
        file(&store, 0, &[(SOURCE, 1, 1, 10), (SOURCE, 1, 2, 999_000)]).await,
        file(&store, 1, &[(SOURCE, 1, 3, 1_000_000), (SOURCE, 1, 4, 1_000_001)]).await,
        file(&store, 2, &[(SOURCE, 2, 5, 2_000_000)]).await,
        file(&store, 3, &[("a.b.c/0000000000000001", 1, 6, 2_000_000)]).await,
        file(&store, 4, &[(SOURCE, 1, 7, 2_000_000), (SOURCE, 2, 8, 2_000_000)]).await,
        file(&store, 5, &[(OLDER_SOURCE, 1, 99, 1_500_000)]).await,
    ];
    let (summary, rows) = scan(&store, &files, &query()).await;
    assert_eq!(sequences(&rows), [4, 7, 99], "strictly later than T − W, whatever incarnation");
    assert_eq!(rows[0], (4, 1_000_001, 4_u128.to_be_bytes().to_vec()));
    assert_eq!(summary, ScanSummary { files: 3, rows: 3, stopped: false });
}

#[tokio::test]
async fn d1_rows_without_a_key_are_not_in_the_window() {
    let store = memory();
    let files = [file(&store, 0, &[(SOURCE, 1, 10, 2_000_000), (SOURCE, 1, 11, 2_000_000)]).await];
    assert_eq!(sequences(&scan(&store, &files, &query()).await.1), [11]);
}

#[tokio::test]
async fn d3_behind_a_snapshot_only_rows_above_its_floor_are_read() {
    let store = memory();
    let files = [
        file(&store, 0, &[(SOURCE, 1, 4, 2_000_000), (SOURCE, 1, 5, 2_000_000)]).await,
        file(&store, 1, &[(SOURCE, 1, 5, 2_000_000), (SOURCE, 1, 6, 2_000_000)]).await,
        file(&store, 2, &[(OLDER_SOURCE, 1, 99, 2_000_000)]).await,
    ];
    let above = Some((SOURCE.to_owned(), Position(5)));
    let (summary, rows) = scan(&store, &files, &WindowQuery { above, ..query() }).await;
    assert_eq!(sequences(&rows), [6]);
    assert_eq!(summary.files, 2);
}

#[tokio::test]
async fn d2_a_file_without_statistics_counts_as_touched() {
    let store = memory();
    let mut strange = file(&store, 0, &[(SOURCE, 1, 7, 2_000_000)]).await;
    strange.stats = None;
    assert_eq!(sequences(&scan(&store, &[strange.clone()], &query()).await.1), [7]);
    strange.stats = Some(json!({"numRecords": 1}));
    assert_eq!(sequences(&scan(&store, &[strange], &query()).await.1), [7]);
}

#[tokio::test]
async fn d2_an_upper_time_bound_rounded_down_by_others_does_not_hide_a_row() {
    let store = memory();
    let mut rewritten = file(&store, 0, &[(SOURCE, 1, 7, 1_000_500)]).await;
    let stats = rewritten.stats.as_mut().expect("ours");
    stats["maxValues"][system::TIME] = json!("1970-01-01T00:00:01.000Z");
    assert_eq!(sequences(&scan(&store, &[rewritten], &query()).await.1), [7]);
}

#[tokio::test]
async fn keys_in_a_declared_column_come_as_their_bytes() {
    let store = memory();
    let files = [file(&store, 0, &[(SOURCE, 1, 10, 2_000_000)]).await];
    let id = IdColumn::Field { name: "k".to_owned(), data_type: DataType::Int64 };
    let (_, rows) = scan(&store, &files, &WindowQuery { id, ..query() }).await;
    assert_eq!(rows, [(10, 2_000_000, 10_i64.to_be_bytes().to_vec())]);
}

#[tokio::test]
async fn keys_in_a_partition_column_come_from_the_log() {
    let store = memory();
    let mut partitioned = file(&store, 0, &[(SOURCE, 1, 10, 2_000_000)]).await;
    partitioned.partition_values.insert("site".to_owned(), Some("nord".to_owned()));
    let id = IdColumn::Field { name: "site".to_owned(), data_type: DataType::Utf8 };
    let (_, rows) = scan(&store, &[partitioned], &WindowQuery { id, ..query() }).await;
    assert_eq!(rows, [(10, 2_000_000, b"nord".to_vec())]);
}

#[tokio::test]
async fn rows_older_than_deduplication_are_not_in_the_window() {
    let store = memory();
    let batch = RecordBatch::try_from_iter_with_nullable([(
        "v",
        Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
        true,
    )]);
    let name = FileName {
        ledger: Ledger::new("a.b").expect("valid"),
        epoch: Epoch(1),
        nonce: Nonce::from_random(2),
        number: 0,
    };
    let path = DataPath::new(&[], &name);
    let options = WriteOptions::default();
    let batches = [batch.expect("one column")];
    let schema = batches[0].schema();
    let written = write_file(Arc::clone(&store), path, schema, &batches, &options).await;
    let file = LiveFileRef {
        path: written.expect("written").path,
        partition_values: BTreeMap::new(),
        stats: None,
    };
    assert_eq!(
        scan(&store, &[file], &query()).await.0,
        ScanSummary { files: 1, ..Default::default() }
    );
}

#[tokio::test]
async fn d2_a_missing_file_is_an_error_and_not_a_shorter_window() {
    let store = memory();
    let files = [file(&store, 0, &[(SOURCE, 1, 7, 2_000_000)]).await];
    let outcome = scan_window(&memory(), &files, &query(), |_| ControlFlow::Continue(())).await;
    assert!(outcome.is_err());
}

#[tokio::test]
async fn the_visitor_can_end_the_scan() {
    let store = memory();
    let rows = [(SOURCE, 1, 7, 2_000_000), (SOURCE, 1, 8, 2_000_000)];
    let files = [file(&store, 0, &rows).await];
    let summary = scan_window(&store, &files, &query(), |_| ControlFlow::Break(())).await;
    assert_eq!(summary.expect("scanned"), ScanSummary { files: 1, rows: 1, stopped: true });
}
