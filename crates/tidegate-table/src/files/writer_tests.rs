//! Written files are read back, their statistics compared with what Delta wants, and failures leave
//! nothing behind.

use std::sync::atomic::Ordering;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tidegate_types::{Epoch, Ledger, Nonce, PartitionId, Reason, StreamTime};

use super::*;
use crate::files::layout::FileName;
use crate::files::reader::read_columns;
use crate::files::system::{self, RowCoordinates, SystemColumns};
use crate::files::testing::{Fault, faulty_in_memory};

fn path(number: u32) -> DataPath {
    let ledger = Ledger::new("a.b").expect("valid");
    let values = [("day".to_owned(), Some("2026/06".to_owned()))];
    let (epoch, nonce) = (Epoch(1), Nonce::from_random(2));
    DataPath::new(&values, &FileName { ledger, epoch, nonce, number })
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .expect("columns of one length")
}

async fn write_all(
    store: &Arc<dyn ObjectStore>,
    batches: &[RecordBatch],
    options: &WriteOptions,
) -> Result<DataFile, FileError> {
    let schema = batches[0].schema();
    write_file(Arc::clone(store), path(0), schema, batches, options).await
}

async fn stats(column: impl Array + 'static) -> Value {
    let batch = batch(vec![("c", Arc::new(column) as ArrayRef)]);
    write_all(&memory(), &[batch], &WriteOptions::default()).await.expect("written").stats
}

async fn read_back(store: &Arc<dyn ObjectStore>, file: &DataFile) -> RecordBatch {
    let object = crate::files::layout::object_of_log_path(&file.path).expect("ours");
    let footer = read_footer(store, &object).await.expect("a footer");
    let fields = footer.metadata.file_metadata().schema_descr().root_schema().get_fields();
    let names: Vec<_> = fields.iter().map(|f| f.name()).collect();
    let stream = read_columns(store, &object, &names).await.expect("opened");
    let batches: Vec<_> = stream.try_collect().await.expect("read");
    concat_batches(&batches[0].schema(), &batches).expect("one schema")
}

fn bounds(lower: Value, upper: Value, nulls: u64, rows: u64) -> Value {
    json!({
        "numRecords": rows, "tightBounds": true,
        "minValues": {"c": lower}, "maxValues": {"c": upper}, "nullCount": {"c": nulls},
    })
}

fn unbounded(nulls: u64, rows: u64) -> Value {
    json!({
        "numRecords": rows, "tightBounds": true,
        "minValues": {}, "maxValues": {}, "nullCount": {"c": nulls},
    })
}

async fn objects(store: &Arc<dyn ObjectStore>) -> usize {
    store.list(None).count().await
}

/// Many rows that do not compress, so that a small part size makes several parts.
fn noise(rows: usize) -> RecordBatch {
    let values = (0..rows).map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()) as i64);
    batch(vec![("v", Arc::new(Int64Array::from_iter_values(values)))])
}

fn small_parts() -> WriteOptions {
    WriteOptions {
        part_size: 10_000,
        row_group_rows: 4_000,
        compression: Compression::None,
        ..WriteOptions::default()
    }
}

#[tokio::test]
async fn statistics_of_every_plain_type_are_as_delta_writes_them() {
    let utc = || TimestampMicrosecondArray::from(vec![Some(1_780_318_800_123_456), None, Some(0)]);
    let decimals = Decimal128Array::from(vec![Some(-123), None, Some(12_345)])
        .with_precision_and_scale(18, 2)
        .expect("valid");
    let checks = [
        (stats(Int8Array::from(vec![Some(3), None, Some(-4)])).await, json!(-4), json!(3)),
        (stats(Int16Array::from(vec![Some(300), None, Some(-4)])).await, json!(-4), json!(300)),
        (
            stats(Int32Array::from(vec![Some(70_000), None, Some(-4)])).await,
            json!(-4),
            json!(70_000),
        ),
        (
            stats(Int64Array::from(vec![Some(i64::MAX), None, Some(i64::MIN)])).await,
            json!(i64::MIN),
            json!(i64::MAX),
        ),
        (
            stats(Float32Array::from(vec![Some(1.5), None, Some(-0.25)])).await,
            json!(-0.25),
            json!(1.5),
        ),
        (
            stats(Float64Array::from(vec![Some(0.1), None, Some(-2.0)])).await,
            json!(-2.0),
            json!(0.1),
        ),
        (
            stats(Date32Array::from(vec![Some(20_605), None, Some(0)])).await,
            json!("1970-01-01"),
            json!("2026-06-01"),
        ),
        (
            stats(utc().with_timezone("UTC")).await,
            json!("1970-01-01T00:00:00.000Z"),
            json!("2026-06-01T13:00:00.124Z"),
        ),
        (stats(utc()).await, json!("1970-01-01T00:00:00.000"), json!("2026-06-01T13:00:00.124")),
        (stats(decimals).await, json!(-1.23), json!(123.45)),
        (stats(StringArray::from(vec![Some("b"), None, Some("ä")])).await, json!("b"), json!("ä")),
    ];
    for (stats, lower, upper) in checks {
        assert_eq!(stats, bounds(lower, upper, 1, 3));
    }
    let flags = BooleanArray::from(vec![Some(true), None, Some(false)]);
    assert_eq!(stats(flags).await, unbounded(1, 3));
    let bytes = BinaryArray::from(vec![Some(b"x".as_ref()), None, Some(b"y")]);
    assert_eq!(stats(bytes).await, unbounded(1, 3));
}

#[tokio::test]
async fn long_text_is_bounded_by_32_characters() {
    let long = "😀".repeat(50);
    let stats = stats(StringArray::from(vec![long.as_str(), "~"])).await;
    let (lower, upper) = (&stats["minValues"]["c"], &stats["maxValues"]["c"]);
    assert_eq!(lower, "~");
    let upper = upper.as_str().expect("text");
    assert!(upper >= long.as_str() && upper.chars().count() <= 32, "{upper}");
}

#[tokio::test]
async fn a_column_of_nulls_and_a_file_without_rows_have_counts_and_no_bounds() {
    assert_eq!(stats(Int32Array::from(vec![None, None])).await, unbounded(2, 2));
    assert_eq!(stats(StringArray::from(Vec::<Option<&str>>::new())).await, unbounded(0, 0));
}

#[tokio::test]
async fn floats_with_a_nan_have_no_bounds() {
    assert_eq!(
        stats(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None])).await,
        unbounded(1, 3)
    );
    assert_eq!(stats(Float32Array::from(vec![f32::NAN])).await, unbounded(0, 1));
    assert_eq!(
        stats(Float64Array::from(vec![1.0, f64::INFINITY])).await,
        json!({
            "numRecords": 2, "tightBounds": true,
            "minValues": {"c": 1.0}, "maxValues": {}, "nullCount": {"c": 0},
        })
    );
}

/// `struct<x: integer, tags: list<integer>>`; the second struct is null.
fn structs() -> StructArray {
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        Some(vec![]),
        None,
        Some(vec![Some(9)]),
    ]);
    let xs = Int32Array::from(vec![Some(5), Some(1000), None, Some(-5)]);
    let fields = Fields::from(vec![
        Field::new("x", DataType::Int32, true),
        Field::new("tags", tags.data_type().clone(), true),
    ]);
    let nulls = NullBuffer::from(vec![true, false, true, true]);
    StructArray::new(fields, vec![Arc::new(xs), Arc::new(tags)], Some(nulls))
}

#[tokio::test]
async fn members_of_structs_have_statistics_and_lists_have_null_counts() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        None,
    ]);
    let last = Int32Array::from(vec![1, 2, 3, 4]);
    let batch = batch(vec![
        ("l", Arc::new(list) as ArrayRef),
        ("s", Arc::new(structs())),
        ("z", Arc::new(last)),
    ]);
    let file = write_all(&memory(), &[batch.clone(), batch], &WriteOptions::default()).await;
    assert_eq!(
        file.expect("written").stats,
        json!({
            "numRecords": 8, "tightBounds": true,
            "minValues": {"s": {"x": -5}, "z": 1},
            "maxValues": {"s": {"x": 5}, "z": 4},
            "nullCount": {"l": 4, "s": {"x": 4, "tags": 4}, "z": 0},
        })
    );
}

#[tokio::test]
async fn statistics_hold_over_several_row_groups() {
    let options = WriteOptions { row_group_rows: 2, ..WriteOptions::default() };
    let column = Int32Array::from(vec![None, None, Some(4), Some(1), Some(7)]);
    let batch = batch(vec![("c", Arc::new(column) as ArrayRef)]);
    let file = write_all(&memory(), &[batch], &options).await.expect("written");
    assert_eq!(file.stats, bounds(json!(1), json!(7), 2, 5));
}

#[tokio::test]
async fn what_was_written_is_read_back_from_memory_and_from_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let local = LocalFileSystem::new_with_prefix(directory.path()).expect("a directory");
    let rows = 5_000;
    let sequences: Vec<u64> = (1..=rows).collect();
    let ids: Vec<_> = sequences.iter().map(|n| Some(u128::from(*n).to_be_bytes())).collect();
    let times: Vec<_> = (0..rows).map(|n| StreamTime(n as i64 * 1_000)).collect();
    let text = StringArray::from_iter_values((0..rows).map(|n| format!("row {n}")));
    let user = batch(vec![
        ("t", Arc::new(text) as ArrayRef),
        ("f", Arc::new(Float64Array::from_iter_values((0..rows).map(|n| n as f64)))),
    ]);
    let columns = SystemColumns { dedup: true, id_in_header: true };
    let coordinates = RowCoordinates {
        source: "a.b/0000000000000001",
        partition: PartitionId(2),
        sequences: &sequences,
        ordinals: None,
        ids: &ids,
        times: &times,
    };
    let batch = columns.append(&user, &coordinates).expect("fits");
    for compression in [Compression::ZSTD, Compression::SNAPPY, Compression::LZ4, Compression::None]
    {
        let options = WriteOptions { compression, row_group_rows: 1_500, ..small_parts() };
        for store in [memory(), Arc::new(local.clone()) as Arc<dyn ObjectStore>] {
            let file =
                write_all(&store, &[batch.slice(0, 2_000), batch.slice(2_000, 3_000)], &options)
                    .await
                    .expect("written");
            assert_eq!(file.rows, rows);
            assert_eq!(file.stats["maxValues"][system::SEQUENCE], json!(rows));
            assert_eq!(file.stats["minValues"][system::SOURCE], json!("a.b/0000000000000001"));
            let read = read_back(&store, &file).await;
            assert_eq!(read.columns(), batch.columns(), "{compression:?}");
        }
    }
}

#[tokio::test]
async fn nested_columns_are_read_back_with_the_names_that_spark_expects() {
    let store = memory();
    let original = batch(vec![("s", Arc::new(structs()) as ArrayRef)]);
    let file = write_all(&store, std::slice::from_ref(&original), &WriteOptions::default()).await;
    let read = read_back(&store, &file.expect("written")).await;
    let read: &StructArray = read.column(0).as_any().downcast_ref().expect("a struct");
    assert_eq!(read.nulls(), structs().nulls());
    let DataType::List(element) = read.column(1).data_type() else { panic!("a list") };
    assert_eq!(element.name(), "element");
    assert_eq!(read.column(0).null_count(), 2);
}

#[tokio::test]
async fn the_open_file_knows_its_size_and_its_memory() {
    let mut writer =
        FileWriter::create(memory(), path(0), noise(1).schema(), BTreeMap::new(), &small_parts());
    assert_eq!((writer.bytes_written_estimate(), writer.buffered_bytes()), (0, 0));
    writer.write(&noise(3_000)).await.expect("written");
    assert!(writer.buffered_bytes() > 20_000, "{}", writer.buffered_bytes());
    writer.write(&noise(9_000)).await.expect("written");
    let (estimate, rows) = (writer.bytes_written_estimate(), writer.rows());
    assert!(writer.buffered_bytes() < 80_000, "parts leave memory: {}", writer.buffered_bytes());
    let file = writer.finish().await.expect("finished");
    assert_eq!((rows, file.rows), (12_000, 12_000));
    assert!(file.size.abs_diff(estimate) < file.size / 20, "{estimate} for {}", file.size);
}

#[tokio::test]
async fn a_dropped_or_aborted_writer_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let local = LocalFileSystem::new_with_prefix(directory.path()).expect("a directory");
    let store: Arc<dyn ObjectStore> = Arc::new(local);
    for abort in [true, false] {
        let mut writer = FileWriter::create(
            Arc::clone(&store),
            path(0),
            noise(1).schema(),
            BTreeMap::new(),
            &small_parts(),
        );
        writer.write(&noise(20_000)).await.expect("written");
        if abort {
            writer.abort().await;
        } else {
            drop(writer);
        }
        assert_eq!(objects(&store).await, 0);
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_tells_the_store() {
    let (store, aborted) = faulty_in_memory(Fault::PutAnswerLost);
    let mut writer =
        FileWriter::create(store, path(0), noise(1).schema(), BTreeMap::new(), &small_parts());
    writer.write(&noise(20_000)).await.expect("written");
    drop(writer);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(aborted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_part_that_fails_fails_the_file_and_leaves_no_object() {
    let (store, aborted) = faulty_in_memory(Fault::SecondPart);
    let error = write_all(&store, &[noise(20_000), noise(20_000)], &small_parts()).await;
    assert_eq!(error.expect_err("fails").reason(), Reason::SinkUnreachable);
    assert_eq!(aborted.load(Ordering::SeqCst), 1);
    assert_eq!(objects(&store).await, 0);
}

#[tokio::test]
async fn a_writer_that_failed_takes_no_more_rows() {
    let (store, _) = faulty_in_memory(Fault::SecondPart);
    let mut writer =
        FileWriter::create(store, path(0), noise(1).schema(), BTreeMap::new(), &small_parts());
    let mut failed = false;
    for _ in 0..10 {
        let outcome = writer.write(&noise(20_000)).await;
        assert!(!failed || matches!(outcome, Err(FileError::Closed { .. })), "{outcome:?}");
        failed |= outcome.is_err();
    }
    assert!(failed);
    assert!(matches!(writer.finish().await, Err(FileError::Closed { .. })));
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_file() {
    for fault in [Fault::PutAnswerLost, Fault::CompleteAnswerLost] {
        let (store, _) = faulty_in_memory(fault);
        let rows = if fault == Fault::PutAnswerLost { 100 } else { 20_000 };
        let file = write_all(&store, &[noise(rows)], &small_parts()).await.expect("it is there");
        assert_eq!(file.rows, rows as u64);
        assert_eq!(read_back(&store, &file).await.num_rows(), rows);
    }
}

#[tokio::test]
async fn a_store_that_refuses_or_keeps_half_is_found_out_and_cleaned_up() {
    for fault in [Fault::EveryPut, Fault::HalfStored] {
        let (store, _) = faulty_in_memory(fault);
        let outcome = write_all(&store, &[noise(100)], &small_parts()).await;
        assert!(outcome.is_err(), "{fault:?}");
        assert_eq!(objects(&store).await, 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_batch_of_another_schema_fails_the_file() {
    let mut writer = FileWriter::create(
        memory(),
        path(0),
        noise(1).schema(),
        BTreeMap::new(),
        &WriteOptions::default(),
    );
    let other = batch(vec![("v", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
    assert!(writer.write(&other).await.is_err());
    assert!(matches!(writer.finish().await, Err(FileError::Closed { .. })));
}

#[tokio::test]
async fn p4_entries_of_the_footer_are_read_back() {
    let store = memory();
    let metadata = vec![("tidegate.partitions".to_owned(), "[0,3]".to_owned())];
    let options = WriteOptions { metadata: metadata.clone(), ..WriteOptions::default() };
    let file = write_all(&store, &[noise(3)], &options).await.expect("written");
    let object = crate::files::layout::object_of_log_path(&file.path).expect("ours");
    let footer = read_footer(&store, &object).await.expect("a footer");
    assert_eq!(footer.entries(), BTreeMap::from_iter(metadata));
}

#[tokio::test]
async fn p4_a_file_that_lies_there_is_described_as_it_was_when_written() {
    let store = memory();
    let object = crate::files::layout::DataPath::dead_letters(
        &Ledger::new("a.b").expect("valid"),
        Nonce::from_random(4),
    );
    let letters = batch(vec![
        ("detail", Arc::new(StringArray::from(vec![Some("x".repeat(40)), None])) as ArrayRef),
        ("payload", Arc::new(BinaryArray::from(vec![Some(b"{".as_ref()), None]))),
    ]);
    let schema = letters.schema();
    let (letters, options) = ([letters], WriteOptions::default());
    let (path, of) = (object.clone(), Arc::clone(&schema));
    let written = write_file(Arc::clone(&store), path, of, &letters, &options).await;
    let written = written.expect("written");
    let (described, _) = describe_file(&store, &object, &schema).await.expect("described");
    assert_eq!(described, written);
}

/// Five columns as in the reference load: a random 32-digit id as 16 bytes, a device, a time, a
/// reading and a state.
fn reference_batch(rows: usize, seed: u64) -> RecordBatch {
    let random = |n: usize| xxhash_rust::xxh3::xxh3_128_with_seed(&n.to_le_bytes(), seed);
    let ids: Vec<[u8; 16]> = (0..rows).map(|n| random(n).to_be_bytes()).collect();
    let device = |n: usize| format!("dev-{}", random(n) % 10_000);
    let times = (0..rows).map(|n| 1_780_318_800_000_000 + n as i64 * 1_000 + (n % 7) as i64);
    let schema = Schema::new(vec![
        Field::new("id", DataType::Binary, true),
        Field::new("dev", DataType::Utf8, true),
        Field::new(
            "ts",
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
        Field::new("temp", DataType::Float64, true),
        Field::new("st", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_iter_values(ids)),
        Arc::new(StringArray::from_iter_values((0..rows).map(device))),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(Float64Array::from_iter_values(
            (0..rows).map(|n| (random(n) % 400) as f64 / 10.0),
        )),
        Arc::new(StringArray::from_iter_values((0..rows).map(|n| ["ok", "warn"][n % 2]))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("fits")
}

#[tokio::test]
#[ignore = "a measurement; run by hand"]
async fn nanoseconds_per_row_of_the_writer() {
    const ROWS: usize = 8_192;
    let batches: Vec<_> = (0..64).map(|seed| reference_batch(ROWS, seed)).collect();
    let with_system: Vec<_> = batches.iter().map(with_system_columns).collect();
    for (name, batches) in [("5 columns", &batches), ("with system columns", &with_system)] {
        for _ in 0..3 {
            let begin = std::time::Instant::now();
            let file =
                write_all(&memory(), batches, &WriteOptions::default()).await.expect("written");
            let (rows, spent) = (file.rows as f64, begin.elapsed().as_nanos() as f64);
            #[allow(clippy::print_stderr, reason = "the measurement")]
            {
                eprintln!(
                    "{name}: {:.0} ns/row, {:.1} bytes/row",
                    spent / rows,
                    file.size as f64 / rows
                );
            }
        }
    }
}

fn with_system_columns(batch: &RecordBatch) -> RecordBatch {
    let sequences: Vec<u64> = (0..batch.num_rows() as u64).collect();
    let ids: Vec<_> = sequences
        .iter()
        .map(|n| Some(xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes()).to_be_bytes()))
        .collect();
    let times: Vec<_> = sequences.iter().map(|n| StreamTime(*n as i64 * 997)).collect();
    let coordinates = RowCoordinates {
        source: "analytics.clicks/0000000000000001",
        partition: PartitionId(2),
        sequences: &sequences,
        ordinals: None,
        ids: &ids,
        times: &times,
    };
    SystemColumns { dedup: true, id_in_header: true }.append(batch, &coordinates).expect("fits")
}
