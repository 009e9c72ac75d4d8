//! Parquet files.

use arrow::array::{
    ArrayRef, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field as ArrowField};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{Int64Type, Int96, Int96Type};
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tidegate_types::{Explained, Reason};

use super::*;

pub(super) fn file(columns: &[(&str, ArrayRef)], properties: WriterProperties) -> Vec<u8> {
    let columns = columns.iter().map(|(name, array)| (*name, Arc::clone(array), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// Numbers from 0 in the column `id`, so many a row group.
pub(super) fn numbers(count: i64, group: usize) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    file(&[("id", ids)], properties)
}

fn codec(compression: Compression) -> WriterProperties {
    WriterProperties::builder().set_compression(compression).build()
}

#[tokio::test]
async fn columns_go_by_name_under_every_codec() {
    let folder = tempfile::tempdir().unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3_000));
    let names: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..3_000).map(|n| format!("n{n}"))));
    for (number, compression) in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
    ]
    .into_iter()
    .enumerate()
    {
        let columns: &[_] = &[("name", Arc::clone(&names)), ("id", Arc::clone(&ids))];
        std::fs::write(folder.path().join(number.to_string()), file(columns, codec(compression)))
            .unwrap();
    }
    let ask = ask(FileFormat::Parquet, "*").fields(&["id: long!", "more: date", "name: string"]);
    let found = read_all(&ask.open_folder(folder.path()).await.unwrap()).await.unwrap();
    assert_eq!(found.counts, ChunkCounts { rows: 15_000, dead: 0 });
    let expected =
        (0..15_000).map(|n| n % 3_000).map(|n| format!("{{\"id\":{n},\"name\":\"n{n}\"}}"));
    assert_eq!(found.rows(), expected.collect::<Vec<_>>());
}

/// Levels are packed in pages of the first kind and not in those of the second.
#[tokio::test]
async fn gzip_pages_of_both_kinds_have_their_nulls_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let texts = (0..5_000).map(|n| (n % 3 > 0).then(|| format!("n{n}")));
    let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
    let nothing: ArrayRef = Arc::new(StringArray::new_null(5_000));
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::default()))
            .set_writer_version(version)
            .set_data_page_row_count_limit(700)
            .build();
        let columns = [("text", Arc::clone(&texts)), ("nothing", Arc::clone(&nothing))];
        std::fs::write(folder.path().join("a"), file(&columns, properties)).unwrap();
        let ask = ask(FileFormat::Parquet, "a").fields(&["text: string", "nothing: string"]);
        let found = read_all(&ask.open_folder(folder.path()).await.unwrap()).await.unwrap();
        let expected = (0..5_000)
            .map(|n| if n % 3 > 0 { format!("{{\"text\":\"n{n}\"}}") } else { "{}".to_owned() });
        assert_eq!(found.rows(), expected.collect::<Vec<_>>(), "{version:?}");
    }
}

#[tokio::test]
async fn a_large_file_is_divided_by_row_groups_and_read_by_stretches() {
    let store = memory();
    // Noise, so that the file is as large as its rows.
    let noise = |n: i64| (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).cast_signed();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2_000_000));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..2_000_000).map(noise)));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(150_000))
        .set_dictionary_enabled(false)
        .build();
    put(&store, "big.parquet", file(&[("id", ids), ("v", values)], properties)).await;
    let mut ask = ask(FileFormat::Parquet, "*");
    ask.batch_rows = 65_536;
    ask.batch_bytes = 16 << 20;
    ask.parallelism = 8;
    let files = ask.open_in(&store).await.unwrap();
    let plan = files.plan().await.unwrap();
    assert!(plan.chunks.len() >= 4, "{}", plan.chunks.len());
    assert_eq!(plan.chunks.iter().map(|chunk| chunk.estimated_rows).sum::<u64>(), 2_000_000);
    assert!(plan.chunks[1].what.contains("row groups"), "{}", plan.chunks[1].what);
    let found = read_all(&files).await.unwrap();
    let mut next = 0;
    for batch in &found.batches {
        let ids: &Int64Array = batch.column(0).as_any().downcast_ref().unwrap();
        let values: &Int64Array = batch.column(1).as_any().downcast_ref().unwrap();
        for (id, value) in ids.values().iter().zip(values.values()) {
            assert_eq!((*id, *value), (next, noise(next)));
            next += 1;
        }
    }
    assert_eq!(next, 2_000_000);
}

/// The same file by a writer that does not say how often its dictionaries are repeated.
fn older(file: Vec<u8>) -> Vec<u8> {
    let file = Bytes::from(file);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    let mut builder = metadata.into_builder();
    let groups = builder.take_row_groups().into_iter().map(|group| {
        let mut group = group.into_builder();
        let columns = group.take_columns().into_iter().map(|column| {
            column.into_builder().set_unencoded_byte_array_data_bytes(None).build().unwrap()
        });
        let columns = columns.collect();
        group.set_column_metadata(columns).build().unwrap()
    });
    let metadata = builder.set_row_groups(groups.collect()).build();
    let footer = u32::from_le_bytes(file[file.len() - 8..][..4].try_into().unwrap()) as usize;
    let mut made = file[..file.len() - 8 - footer].to_vec();
    ParquetMetaDataWriter::new(&mut made, &metadata).finish().unwrap();
    made
}

#[tokio::test]
async fn long_texts_that_a_dictionary_repeats_come_in_batches_of_few_rows() {
    let text = |row: usize| (row % 10).to_string().repeat(16 << 10);
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2_000).map(text)));
    let newer = file(&[("text", texts)], codec(Compression::SNAPPY));
    for (name, file) in [("newer", newer.clone()), ("older", older(newer))] {
        assert!(file.len() < 1 << 20, "{name} has a dictionary");
        let store = memory();
        put(&store, name, file).await;
        let ask = ask(FileFormat::Parquet, "*").fields(&["text: string"]);
        let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
        assert_eq!(found.counts.rows, 2_000);
        let largest = found.batches.iter().map(RecordBatch::get_array_memory_size).max();
        assert!(largest < Some(3 * ask.batch_bytes), "{name}: {largest:?}");
    }
}

/// The largest batch of the files' rows, in bytes, and what a batch may have.
async fn largest(file: Vec<u8>, field: &str) -> (usize, usize) {
    let store = memory();
    put(&store, "texts", older(file)).await;
    let ask = ask(FileFormat::Parquet, "*").fields(&[field]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    let sizes = found.batches.iter().map(RecordBatch::get_array_memory_size);
    (sizes.max().unwrap(), ask.batch_bytes)
}

#[tokio::test]
async fn lists_of_texts_that_a_dictionary_repeats_come_in_batches_of_few_rows() {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in 0..200 {
        for element in 0..1_000 {
            lists.values().append_value(((row + element) % 10).to_string().repeat(50));
        }
        lists.append(true);
    }
    let lists: ArrayRef = Arc::new(lists.finish());
    let file = file(&[("texts", lists)], codec(Compression::SNAPPY));
    let (largest, allowed) = largest(file, "texts: list<string>").await;
    assert!(largest < 3 * allowed, "{largest}");
}

#[tokio::test]
async fn the_widest_of_the_row_groups_that_are_read_decides_how_many_rows_come_at_a_time() {
    let text = |row: usize| (row % 10).to_string().repeat(if row < 1_000 { 1 } else { 16 << 10 });
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..2_000).map(text)));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(1_000))
        .build();
    let (largest, allowed) = largest(file(&[("text", texts)], properties), "text: string").await;
    assert!(largest < 3 * allowed, "{largest}");
}

#[tokio::test]
async fn a_row_without_a_required_value_is_set_aside_as_json() {
    let store = memory();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    put(&store, "a", file(&[("id", ids), ("name", names)], codec(Compression::SNAPPY))).await;
    let ask = ask(FileFormat::Parquet, "*").fields(&["id: long!", "name: string"]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(found.rows(), ["{\"id\":1,\"name\":\"a\"}", "{\"id\":3,\"name\":\"c\"}"]);
    assert_eq!(found.places(), [("a:2", "MissingField")]);
    assert_eq!((found.dead[0].ordinal, &found.dead[0].payload[..]), (1, &b"{\"name\":\"b\"}"[..]));
}

#[tokio::test]
async fn what_does_not_fit_is_a_fault_of_the_file_that_names_column_and_types() {
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let more: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    for (fields, says) in [
        (Some(&["id: long"][..]), "column \"id\": Utf8 does not fit long"),
        (Some(&["missing: long!"]), "\"missing\", which is required"),
        (Some(&["missing: long"]), "none of the declared columns"),
        (None, "the column \"more\", which the first file has not"),
    ] {
        let store = memory();
        if fields.is_none() {
            put(&store, "0", file(&[("id", Arc::clone(&ids))], codec(Compression::SNAPPY))).await;
        }
        let columns = [("id", Arc::clone(&ids)), ("more", Arc::clone(&more))];
        put(&store, "1", file(&columns, codec(Compression::SNAPPY))).await;
        let mut ask = ask(FileFormat::Parquet, "*");
        ask.fields = fields.map(|fields| fields.iter().map(|text| field(text)).collect());
        let error = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap_err();
        assert!(!error.is_transient());
        assert!(error.to_string().contains("the file 1 cannot be read"), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        let found = read_all(&ask.setting_aside().open_in(&store).await.unwrap()).await.unwrap();
        assert_eq!(found.counts.dead, 1);
    }
}

/// A struct `s` with these members, numbers all.
fn of_members(names: &[&str]) -> ArrayRef {
    let members = names.iter().map(|name| {
        let member = ArrowField::new(*name, DataType::Int64, true);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        (Arc::new(member), values)
    });
    Arc::new(StructArray::from(members.collect::<Vec<_>>()))
}

/// Their values would be null, and the run would be done.
#[tokio::test]
async fn members_whose_names_are_nearly_the_declared_ones_are_refused() {
    let listed = |of: ArrayRef| -> ArrayRef {
        let element = Arc::new(ArrowField::new_list_field(of.data_type().clone(), true));
        let ends = OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(element, ends, of, None))
    };
    let b = || of_members(&["b", "c"]);
    for (column, declared, told) in [
        (
            b(),
            Some("s: struct<B: long, c: long>"),
            r#"calls the column "s.b", which is declared as "s.B""#,
        ),
        (
            listed(b()),
            Some("s: list<struct<B: long>>"),
            r#"the column "s.b", which is declared as "s.B""#,
        ),
        (b(), Some("x: long from $.s.B"), r#"the column "s.b", which is declared as "s.B""#),
        (b(), Some("x: long! from $.s.d"), r#"it lacks the column "s.d", which is required"#),
        (b(), None, r#"it has the column "s.b", which the first file has not"#),
    ] {
        let store = memory();
        let first = [("s", of_members(&["B", "c"]))];
        if declared.is_none() {
            put(&store, "a", file(&first, WriterProperties::default())).await;
        }
        put(&store, "b", file(&[("s", column)], WriterProperties::default())).await;
        let mut ask = ask(FileFormat::Parquet, "*");
        if let Some(declared) = declared {
            ask = ask.fields(&[declared]);
        }
        let files = ask.open_in(&store).await.unwrap();
        let error = read_all(&files).await.unwrap_err();
        assert!(!error.is_transient() && error.to_string().contains(told), "{error}");
    }
    let store = memory();
    put(&store, "b", file(&[("s", b())], WriterProperties::default())).await;
    let ask = ask(FileFormat::Parquet, "*").fields(&["s: struct<b: long, d: long>"]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(found.rows(), [r#"{"s":{"b":1}}"#, r#"{"s":{"b":2}}"#], "a member may be missing");
}

#[tokio::test]
async fn a_member_of_a_struct_can_be_a_column() {
    let store = memory();
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
    let member = arrow::datatypes::Field::new("n", arrow::datatypes::DataType::Int64, true);
    let nulls = Some(vec![true, false, true].into());
    let outer: ArrayRef =
        Arc::new(StructArray::try_new(vec![member].into(), vec![inner], nulls).unwrap());
    put(&store, "a", file(&[("s", outer)], codec(Compression::SNAPPY))).await;
    let ask = ask(FileFormat::Parquet, "*").fields(&["n: long from $.s.n"]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(found.rows(), ["{\"n\":1}", "{}", "{}"]);
}

/// Spark's last day, in nanoseconds some day of 1816.
const LAST: &str = "9999-12-31T00:00:00Z";

/// A file with that day as INT96: by itself, as the element of a list, and in a struct, there beside another
/// member or one of nanoseconds.
fn old_timestamps(beside: &str) -> Vec<u8> {
    let schema = format!(
        "message m {{ optional int96 at; \
         optional group many (LIST) {{ repeated group list {{ optional int96 element; }} }} \
         optional group s {{ optional int96 at; {beside} }} }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut last = Int96::new();
    // The Julian day.
    last.set_data(0, 0, 5_373_484);
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for level in [1, 3, 2] {
        let mut column = group.next_column().unwrap().unwrap();
        let typed = column.typed::<Int96Type>();
        let repeated: Option<&[i16]> = if level == 3 { Some(&[0]) } else { None };
        typed.write_batch(&[last], Some(&[level]), repeated).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1_000], Some(&[2]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn old_timestamps_are_read_whole_wherever_they_stand() {
    let store = memory();
    put(&store, "a", old_timestamps("optional int64 n;")).await;
    let found = read_all(&ask(FileFormat::Parquet, "*").open_in(&store).await.unwrap()).await;
    let row = format!(r#"{{"at":"{LAST}","many":["{LAST}"],"s":{{"at":"{LAST}","n":1000}}}}"#);
    assert_eq!(found.unwrap().rows(), [row]);
    // The one is not told from the other there.
    put(&store, "a", old_timestamps("optional int64 n (TIMESTAMP(NANOS, false));")).await;
    let ask = ask(FileFormat::Parquet, "*")
        .fields(&["n: timestamp_ntz from $.s.n", "many: list<timestamp>"]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(
        found.rows(),
        [format!(r#"{{"n":"1970-01-01T00:00:00.000001","many":["{LAST}"]}}"#)]
    );
}

#[tokio::test]
async fn a_column_without_counterpart_is_named() {
    let store = memory();
    let times: ArrayRef = Arc::new(arrow::array::Time32MillisecondArray::from(vec![1]));
    put(&store, "a", file(&[("at", times)], codec(Compression::SNAPPY))).await;
    let error = ask(FileFormat::Parquet, "*").open_in(&store).await.err().unwrap();
    assert_eq!(error.reason(), Reason::UnsupportedType);
    assert!(error.to_string().contains("column \"at\""), "{error}");
}
